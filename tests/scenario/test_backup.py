# SPDX-License-Identifier: Apache-2.0
"""A backup under load, a hub that is lost, a store restored elsewhere: what was acknowledged before the backup began is there, under "once" as before, and
identifiers are new ones."""
import json
import threading

from harness.clients import Subscriber, by_certificate, iso, now_ms, publish
from harness.hub import wait_for


class Device(threading.Thread):
    """Publishes a reading after the other and remembers those that were acknowledged."""

    def __init__(self, hub, name):
        super().__init__(daemon=True)
        self.hub, self.name_, self.acknowledged, self.ended = hub, name, [], threading.Event()
        self.at = now_ms()

    def send(self, ms, value):
        payload = json.dumps({"time": iso(ms), "hr": value})
        return publish(self.hub, self.name_, f"ward/3a/{self.name_}/vitals", payload, auth=by_certificate(self.hub, self.name_)).returncode == 0

    def run(self):
        while not self.ended.is_set():
            self.at += 1
            if self.send(self.at, 60 + self.at % 40):
                self.acknowledged.append(self.at)

    def stop(self):
        self.ended.set()
        self.join(60)
        assert not self.is_alive()


def times(hub, device):
    """Device times of what is kept, as the payloads had them."""
    return [r["time"] for r in hub.readings(device, "--limit", "100000")]


def stamp(ms):
    """A device time as `readings` prints it."""
    return iso(ms).replace(".000Z", "Z")


def test_a_lost_hub_goes_on_from_its_backup(hubs):
    hub = hubs().start()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    bus = Subscriber(hub)
    device = Device(hub, "m1")
    device.start()
    wait_for(lambda: len(device.acknowledged) >= 20, "twenty readings")
    before = list(device.acknowledged)
    made = hub.cli("backup", hub.state / "backup", "--progress")
    assert "everything up to position" in made.stdout and "journal: " in made.stderr
    count = len(device.acknowledged)
    wait_for(lambda: len(device.acknowledged) >= count + 10, "ten more")
    assert "all whole" in hub.cli("verify").stdout  # while it runs and is written to
    refused = hub.cli("restore", hub.state / "backup", "--replace", check=False)
    assert refused.returncode != 0 and "stop it first" in refused.stderr
    device.stop()
    late = device.acknowledged[-1]
    first = {}

    def delivered(ms):
        for topic, message in bus.messages():
            if topic == "vitals/m1/heart_rate":
                first.setdefault(message["time"], []).append(message["id"])
        return [t for t in first if t == stamp(ms)]

    wait_for(lambda: delivered(late), "the last one on the bus")
    hub.gateway.kill()
    hub.gateway.child.wait()

    hub.cli("verify", hub.state / "backup")
    said = hub.cli("restore", hub.state / "backup", "--to", hub.state / "elsewhere").stdout
    assert "outlet bus: goes on after position" in said and "delivered again, under new identifiers" in said and "is missing here" in said
    assert "outlet series" not in said and (hub.state / "elsewhere" / "series" / "data.mdb").exists()
    assert all(path.stat().st_mode & 0o077 == 0 for path in (hub.state / "elsewhere").rglob("*"))
    hub.options["store"] = {"dir": "elsewhere", "budget_mb": 1024, "disk_reserve_mb": 16}
    hub.write_config()
    hub.start_gateway()

    kept = times(hub, "m1")
    assert set(map(stamp, before)) <= set(kept), "acknowledged before the backup began, and lost"
    assert stamp(late) not in kept
    assert device.send(before[0], 60 + before[0] % 40)  # a device that sends again what it had sent
    assert times(hub, "m1") == kept
    assert device.send(late, 60 + late % 40)  # and one that the backup never saw: taken, under another identifier
    assert times(hub, "m1") == kept + [stamp(late)]
    old = set(first[stamp(late)])

    def again():
        return [m["id"] for t, m in bus.messages() if t == "vitals/m1/heart_rate" and m["time"] == stamp(late) and m["id"] not in old]

    assert len(wait_for(again, "the reading on the bus under a new identifier")) >= 1
    assert "all whole" in hub.cli("verify").stdout


def test_an_encrypted_backup_opens_with_its_key_only(hubs):
    hub = hubs(bus=False).start()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    assert Device(hub, "m1").send(now_ms(), 61)
    right, wrong, key = hub.state / "right", hub.state / "wrong", hub.state / "key"
    right.write_text("correct horse battery\n")
    wrong.write_text("incorrect horse battery\n")
    hub.cli("backup", hub.state / "b1", "--passphrase-file", right)
    hub.cli("backup-key", key)
    hub.cli("backup", hub.state / "b2", "--encrypt-to", f"{key}.pub")
    assert all(b"bedside-json" not in path.read_bytes() for path in hub.state.glob("b?/*"))  # a plain one holds it
    for folder, good, bad in (("b1", ("--passphrase-file", right), ("--passphrase-file", wrong)), ("b2", ("--key-file", key), ("--key-file", f"{key}.pub"))):
        to = hub.state / f"from-{folder}"
        for arguments, words in ((bad, "is not the "), ((), "is encrypted")):
            done = hub.cli("restore", hub.state / folder, "--to", to, *arguments, check=False)
            assert done.returncode != 0 and words in done.stderr, done.stderr
            assert not (to / "data.mdb").exists()
        hub.cli("verify", hub.state / folder, *good)
        hub.cli("restore", hub.state / folder, "--to", to, *good)
    hub.gateway.stop()
    hub.options["store"] = {"dir": "from-b2", "budget_mb": 1024, "disk_reserve_mb": 16}
    hub.write_config()
    hub.start_gateway()
    assert [r["value"] for r in hub.readings("m1")] == [61]


def test_a_store_is_replaced_and_a_command_works_without_a_gateway(hubs):
    hub = hubs(bus=False).start()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    device = Device(hub, "m1")
    assert device.send(now_ms(), 61)
    hub.gateway.stop()
    hub.cli("backup", hub.state / "b1")  # by the command itself
    assert hub.cli("restore", hub.state / "b1", check=False).returncode != 0  # there is a store
    hub.start_gateway()
    assert device.send(now_ms(), 62)
    hub.gateway.stop()
    said = hub.cli("restore", hub.state / "b1", "--replace").stdout
    assert "the store that was there is in" in said
    hub.start_gateway()
    assert [r["value"] for r in hub.readings("m1")] == [61]
    for name in ("data.mdb", "series/data.mdb"):
        assert len(list((hub.state / "data").glob(f"replaced-*/{name}"))) == 1
    assert (hub.state / "data" / "series" / "data.mdb").exists()
    assert "all whole" in hub.cli("verify").stdout


def test_a_damaged_backup_is_named_and_not_restored(hubs):
    hub = hubs(bus=False).start()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    assert Device(hub, "m1").send(now_ms(), 61)
    hub.cli("backup", hub.state / "b1")
    whole = [json.loads(line) for line in hub.cli("verify", hub.state / "b1", "--json").stdout.splitlines()]
    assert all("damaged" not in line for line in whole) and any("journal" in line for line in whole)
    file = hub.state / "b1" / "journal.mdb"
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    done = hub.cli("verify", hub.state / "b1", check=False)
    assert done.returncode != 0 and "damaged: journal.mdb" in done.stdout and "cannot be relied on" in done.stderr
    done = hub.cli("restore", hub.state / "b1", "--to", hub.state / "new", check=False)
    assert done.returncode != 0 and "hash" in done.stderr and not (hub.state / "new" / "data.mdb").exists()
