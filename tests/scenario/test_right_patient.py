# SPDX-License-Identifier: Apache-2.0
"""The right patient by time, from the device to what receivers have charted: late transfers, cancels, merges, swaps, moved devices, wrong clocks, backfills,
contradictions, dead receivers, crashes. Devices tell their own times, so that most of it plays in the hour before."""
import json
import os
import random
import struct
import time

import hl7
import pytest

from harness.chart import Chart, Receiver
from harness.clients import by_certificate, iso, publish, run
from harness.hub import free_port, wait_for
from test_hl7_in import Peer, code

ICU = "ICU^^{}"


def dtm(seconds):
    return time.strftime("%Y%m%d%H%M%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 10000):04d}+0000"


def senml(readings):
    return "[" + ",".join(f'{{"n":"heart_rate","u":"beat/min","v":{value},"t":{moment:.3f}}}' for moment, value in readings) + "]"


class Ward:
    """A hub with an inbound door, receivers, and an hour of which things are told. Minutes count from 60 minutes ago. moment: the time at which the hub lives
    (seconds since 1970), for wait() to go on from; else now."""

    def __init__(self, hubs, destinations=None, devices=("m1", "m2"), moment=None, profile="senml", profiles=None, fields=None):
        self.in_port, self.number, self.value = free_port(), 0, 0
        self.later_s = moment - time.time() if moment else 0
        destinations = destinations or {"pdms": {"corrections": "resend"}}
        self.hub = hubs(bus=False, options={"hl7_in": {"enabled": True, "address": "127.0.0.1", "port": self.in_port, "fields": {"services": "MON", **(fields or {})},
                                                       "peers": [{"name": "adt", "zone": "UTC", "addresses": ["127.0.0.1"]}]}})
        self.receivers = {name: Receiver(self.hub, name) for name in destinations}
        self.hub.options["hl7"] = {"enabled": True, "destinations": [
            {"name": name, "host": "127.0.0.1", "port": self.receivers[name].port, "production": False, "interval_s": 0, "select": "every",
             "answer_s_max": 2, "backoff_ms_min": 20, "backoff_ms_max": 200, **options} for name, options in destinations.items()]}
        if profiles:
            (self.hub.state / "profiles").mkdir()
            for name, text in profiles.items():
                (self.hub.state / "profiles" / name).write_text(text)
            self.hub.options["profiles"] = {"dir": "profiles"}
        self.hub.write_config()
        for receiver in self.receivers.values():
            receiver.start()
        if moment:
            self.wait(0)
            self.hub.env.update(LD_PRELOAD=str(self.hub.program.parent / "later.so"), LATER_FILE=str(self.hub.state / "later"),
                                ASAN_OPTIONS="verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", ""))
        self.hub.start_gateway()
        self.start = self.now() - 3600
        for device in devices:
            self.hub.add_device(device, profile, "--cert-subject", device)
        self.door = Peer(self.in_port)

    def now(self):
        return time.time() + self.later_s

    def wait(self, seconds):
        """Time passes at the hub."""
        self.later_s += seconds
        path = self.hub.state / "later"
        with open(path, "r+b" if path.exists() else "wb") as file:
            file.write(struct.pack("=q", int(self.later_s * 1e6)))

    def at(self, minute):
        return self.start + 60 * minute

    # ---- Devices ----

    def frame(self, device, moments, live=True):
        """One frame with a heart rate of each moment (seconds), and one of now: so the clock is known. Returns the values as they are charted."""
        moments = [*moments, *([self.now()] if live else [])]
        values = [self.next_value() for _ in moments]
        self.send(device, list(zip(moments, values)))
        return values

    def next_value(self):
        self.value += 1
        return f"{60 + self.value // 1000}.{self.value % 1000:03d}"

    def send(self, device, readings):
        self.publish(device, f"devices/{device}/senml", senml(readings))

    def publish(self, device, topic, payload):
        done = publish(self.hub, device, topic, payload, auth=by_certificate(self.hub, device))
        assert done.returncode == 0, done.stderr

    def send_frames(self, device, frames):
        """Each a list of (moment, value), one after the other on one connection."""
        done = run(["mosquitto_pub", "-h", "127.0.0.1", "-p", self.hub.mqtt_port, "-i", device, "-q", 1, "-t", f"devices/{device}/senml", "-l",
                    *by_certificate(self.hub, device)], input="".join(senml(readings) + "\n" for readings in frames))
        assert done.returncode == 0, done.stderr

    # ---- The hospital ----

    def message(self, kind, body):
        self.number += 1
        text = f"MSH|^~\\&|ADT|H|VG|H|{dtm(self.now())}||{kind}|c{self.number}|P|2.5\r{body}"
        assert code(self.door.ask(text)) == ("AA", f"c{self.number}"), text

    def adt(self, event, minute, patient, bed="", prior="", other=None, other_bed="", also=None):
        """also: another identifier of the patient."""
        when, now = dtm(self.at(minute)), dtm(self.now())
        body = f"EVN|{event}|{now}||||{when}\rPID|1||{patient}^^^H^PI{f'~{also}^^^H^PI' if also else ''}||N{patient}\r"
        if event in ("A18", "A30", "A34", "A40", "A47"):
            body += f"MRG|{other}^^^H^PI\r"
        else:
            body += f"PV1|1|I|{bed}|||{prior}\r"
        if event == "A17":
            body += f"PID|2||{other}^^^H^PI||N{other}\rPV1|2|I|{other_bed}\r"
        self.message(f"ADT^{event}", body)

    def order(self, control, minute, patient, number, device="", bed=""):
        self.message("ORM^O01", f"PID|1||{patient}^^^H^PI||N{patient}\rPV1|1|I|{bed}\rORC|{control}|{number}" + "|" * 13 + dtm(self.at(minute)) +
                     f"\rOBR|1|{number}||MON" + "|" * 14 + f"{device}\r")

    def report(self, minute, patient, device, number, first=None, event="198332", status="R", until=None):
        """DEV-51 of IHE PCIM; first: an update of that report."""
        when = dtm(self.at(minute))
        origin = f"^{first}&&0011223344556677&EUI-64" if first else ""
        self.message("ORU^R01^ORU_R01", f"PID|1||{patient}^^^H^PI||N{patient}\rPV1|1|I\rOBR|1||{number}^^0011223344556677^EUI-64|69136|||{when}|"
                     f"{dtm(self.at(until)) if until else when}" + "|" * 21 + f"{origin}\rOBX|1|CWE|68487||{event}||||||{status}\rPRT|1|UC||EQUIP||||||{device}\r")

    def place(self, device, bed, minute):
        self.hub.cli("place", device, bed, "--from", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.at(minute))))

    # ---- What came of it ----

    def expect(self, expected, name="pdms", seconds=20):
        """Waits until the receiver has charted exactly this: {value: patient}."""
        try:
            wait_for(lambda: self.receivers[name].chart().where() == expected, "the charts to be right", seconds, 0.1)
        except AssertionError:
            assert self.receivers[name].chart().where() == expected
            raise

    def trace(self, device, name="pdms"):
        lines = [json.loads(line) for line in self.hub.cli("trace", "--device", device, "--from", "-3h", "--json").stdout.splitlines()]
        return [[step["state"] for step in line["outlets"] if step["outlet"] == f"hl7/{name}"] for line in lines]

    def destination(self, name="pdms"):
        return self.hub.status()["parts"]["hl7"][name]

    def kill(self):
        self.hub.gateway.kill()
        self.hub.gateway.child.wait()
        self.door.close()

    def again(self):
        self.hub.start_gateway()
        self.door = Peer(self.in_port)


