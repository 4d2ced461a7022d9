# SPDX-License-Identifier: Apache-2.0
"""Steps over half a day, put together from roll-ups: what the readings come to, also when one comes late and after a kill."""
import json

import pytest

from harness.clients import by_certificate, iso, now_ms, publish, run
from harness.hub import wait_for

HOUR_MS = 3600 * 1000


def lines(text):
    return [json.loads(line) for line in text.splitlines() if line]


def query(hub, *args):
    return lines(hub.cli("query", "--device", "m1", *args, "--json").stdout)


def expected(readings, step_ms):
    """By hand."""
    steps = {}
    for ms, value in sorted(readings.items()):
        steps.setdefault(ms // step_ms * step_ms, []).append(value)
    return [(iso(ms)[:19], len(v), min(v), max(v), pytest.approx(sum(v) / len(v), rel=1e-6), v[0], v[-1]) for ms, v in sorted(steps.items())]


def check(hub, readings):
    for step, step_ms in (("1m", 60000), ("15m", 900000), ("1h", HOUR_MS), ("6h", 6 * HOUR_MS)):
        rows = [(s["time"][:19], s["count"], s["min"], s["max"], s["mean"], s["first"], s["last"]) for s in query(hub, "--step", step)]
        assert rows == expected(readings, step_ms), step


def test_steps_over_half_a_day(hubs):
    hub = hubs(bus=False).start()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1", "--ward", "3a")
    start = now_ms() // 1000 * 1000 - 14 * HOUR_MS
    readings = {start + i * 5000: 60 + i * 7 % 40 for i in range(9000)}
    frames = "".join(json.dumps({"time": iso(ms), "hr": value}) + "\n" for ms, value in readings.items())
    run(["mosquitto_pub", "-h", "127.0.0.1", "-p", hub.mqtt_port, "-i", "m1", "-q", 1, "-t", "ward/w/m1/vitals", *by_certificate(hub, "m1"), "-l"],
        input=frames)
    wait_for(lambda: len(query(hub)) == 9000, "all readings")
    wait_for(lambda: json.loads(hub.cli("verify", "--json").stdout)["rollups"] > 0, "roll-ups")
    check(hub, readings)
    # What is late is in the very next answer, though its hours were summed up long ago.
    late = start + 2 * HOUR_MS + 1000
    readings[late] = 200
    publish(hub, "m1", "ward/w/m1/vitals", json.dumps({"time": iso(late), "hr": 200}), auth=by_certificate(hub, "m1"))
    check(hub, readings)
    hub.gateway.kill()
    hub.gateway.child.wait()
    check(hub, readings)
    hub.start_gateway()
    check(hub, readings)
    assert "all whole" in hub.cli("verify").stdout
