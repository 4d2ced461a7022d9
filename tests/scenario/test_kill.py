# SPDX-License-Identifier: Apache-2.0
"""A load over both protocols while the gateway is killed with SIGKILL at random moments. At the end every acknowledged reading is in
the store exactly once and was on the bus under one identifier, and nothing is there that was not sent.

KILLS=500 makes it longer; SEED=n repeats a run's moments.
"""
import collections
import json
import os
import random
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest

from harness.clients import Subscriber
from harness.hub import ROOT, wait_for

KILLS = int(os.environ.get("KILLS", "50"))
SEED = int(os.environ.get("SEED", str(random.randrange(1 << 30))))
PAYLOAD = ROOT / "tests" / "bench" / "payloads" / "reading.senml.json"
# What sends: name, credential, arguments. Each round repeats some messages of the round before: a device that got no answer.
SENDERS = {
    "mqtt1": ("cert", ["--mqtt", "--qos", 1, "--mqtt-version", 4, "--window", 8, "--persistent", "--topic", "devices/{device}/senml"]),
    "mqtt2": ("psk", ["--mqtt", "--qos", 2, "--mqtt-version", 5, "--window", 8, "--topic", "devices/{device}/senml"]),
    "coap": ("psk", ["--coap", "--suite", "TLS-PSK-WITH-AES-128-CCM-8", "--window", 1, "--topic", "readings"]),
}
CONNECTIONS, REPEATED = 4, 20


@pytest.fixture(scope="session")
def load(program):
    return program.parent / "bench_load"