def every(ward, device, minutes):
    """A frame with a reading of each of these minutes: {minute: value}; "now" is the last one."""
    minutes = list(minutes)
    return dict(zip([*minutes, "now"], ward.frame(device, [ward.at(m) for m in minutes])))


def charted(readings, patients):
    """{value: patient} of readings {minute: value} and stays [(from, to, patient)]; "now" is minute 60."""
    return {value: patient for minute, value in readings.items() for since, to, patient in patients if since <= (60 if minute == "now" else minute) < to}


# ---- Who was it? ----

def test_nobody_then_an_order_says_who(hubs):
    ward = Ward(hubs)
    readings = every(ward, "m1", range(5, 60, 10))
    wait_for(lambda: ward.trace("m1") == [["held"]] * 7, "all to be held")
    assert ward.destination()["held"] > 0 and ward.receivers["pdms"].texts() == []
    ward.order("NW", 30, "P1", "ORD77", "m1")
    ward.expect(charted(readings, [(30, 99, "P1")]))
    chart = ward.receivers["pdms"].chart()
    assert {order.split("^")[0] for order in chart.orders.values()} == {"ORD77"}
    wait_for(lambda: ward.trace("m1") == [["held"]] * 3 + [["sent"]] * 4, "trace to tell both")
    # By hand, back-dated: the rest.
    ward.hub.cli("associate", "--device", "m1", "--patient", "P0^^^H", "--from", "-90m", "--until", "-30m")
    ward.expect(charted(readings, [(0, 30, "P0"), (30, 99, "P1")]))
    wait_for(lambda: ward.destination()["held"] == 0, "nothing to be held")


def test_a_transfer_that_is_reported_late(hubs):
    ward = Ward(hubs, {"pdms": {"corrections": "resend"}, "plain": {}})
    ward.place("m1", "ICU^^3", 0)
    ward.adt("A01", 0, "P1", "ICU^^3")
    ward.adt("A01", 0, "P2", "ICU^^4")
    readings = every(ward, "m1", range(2, 60, 5))
    before = charted(readings, [(0, 99, "P1")])
    ward.expect(before)
    ward.expect(before, "plain")
    ward.adt("A02", 20, "P1", "ICU^^5", "ICU^^3")
    ward.adt("A02", 40, "P2", "ICU^^3", "ICU^^4")
    ward.expect(charted(readings, [(0, 20, "P1"), (40, 99, "P2")]))
    # A receiver that charts whatever comes gets nothing; people are told.
    wait_for(lambda: ward.destination("plain")["misfiled"] > 0, "the status to tell")
    assert ward.receivers["plain"].chart().where() == before
    assert ["wrong"] in ward.trace("m1", "plain") and "hl7.misfiled" in (ward.hub.state / "vitalgate.log").read_text()
    assert b"went out for another patient" in (ward.hub.state / "data" / "data.mdb").read_bytes()
    states = ward.trace("m1")
    assert sum("held" in s for s in states) == 4 and ward.destination()["corrections"] > 0


@pytest.mark.parametrize("tried, killed", [(0, False), (1, False), (0, True)])
def test_what_was_not_sent_yet_is_not_sent_wrongly(hubs, tried, killed):
    ward = Ward(hubs, {"plain": {"outbox_max": 40}})
    ward.place("m1", "ICU^^3", 0)
    ward.adt("A01", 0, "P1", "ICU^^3")
    ward.receivers["plain"].stop()
    if tried:
        ward.receivers["plain"].start("--silent", 1000)
    first = ward.frame("m1", [])  # tried: it may have come
    wait_for(lambda: len(ward.receivers["plain"].texts()) >= tried and ward.destination("plain")["outbox"] == 1, "the first to be tried")
    second = every(ward, "m1", [10, 15, 40, 45])
    wait_for(lambda: ward.destination("plain")["outbox"] == 2, "two messages to wait")
    if killed:
        ward.kill()
        ward.again()
    ward.adt("A03", 30, "P1", "ICU^^3")
    ward.adt("A01", 30, "P2", "ICU^^3")
    wait_for(lambda: ward.destination("plain")["outbox"] == 3 and ward.destination("plain")["misfiled"] == tried, "the second to be parted")
    ward.receivers["plain"].stop()
    ward.receivers["plain"].start()
    ward.expect({**charted(second, [(0, 30, "P1"), (30, 99, "P2")]), first[0]: "P1" if tried else "P2"}, "plain")
    assert ward.destination("plain")["misfiled"] == tried


