# SPDX-License-Identifier: Apache-2.0
"""Three days without a receiver. The hub's wall clock is moved through 72 hours in which devices send every hour and patients move. One destination has all of it
at once; one is dead and gets it all when it comes back, in order, at the rate that is configured, new readings between; one may keep back a day and has gaps."""
import collections
import datetime
import json
import re
import subprocess
import time

from harness.clients import by_certificate
from harness.hub import wait_for
from test_right_patient import Ward, senml

HOURS, EACH, RATE, SLOW_RATE = 73, 6, 300, 60
LEFT_OUT = "left out", "older than the outlet's limit"
DEVICES = {"m1": "3", "m2": "3", "m3": "4", "m4": "4", "m5": "5", "m6": "5"}  # and their beds
HEART_RATE = re.compile(r"^OBX\|[^|]*\|[^|]*\|147842\^[^|]*\|[^|]*\|([\d.]+)\|.*", re.M)

Came = collections.namedtuple("Came", "at control patient status value whole")  # at: seconds, by the receiver's clock


class Arrivals:
    """What a receiver got, in the order in which it came; each file is read once."""

    def __init__(self, receiver):
        self.receiver, self.list, self.values = receiver, [], set()

    def look(self):
        while (path := self.receiver.folder / f"{len(self.list) + 1:05d}.hl7").exists():
            text = path.read_bytes().decode()
            lines = text.replace("\r", "\n")
            (match,) = HEART_RATE.finditer(lines)
            patient = next((line for line in lines.split("\n") if line.startswith("PID|")), "PID|||").split("|")[3].split("^")[0]
            self.list.append(Came(path.stat().st_mtime, text.split("|")[9], patient, match.group(0).split("|")[11], match.group(1), text))
            self.values.add(match.group(1))
        return self

    def have(self, values):
        return self.look().values.issuperset(values)

    def first(self):
        """{value: its first arrival}, as it was sent with R."""
        found = {}
        for came in self.look().list:
            if came.status == "R":
                found.setdefault(came.value, came)
        return found


class Feed:
    """A device on one MQTT connection."""

    def __init__(self, ward, device):
        self.child = subprocess.Popen([str(part) for part in (
            "mosquitto_pub", "-h", "127.0.0.1", "-p", ward.hub.mqtt_port, "-i", device, "-q", 1, "-t", f"devices/{device}/senml", "-l",
            *by_certificate(ward.hub, device))], stdin=subprocess.PIPE, text=True)

    def send(self, readings):
        self.child.stdin.write("".join(senml([reading]) + "\n" for reading in readings))
        self.child.stdin.flush()

    def close(self):
        self.child.stdin.close()
        assert self.child.wait(30) == 0


