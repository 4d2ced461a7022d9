# SPDX-License-Identifier: Apache-2.0
"""The running gateway on a disk that fails: EIO and ENOSPC on write, on the committing page and on sync. Nobody is told "safe" for what is
not, the process ends with its own status, and the next start has everything that was acknowledged."""
import os
import subprocess

import pytest

from harness.clients import now_ms
from harness.hub import ROOT, wait_for

PAYLOAD = ROOT / "tests" / "bench" / "payloads" / "reading.senml.json"
STORE_FAILED = 74


def load(hub, program, first, seconds):
    ledger = hub.state / "ledger"
    subprocess.run([str(a) for a in [
        program.parent / "bench_load", "--mqtt", "--port", hub.mqtt_port, "--ca", hub.pki.ca, "--ca-key", hub.pki.ca_key, "--device", "dev-%d",
        "--connections", 4, "--payload", PAYLOAD, "--topic", "devices/{device}/senml", "--window", 5, "--warmup", 0, "--idle", 0, "--seconds",
        seconds, "--rate", 2000, "--quiet", "--base-ms", hub.base_ms, "--seq-first", first, "--ledger", ledger]],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
    rows = {"S": set(), "A": set()}
    for line in open(ledger, encoding="ascii"):
        what, device, seq = line.split()
        rows[what].add((device, int(seq)))
    return rows


@pytest.mark.parametrize("fault", ["write:20:EIO", "write:20:ENOSPC", "short:20:ENOSPC", "meta:8:EIO", "meta:8:ENOSPC", "sync:8:EIO",
                                   "sync:8:ENOSPC", "sync:8:EIO:stays"])
def test_a_failing_disk_ends_the_gateway_truthfully(hubs, program, fault):
    hub = hubs(bus=False)
    hub.base_ms = now_ms() - 864000000
    hub.start()
    for i in range(4):
        hub.add_device(f"dev-{i}", "senml", "--cert-subject", f"dev-{i}")
    load(hub, program, 0, 0.3)
    hub.gateway.stop()

    # The fault strikes somewhere in the load that follows the start.
    env = dict(os.environ, LD_PRELOAD=str(program.parent / "faults.so"), STORE_FAULT=fault,
               ASAN_OPTIONS="verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", ""))
    hub.gateway = hub.spawn_gateway(env=env)
    wait_for(lambda: not hub.gateway.alive() or hub.answers(), "the gateway to answer or to end", 30)
    if hub.gateway.alive():
        load(hub, program, 100000, 3)
        wait_for(lambda: not hub.gateway.alive(), "the gateway to end", 30)
    assert hub.gateway.child.returncode in (STORE_FAILED, 1), hub.gateway.child.returncode

    hub.start_gateway()
    rows = load(hub, program, 200000, 0.3)
    kept = [(f"dev-{i}", r) for i in range(4) for r in hub.times(f"dev-{i}")]
    assert len(kept) == len(set(kept))
    assert len(rows["A"]) > 10 and rows["A"] <= set(kept) <= rows["S"]