def test_a_parked_message_is_not_sent_again_for_the_wrong_patient(hubs):
    ward = Ward(hubs, {"plain": {}})
    ward.receivers["plain"].stop()
    ward.receivers["plain"].start("--first", "AR")
    ward.place("m1", "ICU^^3", 0)
    ward.adt("A01", 0, "P1", "ICU^^3")
    readings = every(ward, "m1", [10, 40])
    wait_for(lambda: ward.destination("plain")["parked"] == 1, "it to be parked")
    refused = len(ward.receivers["plain"].texts())
    ward.adt("A03", 30, "P1", "ICU^^3")
    ward.adt("A01", 30, "P2", "ICU^^3")
    wait_for(lambda: ward.destination("plain")["parked"] == 0, "it to be withdrawn")

    def taken():
        chart = Chart()
        for text in ward.receivers["plain"].texts()[refused:]:
            chart.take(hl7.parse(text))
        return chart.where()
    wait_for(lambda: taken() == charted(readings, [(0, 30, "P1"), (30, 99, "P2")]), "each to come for the right patient")


def test_there_and_back(hubs):
    ward = Ward(hubs, {"pdms": {"corrections": "resend"}, "plain": {}})
    ward.place("m1", "ICU^^3", 0)
    ward.adt("A01", 0, "P1", "ICU^^3")
    readings = every(ward, "m1", range(5, 60, 10))
    all_p1, parted = charted(readings, [(0, 99, "P1")]), charted(readings, [(0, 30, "P1")])
    ward.expect(all_p1)
    for _ in range(3):
        ward.adt("A03", 30, "P1", "ICU^^3")
        ward.expect(parted)
        wait_for(lambda: ["wrong"] in ward.trace("m1", "plain"), "people to be told")
        ward.adt("A13", 30, "P1", "ICU^^3")
        ward.expect(all_p1)
        wait_for(lambda: ["wrong"] not in ward.trace("m1", "plain"), "people to be told that it is right")
    ward.expect(all_p1, "plain")


def test_held_in_part_and_held_again(hubs):
    ward = Ward(hubs)
    ward.place("m1", "ICU^^3", 0)
    readings = every(ward, "m1", range(5, 60, 10))
    wait_for(lambda: ward.trace("m1") == [["held"]] * 7, "all to be held")
    for patient, minute, until in (("P3", 0, 10), ("P4", 20, 30), ("P5", 0, 30)):
        span = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ward.at(m))) for m in (minute, until)]
        ward.hub.cli("associate", "--device", "m1", "--patient", f"{patient}^^^H", "--from", span[0], "--until", span[1])
        ward.expect(charted(readings, [(minute, until, patient)]))
        ward.hub.cli("dissociate", "--device", "m1", "--patient", f"{patient}^^^H", "--from", span[0])
        ward.expect({})
    ward.adt("A01", 0, "P2", "ICU^^3")
    ward.expect(charted(readings, [(0, 99, "P2")]))
    wait_for(lambda: ward.destination()["held"] == 0, "nothing to be held")


def test_what_lies_too_near_a_change_is_nobody_s(hubs):
    ward = Ward(hubs)
    ward.start = float(int(ward.start))
    ward.place("m1", "ICU^^3", 0)
    ward.adt("A01", 0, "P1", "ICU^^3")
    readings = every(ward, "m1", [10, 30, 50])
    ward.expect(charted(readings, [(0, 99, "P1")]))
    ward.adt("A03", 30, "P1", "ICU^^3")
    ward.adt("A01", 30, "P2", "ICU^^3")
    sure = {m: v for m, v in readings.items() if m != 30}
    ward.expect(charted(sure, [(0, 30, "P1"), (30, 99, "P2")]))
    assert "uncertainty spans a change" in ward.hub.cli("trace", "--device", "m1", "--from", "-3h").stdout


def test_another_ward_is_another_destination_s(hubs):
    ward = Ward(hubs, {"pdms": {"corrections": "resend", "wards": ["ICU"]}})
    ward.place("m1", "ICU^^3", 0)
    readings = every(ward, "m1", range(5, 60, 10))
    wait_for(lambda: ward.trace("m1") == [["held"]] * 7, "all to be held")
    ward.place("m1", "OR^^1", 30)
    ward.adt("A01", 0, "P2", "OR^^1")
    ward.adt("A01", 0, "P1", "ICU^^3")
    ward.expect(charted(readings, [(0, 30, "P1")]))
    wait_for(lambda: ward.destination()["held"] == 0, "nothing to be held")
    assert set(ward.receivers["pdms"].chart().values) == {"P1"}


def test_a_device_taken_out_of_the_registry_takes_nothing_with_it(hubs):
    ward = Ward(hubs)
    ward.place("m1", "ICU^^3", 0)
    ward.adt("A01", 0, "P1", "ICU^^3")
    readings = every(ward, "m1", range(5, 60, 10))
    ward.expect(charted(readings, [(0, 99, "P1")]))
    ward.hub.cli("device", "remove", "m1")
    ward.adt("A40", 60, "P9", other="P1")
    ward.adt("A08", 10, "P9", "ICU^^3")
    more = every(ward, "m2", [50])
    ward.hub.cli("associate", "--device", "m2", "--patient", "P2^^^H", "--from", "-90m")
    ward.expect({**charted(readings, [(0, 99, "P1")]), **charted(more, [(0, 99, "P2")])})
    assert ward.destination()["corrections"] == 0


def test_merged_and_swapped(hubs):
    ward = Ward(hubs)
    ward.place("m1", "ICU^^3", 0)
    ward.place("m2", "ICU^^4", 0)
    ward.adt("A01", 0, "P1", "ICU^^3")
    ward.adt("A01", 0, "P2", "ICU^^4")
    one, two = every(ward, "m1", range(5, 60, 10)), every(ward, "m2", range(5, 60, 10))
    ward.expect({**charted(one, [(0, 99, "P1")]), **charted(two, [(0, 99, "P2")])})
    # The receiver merges charts itself: nothing is taken back.
    ward.adt("A40", 60, "P9", other="P1")
    more = every(ward, "m1", [50])
    ward.expect({**charted(one, [(0, 99, "P1")]), **charted(two, [(0, 99, "P2")]), **charted(more, [(0, 99, "P9")])})
    assert ward.destination()["corrections"] == 0
    ward.adt("A17", 30, "P2", "ICU^^3", other="P9", other_bed="ICU^^4")
    where = {**charted(one, [(0, 30, "P9"), (30, 99, "P2")]), **charted(more, [(30, 99, "P2")]), **charted(two, [(0, 30, "P2"), (30, 99, "P9")])}
    wait_for(lambda: ward.receivers["pdms"].chart(merged={"P1": "P9"}).where() == where, "the charts after the swap")


