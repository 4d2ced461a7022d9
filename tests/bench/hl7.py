#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the HL7 side, in and out. tests/bench/run --hl7 builds what it needs and runs it.

Out: a store with three days of undelivered readings of 100 beds (432,000 messages), the whole gateway, a receiver that answers at once, and a live device meanwhile.
In: ADT messages over some connections, every answer durable. Results: hl7.json and hl7.md.
"""
import argparse
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import hl7_in  # noqa: E402
import hl7_out  # noqa: E402
import machine  # noqa: E402

OUT_HEAD = ("Catching up", "messages", "seconds", "messages/s", "CPU us/message", "of its thread", "of the writer", "commits", "live lag p50/max ms", "anonymous MB", "load")
IN_HEAD = ("ADT in", "messages/s", "p50 ms", "p99 ms", "CPU us/message", "resident MB", "load")


def line(cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def out_row(r):
    threads = r["cpu_us_by_thread"]
    return (r["variant"], f"{r['messages']:,}", r["seconds"], f"{r['per_s']:,}", r["cpu_us_each"], threads.get("hl", 0), threads.get("vg-journal", 0), r["commits"],
            f"{r['live_p50_ms']} / {r['live_max_ms']}", r["anonymous_mb"], r["machine_load_before"])


def in_row(r):
    return (r["variant"], f"{r['per_s']:,}", r["p50_ms"], r["p99_ms"], r["cpu_us_each"], r["resident_mb"], r["machine_load_before"])


def table(head, rows):
    return "\n".join([line(head), line("---" for _ in head), *(line(row) for row in rows)]) + "\n"


def measure_in(options, connections, ahead):
    result = hl7_in.measure(argparse.Namespace(program=options.program, load=pathlib.Path(options.tools) / "bench_hl7_load", connections=connections,
                                               seconds=3 if options.quick else 10, ahead=ahead, state=options.state))
    return {"variant": f"{connections} x {ahead} under way", **result}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    hl7_out.parse(parser)
    parser.add_argument("--quick", action="store_true", help="a tenth of the backlog, seconds instead of a minute")
    parser.add_argument("--out", default="build/bench/results", help="folder of the results")
    options = parser.parse_args()
    if options.quick:
        options.minutes //= 10
    where = machine.describe(options.state or "/tmp")
    out = [hl7_out.measure(name, options) for name in hl7_out.VARIANTS]
    into = [measure_in(options, connections, ahead) for connections, ahead in ((1, 1), (8, 1), (8, 16))]
    text = machine.sentence(where) + "\n\n" + table(OUT_HEAD, map(out_row, out)) + "\n" + table(IN_HEAD, map(in_row, into))
    folder = pathlib.Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hl7.json").write_text(json.dumps({"machine": where, "out": out, "in": into}, indent=1) + "\n")
    (folder / "hl7.md").write_text(text)
    print(text)
    if any(r["duplicates"] for r in out):
        sys.exit("a message came twice")


if __name__ == "__main__":
    main()
