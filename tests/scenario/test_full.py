# SPDX-License-Identifier: Apache-2.0
"""A store at its budget and a disk without room: refused truthfully, nothing acknowledged is lost, taken up again by itself."""
import itertools
import json
import os
import subprocess
import time

from harness.clients import Subscriber, by_certificate, coap, coap_psk, iso, now_ms, run
from harness.hub import ROOT, wait_for


FILLER = "filler"
PAYLOAD = ROOT / "tests" / "bench" / "payloads" / "reading.senml.json"


def fill(hub, program, first):
    """Readings as fast as they are acknowledged, for two seconds or until refused; returns how many were acknowledged so far."""
    ledger = hub.state / "filler.ledger"
    subprocess.run([str(a) for a in [
        program.parent / "bench_load", "--mqtt", "--port", hub.mqtt_port, "--ca", hub.pki.ca, "--ca-key", hub.pki.ca_key, "--device", FILLER,
        "--payload", PAYLOAD, "--topic", "devices/{device}/senml", "--window", 60, "--warmup", 0, "--idle", 0, "--seconds", 2, "--quiet",
        "--base-ms", now_ms() - 864000000, "--seq-first", first, "--ledger", ledger]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
    return sum(1 for line in open(ledger, encoding="ascii") if line.startswith("A"))


def stays_full(hub):
    """At the mark it may still take a little: full means full for a while."""
    for _ in range(5):
        if not hub.status()["store"]["full"]:
            return False
        time.sleep(0.3)
    return True


def fill_until_refused(hub, program):
    hub.add_device(FILLER, "senml", "--cert-subject", FILLER)
    first = acknowledged = 0
    while not stays_full(hub):
        acknowledged = fill(hub, program, first)
        first += 1000000
        assert first < 100000000, "the store never filled"
    return acknowledged


def test_budget(hubs, program):
    # The bus may stay behind with all of the store: with less, its oldest are left out by and by, and intake goes on.
    hub = hubs(options={"store": {"budget_mb": 16, "reserve_mb": 8, "retention_h": 1, "retention_full_h": 0}, "bus": {"backlog_percent_max": 100}})
    hub.start()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    sensor = hub.add_device("s1", "senml", "--psk")
    hub.broker.stop()  # the bus takes nothing: nothing may be trimmed
    acknowledged = fill_until_refused(hub, program)

    pack = json.dumps([{"n": "temperature_body", "u": "Cel", "v": 36.6, "t": now_ms() / 1000}])
    refused = coap(hub, "post", "readings", pack, auth=coap_psk(sensor), content_format=110)
    assert "5.03" in refused.stdout + refused.stderr
    done = run(["mosquitto_pub", "-h", "127.0.0.1", "-p", hub.mqtt_port, "-V", "5", "-i", "late", "-q", "1", "-t", "ward/w/m1/vitals", "-m",
                json.dumps({"time": iso(now_ms()), "hr": 60}), *by_certificate(hub, "m1")], 20)
    assert done.returncode != 0
    assert acknowledged > 1000 and len(hub.readings(FILLER)) >= acknowledged

    # The bus comes back, takes everything; what it took is trimmed; intake goes on without anybody's help.
    hub.start_bus()
    wait_for(lambda: not hub.status()["store"]["full"], "room again", 120, 0.2)
    accepted = coap(hub, "post", "readings", pack, auth=coap_psk(sensor), content_format=110)
    assert "5.03" not in accepted.stdout + accepted.stderr
    assert hub.readings("s1")[-1]["value"] == 36.6


def test_disk(hubs, program):
    """A file system of its own, so small that the disk is full long before the budget."""
    hub = hubs(bus=False, options={"store": {"budget_mb": 4096, "disk_reserve_mb": 4}})
    data = hub.state / "data"
    data.mkdir()
    hub.start_gateway(wrap=["unshare", "-m" if os.getuid() == 0 else "-rm", "sh", "-c", f"mount -t tmpfs -o size=48m none {data} && exec \"$@\"", "sh"])
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    inside = f"/proc/{hub.gateway.pid}/root{data}"
    with open(f"{inside}/ballast", "wb") as file:
        file.write(b"\0" * (12 << 20))
    acknowledged = fill_until_refused(hub, program)
    kept = len(hub.readings(FILLER))
    assert acknowledged > 1000 and kept >= acknowledged
    os.unlink(f"{inside}/ballast")
    wait_for(lambda: not hub.status()["store"]["full"], "room again", 60, 0.2)
    fill(hub, program, 99000000)
    assert len(hub.readings(FILLER)) > kept


def test_a_disk_that_others_fill(hubs, program):
    """Somebody else's files take all the room, several times, in the middle of everything: what was acknowledged is there afterwards, in the journal or the series,
    the gateway has not ended, and nobody has to help it."""
    hub = hubs(bus=False, options={"store": {"budget_mb": 4096, "disk_reserve_mb": 4, "retention_h": 1, "retention_full_h": 0}, "series": {"hold_min": 1}})
    data = hub.state / "data"
    data.mkdir()
    hub.start_gateway(wrap=["unshare", "-m" if os.getuid() == 0 else "-rm", "sh", "-c", f"mount -t tmpfs -o size=64m none {data} && exec \"$@\"", "sh"])
    pid = hub.gateway.pid
    hub.add_device(FILLER, "senml", "--cert-subject", FILLER)
    ballast = f"/proc/{pid}/root{data}/ballast"
    acknowledged = fill(hub, program, 0)
    for i in range(1, 4):
        with open(ballast, "wb") as file:
            try:
                while file.write(b"\0" * 65536):  # to the last block
                    file.flush()
            except OSError:
                pass
        acknowledged = fill(hub, program, i * 100000000 - 1000000)  # within what is trimmed, or refused
        hub.cli("rebuild", check=False)  # the series want room, too
        assert hub.gateway.alive() and hub.status()["store"]["last_position"] > 0
        os.unlink(ballast)
        firsts, before = itertools.count(i * 100000000, 1000000), acknowledged
        wait_for(lambda: fill(hub, program, next(firsts)) > before, "room again", 90, 0.2)
        acknowledged = fill(hub, program, next(firsts))
    assert hub.gateway.pid == pid and acknowledged > 1000
    wait_for(lambda: hub.status()["parts"]["series"]["state"] == "running", "the series to go on", 60, 0.2)
    assert json.loads(hub.cli("verify", "--json").stdout.splitlines()[-1])["damaged_places"] == 0
    stored = hub.cli("query", "--device", FILLER, "--format", "csv").stdout.count("\n") - 1
    assert stored >= acknowledged, (stored, acknowledged)