def test_a_device_that_was_moved(hubs):
    ward = Ward(hubs)
    ward.adt("A01", 0, "P1", "ICU^^3")
    ward.adt("A01", 0, "P2", "ICU^^4")
    ward.place("m1", "ICU^^3", 0)
    readings = every(ward, "m1", range(5, 60, 10))
    ward.expect(charted(readings, [(0, 99, "P1")]))
    ward.place("m1", "ICU^^4", 30)
    ward.expect(charted(readings, [(0, 30, "P1"), (30, 99, "P2")]))
    ward.place("m1", "ICU^^3", 40)
    ward.expect(charted(readings, [(0, 30, "P1"), (30, 40, "P2"), (40, 99, "P1")]))


def test_two_in_one_bed_wait_until_somebody_says_who(hubs):
    ward = Ward(hubs)
    ward.place("m1", "ICU^^3", 0)
    ward.adt("A01", 0, "P1", "ICU^^3")
    ward.adt("A01", 20, "P2", "ICU^^3")
    readings = every(ward, "m1", range(5, 60, 10))
    ward.expect(charted(readings, [(0, 20, "P1")]))
    wait_for(lambda: sum(s == ["held"] for s in ward.trace("m1")) == 5, "the others to be held")
    assert ward.hub.status()["patients"]["conflicts"] == 1
    ward.adt("A03", 40, "P1", "ICU^^3")
    ward.expect(charted(readings, [(0, 20, "P1"), (40, 99, "P2")]))
    ward.hub.cli("dissociate", "--bed", "ICU^^3", "--patient", "P1^^^H", "--from", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ward.at(20))))
    ward.expect(charted(readings, [(0, 20, "P1"), (20, 99, "P2")]))


def test_a_contradiction_that_comes_up_later_moves_nothing(hubs):
    ward = Ward(hubs)
    ward.place("m1", "ICU^^3", 0)
    ward.adt("A01", 0, "P1", "ICU^^3")
    readings = every(ward, "m1", range(5, 60, 10))
    ward.expect(charted(readings, [(0, 99, "P1")]))
    ward.adt("A01", 20, "P2", "ICU^^3")
    late = every(ward, "m1", [33])
    wait_for(lambda: ["held"] in ward.trace("m1"), "the new ones to be held")
    ward.adt("A03", 20, "P1", "ICU^^3")
    ward.expect(charted(readings, [(0, 20, "P1"), (20, 99, "P2")]) | charted(late, [(0, 99, "P2")]))


WAYS = {
    "A40": (lambda ward, one, two: ward.adt("A40", 60, one, other=two), lambda one, two: one),
    "merge": (lambda ward, one, two: ward.hub.cli("patient", "merge", "--patient", f"{two}^^^H", "--into", f"{one}^^^H"), lambda one, two: one),
    "A47": (lambda ward, one, two: ward.adt("A47", 60, "new" + two, other=two), lambda one, two: "new" + two),
    "distinct": (lambda ward, one, two: ward.hub.cli("patient", "distinct", "--patient", f"{one}^^^H", "--other", f"{two}^^^H"), lambda one, two: two),
}


def test_an_association_that_is_reported_again(hubs):
    ward = Ward(hubs)
    one, two = every(ward, "m1", range(5, 60, 10)), every(ward, "m2", range(5, 60, 10))
    ward.report(0, "P1", "m1", "a1")
    ward.expect(charted(one, [(0, 99, "P1")]))
    ward.report(0, "P1", "m1", "a1", status="F")
    ward.report(20, "P1", "m1", "a1")  # it began later
    ward.expect(charted(one, [(20, 99, "P1")]))
    ward.report(20, "P1", "m2", "a2", first="a1")  # with another device
    ward.expect(charted(two, [(20, 99, "P1")]))
    ward.report(10, "P2", "m2", "a3", first="a1", status="C")  # and patient
    ward.expect(charted(two, [(10, 99, "P2")]))
    ward.kill()
    ward.again()
    ward.report(10, "P2", "m2", "a4", first="a1", event="198334", until=40)
    ward.expect(charted(two, [(10, 40, "P2")]))
    ward.report(10, "P2", "m2", "a5", first="a1", event="198334", status="W", until=40)  # it has not ended
    ward.expect(charted(two, [(10, 99, "P2")]))
    ward.report(10, "P2", "m2", "a6", first="a1", status="D")
    ward.expect({})
    assert ward.hub.status()["patients"]["conflicts"] == 0


def test_identifiers_that_lead_to_two_hold_both(hubs):
    ward = Ward(hubs, devices=[f"{side}{way}" for way in WAYS for side in "xy"])
    readings, expected = {}, {}
    for n, way in enumerate(WAYS):
        # One lies in a bed; of the other an order says what it wears. What is measured before half past is charted; then a message says that they are one.
        ward.place(f"x{way}", ICU.format(n), 0)
        ward.adt("A01", 0, f"1{way}", ICU.format(n))
        ward.order("NW", 0, f"2{way}", f"O{n}", f"y{way}")
        for side, patient in (("x", f"1{way}"), ("y", f"2{way}")):
            expected.update(charted(every(ward, f"{side}{way}", [2, 42]), [(0, 99, patient)]))
    ward.expect(expected)
    for n, way in enumerate(WAYS):
        ward.adt("A02", 30, f"1{way}", ICU.format(n), ICU.format(n), also=f"2{way}")
        for side, patient in (("x", f"1{way}"), ("y", f"2{way}")):
            readings[way, side] = every(ward, f"{side}{way}", [5, 25, 35, 55])
            expected.update(charted(readings[way, side], [(0, 30, patient)]))
    ward.expect(expected)
    wait_for(lambda: ward.hub.status()["patients"]["conflicts"] == len(WAYS), "all to be shown")
    wait_for(lambda: all(sum(s == ["held"] for s in ward.trace(f"{side}{way}")) == 3 for way, side in readings), "what came since to be held")
    assert "identifiers of one message lead to" in ward.hub.cli("patient", "conflicts").stdout
    assert "CONFLICT" in ward.hub.cli("patient", "show", "--device", "yA40").stdout
    assert "4 CONFLICT" in ward.hub.cli("status").stdout
    ward.kill()
    ward.again()
    ward.adt("A08", 60, "1A40", ICU.format(0))  # silence ends nothing
    for way, (resolve, of_two) in WAYS.items():
        ward.expect(expected)
        resolve(ward, f"1{way}", f"2{way}")
        expected.update(charted(readings[way, "x"], [(30, 99, f"1{way}")]))
        expected.update(charted(readings[way, "y"], [(30, 99, of_two(f"1{way}", f"2{way}"))]))
    ward.expect(expected)
    assert ward.hub.status()["patients"]["conflicts"] == 0 and ward.destination()["held"] == 0 and ward.destination()["corrections"] == 0
    # What somebody has decided is not asked again.
    ward.adt("A02", 30, "1distinct", ICU.format(3), ICU.format(3), also="2distinct")
    assert ward.hub.status()["patients"]["conflicts"] == 0