class ThreeDays:
    """The ward and what is expected of it: hour by hour, {value: (device, hour)} and {value: patient}."""

    def __init__(self, hubs):
        self.ward = Ward(hubs, {"live": {"corrections": "resend"}, "dead": {"outbox_max": 5, "backlog_per_s": RATE},
                                "brief": {"outbox_max": 5, "backlog_per_s": SLOW_RATE, "backlog_h_max": 24}}, devices=DEVICES, moment=time.time() + 86400)
        self.arrivals = {name: Arrivals(receiver) for name, receiver in self.ward.receivers.items()}
        self.whose, self.sent, self.slowest = {}, {}, 0
        self.ward.start = self.ward.now()
        for device, bed in DEVICES.items():
            self.ward.place(device, f"ICU^^{bed}", -100)
        self.patients = {"3": "P1", "4": "P3", "5": "P5"}
        for bed, patient in self.patients.items():
            self.ward.adt("A01", -100, patient, f"ICU^^{bed}")
        self.connect()

    def connect(self):
        self.feeds = {device: Feed(self.ward, device) for device in DEVICES}

    def disconnect(self):
        for feed in self.feeds.values():
            feed.close()

    def crash(self):
        """With all that was sent acknowledged."""
        self.disconnect()
        self.ward.kill()
        self.ward.again()
        self.connect()

    def hour_of(self, moment):
        return round((moment - self.ward.start) / 3600, 1)

    def send(self, each=EACH):
        """Every device sends; what they sent. The live destination has it before anything else happens."""
        values, began = [], time.monotonic()
        for device, feed in self.feeds.items():
            readings = [(self.ward.now() + i / 100, self.ward.next_value()) for i in range(each)]
            feed.send(readings)
            for moment, value in readings:
                self.sent[value] = device, self.hour_of(moment), round(moment, 3)
                self.whose[value] = self.patients[DEVICES[device]]
                values.append(value)
        wait_for(lambda: self.arrivals["live"].have(values), f"the live destination to have what was sent in hour {self.hour_of(moment)}", 30)
        self.slowest = max(self.slowest, time.monotonic() - began)
        return set(values)

    def moved(self, bed, patient, since, told_at):
        """Another patient lies there since an hour, which was not known before told_at: what was sent from the bed meanwhile is the new one's."""
        former, self.patients[bed] = self.patients[bed], patient
        self.ward.adt("A02", since * 60, former, f"ICU^^{bed}9", f"ICU^^{bed}")
        self.ward.adt("A01", since * 60, patient, f"ICU^^{bed}")
        for value, (device, hour, _) in self.sent.items():
            if DEVICES[device] == bed and since <= hour < told_at:
                self.whose[value] = patient

    def traced(self, device, name):
        """{hour: how many of its readings are in which state at a destination}."""
        found = collections.defaultdict(collections.Counter)
        for text in self.ward.hub.cli("trace", "--device", device, "--from", "-150h", "--limit", "10000", "--json").stdout.splitlines():
            line = json.loads(text)
            received = datetime.datetime.fromisoformat(line["received"].replace("Z", "+00:00")).timestamp()
            found[self.hour_of(received)].update((step["state"], step.get("words", "")) for step in line["outlets"] if step["outlet"] == f"hl7/{name}")
        return found

    def gap_of_brief(self):
        """Told of nobody else, and without delay: the limits are looked at when the gateway starts, and every minute."""
        assert wait_for(lambda: self.ward.destination("brief").get("gaps"), "the gap to be shown") == 1
        assert all("last_gap" not in self.ward.destination(name) for name in ("live", "dead"))
        assert "LEFT OUT" in self.ward.hub.cli("status").stdout
        gaps = [line for line in (self.ward.hub.state / "vitalgate.log").read_text().splitlines() if "outlet.gap" in line]
        assert gaps and all("outlet=hl7/brief:" in line and LEFT_OUT[1] in line for line in gaps)


def assert_paced(list, new):
    """No second had more of the backlog than the rate allows; a late thread may make good a twentieth of a second's, and what was made before goes at once."""
    times = sorted(came.at for came in list if came.value not in new)
    assert times
    for i, at in enumerate(times):
        many = sum(1 for other in times[i:i + 3 * RATE] if other < at + 1)
        assert many <= RATE * 1.1, f"{many} messages of the backlog within a second"


def assert_in_order(three, name, lanes):
    """Within each lane (a set of values), the messages of a device came in the order of its readings."""
    first = three.arrivals[name].first()
    for lane in lanes:
        last = {}
        for value, came in first.items():
            if value in lane:
                device, _, moment = three.sent[value]
                assert last.get(device, 0) < moment, f"{name}: {value} of {device} came after a later one"
                last[device] = moment


def assert_told_once(three, name, values):
    """Each under one MSH-10 with one content, for the patient whose it was when it was measured, and never for another."""
    controls, contents = collections.defaultdict(set), {}
    for came in three.arrivals[name].look().list:
        assert contents.setdefault(came.control, came.whole) == came.whole, f"{came.control} has two contents"
        controls[came.value].add(came.control)
        assert (came.status, came.patient) == ("R", three.whose[came.value]), f"{name}: {came.value} {three.sent[came.value]}: {came.status} for {came.patient}"
    assert set(controls) == set(values), f"{name}: missing {sorted(set(values) - set(controls))[:5]}, not expected {sorted(set(controls) - set(values))[:5]}"
    assert all(len(ids) == 1 for ids in controls.values())


def charted(arrivals):
    """{value: patient}: what is charted after all, where W takes away what R has told."""
    chart, controls = {}, set()
    for came in arrivals.list:
        if came.control in controls:
            continue
        controls.add(came.control)
        if came.status == "W":
            assert chart.pop(came.value) == came.patient
        else:
            assert came.status == "R" and came.value not in chart
            chart[came.value] = came.patient
    return chart


