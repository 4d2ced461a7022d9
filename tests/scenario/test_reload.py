# SPDX-License-Identifier: Apache-2.0
"""The configuration is taken anew while devices send: what changed takes effect, nothing else is disturbed, nothing acknowledged is lost."""
import json
import signal
import socket
import subprocess
import threading

import pytest

from test_hl7_delivery import destination, rates
from test_hl7_in import Peer as Sender
from test_hl7_in import adt, code, known

from harness.clients import Subscriber, by_certificate, iso, now_ms
from harness.hub import free_port, wait_for
from harness.mllp_peer import Peer, ack, control


@pytest.fixture
def peers():
    made = []

    def make(*args, **kwargs):
        made.append(Peer(*args, **kwargs))
        return made[-1]
    yield make
    for peer in made:
        peer.stop()


def hub_with(hubs, *destinations, bus=False, **options):
    hub = hubs(bus=bus, options={"hl7": {"enabled": bool(destinations), "destinations": list(destinations)}, **options})
    if bus:
        hub.start_bus()
    hub.start_gateway()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1", "--bed", "7", "--ward", "3a")
    return hub


def change(hub, **sections):
    """Other options in the file; nobody is told yet."""
    for section, values in sections.items():
        hub.options.setdefault(section, {}).update(values)
    hub.write_config()


def reload(hub, **sections):
    change(hub, **sections)
    return hub.cli("reload").stdout


def logged(hub, words):
    return hub.gateway.log.read_text().count(words)


class Load:
    """One mosquitto_pub that goes on over one connection, a frame at a time: heart rates that count."""

    def __init__(self, hub, device="m1"):
        command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", hub.mqtt_port, "-i", device, "-q", "1", "-t", f"ward/3a/{device}/vitals", "-l",
                   *by_certificate(hub, device)]
        self.hub, self.sent, self.start = hub, 0, now_ms()
        self.child = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def send(self, count):
        for _ in range(count):
            self.child.stdin.write(json.dumps({"time": iso(self.start + self.sent), "hr": 20 + self.sent}) + "\n")
            self.sent += 1
        self.child.stdin.flush()

    def values(self, first=0):
        return list(range(20 + first, 20 + self.sent))

    def end(self):
        """All are acknowledged, over the connection that it began with."""
        _, errors = self.child.communicate(timeout=60)
        assert self.child.returncode == 0 and errors == "", errors
        assert self.hub.status()["parts"]["mqtt"]["connects_ok"] == 1


def taken(hub, count):
    wait_for(lambda: hub.status()["intake"]["readings"] >= count, f"{count} readings in the store")


def test_destinations_come_and_go_under_load(hubs, peers):
    old, other, new = peers(), peers(), peers()
    hub = hub_with(hubs, destination(old, "old"), destination(other, "stays"), bus=True)
    bus, load = Subscriber(hub), Load(hub)
    load.send(100)
    taken(hub, 100)
    ended = threading.Event()
    statuses = []

    def look():
        while not ended.is_set():
            statuses.append(hub.cli("status", "--json", check=False).returncode)
            statuses.append(hub.cli("outlet", "list", "--json", check=False).returncode)
    looking = threading.Thread(target=look)
    looking.start()
    change(hub, hl7={"destinations": [destination(other, "stays"), destination(new, "new")]})
    child = subprocess.Popen([str(hub.program), "reload", "-c", str(hub.file)], stdout=subprocess.PIPE, text=True)
    load.send(100)  # meanwhile
    assert child.communicate(timeout=60)[0] == "hl7: started anew (destination new added, destination old removed)\n"
    assert child.returncode == 0
    first = load.sent
    taken(hub, first)
    load.send(100)
    load.end()
    ended.set()
    looking.join()
    assert statuses and set(statuses) == {0}
    # Nothing is lost, anywhere; the new one has all from then on.
    wait_for(lambda: set(rates(other.messages)) == set(load.values()), "all at the destination that stays")
    assert len(rates(other.messages)) == load.sent  # and each once: the same message again has the same MSH-10
    wait_for(lambda: set(rates(new.messages)) >= set(load.values(first)), "all from then on at the new destination")
    assert {d["value"] for _, d in bus.wait(load.sent)} == set(load.values())
    assert len(bus.messages()) == load.sent  # the bus was not disturbed
    assert len(old.messages) < load.sent
    assert set(hub.status()["parts"]["hl7"]) >= {"stays", "new"} and "old" not in hub.status()["parts"]["hl7"]
    # It comes back: it goes on where it was, nothing is missing.
    assert "destination old added" in reload(hub, hl7={"destinations": [destination(p, n) for p, n in ((old, "old"), (other, "stays"), (new, "new"))]})
    wait_for(lambda: set(rates(old.messages)) == set(load.values()), "all at the destination that was away")


