# SPDX-License-Identifier: Apache-2.0
"""What a receiving system has charted: ORU messages in the order in which they came, with R, C and W applied by OBR-3, OBX-3, OBX-4 and time."""
import datetime
import pathlib
import re

import hl7

from .hub import ROOT, Process, free_port, listening, wait_for

HEART_RATE = "147842"


def seconds_of(dtm):
    """A DTM with its zone, as seconds since 1970 with milliseconds."""
    whole, fraction, zone = re.fullmatch(r"(\d{14})(\.\d+)?([+-]\d{4})", dtm).groups()
    moment = datetime.datetime.strptime(whole + zone, "%Y%m%d%H%M%S%z").timestamp()
    return round(moment + float(fraction or 0), 3)


class Receiver:
    """A python3-hl7 server that keeps what it got, and may be away for a while."""

    def __init__(self, hub, name):
        self.hub, self.name, self.port, self.folder = hub, name, free_port(), hub.state / f"received-{name}"
        self.process = None

    def start(self, *args):
        self.process = Process(f"receiver {self.name}", ["/usr/bin/python3", ROOT / "tests" / "demo" / "hl7_receiver.py", "--port", self.port,
                                                         "--out", self.folder, *args], self.hub.state / f"receiver-{self.name}.log")
        self.hub.clients.append(self.process)
        wait_for(lambda: self.process.check() and listening(self.port), "the receiver to listen")
        return self

    def stop(self):
        self.process.kill()
        self.process.child.wait()

    def texts(self):
        return [p.read_bytes().decode() for p in sorted(pathlib.Path(self.folder).glob("*.hl7"))]

    def chart(self, merged=None):
        chart = Chart(merged=merged)
        for text in self.texts():
            chart.take(hl7.parse(text))
        return chart


class Chart:
    """values: {patient: {(OBR-3, OBX-3, OBX-4, time): value}}, of one signal. orders: {(patient, value): OBR-2}. merged: {patient: whose chart it is}."""

    def __init__(self, code=HEART_RATE, merged=None):
        self.code, self.merged, self.values, self.orders, self.controls = code, merged or {}, {}, {}, {}

    def take(self, message):
        control = str(message.segment("MSH")[10])
        again = control in self.controls
        assert self.controls.setdefault(control, str(message)) == str(message), f"{control} has two contents"
        patient = str(message.segment("PID")[3]).split("^")[0]
        patient = self.merged.get(patient, patient)
        values, obr = self.values.setdefault(patient, {}), None
        for segment in message:
            if str(segment[0]) == "OBR":
                obr = segment
            if str(segment[0]) != "OBX" or str(segment[3]).split("^")[0] != self.code:
                continue
            moment = str(segment[14]) if len(segment) > 14 and str(segment[14]) else str(obr[7])
            self.apply(patient, values, (str(obr[3]), str(segment[3]), str(segment[4]), seconds_of(moment)), str(segment[5]), str(segment[11]), again)
            self.orders[patient, str(segment[5])] = str(obr[2])

    @staticmethod
    def apply(patient, values, key, value, status, again):
        if status == "W":
            assert again or values.get(key) == value, f"W of {value} for {patient}, who has {values.get(key)}"
            values.pop(key, None)
            return
        assert status in ("R", "C"), status
        assert again or (key in values) == (status == "C"), f"{status} of {value} for {patient}, who has {values.get(key)}"
        values[key] = value

    def where(self):
        """{value: patient}; every value stands once."""
        found = {}
        for patient, values in self.values.items():
            for value in values.values():
                assert value not in found, f"{value} is charted for {found[value]} and {patient}"
                found[value] = patient
        return found
