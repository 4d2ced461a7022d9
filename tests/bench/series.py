#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The series store beside SQLite and InfluxDB, on the same data, turn by turn. tests/bench/run --series builds what it needs and runs it.

One bed for a month at a reading a second (five signals), 500 beds for ten minutes; ingest of an hour of 100 beds. With --growth instead: 100 beds at a reading a minute, from a day to a year.
Results: series.json, series.md and series.svg, or series-growth.*.
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import influx  # noqa: E402
import machine  # noqa: E402
import series_command  # noqa: E402
import series_table  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]


def measure(options, server, *arguments):
    """Runs series_bench; its lines."""
    command = [str(options.tool), str(options.state / "data"), *arguments]
    if server is not None:
        command += ["--influx", str(server.port), str(server.child.pid), str(server.folder)]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        for text in child.stdout:
            lines.append(json.loads(text))
    if child.returncode != 0:
        sys.exit("tests/bench: a contender failed or gave another answer than went in; see above")
    return lines


def run(options, server):
    if options.growth:
        return measure(options, server, "--growth", str(options.growth_days), str(options.growth_s), "--rounds", "3"), []
    size = ["--days", "3", "--beds", "100", "--minutes", "10"] if options.quick else ["--days", "30", "--beds", "500", "--minutes", "60"]
    rounds = options.rounds or (2 if options.quick else 3)
    lines = measure(options, server, *size, "--rounds", str(rounds), "--keep", *(["--lean"] if options.lean else []))
    folders = {line["contender"]: pathlib.Path(line["path"]) for line in lines if line["kind"] == "folder"}
    return lines, series_command.measure(options.program, options.state, folders, server, f"bench{rounds + 1}", int(size[1]), rounds)


def arguments():
    parser = argparse.ArgumentParser(prog="tests/bench/run --series", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three days instead of a month, 100 beds: about a minute")
    parser.add_argument("--rounds", type=int, help="rounds over all queries (3; quick: 2)")
    parser.add_argument("--growth", action="store_true", help="instead: from a day to a year of 100 beds; up to 15 minutes")
    parser.add_argument("--growth-days", type=int, default=365)
    parser.add_argument("--growth-s", type=int, default=180, help="seconds of ingest after which a contender is stopped (180)")
    parser.add_argument("--lean", action="store_true", help="SQLite and InfluxDB do not keep when a reading was received")
    parser.add_argument("--without-influx", action="store_true")
    parser.add_argument("--program", default=ROOT / "build/release/vitalgate")
    parser.add_argument("--tool", default=ROOT / "build/bench/series_bench")
    parser.add_argument("--state", type=pathlib.Path, default=ROOT / "build/bench/series-state", help="folder for the data while it runs: on the disk that is to be measured")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build/bench/results")
    return parser.parse_args()


def main():
    options = arguments()
    shutil.rmtree(options.state, ignore_errors=True)
    (options.state / "data").mkdir(parents=True)
    report = {"machine": machine.describe(options.state), "lean": options.lean}
    server = None
    try:
        server = None if options.without_influx else influx.Influx(options.state / "influx")
        report["versions"] = ["InfluxDB " + server.version().split()[-1]] if server else []
        report["lines"], report["commands"] = run(options, server)
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(options.state, ignore_errors=True)
    name = "series-growth" if options.growth else "series"
    text, picture = series_table.growth(report) if options.growth else series_table.comparison(report)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / f"{name}.md").write_text(text)
    (options.out / f"{name}.svg").write_text(picture)
    print(f"\n{text}\nWritten: {options.out}/{name}.json, .md, .svg")


if __name__ == "__main__":
    main()