def test_the_bus_under_load(hubs):
    hub = hub_with(hubs, bus=True)
    bus, load = Subscriber(hub), Load(hub)
    for in_flight in (7, 3, 100):
        load.send(100)
        assert reload(hub, bus={"in_flight_max": in_flight}) == "bus: started anew (in_flight_max)\n"
    assert reload(hub, bus={"enabled": False}) == "bus: stopped (enabled)\n"
    load.send(100)
    load.end()
    assert reload(hub, bus={"enabled": True}) == "bus: started (enabled)\n"
    wait_for(lambda: {d["value"] for _, d in bus.messages()} == set(load.values()), "all on the bus")
    assert len({d["id"] for _, d in bus.messages()}) == load.sent


def test_a_message_under_way_goes_again_as_the_same(hubs, peers):
    answering = threading.Event()
    one, two = peers(lambda message, number: ack(message) if answering.is_set() else None), peers()
    hub = hub_with(hubs, destination(one, "one", answer_s_max=60), destination(two, "two"))
    load = Load(hub)
    load.send(30)
    load.end()
    wait_for(lambda: one.messages, "a message under way")
    assert reload(hub, hl7={"destinations": [destination(one, "one", answer_s_max=50), destination(two, "two")]}) == \
        "hl7: started anew (destination one changed)\n"
    wait_for(lambda: len(one.messages) == 2, "the message again")
    assert control(one.messages[0]) == control(one.messages[1])
    answering.set()
    reload(hub, hl7={"destinations": [destination(one, "one", answer_s_max=40), destination(two, "two")]})
    wait_for(lambda: rates(one.messages) == load.values(), "all, in order")
    assert len({control(m) for m in one.messages}) == load.sent
    assert rates(two.messages) == load.values()


def test_a_wrong_file_changes_nothing(hubs, peers):
    hub = hub_with(hubs, destination(peers(), "one"))
    right = hub.file.read_text()
    for text, words in ((right + "bus:\n  prfix: x\n", "this section stands here twice"),
                        (right.replace("  port: ", "  prot: ", 1), "unknown option \"prot\" in mqtt; did you mean \"port\""),
                        (right.replace('"name": "one"', '"name": "a b"'), "vitalgate.yaml"),
                        (right.replace('"interval_s": 0', '"interval_s": -3'), "interval_s is 0 to 86400")):
        hub.file.write_text(text)
        done = hub.cli("reload", check=False)
        started = hub.cli("check", check=False).stderr.strip()
        assert done.returncode == 1 and words in done.stderr and done.stdout == "nothing has changed\n"
        # The same words as at start, with the line, for who asks and in the log.
        said = done.stderr.strip().splitlines()[-1].removeprefix("vitalgate reload: ").removeprefix("vitalgate: ")
        assert said == started.removeprefix("vitalgate: ")
        before = logged(hub, "nothing has changed")
        hub.gateway.kill(signal.SIGHUP)
        wait_for(lambda: logged(hub, "nothing has changed") > before, "the word about it")
        assert logged(hub, said.split("vitalgate.yaml")[-1]) >= 1
    hub.file.write_text(right)
    assert set(hub.status()["parts"]["hl7"]) == {"one"}
    assert "nothing has changed" in hub.cli("reload").stdout