class Sender:
    def __init__(self, hub, load, name, base_ms):
        self.hub, self.load, self.name = hub, load, name
        self.credential, self.arguments = SENDERS[name]
        self.base_ms, self.next = base_ms, 0
        self.ledger = hub.state / f"{name}.ledger"
        self.keys = hub.state / f"{name}.keys"
        lines = []
        for i in range(CONNECTIONS):
            device = f"{name}-{i:02d}"
            if self.credential == "psk":
                added = hub.add_device(device, "senml", "--psk")
                lines.append(f"{added['psk_identity']},{added['psk_hex']}\n")
            else:
                hub.add_device(device, "senml", "--cert-subject", device)
        self.keys.write_text("".join(lines))

    def start(self):
        hub, device = self.hub, f"{self.name}-%02d"
        who = (["--psk-identity", device, "--psk-keys", self.keys] if self.credential == "psk"
               else ["--ca", hub.pki.ca, "--ca-key", hub.pki.ca_key])
        port = hub.coap_port if self.name == "coap" else hub.mqtt_port
        self.child = subprocess.Popen([str(a) for a in [
            self.load, *self.arguments, "--port", port, "--connections", CONNECTIONS, "--device", device, *who, "--payload", PAYLOAD,
            "--base-ms", self.base_ms, "--seq-first", max(0, self.next - REPEATED), "--rate", 600, "--seconds", 600, "--warmup", 0,
            "--idle", 0, "--quiet", "--ledger", self.ledger]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self):
        self.child.terminate()
        self.child.wait(30)
        # What the next round may repeat: the furthest that any connection came.
        self.next = max([seq for _, _, seq in self.lines()], default=0) + 1

    def lines(self):
        if not self.ledger.exists():
            return
        with open(self.ledger, encoding="ascii") as file:
            for line in file:
                what, device, seq = line.split()
                yield what, device, int(seq)


class Patient:
    """A client that lives through the kills with its session: QoS 2, values without any device time, so that only the packet identifier
    tells a message sent again from a new one. A few lines of MQTT 3.1.1 that keep to section 4.3.3 to the letter: after PUBREL is sent,
    PUBLISH is never sent again (paho forgets that when two connections in a row break)."""

    def __init__(self, hub):
        self.credential = hub.add_device("patient", "plain-text", "--password")
        self.hub, self.sent, self.acknowledged, self.stopping = hub, 0, [], False
        self.open = {}  # packet identifier: [value, PUBREL sent]; in the order of sending
        self.connections = 0
        self.context = ssl.create_default_context(cafile=hub.pki.ca)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    @staticmethod
    def packet(first, *parts):
        body = b"".join(parts)
        assert len(body) < 128
        return bytes([first, len(body)]) + body

    @staticmethod
    def text(value):
        return len(value).to_bytes(2, "big") + value.encode()

    def publish(self, mid, again):
        return self.packet(0x34 | (8 if again else 0), self.text("sensors/patient/heart_rate"), mid.to_bytes(2, "big"),
                           str(self.open[mid][0]).encode())

    def release(self, mid):
        return self.packet(0x62, mid.to_bytes(2, "big"))

    def new(self):
        """New messages as far as eight are under way."""
        out = b""
        while not self.stopping and len(self.open) < 8:
            mid = self.sent % 65535 + 1
            self.open[mid] = [self.sent, False]
            self.sent += 1
            out += self.publish(mid, False)
        return out

    def take(self, kind, mid):
        """An answer; returns what is to be sent for it."""
        if kind == 0x50 and mid in self.open:
            self.open[mid][1] = True
            return self.release(mid)
        if kind == 0x70 and mid in self.open:
            self.acknowledged.append(self.open.pop(mid)[0])
        return self.new()

    def session(self, sock):
        sock.sendall(self.packet(0x10, self.text("MQTT"), b"\x04\xc0\x00\x3c", self.text("patient"),
                                 self.text(self.credential["user"]), self.text(self.credential["password"])))
        buffer = b""
        while len(buffer) < 4:
            buffer += sock.recv(4096) or self.gone()
        assert buffer[:2] == b"\x20\x02" and buffer[3] == 0, buffer
        assert buffer[2] == (1 if self.connections else 0), "Session Present is not told truly"
        self.connections += 1
        buffer = buffer[4:]
        out = b"".join(self.release(m) if released else self.publish(m, True) for m, (_, released) in self.open.items()) + self.new()
        while self.open or not self.stopping:
            if out:
                sock.sendall(out)
                out = b""
            buffer += sock.recv(4096) or self.gone()
            while len(buffer) >= 4:
                out += self.take(buffer[0] & 0xF0, int.from_bytes(buffer[2:4], "big"))
                buffer = buffer[4:]

    @staticmethod
    def gone():
        raise ConnectionResetError

    def run(self):
        while self.open or not self.stopping:
            try:
                with socket.create_connection(("127.0.0.1", self.hub.mqtt_port), timeout=30) as plain:
                    with self.context.wrap_socket(plain, server_hostname="localhost") as sock:
                        self.session(sock)
            except OSError:
                time.sleep(0.02)

    def stop(self):
        self.stopping = True
        self.thread.join(60)
        assert not self.thread.is_alive(), "messages were never acknowledged"


def test_what_was_acknowledged_survives_every_kill(hubs, load):
    print(f"\n  {KILLS} kills, SEED={SEED}", flush=True)
    moments = random.Random(SEED)
    hub = hubs(options={"store": {"budget_mb": 4096}, "mqtt": {"threads": 2}, "bus": {"in_flight_max": 500}}).start()
    senders = [Sender(hub, load, name, int(time.time() * 1000) - 864000000) for name in SENDERS]
    patient, bus = Patient(hub), Subscriber(hub)
    for kill in range(KILLS):
        for sender in senders:
            sender.start()
        time.sleep(moments.uniform(0.1, 0.9))
        hub.gateway.kill()
        hub.gateway.child.wait()
        for sender in senders:
            sender.stop()
        hub.start_gateway()
        if sys.stdout.isatty() or kill % 10 == 9:
            print(f"  kill {kill + 1}/{KILLS}", flush=True)

    patient.stop()
    values = [r["value"] for r in hub.readings("patient")]
    assert patient.connections > KILLS / 2 and sorted(patient.acknowledged) == list(range(patient.sent))
    assert sorted(values) == sorted(patient.acknowledged), "QoS 2 is exactly once"
    acknowledged_total, published = 0, collections.defaultdict(set)
    wait_for(lambda: hub.status()["parts"]["bus"]["lag_records"] == 0, "the bus to have everything", 120, 0.2)
    wait_for(lambda: len(bus.path.read_bytes()) == (time.sleep(0.5) or len(bus.path.read_bytes())), "the subscriber to be quiet", 60)
    for _, document in bus.messages():
        published[(document["device"], document["time"])].add(document["id"])
    for sender in senders:
        sent, acknowledged = set(), set()
        for what, device, seq in sender.lines():
            (sent if what == "S" else acknowledged).add((device, seq))
        assert acknowledged, f"{sender.name} was never answered: the test shows nothing"
        acknowledged_total += len(acknowledged)
        for i in range(CONNECTIONS):
            device = f"{sender.name}-{i:02d}"
            rows = hub.readings(device)
            kept = collections.Counter((r["device"], round(seconds(r["time"]) * 1000) - sender.base_ms) for r in rows)
            assert not [k for k, n in kept.items() if n > 1], "stored more than once"
            assert {a for a in acknowledged if a[0] == device} <= kept.keys(), "acknowledged and not there"
            assert kept.keys() <= sent, "there and never sent"
            assert all(not r["revision"] for r in rows)
            for row in rows:
                assert published[(device, row["time"])] == {row["id"]}, "not on the bus under its one identifier"
    print(f"  {acknowledged_total} acknowledged readings over {KILLS} kills, all there once", flush=True)
    assert acknowledged_total > KILLS * 10


def seconds(text):
    import datetime
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