def in_two_beds(ward, count):
    """So many contradictions of beds are shown, also after a crash."""
    for _ in range(2):
        wait_for(lambda: ward.hub.status()["patients"]["conflicts"] == count, f"{count} to be shown")
        lines = [json.loads(line) for line in ward.hub.cli("patient", "conflicts", "--json").stdout.splitlines()]
        assert [line["kind"] for line in lines] == ["beds"] * count and all(line["bed"] != line["other_bed"] and line["source"] for line in lines)
        ward.kill()
        ward.again()
    return lines


def test_a_transfer_from_another_bed_holds_both(hubs):
    ward = Ward(hubs, devices=("m1", "m2", "m3", "m4"))
    for n in range(1, 5):
        ward.place(f"m{n}", ICU.format(n), 0)
        ward.adt("A01", 0, f"P{n}", ICU.format(n))
    sent = {n: every(ward, f"m{n}", [10, 50]) for n in range(1, 5)}
    ward.expect({v: p for n in sent for v, p in charted(sent[n], [(0, 99, f"P{n}")]).items()})
    # 1 and 3 are said to come from where 2 and 4 lie. What went out stays where it is, but for what was measured since.
    ward.adt("A02", 30, "P1", ICU.format(8), ICU.format(2))
    ward.adt("A02", 30, "P3", ICU.format(9), ICU.format(4))
    late = {n: every(ward, f"m{n}", [20]) for n in range(1, 5)}
    expected = {v: p for n in sent for v, p in charted(sent[n], [(0, 30 if n % 2 else 99, f"P{n}")]).items()}
    expected |= {v: p for n in (2, 4) for v, p in charted(late[n], [(30, 99, f"P{n}")]).items()}
    ward.expect(expected)
    beds = in_two_beds(ward, 2)
    assert "CONFLICT" in ward.hub.cli("patient", "show", "--bed", ICU.format(2)).stdout
    wait_for(lambda: [sum(s == ["held"] for s in ward.trace(f"m{n}")) for n in sent] == [2, 1, 2, 1], "what came since to be held")
    ward.adt("A02", 30, "P1", ICU.format(8), ICU.format(1))  # the same, as it was
    expected |= charted(late[1], [(0, 30, "P1")]) | charted(late[2], [(0, 99, "P2")])
    # The message was right: 3 had taken the place of 4.
    ward.hub.cli("associate", "--bed", ICU.format(4), "--patient", "P3^^^H", "--from", beds[1]["from"])
    ward.hub.cli("dissociate", "--bed", ICU.format(4), "--patient", "P4^^^H", "--from", beds[1]["from"])
    expected = {v: p for v, p in expected.items() if p not in ("P3", "P4")} | charted(sent[4] | late[4], [(0, 30, "P3")])
    wait_for(lambda: expected.items() <= ward.receivers["pdms"].chart().where().items(), "what was in question to go out")
    assert ward.hub.status()["patients"]["conflicts"] == 0


def test_two_who_are_merged_in_two_beds_are_held(hubs):
    ward = Ward(hubs)
    for n, since in ((1, 0), (2, 20)):
        ward.place(f"m{n}", ICU.format(n), 0)
        ward.adt("A01", since, f"P{n}", ICU.format(n))
    one, two = every(ward, "m1", [10, 50]), every(ward, "m2", [10, 50])
    ward.expect(charted(one, [(0, 99, "P1")]) | charted(two, [(20, 99, "P2")]))
    ward.adt("A40", 60, "P1", other="P2")
    late = every(ward, "m1", [11, 51]), every(ward, "m2", [11, 51])
    ward.expect(charted(one, [(0, 99, "P1")]) | charted(two, [(20, 99, "P2")]) | charted(late[0], [(0, 20, "P1")]))
    found = in_two_beds(ward, 1)[0]
    assert {found["bed"], found["other_bed"]} == {ICU.format(1), ICU.format(2)} and "to" not in found
    ward.adt("A08", 60, "P1", ICU.format(1))  # silence
    assert ward.hub.status()["patients"]["conflicts"] == 1
    ward.hub.cli("dissociate", "--bed", ICU.format(2), "--patient", "P2^^^H", "--from", found["from"])
    where = charted(one, [(0, 99, "P1")]) | charted(late[0], [(0, 99, "P1")])
    wait_for(lambda: ward.receivers["pdms"].chart(merged={"P2": "P1"}).where() == where, "the charts to be right")
    assert ward.hub.status()["patients"]["conflicts"] == 0


def test_an_order_for_another_bed_holds_both(hubs):
    ward = Ward(hubs)
    for n in (1, 2):
        ward.place(f"m{n}", ICU.format(n), 0)
        ward.adt("A01", 0, f"P{n}", ICU.format(n))
    ward.order("NW", 30, "P1", "O1", bed=ICU.format(2))
    one, two = every(ward, "m1", [10, 40, 50]), every(ward, "m2", [10, 40, 50])
    before = charted(one, [(0, 30, "P1")]) | charted(two, [(0, 30, "P2")])
    ward.expect(before)
    assert in_two_beds(ward, 1)[0]["order"] == "O1"
    ward.order("CA", 45, "P1", "O1", bed=ICU.format(2))  # from then on nobody says so
    ward.expect(before | charted(one, [(45, 99, "P1")]) | charted(two, [(45, 99, "P2")]))
    ward.adt("A02", 25, "P2", ICU.format(7), ICU.format(2))  # but it was so: both had been moved
    ward.adt("A02", 26, "P1", ICU.format(2), ICU.format(1))
    ward.expect(charted(one, [(0, 26, "P1")]) | charted(two, [(0, 25, "P2"), (26, 99, "P1")]))
    assert ward.hub.status()["patients"]["conflicts"] == 0 and ward.destination()["held"] > 0


