#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How fast an HL7 destination catches up: a store with days of undelivered readings, the whole gateway, a receiver that answers at once, and a live device meanwhile.

    tests/bench/hl7_out.py --program build/bench/vitalgate --tools build/bench [--devices 100] [--minutes 4320] [--only associated] [--state FOLDER]
"""
import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness.clients import by_certificate, iso, now_ms  # noqa: E402
from harness.hub import Hub, wait_for  # noqa: E402

LIVE_BED = "LIVE^^1"
# What is measured: the destination's options, whether patients lie in the beds, and how long at most (s; None: until all is sent).
VARIANTS = {
    "nobody associated": ({"backlog_per_s": 0}, False, None),
    "patients associated": ({"backlog_per_s": 0}, True, None),
    "patients associated, 100/s for a minute": ({"backlog_per_s": 100}, True, 60),
}


def pinned(core):
    """A command that runs its arguments on one core, where there are several."""
    return ["taskset", "-c", str(core)] if (os.cpu_count() or 1) > 1 else []


class Peer:
    """The receiver, as a process of its own."""

    def __init__(self, tools, core):
        self.child = subprocess.Popen([*pinned(core), str(pathlib.Path(tools) / "bench_hl7_peer"), "--live", LIVE_BED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.child.stdout.readline())

    def report(self):
        """What came since the last report."""
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        return json.loads(self.child.stdout.readline())

    def stop(self):
        self.child.stdin.close()
        self.child.wait(10)


class Live(threading.Thread):
    """A device at the bedside: a value a second over one connection, sent on at once."""

    def __init__(self, hub):
        super().__init__(daemon=True)
        hub.add_device("live", "bedside-json", "--cert-subject", "live", "--bed", LIVE_BED, "--ward", "live")
        self.over = threading.Event()
        self.child = subprocess.Popen(["mosquitto_pub", "-h", "127.0.0.1", "-p", str(hub.mqtt_port), "-i", "live", "-q", "1", "-t", "ward/live/live/vitals", "-l",
                                       *map(str, by_certificate(hub, "live"))], stdin=subprocess.PIPE, text=True)
        self.start()

    def run(self):
        count = 0
        while not self.over.wait(1):
            count += 1
            self.child.stdin.write(json.dumps({"time": iso(now_ms()), "hr": 60 + count % 40}) + "\n")
            self.child.stdin.flush()

    def stop(self):
        self.over.set()
        self.join()
        self.child.stdin.close()
        self.child.wait(10)


def thread_name(task):
    return (task / "comm").read_text().strip().rstrip("0123456789")


def cpu_by_thread(pid):
    """User and system time of each thread, in microseconds, from the scheduler's own figures."""
    found = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            name = thread_name(task)
            found[name] = found.get(name, 0) + int((task / "schedstat").read_text().split()[0]) / 1000
    return found


def anonymous_mb(pid):
    """Without the store's pages, which the kernel keeps as long as it likes."""
    return next(int(line.split()[1]) / 1024 for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("RssAnon"))


def write_census(path, devices, hours):
    since = iso(now_ms(-(hours + 1) * 3600))
    rows = [f"ICU^^{n},{100000 + n},KLINIK,Muster{n},Maria,19600101,F,V{n},{since}\n" for n in range(1, devices + 1)]
    path.write_text("bed,patient,authority,family,given,birth,sex,visit,from\n" + "".join(rows))


def prepare(folder, options, destination, peer, associated):
    hub = Hub(folder, options.program, bus=False, options={
        "store": {"budget_mb": 16384, "disk_reserve_mb": 16}, "coap": {"enabled": False},
        "hl7": {"enabled": True, "destinations": [{
            "name": "pdms", "host": "127.0.0.1", "port": peer.port, "production": False, "unassociated": "send", "interval_s": 60, "select": "last",
            "rules": [{"signal": "heart_rate", "interval_s": 0}], **destination}]}})
    hub.prepare()
    subprocess.run([pathlib.Path(options.tools) / "bench_hl7_backlog", hub.state / "data", str(options.devices), str(options.minutes), "pdms"], check=True,
                   stdout=subprocess.DEVNULL)
    if associated:
        write_census(hub.state / "census.csv", options.devices, options.minutes / 60)
        hub.cli("census", "import", hub.state / "census.csv")
    return hub


def outlet(hub):
    return hub.status()["parts"]["hl7"]["pdms"]


def run(hub, options, peer, seconds):
    """From the daemon's start until all is acknowledged, or for some seconds: figures of the whole."""
    expected = options.devices * options.minutes
    hub.start_gateway(wrap=pinned(0))
    live = Live(hub)
    try:
        if seconds:
            time.sleep(seconds / 4 if getattr(options, "quick", False) else seconds)
        else:
            wait_for(lambda: hub.gateway.check() and outlet(hub)["acknowledged"] >= expected, "the backlog to be acknowledged", expected / 200 + 60, every=0.5)
        cpu, status, got = cpu_by_thread(hub.gateway.pid), hub.status(), peer.report()
        memory = anonymous_mb(hub.gateway.pid)
    finally:
        live.stop()
    return cpu, status, got, memory


def measure(name, options):
    destination, associated, seconds = VARIANTS[name]
    with tempfile.TemporaryDirectory(prefix="vg-bench-", dir=options.state) as folder:
        peer = Peer(options.tools, (os.cpu_count() or 1) - 1)
        hub = prepare(folder, options, destination, peer, associated)
        load = os.getloadavg()[0]
        try:
            cpu, status, got, memory = run(hub, options, peer, seconds)
        finally:
            hub.stop()
            peer.stop()
    messages = got["messages"]
    elapsed = got["last"] - got["first"]
    return {
        "variant": name, "backlog": options.devices * options.minutes, "messages": messages, "bytes_each": round(got["bytes"] / messages), "seconds": round(elapsed, 2),
        "per_s": round((messages - 1) / elapsed), "cpu_us_each": round(sum(cpu.values()) / messages, 1),
        "cpu_us_by_thread": {thread: round(us / messages, 1) for thread, us in sorted(cpu.items(), key=lambda item: -item[1]) if us / messages >= 0.05},
        "duplicates": got["duplicates"], "gap_ms_max": got["gap_ms_max"], "live": got["live"], "live_p50_ms": got["live_p50_ms"], "live_p99_ms": got["live_p99_ms"],
        "live_max_ms": got["live_max_ms"], "commits": status["intake"]["commits"], "commit_us_mean": round(status["intake"]["commit_us_mean"]),
        "anonymous_mb": round(memory, 1), "machine_load_before": round(load, 2),
    }


def parse(parser):
    parser.add_argument("--program", required=True)
    parser.add_argument("--tools", required=True, help="folder of bench_hl7_peer and bench_hl7_backlog")
    parser.add_argument("--devices", type=int, default=100)
    parser.add_argument("--minutes", type=int, default=4320, help="of the backlog; 4320 are three days")
    parser.add_argument("--state", help="folder for the store: on the disk that is to be measured")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parse(parser)
    parser.add_argument("--only", choices=VARIANTS, help="one variant")
    options = parser.parse_args()
    for name in VARIANTS:
        if options.only in (None, name):
            print(json.dumps(measure(name, options), indent=1), flush=True)


if __name__ == "__main__":
    main()
