# SPDX-License-Identifier: Apache-2.0
"""A patient's data is erased while others read, copy and rebuild the same store: nobody waits for ever, everybody is answered, and nothing of it comes back."""
import json
import os
import signal
import socket
import threading
import time

from harness.clients import iso, now_ms
from harness.hub import wait_for
from test_erase_exports import erase
from test_right_patient import ICU, Ward
from test_sleeper import asleep, send

READINGS = 6000


class Busy(threading.Thread):
    """Does a command again and again."""

    def __init__(self, hub, *args):
        super().__init__(daemon=True)
        self.hub, self.args, self.ended, self.answers = hub, args, threading.Event(), []
        self.start()

    def run(self):
        while not self.ended.is_set():
            args = [str(arg).format(len(self.answers)) for arg in self.args]
            self.answers.append(self.hub.cli(*args, check=False))

    def end(self):
        self.ended.set()
        self.join(60)
        assert not self.is_alive(), self.args
        # While a fresh store takes the place of the old one there is none for a moment: that is said.
        return [(done.returncode, done.stderr) for done in self.answers
                if done.returncode != 0 and "series store is not open" not in done.stderr and "series store does not run" not in done.stderr]


def test_while_others_are_at_it(hubs, tmp_path):
    hub = hubs(bus=False, options={"series": {"hold_min": 1}, "control": {"commands_max": 16}}).start()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    hub.cli("associate", "--device", "m1", "--patient", "71^^^K", "--from", "-20h")
    start = now_ms() // 1000 * 1000 - (READINGS + 600) * 1000
    send(hub, [{"time": iso(start + i * 1000), "hr": 40 + i * 7919 % 140, "spo2": 60 + i * 104729 % 40} for i in range(READINGS)])
    hub.cli("rebuild")
    hub.cli("dissociate", "--device", "m1")
    with asleep(hub, "export", "--device", "m1", "--format", "jsonl") as export, asleep(hub, "query", "--patient", "71^^^K", "--json") as query:
        busy = [Busy(hub, *args) for args in (("query", "--device", "m1", "--json"), ("export", "--device", "m1", "--format", "jsonl"),
                                              ("backup", tmp_path / "b{}"), ("rebuild",), ("rebuild", "--fresh"))]
        wait_for(lambda: all(one.answers for one in busy), "everybody to be at it")
        done = json.loads(erase(hub, "71^^^K").stdout)
        assert done["state"] == "done" and done["counts"]["journal"] == 2 * READINGS, done
        counts = [len(one.answers) for one in busy]
        found = wait_for(lambda: (lambda done: done if done.returncode == 0 else None)(hub.cli("query", "--device", "m1", "--json", check=False)), "an answer")
        assert found.stdout == ""
        wait_for(lambda: all(len(one.answers) > count + 1 for one, count in zip(busy, counts)), "everybody to go on", 60)
        failures = [one.end() for one in busy]
        assert failures == [[]] * len(busy), failures
        # Those that slept wake up: what they were given before is theirs, the rest is not there any more.
        for child in (export, query):
            os.killpg(child.pid, signal.SIGCONT)
            text = child.stdout.read()
            assert len(text.splitlines()) < 2 * READINGS
            wait_for(lambda: child.poll() is not None, "the answer to end")
    assert hub.cli("query", "--device", "m1", "--json").stdout == ""
    assert hub.readings("m1") == []
    hub.cli("verify")


def test_a_receiver_that_says_nothing_holds_up_neither_erasure_nor_devices(hubs):
    """A message of another is under way to a receiver that takes it and never answers: it is given two seconds, and sent again later under the same MSH-10."""
    ward = Ward(hubs, {"pdms": {"answer_s_max": 60}}, ("m1", "m2"), moment=time.time())
    hub = ward.hub
    ward.place("m1", ICU.format(1), 0)
    ward.place("m2", ICU.format(2), 0)
    ward.receivers["pdms"].stop()
    mute = socket.create_server(("127.0.0.1", ward.receivers["pdms"].port))
    ward.adt("A01", 10, "71", ICU.format(1))
    ward.adt("A01", 10, "72", ICU.format(2))
    ward.wait(60)
    ward.send("m2", [(ward.now(), "66.5")])
    mute.settimeout(30)
    taken, _ = mute.accept()
    taken.settimeout(30)
    assert b"MSH" in taken.recv(65536)
    ward.send("m1", [(ward.now(), "77.1")])
    ward.wait(60)
    ward.adt("A03", (ward.now() - ward.start) / 60, "71", ICU.format(1))
    began = time.monotonic()
    done = json.loads(erase(hub, "71^^^H").stdout)
    assert done["state"] == "done" and time.monotonic() - began < 30, (done, time.monotonic() - began)
    mute.close()
    taken.close()
    ward.receivers["pdms"].start()
    ward.expect({"66.5": "72"})