def test_prior_beds_that_a_site_does_not_fill(hubs):
    ward = Ward(hubs, fields={"prior_bed": ""})
    ward.place("m1", ICU.format(1), 0)
    ward.adt("A01", 0, "P1", ICU.format(1))
    ward.adt("A02", 30, "P1", ICU.format(2), ICU.format(7))
    ward.expect(charted(every(ward, "m1", [10, 50]), [(0, 30, "P1")]))
    assert ward.hub.status()["patients"]["conflicts"] == 0


def test_an_account_s_number_leads_to_nobody(hubs):
    ward = Ward(hubs)
    ward.place("m1", "ICU^^3", 0)
    for patient, minute in (("P1", 0), ("P2", 30)):  # the number is given to the next
        ward.message("ADT^A01", f"EVN|A01|{dtm(ward.now())}||||{dtm(ward.at(minute))}\rPID|1||4711^^^H^AN~{patient}^^^H^MR||N{patient}\rPV1|1|I|ICU^^3\r")
        ward.adt("A03", minute + 29, patient, "ICU^^3")
    readings = every(ward, "m1", [10, 40])
    ward.expect(charted(readings, [(0, 29, "P1"), (30, 59, "P2")]))
    assert ward.hub.status()["patients"]["conflicts"] == 0


def test_what_nobody_has_yet_is_held_when_a_contradiction_comes_up(hubs):
    ward = Ward(hubs, {"plain": {}})
    ward.place("m1", "ICU^^3", 0)
    ward.adt("A01", 0, "P1", "ICU^^3")
    ward.receivers["plain"].stop()
    readings = every(ward, "m1", [10, 20, 40, 50])
    wait_for(lambda: ward.destination("plain")["outbox"] == 1, "a message to wait")
    ward.adt("A01", 30, "P2", "ICU^^3")
    wait_for(lambda: ward.destination("plain")["held"] > 0, "the rest to be held")
    ward.receivers["plain"].start()
    ward.expect(charted(readings, [(0, 30, "P1")]), "plain")
    ward.adt("A03", 30, "P1", "ICU^^3")
    ward.expect(charted(readings, [(0, 30, "P1"), (30, 99, "P2")]), "plain")
    assert ward.destination("plain")["misfiled"] == 0


def test_a_transfer_to_where_beds_have_no_names(hubs):
    ward = Ward(hubs)
    ward.place("m1", "ICU^^3", 0)
    ward.adt("A01", 0, "P1", "ICU^^3")
    ward.order("NW", 0, "P1", "O1", "m2")
    bed, worn = every(ward, "m1", [10, 40]), every(ward, "m2", [10, 40])
    ward.expect(charted(bed, [(0, 99, "P1")]) | charted(worn, [(0, 99, "P1")]))
    ward.adt("A02", 30, "P1", "NORMAL", "ICU^^3")
    ward.expect(charted(bed, [(0, 30, "P1")]) | charted(worn, [(0, 99, "P1")]))
    assert "LOOK" in ward.hub.cli("patient", "show", "--device", "m2").stdout
    ward.adt("A12", 30, "P1", "ICU^^3", "NORMAL")
    ward.expect(charted(bed, [(0, 99, "P1")]) | charted(worn, [(0, 99, "P1")]))
    assert "LOOK" not in ward.hub.cli("patient", "show", "--device", "m2").stdout


def test_sent_without_a_patient_and_known_later(hubs):
    ward = Ward(hubs, {"pdms": {"corrections": "resend", "unassociated": "send"}, "plain": {"unassociated": "send"}})
    readings = every(ward, "m1", range(5, 60, 10))
    nobody = {value: "" for value in readings.values()}
    ward.expect(nobody)
    ward.expect(nobody, "plain")
    ward.hub.cli("associate", "--device", "m1", "--patient", "P1^^^H", "--from", "-90m")
    known = {value: "P1" for value in readings.values()}

    def charted_for_p1():
        return {v: "P1" for v in ward.receivers["pdms"].chart().values.get("P1", {}).values()}
    wait_for(lambda: charted_for_p1() == known, "all to come for the patient")
    assert ward.receivers["plain"].chart().where() == nobody


def test_a_value_that_is_revised(hubs):
    ward = Ward(hubs)
    ward.place("m1", "ICU^^3", 0)
    ward.adt("A01", 0, "P1", "ICU^^3")
    readings = every(ward, "m1", [10, 20, 40])
    ward.expect(charted(readings, [(0, 99, "P1")]))
    # Other values for two of the moments: C with what names them, so the old ones are gone; one that is new is a result.
    values = [ward.next_value() for _ in range(4)]
    ward.send("m1", list(zip([ward.at(20), ward.at(30), ward.at(40), ward.now()], values)))
    readings.update({20: values[0], 30: values[1], 40: values[2], "later": values[3]})
    ward.expect({v: "P1" for v in readings.values()})
    # And once more, with a crash between.
    ward.kill()
    ward.again()
    readings[20], readings["last"] = ward.next_value(), ward.next_value()
    ward.send("m1", [(ward.at(20), readings[20]), (ward.now(), readings["last"])])
    ward.expect({v: "P1" for v in readings.values()})
    # The other patient gets what was valid last, and nothing of what was replaced.
    ward.adt("A03", 15, "P1", "ICU^^3")
    ward.adt("A01", 15, "P2", "ICU^^3")
    ward.expect({v: "P1" if m == 10 else "P2" for m, v in readings.items()})
    readings[40], readings["end"] = ward.next_value(), ward.next_value()
    ward.send("m1", [(ward.at(40), readings[40]), (ward.now(), readings["end"])])
    ward.expect({v: "P1" if m == 10 else "P2" for m, v in readings.items()})
    statuses = [str(o[11]) for text in ward.receivers["pdms"].texts() for o in hl7.parse(text).segments("OBX") if str(o[3]).startswith("147842^")]
    assert statuses.count("C") == 4


# ---- Clocks ----

