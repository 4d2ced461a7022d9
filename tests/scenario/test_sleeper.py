# SPDX-License-Identifier: Apache-2.0
"""Somebody asks for much and then does not read it: nothing waits for that, and no file grows by it. Late readings rewrite every chunk again and again meanwhile:
pages of the chunks of before can be used again only where no transaction of a reader is left open."""
import contextlib
import json
import os
import signal
import subprocess
import time

from harness.clients import by_certificate, iso, now_ms, publish, run
from harness.hub import wait_for

READINGS = 24000


def send(hub, frames):
    done = run(["mosquitto_pub", "-h", "127.0.0.1", "-p", hub.mqtt_port, "-i", "m1", "-q", 1, "-t", "ward/w/m1/vitals", *by_certificate(hub, "m1"), "-l"],
               input="".join(json.dumps(frame) + "\n" for frame in frames))
    assert done.returncode == 0, done.stderr


def churn(hub, start, rounds, first):
    """Something late into every chunk, and all chunks written anew; the sizes of both files after each round."""
    sizes = []
    for i in range(first, first + rounds):
        send(hub, [{"time": iso(start + n * 1000 + 1 + i), "hr": 100 + n % 90} for n in range(0, READINGS, 400)])
        hub.cli("rebuild")
        status = hub.status()
        sizes.append((status["parts"]["series"]["file_bytes"], status["parts"]["series"]["chunks_merged"]))
    return sizes


@contextlib.contextmanager
def asleep(hub, *args):
    """A command that was stopped when its answer had begun and did not fit anywhere."""
    child = subprocess.Popen([str(hub.program), args[0], *args[1:2 if args[0] == "patient" else 1], "-c", str(hub.file), *args[2 if args[0] == "patient" else 1:]],
                             env=hub.env, stdout=subprocess.PIPE, start_new_session=True)
    os.read(child.stdout.fileno(), 1)
    os.killpg(child.pid, signal.SIGSTOP)  # with the child that takes an export
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGCONT)
            os.killpg(child.pid, signal.SIGKILL)
        child.stdout.close()
        child.wait()


def test_who_sleeps_over_an_answer_holds_up_nothing(hubs):
    hub = hubs(bus=False, options={"series": {"hold_min": 1}}).start()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    hub.cli("associate", "--device", "m1", "--patient", "71^^^K", "--from", "-20h")
    start = now_ms() // 1000 * 1000 - (READINGS + 600) * 1000
    send(hub, [{"time": iso(start + i * 1000), "hr": 40 + i * 7919 % 140, "spo2": 60 + i * 104729 % 40} for i in range(READINGS)])
    hub.cli("rebuild")
    before = churn(hub, start, 3, 0)
    assert before[-1][1] > before[0][1]  # chunks were merged
    most = max(size for size, _ in before)
    with contextlib.ExitStack() as sleepers:
        for args in (("query", "--device", "m1", "--json"), ("query", "--device", "m1", "--format", "csv"), ("export", "--device", "m1", "--format", "jsonl"),
                     ("patient", "export", "--patient", "71^^^K", "--progress")):
            child = sleepers.enter_context(asleep(hub, *args))
            assert child.poll() is None
        after = churn(hub, start, 4, 3)
        assert after[-1][1] > before[-1][1]
        growth = [size - most for size, _ in after]
        # What comes makes the store greater by little; every round's pages at once would be many times that.
        assert max(growth) < most / 4, (before, after)
        # The store is closed and opened below those who sleep.
        hub.options["series"]["numerics_d"] = 300
        hub.write_config()
        began = time.monotonic()
        assert "series" in hub.cli("reload").stdout
        assert publish(hub, "m1", "ward/w/m1/vitals", json.dumps({"time": iso(now_ms()), "hr": 60}), auth=by_certificate(hub, "m1")).returncode == 0
        assert len(hub.cli("query", "--device", "m1", "--from", "-1m", "--json").stdout.splitlines()) >= 1
        assert time.monotonic() - began < 20
        # One wakes up, and has its answer.
        with asleep(hub, "export", "--device", "m1", "--signal", "spo2", "--format", "jsonl") as child:
            os.killpg(child.pid, signal.SIGCONT)
            assert len(child.stdout.read().splitlines()) == READINGS
            wait_for(lambda: child.poll() is not None, "the export to end")
            assert child.returncode == 0
        began = time.monotonic()
        hub.gateway.stop()
        assert time.monotonic() - began < 15
    hub.start_gateway()
    hub.cli("verify")
