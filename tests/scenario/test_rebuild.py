# SPDX-License-Identifier: Apache-2.0
"""A series store that is damaged: the gateway goes on, says so, and makes it anew out of the journal and what can be read."""
import json
import os
import pathlib
import random
import signal
import subprocess
import threading
import time

from harness.clients import by_certificate, iso, now_ms, run
from harness.hub import wait_for


def lines(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def fill(hub, count, first=0):
    start = now_ms() // 1000 * 1000 - 4000 * 1000
    noise = random.Random(first)  # that no chunk shrinks to an entry beside others
    frames = "".join(json.dumps({"time": iso(start + (first + i) * 1000), "hr": noise.randrange(40, 180), "spo2": noise.randrange(60, 100)}) + "\n"
                     for i in range(count))
    run(["mosquitto_pub", "-h", "127.0.0.1", "-p", hub.mqtt_port, "-i", "m1", "-q", 1, "-t", "ward/w/m1/vitals", *by_certificate(hub, "m1"), "-l"],
        input=frames)


def values(hub):
    return [(r["time"], r["signal"], r["value"]) for r in lines(hub.cli("query", "--device", "m1", "--json").stdout)]


def series_file(hub):
    return hub.state / "data" / "series" / "data.mdb"


def kinds(path):
    """Pages by kind: LMDB's flags."""
    data = path.read_bytes()
    for at in range(2 * 4096, len(data) - 4095, 4096):
        if int.from_bytes(data[at:at + 8], "little") == at // 4096:
            yield at, data[at + 10]


def spoil(path, kind, offset, every=1):
    pages = [at for at, flags in kinds(path) if flags & kind][::every]
    with open(path, "r+b") as file:
        for at in pages:
            file.seek(at + offset)
            byte = file.read(1)[0]
            file.seek(at + offset)
            file.write(bytes([byte ^ 0x21]))
    return len(pages)


def verify(hub, *args):
    done = hub.cli("verify", "--json", *args, check=False)
    return done.returncode, lines(done.stdout)


def summary(rows):
    return next(r for r in rows if "damaged_places" in r)


def hub_with_chunks(hubs):
    hub = hubs(bus=False, options={"series": {"hold_min": 1}}).start()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    fill(hub, 2500)
    code, rows = verify(hub)
    assert code == 0 and summary(rows)["compared_readings"] == 5000 and summary(rows)["missing_readings"] == 0, rows
    hub.cli("rebuild")  # all that is in memory goes to chunks
    assert hub.status()["parts"]["series"]["chunks"] >= 2
    return hub, values(hub)


def test_damaged_chunks_come_back_out_of_the_journal(hubs):
    hub, before = hub_with_chunks(hubs)
    assert len(before) == 5000
    hub.gateway.stop()
    assert spoil(series_file(hub), 0x04, 300) >= 1
    # Without a gateway, and with one: named, left out, and the status tells.
    code, rows = verify(hub)
    assert code != 0 and any("chunk from" in r.get("damaged", "") for r in rows) and summary(rows)["missing_readings"] > 100
    hub.start_gateway()
    code, rows = verify(hub)
    assert code != 0 and summary(rows)["damaged_places"] >= 1
    assert len(values(hub)) < 5000
    done = hub.cli("rebuild", "--progress")
    assert "of them were missing" in done.stdout and "0 damaged places" in done.stdout
    assert values(hub) == before
    code, rows = verify(hub)
    assert code == 0, rows
    hub.gateway.stop()
    assert b"rebuild" in (hub.state / "data" / "data.mdb").read_bytes()


def crc32c(text):
    crc = 0xffffffff
    for byte in text:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def spoil_rollups(path, times_ms):
    """Values behind the keys of blocks of 4 hours (schemas/series-format.md), in a leaf or in pages of their own; copies in free pages as well."""
    data = bytearray(path.read_bytes())
    found = 0
    for begin_ms in sorted({ms // 14400000 * 14400000 for ms in times_ms}):
        for series in range(1, 5):
            key, at = series.to_bytes(4, "big") + b"\0" + (begin_ms * 1000 + (1 << 63)).to_bytes(8, "big"), 0
            while (at := data.find(key, at + 1)) >= 0:
                if int.from_bytes(data[at - 2:at], "little") != len(key):
                    continue
                value, page = at + 13, int.from_bytes(data[at + 13:at + 21], "little") * 4096
                if data[at - 4] & 1:  # in a page of its own, unless that is another's by now
                    if int.from_bytes(data[page:page + 8], "little") != page // 4096 or not data[page + 10] & 0x04:
                        continue
                    value = page + 16
                size = int.from_bytes(data[at - 8:at - 4], "little")
                if size > 32768 or crc32c(key + data[value + 4:value + size]) != int.from_bytes(data[value:value + 4], "little"):
                    continue  # what lay there before
                data[value + 12] ^= 0x21
                found += 1
    path.write_bytes(data)
    return found


def test_damaged_roll_ups_are_made_anew(hubs):
    hub = hubs(bus=False, options={"series": {"hold_min": 1}}).start()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    times = [now_ms() // 1000 * 1000 - 14 * 3600000 + i * 5000 for i in range(9000)]
    frames = "".join(json.dumps({"time": iso(ms), "hr": 60 + i * 7 % 40}) + "\n" for i, ms in enumerate(times))
    run(["mosquitto_pub", "-h", "127.0.0.1", "-p", hub.mqtt_port, "-i", "m1", "-q", 1, "-t", "ward/w/m1/vitals", *by_certificate(hub, "m1"), "-l"], input=frames)
    hub.cli("rebuild")
    code, rows = verify(hub)
    whole = summary(rows)["rollups"]
    assert code == 0 and whole >= 2, rows
    steps = hub.cli("query", "--device", "m1", "--step", "15m", "--json").stdout
    hub.gateway.stop()
    assert spoil_rollups(series_file(hub), times) >= 2
    hub.start_gateway()
    code, rows = verify(hub)
    assert code != 0 and any("roll-up" in r.get("damaged", "") for r in rows), rows
    assert hub.cli("query", "--device", "m1", "--step", "15m", "--json").stdout == steps
    assert "0 damaged places" in hub.cli("rebuild").stdout
    code, rows = verify(hub)
    assert code == 0 and summary(rows)["rollups"] == whole, rows
    assert hub.cli("query", "--device", "m1", "--step", "15m", "--json").stdout == steps


def test_a_damaged_tree_ends_nothing_and_a_fresh_store_takes_its_place(hubs):
    hub, before = hub_with_chunks(hubs)
    hub.gateway.kill()  # so that the next start looks at all pages
    hub.gateway.child.wait()
    assert spoil(series_file(hub), 0x02, 12) >= 1
    hub.start_gateway()
    part = hub.status()["parts"]["series"]
    assert part["state"] == "damaged" and "rebuild --fresh" in part["error"]
    fill(hub, 100, 2600)  # devices are served all the same
    assert len(hub.readings("m1", "--limit", "100000")) == 5200
    code, rows = verify(hub)
    assert code != 0 and any("series" in r.get("damaged", "") for r in rows)
    assert hub.cli("query", "--device", "m1", check=False).returncode != 0
    assert hub.cli("rebuild", check=False).returncode != 0
    done = hub.cli("rebuild", "--fresh", "--progress")
    assert "could not be read" in done.stdout and "is kept in series-replaced-" in done.stdout
    rows = values(hub)
    assert len(rows) == 5200 and set(before) < set(rows)
    assert hub.status()["parts"]["series"]["state"] == "running"
    assert verify(hub)[0] == 0
    # Whole: what was there is in the new one, and goes.
    for folder in (hub.state / "data").glob("series-replaced-*"):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    hub.cli("rebuild", "--fresh")
    assert sorted(values(hub)) == sorted(rows) and not list((hub.state / "data").glob("series-re*"))
    hub.gateway.stop()
    hub.cli("rebuild", "--fresh")
    assert values(hub) == rows and verify(hub)[0] == 0 and not list((hub.state / "data").glob("series-re*"))
    hub.start_gateway()
    assert values(hub) == rows


def cut_off(hub, delay, gateway):
    """`rebuild --fresh`, killed some time after the old store was moved aside: the gateway that does it, or, where none runs, the command. Whether it was cut off."""
    pending = hub.state / "data" / "series-rebuilding"
    child = subprocess.Popen([str(hub.program), "rebuild", "-c", str(hub.file), "--fresh"], env=hub.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: pending.exists() or child.poll() is not None, "the old store to be moved aside", every=0.001)
    time.sleep(delay)
    os.kill(hub.gateway.pid if gateway else child.pid, signal.SIGKILL)
    child.wait()
    if gateway:
        hub.gateway.child.wait()
        hub.start_gateway()
    return pending.exists()


def test_killed_in_its_middle_it_goes_on(hubs):
    hub, before = hub_with_chunks(hubs)
    hub.cli("associate", "--device", "m1", "--patient", "71^^^K", "--from", "-3m", "--until", "-2m")
    erase = ("patient", "erase", "--patient", "71^^^K", "--yes", "--reason", "r")
    cuts = 0
    for delay in (0, 0.03, 0.1):
        was_cut = cut_off(hub, delay, True)
        cuts += was_cut
        if was_cut:  # what is still to be taken over would bring it back
            refused = hub.cli(*erase, check=False)
            assert refused.returncode != 0 and "`vitalgate rebuild`" in refused.stderr
    assert hub.cli("patient", "erasures", "--json").stdout == ""
    hub.gateway.stop()
    for delay in (0, 0.05):
        cuts += cut_off(hub, delay, False)
    assert cuts >= 2
    hub.start_gateway()
    done = summary(lines(hub.cli("rebuild", "--json").stdout))
    assert done["damaged_places"] == 0 and (done["salvaged_readings"] > 0 or not (hub.state / "data" / "series-rebuilding").exists())
    assert values(hub) == before and verify(hub)[0] == 0
    assert not list((hub.state / "data").glob("series-re*"))
    hub.cli(*erase)


def test_a_backup_is_verified_to_the_last_chunk(hubs, tmp_path):
    hub, _ = hub_with_chunks(hubs)
    secret = tmp_path / "secret"
    secret.write_text("correct horse battery staple\n")
    hub.cli("backup", tmp_path / "plain")
    hub.cli("backup", tmp_path / "sealed", "--passphrase-file", secret)
    for folder, *key in ((tmp_path / "plain",), (tmp_path / "sealed", "--passphrase-file", secret)):
        text = hub.cli("verify", folder, *key).stdout
        assert "5000 readings in " in text and "5000 readings in 2 chunks" in text, text
    # A chunk that was damaged before the copy was made: the hash is right, what it holds is not.
    hub.gateway.stop()
    assert spoil(series_file(hub), 0x04, 300) >= 1
    hub.cli("backup", tmp_path / "later")
    done = hub.cli("verify", tmp_path / "later", check=False)
    assert done.returncode != 0 and "chunk from" in done.stdout and "the hash is right" in done.stdout


def test_a_sync_that_failed_in_the_series_store_ends_nothing(hubs, program):
    """Its own file alone: the journal's never fails here."""
    hub = hubs(bus=False, options={"series": {"hold_min": 1}}).start()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    fill(hub, 100)
    hub.gateway.stop()
    env = dict(os.environ, LD_PRELOAD=str(program.parent / "faults.so"), STORE_FAULT="sync:1:EIO", STORE_FAULT_FILE="/series/data.mdb",
               ASAN_OPTIONS="verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", ""))
    hub.start_gateway(env=env)
    hub.cli("rebuild", check=False)  # writes what is in memory
    log = pathlib.Path(hub.state / "vitalgate.log")
    wait_for(lambda: b"series.closed" in log.read_bytes(), "the failure to be met")
    fill(hub, 100, 200)
    wait_for(lambda: hub.status()["parts"]["series"]["state"] == "running", "the store to be open again", 40)
    assert len(values(hub)) == 400
    hub.cli("rebuild")
    assert verify(hub)[0] == 0


def test_no_blocks_for_the_series_file_is_a_state_and_not_an_end(hubs, program):
    hub = hubs(bus=False, options={"series": {"hold_min": 1}}).start()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    hub.gateway.stop()
    env = dict(os.environ, LD_PRELOAD=str(program.parent / "faults.so"), STORE_FAULT="allocate:1:ENOSPC:stays", STORE_FAULT_FILE="/series/data.mdb",
               ASAN_OPTIONS="verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", ""))
    hub.start_gateway(env=env)
    fill(hub, 300)
    wait_for(lambda: hub.status()["parts"]["series"]["state"] == "full", "the store to say that it is full")
    fill(hub, 300, 400)  # the journal takes what comes
    assert hub.gateway.alive() and len(hub.readings("m1", "--limit", "100000")) == 1200
    hub.restart_gateway()
    assert len(values(hub)) == 1200
    hub.cli("rebuild")
    assert verify(hub)[0] == 0 and hub.status()["parts"]["series"]["state"] == "running"


def test_reloads_meanwhile_end_neither(hubs):
    """Each closes the store and opens another: what is checked or rebuilt goes on with that one, and says the truth of it."""
    hub, before = hub_with_chunks(hubs)
    over, failed, done = threading.Event(), [], []

    def again(*args):
        while not over.is_set():
            answer = hub.cli(*args, check=False)
            (failed if answer.returncode != 0 else done).append((args[0], answer.stderr, answer.stdout))

    workers = [threading.Thread(target=again, args=(what,), daemon=True) for what in ("verify", "rebuild")]
    for worker in workers:
        worker.start()
    for i in range(12):
        hub.options["series"]["numerics_d"] = 300 + i
        hub.write_config()
        assert "series" in hub.cli("reload").stdout
    wait_for(lambda: {what for what, *_ in done} == {"verify", "rebuild"}, "both to end once")
    over.set()
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive()
    assert not failed, failed[:3]
    assert values(hub) == before


class Slow:
    """A query whose answer nobody takes: it stands in its middle until all() is called."""

    def __init__(self, hub, *args):
        self.child = subprocess.Popen([str(hub.program), "query", "-c", str(hub.file), "--device", "m1", "--json", *args], env=hub.env,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.head = [self.child.stdout.readline()]

    def all(self):
        rows = [json.loads(line) for line in [*self.head, *self.child.stdout]]
        err = self.child.stderr.read()
        return self.child.wait(60), [(r["time"], r["signal"], r["value"]) for r in rows], err


def test_a_query_survives_the_swap(hubs):
    hub, before = hub_with_chunks(hubs)
    fill(hub, 1500, 2500)
    before = values(hub)
    assert len(before) == 8000
    slow, short = Slow(hub), Slow(hub, "--limit", "10")
    done = hub.cli("rebuild", "--fresh")
    assert "0 damaged places" in done.stdout and slow.child.poll() is None
    assert slow.all() == (0, before, "") and short.all() == (0, before[:10], "")
    # Cut off once the old store was moved aside: what is given is true, and whether it is all is said.
    slow = Slow(hub)
    child = subprocess.Popen([str(hub.program), "rebuild", "-c", str(hub.file), "--fresh"], env=hub.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pending = hub.state / "data" / "series-rebuilding"
    wait_for(lambda: pending.exists() or child.poll() is not None, "the old store to be moved aside", every=0.001)
    child.kill()
    child.wait()
    code, rows, err = slow.all()
    assert set(rows) <= set(before) and len(rows) == len(set(rows))
    assert (code, rows) == (0, before) or "may be missing" in err or (code != 0 and "not whole" in err), (code, len(rows), err)
    hub.cli("rebuild")
    assert values(hub) == before


def test_what_is_not_taken_over_yet_is_said_to_be_missing(hubs):
    hub, before = hub_with_chunks(hubs)
    pending = hub.state / "data" / "series-rebuilding"
    hub.options["export"] = {"enabled": True, "dir": "lake", "delay_min": 0, "back_h": 24}
    pending.write_text("series-replaced-20260101T000000Z-0000\n")
    hub.write_config()
    hub.cli("reload")
    for args in (("query", "--device", "m1"), ("query", "--device", "m1", "--step", "1h"), ("latest",), ("export", "--device", "m1")):
        done = hub.cli(*args, check=False)
        assert done.returncode == 0 and "older readings may be missing: the series store is being rebuilt" in done.stderr, (args, done)
    # A file that is to be whole waits.
    wait_for(lambda: hub.status()["parts"]["export"]["state"] == "waiting", "exports to wait")
    assert "rebuilt" in hub.status()["parts"]["export"]["error"] and not list((hub.state / "lake").rglob("*.csv*"))
    hub.cli("rebuild")
    assert not pending.exists()
    wait_for(lambda: list((hub.state / "lake").rglob("*.csv*")), "files", 30)
    done = hub.cli("query", "--device", "m1", "--json")
    assert done.stderr == "" and values(hub) == before