def assert_traced(three, name, expected):
    """The ledger says the same as the receiver: {(device, hour): how many came}; all others were left out for their age."""
    for device in ("m1", "m4"):
        for hour, states in three.traced(device, name).items():
            sent = sum(many for (state, _), many in states.items() if state == "sent")
            assert sent == expected[device, hour] and states[LEFT_OUT] == sum(states.values()) - sent, (name, device, hour, states)


def three_days(three):
    """A transfer that is told when it happens, one that is told hours later, and a kill of the hub."""
    for hour in range(HOURS):
        if hour == 20:
            three.moved("3", "P2", 19.5, hour)
        if hour == 45:
            three.moved("4", "P4", 40.5, hour)
        if hour == 30:
            three.crash()
        three.send()
        three.ward.wait(3600 if hour < HOURS - 1 else 1800)
    assert three.slowest < 15


def between_the_backlog(three, outage):
    """While the backlog drains, what is measured now does not wait for it."""
    dead = three.arrivals["dead"]
    done = len(dead.look().list)
    wait_for(lambda: len(dead.look().list) > done + RATE / 2, "the backlog to be under way", 60)
    now = three.send(1)
    wait_for(lambda: dead.have(now), "what is measured now to go between the backlog", 20)
    left = len(outage - dead.look().values)
    assert left > RATE and three.ward.destination("dead")["backlog_records"] > 0, f"{left} were left"
    return now


def test_three_days_without_a_receiver(hubs):
    three = ThreeDays(hubs)
    ward, dead, brief = three.ward, three.arrivals["dead"], three.arrivals["brief"]
    ward.start = ward.now() + 3600
    before = three.send()
    wait_for(lambda: dead.have(before) and brief.have(before), "everybody to have what came before")
    ward.wait(3600)
    for name in ("dead", "brief"):
        ward.receivers[name].stop()
    three_days(three)
    outage = set(three.sent) - before
    assert set(dead.look().values) == set(brief.look().values) == before and ward.destination("dead")["state"] == "waiting for the peer"

    # The hub is killed: whose limit is passed is told so, and nobody else.
    three.crash()
    three.gap_of_brief()
    for hour, states in three.traced("m1", "brief").items():
        if 1 <= hour <= HOURS - 26:
            assert states == {LEFT_OUT: EACH}, (hour, states)
        elif hour >= HOURS - 24:
            assert LEFT_OUT not in states, (hour, states)

    # Both come back. Before one of them has all of what it may still have, it is away for longer than a day again; then the hub is killed.
    for name in ("dead", "brief"):
        ward.receivers[name].start()
    new = between_the_backlog(three, outage)
    wait_for(lambda: brief.have(new) and len(brief.look().list) > len(before) + len(new) + 20, "the other one to be on its way")
    ward.receivers["brief"].stop()
    assert ward.destination("brief")["backlog_records"] > 0
    ward.wait(30 * 3600)
    three.crash()
    three.gap_of_brief()
    ward.receivers["brief"].start()
    new |= between_the_backlog(three, outage)
    wait_for(lambda: dead.have(outage | new), "the backlog to be through", 60)
    ward.wait(3600)
    new |= three.send()
    wait_for(lambda: dead.have(new) and brief.have(new), "all to go on as ever")
    for name in ("dead", "brief"):
        wait_for(lambda: ward.destination(name)["backlog_records"] == ward.destination(name)["outbox"] == 0, "nothing to be left")
    three.disconnect()

    # All of it, once, in order, at its rate, for the right patient; and of what was left out every reading is told.
    assert_told_once(three, "dead", set(three.sent))
    assert_in_order(three, "dead", [outage, new])
    assert_paced(dead.list[len(before):], new)
    came = brief.values - before - new
    assert {three.sent[value][1] for value in came} <= {0, *range(HOURS - 24, HOURS)}  # hour 0: in messages before the limit was passed
    assert SLOW_RATE / 3 < len(came) < len(outage) / 3
    assert_told_once(three, "brief", before | came | new)
    assert_in_order(three, "brief", [came, new])
    assert_traced(three, "brief", collections.Counter(three.sent[value][:2] for value in brief.values))
    assert charted(three.arrivals["live"]) == three.whose
