# SPDX-License-Identifier: Apache-2.0
"""The HL7 destination with python3-hl7 as receiver: grouping, resending, refusals, crashes."""
import json
import pathlib

import hl7

from harness.clients import by_certificate, iso, now_ms, publish
from harness.hub import wait_for


def messages(hub):
    return [hl7.parse(p.read_bytes().decode()) for p in sorted(pathlib.Path(hub.state, "hl7").glob("*.hl7"))]


def controls(hub):
    return [str(m.segment("MSH")[10]) for m in messages(hub)]


def observations(hub, code):
    return [str(obx[5]) for m in messages(hub) for obx in m.segments("OBX") if str(obx[3]).startswith(code + "^")]


def hub_with(hubs, receiver=(), **options):
    hub = hubs(bus=False, hl7=True, hl7_options={"interval_s": 1, "answer_s_max": 1, **options})
    hub.start_receiver(*receiver)
    hub.start_gateway()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1", "--eui64", "0123456789ABCDEF", "--bed", "7", "--ward", "3a",
                   "--manufacturer", "Acme", "--model", "One", "--serial", "4711")
    return hub


def send(hub, device="m1", **fields):
    done = publish(hub, device, f"ward/3a/{device}/vitals", json.dumps({"time": iso(now_ms()), **fields}), auth=by_certificate(hub, device))
    assert done.returncode == 0, done.stderr


def test_structure(hubs):
    hub = hub_with(hubs)
    send(hub, hr=72, nibp_sys=120, nibp_dia=80, nibp_mean=93)
    wait_for(lambda: messages(hub), "a message")
    message = messages(hub)[0]  # a cuff's pressures do not wait for the interval
    msh = message.segment("MSH")
    assert str(msh[12]) == "2.6" and str(msh[15]) == "AL" and str(msh[16]) == "NE"
    assert "1.3.6.1.4.1.19376.1.6.1.1.1" in str(msh[21]) and str(msh[3]).endswith("^EUI-64")
    assert len(str(msh[10])) <= 20 and str(msh[11]) in ("P", "D", "T")
    # The pressures of one frame stand together in one OBR.
    names = [str(s[0]) for s in message]
    assert names[:4] == ["MSH", "PID", "PV1", "OBR"] and names.count("OBR") == 1
    rows = {str(o[3]).split("^")[0]: o for o in message.segments("OBX")}
    assert [str(rows[c][5]) for c in ("150021", "150022", "150023")] == ["120", "80", "93"]
    assert "MDC_DIM_MMHG" in str(rows["150021"][6]) and "mm[Hg]" in str(rows["150021"][6])
    # Device rows carry no value and status X; the device says who it is.
    devices = [o for o in message.segments("OBX") if str(o[5]) == ""]
    assert devices and all(str(o[11]) == "X" for o in devices)
    assert any("0123456789ABCDEF" in str(o) for o in devices)


def test_the_last_of_an_interval(hubs):
    hub = hub_with(hubs, interval_s=3)
    for rate in (70, 71, 72):
        send(hub, hr=rate)
    wait_for(lambda: observations(hub, "147842")[-1:] == ["72"], "the last heart rate")
    assert len(observations(hub, "147842")) <= 2  # an interval's border may lie between them


def test_all_of_them(hubs):
    hub = hub_with(hubs, select="every")
    for rate in (70, 71, 72):
        send(hub, hr=rate)
    wait_for(lambda: observations(hub, "147842") == ["70", "71", "72"], "all heart rates")


def test_simulated_devices_never_reach_production(hubs):
    hub = hub_with(hubs, production=True)
    hub.add_device("sim", "bedside-json", "--cert-subject", "sim", "--test")
    send(hub, device="sim", hr=44)
    send(hub, hr=72)
    wait_for(lambda: observations(hub, "147842"), "the real one")
    assert observations(hub, "147842") == ["72"]


def test_no_answer_sends_the_same_message_again(hubs):
    hub = hub_with(hubs, receiver=["--silent", "2"])
    send(hub, hr=72)
    wait_for(lambda: len(messages(hub)) >= 3, "two more attempts", 60)
    texts = [p.read_text() for p in sorted(pathlib.Path(hub.state, "hl7").glob("*.hl7"))]
    assert len(set(texts[:3])) == 1


def test_a_foreign_answer_is_not_taken(hubs):
    hub = hub_with(hubs, receiver=["--foreign", "1"])
    send(hub, hr=72)
    wait_for(lambda: len(messages(hub)) >= 2, "another attempt", 60)
    assert len(set(controls(hub))) == 1


def test_error_answers_are_retried_then_parked_and_others_go_on(hubs):
    hub = hub_with(hubs, receiver=["--first", "AE,AE,AR"], errors_max=2)
    send(hub, hr=71)
    wait_for(lambda: len(messages(hub)) >= 2, "the retry", 60)
    send(hub, hr=72)
    send(hub, hr=73)
    wait_for(lambda: "73" in observations(hub, "147842"), "the next ones", 60)
    status = json.dumps(hub.status())
    assert '"parked":' in status.replace(" ", "")


def test_killed_at_any_moment_nothing_is_lost(hubs):
    hub = hub_with(hubs, select="every")
    sent = []
    for round in range(6):
        for _ in range(3):
            sent.append(str(60 + len(sent)))
            send(hub, hr=int(sent[-1]))
        hub.gateway.kill()
        hub.gateway.child.wait()
        hub.start_gateway()
    wait_for(lambda: set(observations(hub, "147842")) == set(sent), "all of them", 60)
    # The same message may come again; different messages never carry the same reading.
    texts = {str(m.segment("MSH")[10]): m for m in messages(hub)}
    unique = [str(o[5]) for m in texts.values() for o in m.segments("OBX") if str(o[3]).startswith("147842^")]
    assert sorted(unique) == sorted(sent)
