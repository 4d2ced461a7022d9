# SPDX-License-Identifier: Apache-2.0
"""The bus: order, a broker that is away, rewinding, and documents that fit their schema."""
import json

import jsonschema

from harness.clients import Subscriber, by_certificate, iso, now_ms, publish, run
from harness.hub import ROOT, wait_for


def send(hub, values, start):
    """Many frames over one connection, in order."""
    lines = "".join(json.dumps({"time": iso(start + i), "hr": v}) + "\n" for i, v in enumerate(values))
    done = run(["mosquitto_pub", "-h", "127.0.0.1", "-p", hub.mqtt_port, "-i", "m1", "-q", "1", "-t", "ward/w/m1/vitals", "-l",
                *by_certificate(hub, "m1")], input=lines)
    assert done.returncode == 0, done.stderr


def hub_with_device(hubs):
    hub = hubs().start()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    return hub


def values(messages):
    return [document["value"] for _, document in messages]


def test_order_and_documents(hubs):
    hub = hub_with_device(hubs)
    bus, start = Subscriber(hub), now_ms()
    send(hub, range(50, 150), start)
    assert values(bus.wait(100)) == list(range(50, 150))
    topic, document = bus.messages()[0]
    schema = json.loads((ROOT / "schemas" / "bus-reading.schema.json").read_text())
    assert topic == "vitals/m1/heart_rate"
    for _, document in bus.messages():
        jsonschema.validate(document, schema)
    assert len({d["id"] for _, d in bus.messages()}) == 100


def test_a_broker_that_is_away_is_caught_up_with_in_order(hubs):
    hub = hub_with_device(hubs)
    start = now_ms()
    send(hub, [60], start)
    hub.broker.stop()
    send(hub, range(61, 161), start + 1)
    assert len(hub.readings("m1")) == 101  # intake went on
    hub.start_bus()
    # A subscriber before the gateway's next attempt, or a rewind for what went out before it was there.
    bus = Subscriber(hub)
    wait_for(lambda: hub.cli("outlet", "rewind", "bus", "--to", "-1h", check=False).returncode == 0, "rewind")
    found = wait_for(lambda: len({d["value"] for _, d in bus.messages()}) == 101 and values(bus.messages()), "all of them", 60)
    first = [v for i, v in enumerate(found) if v not in found[:i]]
    assert sorted(first) == list(range(60, 161))


def test_rewind_sends_the_same_identifiers(hubs):
    hub = hub_with_device(hubs)
    bus = Subscriber(hub)
    send(hub, range(60, 80), now_ms())
    ids = [d["id"] for _, d in bus.wait(20)]
    hub.cli("outlet", "rewind", "bus", "--to", "-1h")
    again = [d["id"] for _, d in bus.wait(40)][20:]
    assert again == ids


def test_a_restart_of_the_gateway_neither_loses_nor_skips(hubs):
    hub = hub_with_device(hubs)
    bus, start = Subscriber(hub), now_ms()
    for i in range(3):
        send(hub, range(60 + 20 * i, 80 + 20 * i), start + 20 * i)
        hub.gateway.kill()
        hub.gateway.child.wait()
        hub.start_gateway()
    wait_for(lambda: set(values(bus.messages())) == set(range(60, 120)), "all readings", 30)
    assert len({d["id"] for _, d in bus.messages()}) == 60


def test_anonymous_and_foreign_users_are_kept_out(hubs):
    hub = hub_with_device(hubs)
    for arguments in ([], ["-u", "app", "-P", "wrong"]):
        done = run(["mosquitto_sub", "-h", "127.0.0.1", "-p", hub.bus_port, "-t", "vitals/#", "-E", *arguments], 20)
        assert done.returncode != 0
    # An application may read, not write.
    bus = Subscriber(hub)
    run(["mosquitto_pub", *hub.bus_arguments(), "-t", "vitals/m1/heart_rate", "-m", '{"value": 1}', "-q", "1"])
    send(hub, [75], now_ms())
    assert values(bus.wait(1)) == [75]
    done = run(["mosquitto_sub", "-h", "127.0.0.1", "-p", hub.bus_tls_port, "--cafile", hub.pki.ca, "-u", "app", "-P",
                hub.password("bus-app"), "-t", "x", "-E"], 20)
    assert done.returncode == 0, done.stderr
