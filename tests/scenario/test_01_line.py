# SPDX-License-Identifier: Apache-2.0
"""01: does anything get through? A reading over each protocol, to the store, the bus and an HL7 receiver."""
import json
import pathlib

import hl7

from harness.clients import Subscriber, by_certificate, coap, coap_psk, iso, now_ms, publish
from harness.hub import wait_for


def test_a_reading_gets_through_everywhere(hubs):
    hub = hubs(hl7=True, hl7_options={"interval_s": 1}).start()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1", "--ward", "3a", "--bed", "7", "--eui64", "0123456789ABCDEF")
    sensor = hub.add_device("s1", "senml", "--psk")
    bus = Subscriber(hub)

    ms = now_ms()
    done = publish(hub, "m1", "ward/3a/m1/vitals", json.dumps({"time": iso(ms), "hr": 72, "spo2": 98}), auth=by_certificate(hub, "m1"))
    assert done.returncode == 0, done.stderr
    pack = json.dumps([{"n": "temperature_body", "u": "Cel", "v": 36.6, "t": ms / 1000}])
    done = coap(hub, "post", "readings", pack, auth=coap_psk(sensor), content_format=110)
    assert abs(float(done.stdout) - ms / 1000) < 60, done.stdout + done.stderr  # the answer carries the time

    # The store: what was acknowledged is there at once.
    kept = {r["signal"]: r for r in hub.readings("m1")}
    assert kept["heart_rate"]["value"] == 72 and kept["spo2"]["value"] == 98
    assert hub.readings("s1")[0]["value"] == 36.6
    assert hub.readings("s1")[0]["unit"] == "Cel"

    # The bus.
    messages = dict(bus.wait(3))
    assert messages["vitals/m1/heart_rate"]["value"] == 72
    assert messages["vitals/s1/temperature_body"]["value"] == 36.6
    assert messages["vitals/m1/heart_rate"]["mdc"] == 147842

    # HL7: every reading in some ORU^R01 with the right code, value and unit.
    def received():
        rows = {}
        for path in sorted(pathlib.Path(hub.state, "hl7").glob("*.hl7")):
            message = hl7.parse(path.read_bytes().decode())
            assert str(message.segment("MSH")[9]) == "ORU^R01^ORU_R01"
            for obx in message.segments("OBX"):
                rows[str(obx[3]).split("^")[0]] = obx
        return rows if {"147842", "150456", "150364"} <= rows.keys() else None

    rows = wait_for(received, "three readings as HL7")
    assert str(rows["147842"][5]) == "72" and "MDC_DIM_BEAT_PER_MIN" in str(rows["147842"][6])
    assert str(rows["150364"][5]) == "36.6" and "Cel" in str(rows["150364"][6])


def test_an_acknowledged_reading_survives_a_kill(hubs):
    hub = hubs(bus=False).start()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    assert publish(hub, "m1", "ward/3a/m1/vitals", json.dumps({"time": iso(now_ms()), "hr": 61}), auth=by_certificate(hub, "m1")).returncode == 0
    hub.gateway.kill()
    hub.gateway.child.wait()
    hub.start_gateway()
    assert [r["value"] for r in hub.readings("m1")] == [61]


def test_stop_is_orderly(hubs):
    hub = hubs().start()
    assert hub.gateway.stop(10) == 0
    hub.start_gateway()
