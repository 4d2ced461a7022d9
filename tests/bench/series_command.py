# SPDX-License-Identifier: Apache-2.0
"""The same questions as commands of a shell: `vitalgate` asks the running gateway over its socket, `sqlite3` opens the file, `curl` asks InfluxDB. From the start of the process to its last byte."""
import contextlib
import datetime
import subprocess
import sys
import time
import urllib.parse

from harness.hub import Hub

START = 1795132800  # PHYSIO_START_US


def iso(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def questions(days):
    """{what: (vitalgate's arguments, SQL, InfluxQL)}"""
    end = START + days * 86400
    day = end - 86400 - (days // 2 * 86400 if days > 1 else 0)
    one = f"series = {1 * 5 + 0}"  # series_sqlite.c: bed 1, heart rate
    signals = ("heart_rate", "spo2", "respiration_rate", "abp_systolic", "temperature")
    return {
        "day": (["export", "--device", "bed-1", "--signal", "heart_rate", "--from", iso(day), "--to", iso(day + 86400), "--format", "csv"],
                f"SELECT time, value, flags FROM readings WHERE {one} AND time >= {day * 1000} AND time < {(day + 86400) * 1000}",
                f"SELECT heart_rate FROM vitals WHERE bed='bed-1' AND time >= {day}s AND time < {day + 86400}s"),
        "latest": (["latest", "--format", "csv"],
                   "SELECT s.device, s.signal, (SELECT value FROM readings WHERE series = s.id ORDER BY time DESC LIMIT 1) FROM series s",
                   f"SELECT {','.join(f'last({signal})' for signal in signals)} FROM vitals GROUP BY bed"),
        "hours": (["query", "--device", "bed-1", "--signal", "heart_rate", "--from", iso(START), "--to", iso(end), "--step", "1h", "--format", "csv"],
                  f"SELECT time / 3600000 AS hour, avg(value), count(value) FROM readings WHERE {one} GROUP BY hour",
                  f"SELECT mean(heart_rate) FROM vitals WHERE bed='bed-1' AND time >= {START}s AND time < {end}s GROUP BY time(1h) fill(none)"),
        "export": (["export", "--format", "csv", "--columns", "time,received_time,device,signal,value,flags"],
                   "SELECT s.device, s.signal, r.time, r.lag, r.value, r.flags FROM series s JOIN readings r ON r.series = s.id ORDER BY s.id, r.time",
                   f"SELECT {','.join(signals)},lag FROM vitals GROUP BY bed"),
        "export_all": (["export", "--format", "csv"], None, None),
    }


def timed(command):
    """Seconds, lines, bytes: into a pipe of which another process reads and counts."""
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child, subprocess.Popen(["wc", "-lc"], stdin=child.stdout, stdout=subprocess.PIPE) as counter:
        child.stdout.close()
        lines, size = counter.stdout.read().split()
        error = child.stderr.read()
    seconds = time.perf_counter() - begin
    if child.returncode != 0:
        raise RuntimeError(f"{command[0]}: {error.decode()[-500:]}")
    return seconds, int(lines), int(size)


def commands(hub, folders, server, database, asked):
    mine, sql, ql = asked
    made = {"vitalgate": [hub.program, mine[0], "-c", hub.file, *mine[1:]]}
    if sql is not None:
        made["sqlite"] = ["sqlite3", "-csv", folders["sqlite"] / "readings.db", sql]
    if server is not None and ql is not None:
        query = urllib.parse.urlencode({"db": database, "epoch": "ms", "chunked": "true", "q": ql})
        made["influxdb"] = ["curl", "-sSf", "-H", "Accept: application/csv", f"http://127.0.0.1:{server.port}/query?{query}"]
    return {name: list(map(str, command)) for name, command in made.items()}


def measure(program, state, folders, server, database, days, rounds):
    hub = Hub(state / "hub", program, bus=False, options={"mqtt": {"enabled": False}, "coap": {"enabled": False}}).prepare()
    (hub.state / "data").mkdir(mode=0o700)
    folders["vitalgate"].rename(hub.state / "data" / "series")
    hub.start_gateway()
    results = []
    with contextlib.ExitStack() as stack:
        stack.callback(hub.stop)
        for number in range(rounds):
            for what, asked in questions(days).items():
                if what.startswith("export") and number > 1:
                    continue
                for name, command in commands(hub, folders, server, database, asked).items():
                    print(f"round {number + 1} of {rounds}: {what} as a command, {name}", file=sys.stderr)
                    seconds, lines, size = timed(command)
                    results.append({"what": what, "contender": name, "round": number, "seconds": seconds, "lines": lines, "rows": lines - 1, "bytes": size})
    return results
