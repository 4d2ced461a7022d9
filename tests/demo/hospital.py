#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A small simulated hospital: tells the gateway by HL7 who lies in which bed. Started by ./run.

Two beds with an order for monitoring each, from an hour before the first start on. Then, step by step, for ever: somebody is transferred to another ward, which is told
20 seconds late, and somebody else takes the bed; somebody is discharged; the next one is admitted to that bed, told a step late; the transferred one goes home.

What is to be sent is in --state before it is sent and until it is acknowledged, with the same control id, as an interface engine does: neither end loses or
doubles anything when the other one stops.
"""
import argparse
import json
import os
import pathlib
import signal
import sys
import threading
import time

import hl7
import hl7.client

NAMES = [("Berger", "Anna", "19520314", "F"), ("Krüger", "Jan", "19710802", "M"), ("Yılmaz", "Elif", "19880521", "F"), ("Novák", "Pavel", "19440117", "M"),
         ("Rossi", "Giulia", "19630930", "F"), ("Müller", "Karl", "19390606", "M"), ("Nguyễn", "Minh", "19951211", "M"), ("Smith", "Grace", "19570423", "F")]
BEDS = ("3a^^1", "3a^^2")
ELSEWHERE = "4b^^7"


def dtm(seconds):
    return time.strftime("%Y%m%d%H%M%S+0000", time.gmtime(seconds))


def message(kind, control, segments, at=None):
    """Of one kind: ADT^A01^ADT_A01, as text with a carriage return behind each segment."""
    head = f"MSH|^~\\&|ADT|HOSPITAL|VITALGATE|HUB|{dtm(at or time.time())}||{kind}|{control}|P|2.5||||||UNICODE UTF-8"
    return "".join(segment + "\r" for segment in [head, *segments])


def pid_pv1(number, bed, since, prior=""):
    family, given, birth, sex = NAMES[number % len(NAMES)]
    pv1 = {2: "I", 3: bed, 6: prior, 19: f"V{number}", 44: dtm(since)}
    return [f"PID|1||{number}^^^HOSPITAL^PI||{family}^{given}||{birth}|{sex}",
            "|".join(["PV1", "1"] + [pv1.get(i, "") for i in range(2, 45)])]


def admission(control, number, bed, since):
    """With the order for monitoring in this bed: two messages."""
    patient = pid_pv1(number, bed, since)
    order = f"O{number}^HOSPITAL"
    return [message("ADT^A01^ADT_A01", control, [f"EVN||{dtm(time.time())}||||{dtm(since)}", *patient]),
            message("ORM^O01^ORM_O01", control + "O", [*patient, f"ORC|NW|{order}|||||||{dtm(since)}", f"OBR|1|{order}||MON^Monitoring^LOCAL"])]


class Hospital:
    def __init__(self, path):
        self.path = path
        self.data = json.loads(path.read_text()) if path.exists() else {"next": 100001, "control": 1, "step": 0, "lying": {}, "queue": []}

    def keep(self):
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.data, ensure_ascii=False, indent=1))
        part.replace(self.path)

    def control(self):
        self.data["control"] += 1
        return f"H{self.data['control'] - 1:06d}"

    def tell(self, kind, segments, at):
        self.data["queue"].append(message(kind, self.control(), [f"EVN||{dtm(time.time())}||||{dtm(at)}", *segments]))

    def admit(self, bed, since):
        number = self.data["next"]
        self.data["next"] += 1
        self.data["lying"][bed] = [number, since]
        self.data["queue"] += admission(self.control(), number, bed, since)

    def transfer(self, bed, to, at):
        number, since = self.data["lying"].pop(bed)
        self.data["lying"][to] = [number, since]
        self.tell("ADT^A02^ADT_A02", pid_pv1(number, to, since, prior=bed), at)

    def discharge(self, bed, at):
        number, since = self.data["lying"].pop(bed)
        self.data["left"] = at
        self.tell("ADT^A03^ADT_A03", pid_pv1(number, bed, since), at)

    def begin(self):
        for bed, (number, since) in self.data["lying"].items():  # in case that the gateway has forgotten: its data were removed
            self.tell("ADT^A08^ADT_A01", pid_pv1(number, bed, since), time.time())
        for bed in BEDS:
            if bed not in self.data["lying"] and not (bed == BEDS[0] and self.data["step"] % 4 == 2):
                self.admit(bed, time.time() - 3600)
        self.keep()

    def step(self):
        now, what = time.time(), self.data["step"] % 4
        if what == 0:
            self.transfer(BEDS[1], ELSEWHERE, now - 20)
            self.admit(BEDS[1], now - 20)
        elif what == 1:
            self.discharge(BEDS[0], now)
        elif what == 2:
            self.admit(BEDS[0], self.data["left"])
        else:
            self.discharge(ELSEWHERE, now)
        self.data["step"] += 1
        self.keep()

    def send(self, client):
        """What waits, in order. An answer that is not AA is said, and the message goes: nobody here would mend it."""
        while self.data["queue"]:
            text = self.data["queue"][0]
            answer = hl7.parse(client.send_message(text).decode("utf-8").strip("\x0b\x1c\r"))
            words = answer.segment("MSA")
            kind, control = text.split("|")[8], text.split("|")[9]
            print(f"{dtm(time.time())} {kind} {control}: {words[1]}" + (f" {answer}" if str(words[1]) != "AA" else ""), flush=True)
            if str(words[2]) != control:
                raise OSError("an answer to another message")
            self.data["queue"].pop(0)
            self.keep()


def serve(hospital, args, stop):
    hospital.begin()
    client, due = None, time.monotonic() + args.step
    while True:
        try:
            client = client or hl7.client.MLLPClient(args.host, args.port)
            client.socket.settimeout(10)
            hospital.send(client)
        except (OSError, ValueError, KeyError, hl7.HL7Exception) as failure:
            print(f"{dtm(time.time())} not sent, it is tried again: {failure!r}", flush=True)
            if client is not None:
                client.close()
            client = None
        if stop.wait(max(0.0, due - time.monotonic()) if client is not None else 1):
            return
        if time.monotonic() >= due:
            due += args.step
            hospital.step()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", required=True, help="file that says who lies where and what is to be sent")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--step", type=float, default=180, help="seconds between events; a clock is known to a minute in its first minute, so less shows readings that are held")
    args = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    serve(Hospital(pathlib.Path(args.state)), args, stop)


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
