#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures side by side, in one run: this gateway and Mosquitto over MQTT/TLS, this gateway and libcoap's example server over
CoAP/DTLS, a slow disk, and what SIGKILL leaves of what was acknowledged. tests/bench/run builds what it needs and starts it."""
import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

import callgrind
import machine
import plot
import table
from contenders import DEVICES_MAX, CoapServer, Gateway, Load, Mosquitto, payload
from rows import FULL, QUICK, SMOKE

ROOT = pathlib.Path(__file__).resolve().parents[2]
KILL_MESSAGES = 1000


class Bench:
    def __init__(self, args):
        self.args = args
        self.state = pathlib.Path(args.state).resolve()
        self.load = Load(args.load)
        everyone = {
            "vitalgate": lambda: Gateway(self.state, args.program, devices=100 if args.smoke else DEVICES_MAX),
            "mosquitto": lambda: Mosquitto(self.state),
            "coap-server": lambda: CoapServer(self.state, args.coap_server),
        }
        choice = SMOKE if args.smoke else QUICK if args.quick else FULL
        self.rows = [row for row in choice if args.only in row.key]
        wanted = {name for row in self.rows for name in row.contenders()} | ({"vitalgate", "mosquitto"} if args.kill else set())
        self.contenders = {name: make() for name, make in everyone.items() if name in wanted and name not in args.without}
        self.results, self.failures = {}, []
        self.done = 0

    def plan(self):
        """Round by round, row by row, and within a row one after the other: A B, A B."""
        return [(n, row, name) for n in range(self.args.rounds) for row in self.rows
                for name in row.contenders() if name in self.contenders]

    def measure(self, row, name):
        contender = self.contenders[name]
        pid = contender.start(row.auth, slow_ms=row.slow_ms, slowsync=self.args.slowsync)
        try:
            result = self.load.run(*contender.load(row.protocol, row.auth), "--payload", payload(self.args.payload),
                                 "--connections", row.connections, "--window", row.window, "--active", row.active,
                                 "--connect-timeout", 200, "--seconds", self.args.seconds, "--warmup", self.args.warmup,
                                 "--idle", 1.0 if row.connections > 1000 else 0.3, "--server-pid", pid)
            if hasattr(contender, "verify"):
                contender.verify(result)
            return result
        finally:
            contender.stop()

    def measure_all(self):
        plan = self.plan()
        for n, row, name in plan:
            self.done += 1
            try:
                result = self.measure(row, name)
            except (RuntimeError, AssertionError, OSError, subprocess.TimeoutExpired) as failure:
                self.failures.append(f"{row.title}{slow(row)}, {name}, round {n + 1}: {failure}")
                say(f"[{self.done}/{len(plan)}] FAILED: {self.failures[-1]}")
                continue
            self.results.setdefault(row.key, {}).setdefault(name, []).append(result)
            server = result.get("server", {})
            say(f"[{self.done}/{len(plan)}] round {n + 1}/{self.args.rounds}  {row.title}{slow(row)}  {name}: "
                f"{result['acked_per_s']:,}/s, {server.get('cpu_s_per_100k', 0):.3f} s CPU per 100,000, "
                f"p50 {result['latency_ms']['p50']:.2f} ms, p99 {result['latency_ms']['p99']:.2f} ms"
                + (f"  TROUBLE: {result['trouble']}" if "trouble" in result else ""))

    # ---- SIGKILL ----

    def acknowledge_1000(self, contender, auth):
        result = self.load.run(*contender.load("mqtt", auth), "--payload", payload(self.args.payload), "--connections", 1,
                               "--window", 20, "--count", KILL_MESSAGES)
        if result["acked"] != KILL_MESSAGES:
            raise RuntimeError(f"{contender.name} acknowledged {result['acked']} of {KILL_MESSAGES}: {result['first_error']}")

    def kill_mosquitto(self, orderly):
        broker = self.contenders["mosquitto"]
        broker.start("psk12")
        try:
            broker.subscriber("-E")                                # the session now exists, and its owner is away
            self.acknowledge_1000(broker, "psk12")
            broker.process.stop() if orderly else broker.kill()
            broker.start("psk12", keep=True)
            return len(broker.subscriber("-F", "%t", "-W", "3").stdout.splitlines())
        finally:
            broker.stop()

    def kill_gateway(self):
        gateway = self.contenders["vitalgate"]
        gateway.start("psk12")
        try:
            self.acknowledge_1000(gateway, "psk12")
            gateway.kill()
            gateway.begin()
            return gateway.readings(0)
        finally:
            gateway.stop()

    def kill_test(self):
        kept = {}
        if "mosquitto" in self.contenders:
            kept["mosquitto, SIGKILL"] = self.kill_mosquitto(orderly=False)
            kept["mosquitto, orderly end (control)"] = self.kill_mosquitto(orderly=True)
        if "vitalgate" in self.contenders:
            kept["vitalgate, SIGKILL"] = self.kill_gateway()
        for name, count in kept.items():
            say(f"acknowledged {KILL_MESSAGES:,} QoS 1 messages; there after {name}: {count:,}")
        return kept

    # ---- all of it ----

    def run(self):
        self.state.mkdir(parents=True, exist_ok=True)
        about = machine.describe(self.state)
        say("Machine: " + machine.sentence(about))
        if about["load_average"] > 0.5 and not self.args.smoke:
            say("The machine is busy with something else: these figures will be off. Stop what runs and measure again.")
        for contender in self.contenders.values():
            say(f"Preparing {contender.name}")
            contender.prepare()
        report = {"machine": about, "versions": [c.version() for c in self.contenders.values()],
                  "payload": self.args.payload, "seconds": self.args.seconds, "rounds": self.args.rounds}
        if self.args.callgrind:
            report["callgrind"] = callgrind.run(self, say)
            return report
        if self.args.kill:
            report["kill_test"] = self.kill_test()
        self.measure_all()
        report["rows"] = [self.summary(row) for row in self.rows]
        report["failures"] = self.failures
        return report

    def summary(self, row):
        return {"key": row.key, "title": row.title, "protocol": row.protocol, "auth": row.auth, "connections": row.connections,
                "window": row.window, "active": row.active, "slow_ms": row.slow_ms,
                "contenders": {name: summarise(results) for name, results in self.results.get(row.key, {}).items()},
                "raw": self.results.get(row.key, {})}


def slow(row):
    return f", syncs {row.slow_ms} ms slower" if row.slow_ms else ""


def summarise(results):
    def spread(values):
        return {"median": statistics.median(values), "min": min(values), "max": max(values)}

    return {
        "acked_per_s": spread([r["acked_per_s"] for r in results]),
        "cpu_s_per_100k": spread([r["server"]["cpu_s_per_100k"] for r in results]),
        "system_share": spread([r["server"]["system_s"] / r["server"]["cpu_s"] if r["server"]["cpu_s"] else 0 for r in results]),
        "p50_ms": spread([r["latency_ms"]["p50"] for r in results]),
        "p99_ms": spread([r["latency_ms"]["p99"] for r in results]),
        "kb_per_connection": spread([r["server"]["kb_per_connection"] for r in results]),
        "handshake_cpu_ms": spread([r["server"]["handshake_cpu_ms"] for r in results]),
        "handshakes_per_s": spread([r["handshakes_per_s"] for r in results]),
        "server_busy": spread([r["server"]["cpu_s"] / r["window_s"] if r["window_s"] else 0 for r in results]),
        "refused": sum(r["refused"] for r in results), "lost": sum(r["lost"] for r in results),
        "disconnects": sum(r["disconnects"] for r in results),
        "retransmissions": sum(r["retransmissions"] for r in results),
        "trouble": [r["trouble"] for r in results if "trouble" in r],
    }


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def arguments():
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rows, short: about a minute")
    parser.add_argument("--smoke", action="store_true", help="a few seconds: does the benchmark itself work")
    parser.add_argument("--rounds", type=int, help="rounds over all rows (5; quick: 2)")
    parser.add_argument("--seconds", type=float, help="measured window (4; quick: 1.5)")
    parser.add_argument("--warmup", type=float, default=0.5)
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose key contains this, such as mqtt-cert13 or coap")
    parser.add_argument("--without", action="append", default=[], metavar="NAME", help="leave out vitalgate, mosquitto or coap-server")
    parser.add_argument("--no-kill", dest="kill", action="store_false", help="leave out the kill test")
    parser.add_argument("--callgrind", type=int, nargs="?", const=20000, metavar="N",
                        help="instead: instructions per acknowledged message over N messages, by thread (needs valgrind)")
    parser.add_argument("--payload", default="reading.senml.json", help="a template of tests/bench/payloads")
    parser.add_argument("--program", default=ROOT / "build/release/vitalgate")
    parser.add_argument("--load", default=ROOT / "build/bench/bench_load")
    parser.add_argument("--slowsync", default=ROOT / "build/bench/slowsync.so")
    parser.add_argument("--coap-server", default=ROOT / "build/deps/stock/bin/coap-server")
    parser.add_argument("--state", default=ROOT / "build/bench/state", help="folder for keys and data while it runs")
    parser.add_argument("--out", default=ROOT / "build/bench/results", help="folder for results.json, .md and .svg")
    args = parser.parse_args()
    args.rounds = args.rounds or (1 if args.smoke else 2 if args.quick else 5)
    args.seconds = args.seconds or (0.3 if args.smoke else 1.5 if args.quick else 4.0)
    return args


def write(report, folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(report, indent=1) + "\n")
    if "rows" not in report:
        return
    text = table.markdown(report)
    (folder / "results.md").write_text(text)
    (folder / "results.svg").write_text(plot.svg(report))
    print("\n" + text)
    say(f"Written: {folder}/results.json, results.md, results.svg")


def main():
    args = arguments()
    bench = Bench(args)
    try:
        report = bench.run()
    except (RuntimeError, AssertionError, OSError) as failure:
        print(f"tests/bench: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        for contender in bench.contenders.values():
            contender.stop()
    write(report, args.out)
    shutil.rmtree(args.state, ignore_errors=True)
    troubled = bench.failures + [row["title"] for row in report.get("rows", []) for c in row["contenders"].values() if c["trouble"]]
    for title in troubled:
        print(f"tests/bench: trouble in {title}; see results.json", file=sys.stderr)
    kept = report.get("kill_test", {}).get("vitalgate, SIGKILL", KILL_MESSAGES)
    if kept != KILL_MESSAGES:
        print(f"tests/bench: {kept} of {KILL_MESSAGES} acknowledged readings were there after SIGKILL", file=sys.stderr)
    return 1 if troubled or kept != KILL_MESSAGES else 0


if __name__ == "__main__":
    sys.exit(main())
