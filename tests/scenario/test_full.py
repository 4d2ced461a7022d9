# SPDX-License-Identifier: Apache-2.0
"""A store at its budget and a disk without room: refused truthfully, nothing acknowledged is lost, taken up again by itself."""
import json
import os
import subprocess
import time

from harness.clients import Subscriber, by_certificate, coap, coap_psk, iso, now_ms, run
from harness.hub import wait_for


def fill(hub, start, count=4000, version="311"):
    """Sends count readings over one connection; returns the finished mosquitto_pub."""
    lines = "".join(json.dumps({"time": iso(start + i), "hr": 40 + i % 200, "note": None}) + "\n" for i in range(count))
    return run(["mosquitto_pub", "-h", "127.0.0.1", "-p", hub.mqtt_port, "-V", version, "-i", "filler", "-q", "1", "-t",
                "ward/w/m1/vitals", "-l", *by_certificate(hub, "m1")], 15, input=lines)


def stays_full(hub):
    """At the mark it may still take a little: full means full for a while."""
    for _ in range(5):
        if not hub.status()["store"]["full"]:
            return False
        time.sleep(0.3)
    return True


def fill_until_refused(hub, start):
    sent = 0
    while not stays_full(hub):
        try:
            fill(hub, start + sent)
        except subprocess.TimeoutExpired:  # a 3.1.1 client knows only a closed connection, and tries again
            pass
        sent += 4000
        assert sent < 400000, "the store never filled"


def test_budget(hubs):
    hub = hubs(options={"store": {"budget_mb": 24, "reserve_mb": 8, "retention_h": 1, "retention_full_h": 0}})
    hub.start()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    sensor = hub.add_device("s1", "senml", "--psk")
    hub.broker.stop()  # the bus takes nothing: nothing may be trimmed
    start = now_ms() - 1000000
    fill_until_refused(hub, start)

    pack = json.dumps([{"n": "temperature_body", "u": "Cel", "v": 36.6, "t": now_ms() / 1000}])
    refused = coap(hub, "post", "readings", pack, auth=coap_psk(sensor), content_format=110)
    assert "5.03" in refused.stdout + refused.stderr
    done = run(["mosquitto_pub", "-h", "127.0.0.1", "-p", hub.mqtt_port, "-V", "5", "-i", "late", "-q", "1", "-t", "ward/w/m1/vitals", "-m",
                json.dumps({"time": iso(now_ms()), "hr": 60}), *by_certificate(hub, "m1")], 20)
    assert done.returncode != 0
    kept = len(hub.readings("m1"))
    assert kept > 1000

    # The bus comes back, takes everything; what it took is trimmed; intake goes on without anybody's help.
    hub.start_bus()
    wait_for(lambda: not hub.status()["store"]["full"], "room again", 120, 0.2)
    accepted = coap(hub, "post", "readings", pack, auth=coap_psk(sensor), content_format=110)
    assert "5.03" not in accepted.stdout + accepted.stderr
    assert hub.readings("s1")[-1]["value"] == 36.6


def test_disk(hubs):
    """A file system of its own, so small that the disk is full long before the budget."""
    hub = hubs(bus=False, options={"store": {"budget_mb": 4096, "disk_reserve_mb": 4}})
    data = hub.state / "data"
    data.mkdir()
    hub.start_gateway(wrap=["unshare", "-rm", "sh", "-c", f"mount -t tmpfs -o size=48m none {data} && exec \"$@\"", "sh"])
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    inside = f"/proc/{hub.gateway.pid}/root{data}"
    with open(f"{inside}/ballast", "wb") as file:
        file.write(b"\0" * (12 << 20))
    start = now_ms() - 1000000
    fill_until_refused(hub, start)
    kept = len(hub.readings("m1"))
    assert kept > 1000
    os.unlink(f"{inside}/ballast")
    wait_for(lambda: not hub.status()["store"]["full"], "room again", 60, 0.2)
    assert fill(hub, now_ms(), 50).returncode == 0
    assert len(hub.readings("m1")) == kept + 50
