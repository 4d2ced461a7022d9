# SPDX-License-Identifier: Apache-2.0
"""`vitalgate trace`: what became of a reading, from its arrival to the answers of everybody who should have it."""
import datetime
import json
import re

import hl7

from harness.clients import Subscriber, by_certificate, iso, now_ms, publish
from harness.hub import wait_for


def send(hub, device="m1", **fields):
    done = publish(hub, device, f"ward/3a/{device}/vitals", json.dumps({"time": iso(now_ms()), **fields}), auth=by_certificate(hub, device))
    assert done.returncode == 0, done.stderr


def hub_with(hubs, **kwargs):
    hub = hubs(**kwargs).start()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1", "--ward", "3a")
    return hub


def trace(hub, *args):
    return [json.loads(line) for line in hub.cli("trace", "--device", "m1", "--json", *args).stdout.splitlines()]


def of(line, outlet):
    return [step for step in line["outlets"] if step["outlet"] == outlet]


def state(hub, outlet, *args):
    return [step["state"] for line in trace(hub, *args) for step in of(line, outlet)]


def when(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def test_from_arrival_to_the_bus(hubs):
    hub = hub_with(hubs)
    bus = Subscriber(hub)
    send(hub, hr=72, spo2=97)
    documents = {d["signal"]: d for _, d in bus.wait(2)}
    wait_for(lambda: state(hub, "bus") == ["acknowledged"] * 2, "both to be acknowledged")
    lines = {line["signal"]: line for line in trace(hub)}
    one = lines["heart_rate"]
    assert one["id"] == documents["heart_rate"]["id"] and one["door"] == "mqtt" and one["auth"] == "certificate" and one["principal"] == "m1"
    assert one["readings"] == 2 and {line["place"] for line in lines.values()} == {1, 2}
    assert when(one["received"]) <= when(one["committed_by"]) <= when(of(one, "bus")[0]["at"])
    # By its identifier alone, whenever it was; and in words.
    assert [line["id"] for line in trace(hub, "--id", one["id"])] == [one["id"]]
    assert trace(hub, "--id", "0" * 26) == []
    assert [line["signal"] for line in trace(hub, "--signal", "spo2")] == [s for s in lines if s != "heart_rate"]
    words = hub.cli("trace", "--device", "m1", "--id", one["id"]).stdout
    assert re.search(r"^  \S+Z +bus +acknowledged$", words, re.M) and "by mqtt from m1 (certificate)" in words
    # The ledger tells what happened, not what was measured.
    assert not {"value", "received_value"} & set(one) and "72" not in [str(v) for v in one.values()]


def test_a_broker_that_is_away(hubs):
    hub = hub_with(hubs)
    send(hub, hr=70)
    wait_for(lambda: state(hub, "bus") == ["acknowledged"], "the first one")
    hub.broker.stop()
    send(hub, hr=71)
    assert state(hub, "bus") == ["acknowledged", "waiting"]
    hub.start_bus()
    wait_for(lambda: state(hub, "bus") == ["acknowledged"] * 2, "the second one", 60)
    first, second = (when(of(line, "bus")[0]["at"]) for line in trace(hub))
    assert first < second
    # The rows are there without a gateway, too.
    hub.gateway.stop()
    assert state(hub, "bus") == ["acknowledged"] * 2


def test_hl7_messages_and_their_answers(hubs):
    hub = hub_with(hubs, hl7=True, hl7_options={"interval_s": 1, "answer_s_max": 5})
    send(hub, hr=72)
    found = wait_for(lambda: [step for line in trace(hub) for step in line["outlets"] if step.get("answer")], "an answer")
    assert len(found) == 1 and found[0]["answer"] == "AA" and found[0]["state"] == "sent" and found[0]["outlet"].startswith("hl7/")
    messages = [hl7.parse(p.read_bytes().decode()) for p in sorted((hub.state / "hl7").glob("*.hl7"))]
    assert found[0]["message"] in [str(m.segment("MSH")[10]) for m in messages]
    line = trace(hub)[0]
    assert when(line["received"]) <= when(found[0]["made"]) <= when(found[0]["answered"])
    assert when(line["committed_by"]) <= when(found[0]["made"])
    wait_for(lambda: state(hub, "bus") == ["acknowledged"], "the bus")
    words = hub.cli("trace", "--device", "m1").stdout
    assert f"message {found[0]['message']} made" in words and "answered AA" in words


def test_hl7_waits_for_a_dead_destination(hubs):
    hub = hub_with(hubs, hl7=True, hl7_options={"interval_s": 1, "answer_s_max": 5})
    hub.receiver.stop()
    send(hub, hr=72)
    made = wait_for(lambda: [step for line in trace(hub) for step in line["outlets"] if step.get("message")], "a message")
    assert made[0]["state"] == "made" and "answered" not in made[0]
    hub.start_receiver()
    wait_for(lambda: [s for line in trace(hub) for s in line["outlets"] if s.get("answer") == "AA"], "its answer", 90)


def test_held_until_somebody_is_associated(hubs):
    hub = hub_with(hubs, hl7=True, hl7_options={"interval_s": 1, "answer_s_max": 5, "unassociated": "hold"})
    send(hub, hr=72)
    held = wait_for(lambda: [s for line in trace(hub) for s in line["outlets"] if s["state"] == "held"], "the reading to be held")
    assert held[0]["words"] == "nobody was associated" and "message" not in held[0]
    rows = hub.cli("hl7", "held", "--json").stdout.splitlines()
    assert len(rows) == len(held) and all('"device":"m1"' in row and "nobody was associated" in row for row in rows)
    hub.cli("associate", "--device", "m1", "--patient", "4711^^^HOSPITAL", "--from", "-10m")
    sent = wait_for(lambda: [s for line in trace(hub) for s in line["outlets"] if s.get("answer") == "AA"], "its message", 60)
    assert sent[0]["patient"] > 0
    assert [s["state"] for line in trace(hub) for s in line["outlets"] if s["outlet"].startswith("hl7/")] == ["sent"]
    assert hub.cli("hl7", "held", "--json").stdout == "" and hub.cli("hl7", "misfiled", "--json").stdout == ""
    # Nothing of the patient but the hub's own number.
    assert "4711" not in hub.cli("trace", "--device", "m1", "--json").stdout
