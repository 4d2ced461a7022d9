#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How fast the inbound HL7 door is: durable ADT messages a second over some connections, and the gateway's CPU for each.

    tests/bench/hl7_in.py --program build/bench/vitalgate --load build/bench/bench_hl7_load [--connections 8] [--seconds 10] [--ahead 1]
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness.hub import Hub, free_port  # noqa: E402


def cpu_s(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid):
    return next(int(line.split()[1]) / 1024 for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))


def measure(options):
    with tempfile.TemporaryDirectory(prefix="vg-bench-", dir=options.state) as folder:
        port = free_port()
        hub = Hub(folder, options.program, bus=False, options={
            "mqtt": {"enabled": False}, "coap": {"enabled": False},
            "hl7_in": {"enabled": True, "address": "127.0.0.1", "port": port, "connections_max": 256, "connections_of_one": 256,
                       "peers": [{"name": "adt", "zone": "UTC", "addresses": ["127.0.0.1"]}]}})
        hub.prepare().start_gateway()
        try:
            before, load = cpu_s(hub.gateway.pid), os.getloadavg()[0]
            done = subprocess.run([options.load, "--port", str(port), "--connections", str(options.connections), "--seconds", str(options.seconds),
                                   "--ahead", str(options.ahead)], capture_output=True, text=True, check=True)
            result = json.loads(done.stdout)
            result["cpu_us_each"] = round((cpu_s(hub.gateway.pid) - before) * 1e6 / result["messages"], 1)
            result["resident_mb"] = round(resident_mb(hub.gateway.pid), 1)
            intake = hub.status()["intake"]
            result["commits"], result["commit_us_mean"] = intake["commits"], round(intake["commit_us_mean"])
            result["machine_load_before"] = round(load, 2)
            return result
        finally:
            hub.gateway.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--load", required=True)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--ahead", type=int, default=1)
    parser.add_argument("--state", help="folder for the store: on the disk that is to be measured")
    print(json.dumps(measure(parser.parse_args()), indent=1))


if __name__ == "__main__":
    main()