def two_patients(ward, change, *devices):
    """P1 until the change (minutes), P2 from there on, in the bed where the devices stand."""
    for device in devices:
        ward.place(device, "ICU^^3", -100)
    ward.adt("A01", -100, "P1", "ICU^^3")
    ward.adt("A03", change, "P1", "ICU^^3")
    ward.adt("A01", change, "P2", "ICU^^3")


def ticks(ward, device, shown_s, count, every_s=12):
    """Live frames of a device whose clock shows other times by shown_s: {value: the hub's time}."""
    readings = {}
    for _ in range(count):
        moment, value = ward.now(), ward.next_value()
        ward.publish(device, f"ward/3a/{device}/vitals", f'{{"time":"{iso(int((moment + shown_s) * 1000))}","hr":{value}}}')
        readings[value] = moment
        ward.wait(every_s)
    return readings


def times_charted(ward):
    return {value: key[3] for values in ward.receivers["pdms"].chart().values.values() for key, value in values.items()}


def test_clocks_three_hours_off_and_reset_to_1970(hubs):
    ward = Ward(hubs, moment=time.time() + 86400, devices=("m1", "m2"), profile="bedside-json")
    two_patients(ward, 55, "m1", "m2")
    for device, shown_s in (("m1", -3 * 3600), ("m2", -ward.now() + 1000)):
        readings = ticks(ward, device, shown_s, 8)
        # The clock's own time would be P1's, or nobody's: what was shown then was P2's, from the first reading on.
        wait_for(lambda: {v: ward.receivers["pdms"].chart().where().get(v) for v in readings} == {v: "P2" for v in readings},
                 f"all of {device} to be charted", 20, 0.1)
        for value, moment in times_charted(ward).items():
            assert value not in readings or abs(moment - readings[value]) < 3
    assert {p for p, values in ward.receivers["pdms"].chart().values.items() if values} == {"P2"}


def test_a_clock_that_is_set_back_while_patients_change(hubs):
    ward = Ward(hubs, moment=time.time() + 86400, profile="bedside-json")
    ward.place("m1", "ICU^^3", 0)
    ward.adt("A01", 0, "P1", "ICU^^3")
    first = ticks(ward, "m1", 0, 3, 30)
    ward.wait(600)
    ward.start = ward.now()
    ward.adt("A03", -5, "P1", "ICU^^3")
    ward.adt("A01", -5, "P2", "ICU^^3")
    second = ticks(ward, "m1", -3600, 9)  # winter time, for a device that knows no zone
    ward.expect({**{v: "P1" for v in first}, **{v: "P2" for v in second}})


AUTUMN = 1824940800  # 2027-10-31T00:00:00Z: an hour before the clocks of Berlin are set back from 3:00 to 2:00
LOCAL_PROFILE = """profile: local-clock
description: local times of Berlin, without zone
routes:
  mqtt: ["local/{device}"]
format: json
time:
  from: /time
  format: iso8601
  zone: Europe/Berlin
fields:
  - { field: /hr, signal: heart_rate }
"""


def test_the_doubled_hour_of_autumn(hubs):
    ward = Ward(hubs, moment=AUTUMN + 600, devices=(), profiles={"local-clock.yaml": LOCAL_PROFILE})
    ward.hub.add_device("m1", "local-clock", "--cert-subject", "m1")
    ward.start = AUTUMN
    ward.place("m1", "ICU^^3", 0)
    ward.adt("A01", 0, "P1", "ICU^^3")
    ward.adt("A03", 60, "P1", "ICU^^3")  # 3:00 summer time, which is 2:00 winter time
    ward.adt("A01", 60, "P2", "ICU^^3")
    expected = {}
    for minute in range(10, 110, 10):
        ward.wait(AUTUMN + 60 * minute - ward.now())
        value = ward.next_value()
        local = AUTUMN + 60 * minute + (7200 if minute < 60 else 3600)
        ward.publish("m1", "local/m1", f'{{"time":"{time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(local))}","hr":{value}}}')
        if minute != 60:
            expected[value] = "P1" if minute < 60 else "P2"
    wait_for(lambda: {v: p for v, p in ward.receivers["pdms"].chart().where().items() if v in expected} == expected, "each hour to have its patient")


def test_a_backfill_across_a_change_of_patient(hubs):
    ward = Ward(hubs)
    two_patients(ward, 30, "m1")
    now = ward.frame("m1", [])
    values = {minute: ward.next_value() for minute in range(0, 60, 3) if minute != 30}
    for minute, value in values.items():  # stored while it was away, one by one
        ward.send("m1", [(ward.at(minute), value)])
    live = ward.frame("m1", [])
    ward.expect({**charted(values, [(0, 30, "P1"), (30, 99, "P2")]), **{v: "P2" for v in now + live}})


# ---- Faults ----

def test_a_dead_receiver_and_its_backlog(hubs):
    ward = Ward(hubs, {"pdms": {"corrections": "resend"}, "dead": {"corrections": "resend", "outbox_max": 5, "backlog_per_s": 60}}, moment=time.time() + 86400)
    two_patients(ward, 30, "m1", "m2")
    ward.receivers["dead"].stop()
    expected = {}
    for _ in range(3):
        for device in ("m1", "m2"):
            readings = [(ward.now() + i / 100, ward.next_value()) for i in range(45)]
            ward.send_frames(device, [[reading] for reading in readings])
            expected.update({v: "P2" for _, v in readings})
        ward.wait(1200)
    ward.expect(expected)  # nobody waits for it
    assert ward.destination("dead")["outbox"] <= 6
    # It turns out that m2 was moved away half an hour ago.
    ward.start = ward.now() - 1800
    ward.place("m2", "ICU^^9", 0)
    ward.adt("A01", 0, "P3", "ICU^^9")
    wait_for(lambda: "P3" in ward.receivers["pdms"].chart().where().values(), "the correction")
    right = ward.receivers["pdms"].chart().where()
    ward.receivers["dead"].start()
    wait_for(lambda: ward.destination("dead")["backlog_records"] > 0, "a backlog of its own")
    ward.kill()
    ward.again()
    live = {v: "P2" for v in ward.frame("m1", [])}
    wait_for(lambda: set(live) <= set(ward.receivers["dead"].chart().where()), "what comes now to go at once", 5)
    assert ward.destination("dead")["backlog_records"] > 0 or ward.destination("dead")["outbox"] > 0
    wait_for(lambda: ward.receivers["pdms"].chart().where() == ward.receivers["dead"].chart().where() != right, "both to have the same", 60, 0.3)
    wait_for(lambda: ward.destination("dead")["backlog_records"] == 0, "the backlog to end")