def test_peers_of_the_hospitals_door(hubs):
    port, adt_peer = free_port(), {"name": "adt", "zone": "UTC", "addresses": ["127.0.0.2"]}
    hub = hub_with(hubs, hl7_in={"enabled": True, "address": "127.0.0.1", "port": port, "peers": [adt_peer]})
    load = Load(hub)
    load.send(10)
    taken(hub, 10)
    with socket.create_connection(("127.0.0.1", port), 20) as stranger:
        assert stranger.recv(1) == b""  # closed at once
    adt_peer["addresses"] = ["127.0.0.1"]
    assert reload(hub) == "hl7_in: started anew (peer adt changed)\n"
    sender = Sender(port)
    assert code(sender.ask(adt("c1", 100))) == ("AA", "c1")
    assert "ICU^^3" in known(hub, 100)
    # Another one beside it, and a port that somebody has: it goes on as it was.
    with socket.create_server(("127.0.0.1", 0)) as busy:
        change(hub, hl7_in={"port": busy.getsockname()[1]})
        done = hub.cli("reload", check=False)
        assert done.returncode == 1 and "in use" in done.stderr.lower() and "goes on as it was before" in done.stderr
    assert code(Sender(port).ask(adt("c1", 100))) == ("AA", "c1")  # known from before
    moved = free_port()
    assert reload(hub, hl7_in={"port": moved}) == "hl7_in: started anew (port)\n"
    assert code(Sender(moved).ask(adt("c2", 101, bed=4))) == ("AA", "c2")
    assert reload(hub, hl7_in={"enabled": False}) == "hl7_in: stopped (enabled)\n"
    with pytest.raises(ConnectionRefusedError):
        Sender(moved)
    assert "hl7_in: started (enabled)" in reload(hub, hl7_in={"enabled": True})
    assert code(Sender(moved).ask(adt("c3", 102, bed=5))) == ("AA", "c3")
    load.send(10)
    load.end()
    assert len(hub.readings("m1")) == load.sent


def test_signals_in_quick_succession(hubs, peers):
    one, two = peers(), peers()
    hub = hub_with(hubs, destination(one, "one"))
    load = Load(hub)
    for i in range(6):
        change(hub, hl7={"destinations": [destination(one, "one")] + [destination(two, "two")] * (i % 2)})
        hub.gateway.kill(signal.SIGHUP)
        hub.gateway.kill(signal.SIGHUP)
        load.send(20)
    reading = [subprocess.Popen([str(hub.program), "reload", "-c", str(hub.file)], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for child in reading:
        child.communicate(timeout=60)
        assert child.returncode == 0
    load.end()
    assert set(hub.status()["parts"]["hl7"]) == {"one", "two"}
    wait_for(lambda: rates(one.messages) and set(rates(one.messages)) == set(load.values()), "all at the first")
    assert hub.gateway.stop() == 0


def test_what_waits_for_a_start_and_the_log(hubs):
    hub = hub_with(hubs)
    out = reload(hub, mqtt={"threads": 2}, store={"retention_h": 900}, log={"level": "debug"})
    assert "store: takes effect at the next start (retention_h)" in out and "mqtt: takes effect at the next start (threads)" in out
    assert "log: in effect (level)" in out
    assert "mqtt: takes effect" in hub.cli("reload").stdout  # still
    assert "log" not in hub.cli("reload").stdout
    reload(hub, log={"level": "info", "json": True})
    assert any(line.startswith("{") and "log: in effect (json, level)" in line for line in hub.gateway.log.read_text().splitlines())
    hub.restart_gateway()
    assert "nothing has changed" in hub.cli("reload").stdout
    assert hub.gateway.stop() == 0
    done = hub.cli("reload", check=False)
    assert done.returncode == 1 and "no gateway answers" in done.stderr
