# SPDX-License-Identifier: Apache-2.0
"""A load over both protocols while the gateway is killed with SIGKILL at random moments. At the end every acknowledged reading is in
the store exactly once and was on the bus under one identifier, and nothing is there that was not sent.

KILLS=500 makes it longer; SEED=n repeats a run's moments.
"""
import collections
import json
import os
import random
import ssl
import subprocess
import sys
import threading
import time

import paho.mqtt.client as mqtt
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
    """A paho client that stays alive over the kills with its session: QoS 2, values without any device time. Only the packet
    identifier tells a message sent again from a new one."""

    def __init__(self, hub):
        credential = hub.add_device("paho", "plain-text", "--password")
        self.sent, self.acknowledged, self.stopping = 0, set(), False
        self.waiting, self.published = {}, collections.deque()
        self.client = mqtt.Client("paho", clean_session=False)
        self.client.on_publish = lambda client, userdata, mid: self.published.append(mid)
        self.client.tls_set(ca_certs=str(hub.pki.ca), tls_version=ssl.PROTOCOL_TLS_CLIENT)
        self.client.username_pw_set(credential["user"], credential["password"])
        self.client.max_inflight_messages_set(8)
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", hub.mqtt_port)
        self.client.loop_start()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopping or self.waiting:
            if not self.stopping and len(self.waiting) < 20:
                self.waiting[self.client.publish("sensors/paho/heart_rate", str(self.sent), qos=2).mid] = self.sent
                self.sent += 1
            while self.published:
                mid = self.published.popleft()
                if mid in self.waiting:  # a PUBREL sent again is answered again
                    self.acknowledged.add(self.waiting.pop(mid))
            time.sleep(0.002)

    def stop(self):
        self.stopping = True
        self.thread.join(60)
        assert not self.thread.is_alive(), "messages were never acknowledged"
        self.client.disconnect()
        self.client.loop_stop()


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
    values = [r["value"] for r in hub.readings("paho")]
    assert values and sorted(values) == sorted(patient.acknowledged) == list(range(patient.sent)), "QoS 2 is exactly once"
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