def test_killed_at_any_moment_of_all_that(hubs):
    chance = random.Random(20261120)
    ward = Ward(hubs)
    ward.place("m1", "ICU^^3", 0)
    ward.adt("A01", 0, "P1", "ICU^^3")
    ward.adt("A01", 0, "P2", "ICU^^4")
    told, readings = [], []
    for change in (30, 20, 40, 25):
        readings.append(every(ward, "m1", [m + len(readings) / 10 for m in range(5, 60, 10)]))
        ward.adt("A02", change, "P1", "ICU^^5", "ICU^^3")
        ward.adt("A02", change, "P2", "ICU^^3", "ICU^^4")
        time.sleep(chance.random() * 0.08)
        ward.kill()
        ward.again()
        ward.adt("A12", change, "P1", "ICU^^3", "ICU^^5")
        ward.adt("A12", change, "P2", "ICU^^4", "ICU^^3")
        readings.append(every(ward, "m1", [m + len(readings) / 10 for m in range(5, 60, 10)]))
        time.sleep(chance.random() * 0.08)
        ward.kill()
        ward.again()
    ward.expect({v: "P1" for some in readings for v in some.values()})
    ward.adt("A02", 32, "P1", "ICU^^5", "ICU^^3")
    ward.adt("A02", 32, "P2", "ICU^^3", "ICU^^4")
    ward.kill()
    ward.again()
    ward.expect({v: p for some in readings for v, p in charted(some, [(0, 32, "P1"), (32, 99, "P2")]).items()})


# ---- Against a naive model ----

class Model:
    """Who lay where: the latest thing told of each patient by its time, and of each device; nothing else is known."""

    def __init__(self):
        self.stays, self.places, self.priors = {}, {}, {}  # priors: of each patient the beds that transfers were told to come from

    def bed_of(self, history, minute):
        told = [bed for when, bed in sorted(history.items()) if when <= minute]
        return told[-1] if told else None

    def entered(self, patient, minute):
        """When the patient came to where he lies, or was told to be there again."""
        return max((when for when in self.stays[patient] if when <= minute), default=None)

    def came_from(self, patient, minute):
        since = self.entered(patient, minute)
        before = self.bed_of(self.stays[patient], since - 1)
        return self.came_from(patient, since - 1) if before == self.stays[patient][since] else self.priors.get(patient, {}).get(since, before)

    def beds(self, patient, minute):
        """Where the patient was, and where transfers that follow say that he was."""
        history, beds = self.stays[patient], set()
        for when, prior in self.priors.get(patient, {}).items():
            was = self.bed_of(history, when - 1)
            if when > minute and was not in (None, prior) and self.entered(patient, when - 1) <= minute and \
                    not (was == history[when] and self.came_from(patient, when - 1) == prior):
                beds.add(prior)
        return (beds | {self.bed_of(history, minute)}) - {None}

    def there(self, device, minute):
        bed = self.bed_of(self.places.get(device, {}), minute)
        return [(p, self.beds(p, minute)) for p in self.stays if bed is not None and bed in self.beds(p, minute)]

    def whose(self, device, minute):
        there = self.there(device, minute)
        return there[0][0] if len(there) == 1 and len(there[0][1]) == 1 else None


def told_at_random(ward, model, chance, free):
    """One movement at a free minute, told now, whenever it was."""
    minute = free.pop()
    if chance.random() < 0.3:
        device, bed = chance.choice(("m1", "m2")), chance.choice((3, 4, 5))
        ward.place(device, ICU.format(bed), minute)
        model.places.setdefault(device, {})[minute] = bed
        return
    patient = chance.choice(("P1", "P2", "P3"))
    before = model.bed_of(model.stays.setdefault(patient, {}), minute)
    if before is not None and chance.random() < 0.3:
        ward.adt("A03", minute, patient, ICU.format(before))
        model.stays[patient][minute] = None
        return
    bed = chance.choice([b for b in (3, 4, 5) if b != before])
    if before is None:
        ward.adt("A01", minute, patient, ICU.format(bed))
    else:
        ward.adt("A02", minute, patient, ICU.format(bed), ICU.format(before))
        model.priors.setdefault(patient, {})[minute] = before
    model.stays[patient][minute] = bed


def test_movements_and_readings_in_any_order(hubs):
    for seed in (0, 1, 2, 3, 205, 301):
        chance, model, readings, away = random.Random(seed), Model(), {}, False
        ward = Ward(hubs, {"pdms": {"corrections": "resend", "interval_s": seed % 2, "outbox_max": (64, 3)[seed // 2 % 2]}})
        free = [m for m in range(0, 56, 4)]
        chance.shuffle(free)
        for turn in range(26):
            if free and chance.random() < 0.5:
                told_at_random(ward, model, chance, free)
            else:
                device = chance.choice(("m1", "m2"))
                minutes = [4 * chance.randrange(-2, 14) + 2 + turn / 100 for _ in range(chance.randrange(1, 6))]
                for minute, value in every(ward, device, sorted(set(minutes))).items():
                    readings[value] = device, 60 if minute == "now" else minute
            if chance.random() < 0.15:
                ward.kill()
                ward.again()
            if chance.random() < 0.2:
                away = not away
                ward.receivers["pdms"].stop() if away else ward.receivers["pdms"].start()
        if away:
            ward.receivers["pdms"].start()
        last = {value: model.whose(*what) for value, what in readings.items()}
        settled(ward, {value: patient for value, patient in last.items() if patient is not None},
                {value for value, what in readings.items() if contested(model, *what)}, seed)
        ward.hub.stop()


def contested(model, device, minute):
    there = model.there(device, minute)
    return len(there) > 1 or (len(there) == 1 and len(there[0][1]) > 1)


def settled(ward, expected, contested, seed):
    """Contested ones are nobody's news: they stay where they were when the contradiction came up, or are held."""
    def where():
        return {v: p for v, p in ward.receivers["pdms"].chart().where().items() if v not in contested}
    try:
        wait_for(lambda: where() == expected, f"the charts of seed {seed}", 20, 0.1)
    except AssertionError:
        assert where() == expected, f"seed {seed}"
        raise
