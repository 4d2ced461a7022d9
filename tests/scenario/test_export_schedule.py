# SPDX-License-Identifier: Apache-2.0
"""Exports on schedule: whole hours as files that a data lake can take, once more for what comes late, whatever happens meanwhile."""
import csv
import datetime
import gzip
import hashlib
import io
import json
import os
import pathlib

from harness.clients import by_certificate, iso, now_ms, publish, run
from harness.hub import wait_for

HOUR = 3600000


def options(hub, **more):
    hub.options["export"] = {"enabled": True, "dir": "lake", "delay_min": 0, "back_h": 24, **more}
    hub.write_config()
    return hub.cli("reload").stdout


def frames(hub, device, start, count, every_ms, **values):
    text = "".join(json.dumps({"time": iso(start + i * every_ms), "hr": 60 + i % 40, **values}) + "\n" for i in range(count))
    done = run(["mosquitto_pub", "-h", "127.0.0.1", "-p", hub.mqtt_port, "-i", device, "-q", 1, "-t", f"ward/w/{device}/vitals",
                *by_certificate(hub, device), "-l"], input=text)
    assert done.returncode == 0, done.stderr


def send(hub, device, ms, **values):
    done = publish(hub, device, f"ward/w/{device}/vitals", json.dumps({"time": iso(ms), **values}), auth=by_certificate(hub, device))
    assert done.returncode == 0, done.stderr


def files(hub, root=None):
    root = root or hub.state / "lake"
    return {str(p.relative_to(root)): p for p in sorted(root.rglob("*")) if p.is_file()}


def place(ms):
    at = datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc)
    return f"date={at:%Y-%m-%d}/hour={at:%H}"


def when(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def content(path):
    data = path.read_bytes()
    return gzip.decompress(data).decode() if path.suffix == ".gz" else data.decode()


def rows(path):
    return list(csv.DictReader(io.StringIO(content(path), newline="")))


def check(hub, where, revision, supersedes=()):
    """The manifest tells what lies there, and nothing else does."""
    folder = hub.state / "lake" / where
    manifest = json.loads((folder / "_manifest.json").read_text())
    data = (folder / manifest["file"]).read_bytes()
    assert manifest["bytes"] == len(data) and manifest["sha256"] == hashlib.sha256(data).hexdigest()
    assert manifest["revision"] == revision and manifest["supersedes"] == list(supersedes)
    assert {p.name for p in folder.iterdir()} == {"_manifest.json", manifest["file"]}
    if manifest["format"] == "csv":
        lines = rows(folder / manifest["file"])
        assert manifest["rows"] == len(lines)
        times = [when(line["time"]) for line in lines]
        assert all(when(manifest["from"]) <= time < when(manifest["to"]) for time in times)
        assert (min(times), max(times)) == (when(manifest["first_time"]), when(manifest["last_time"]))
    return manifest


def part(hub):
    return hub.status()["parts"]["export"]


def idle(hub):
    return lambda: (lambda p: p["state"] == "running" and p["periods_due"] == 0 and p["lag_records"] == 0)(part(hub))


def test_whole_hours_and_what_came_late(hubs):
    hub = hubs(bus=False).start()
    for name in ("m1", "m2"):
        hub.add_device(name, "bedside-json", "--cert-subject", name)
    now = now_ms() // HOUR * HOUR
    frames(hub, "m1", now - 3 * HOUR, 40, 180000, spo2=97)  # two hours, 20 frames each
    send(hub, "m2", now - 2 * HOUR, hr=80)
    send(hub, "m1", now_ms(), hr=60)  # this hour is not over (or was just begun)
    assert "export: started" in options(hub)
    wait_for(lambda: len(files(hub)) >= 4 and idle(hub)(), "both hours")
    first, second = place(now - 3 * HOUR), place(now - 2 * HOUR)
    name = "readings.csv.gz"
    assert {f"{first}/{name}", f"{second}/{name}", f"{first}/_manifest.json", f"{second}/_manifest.json"} <= set(files(hub))
    assert check(hub, first, 1)["rows"] == 40 and check(hub, second, 1)["rows"] == 41
    assert content(files(hub)[f"{first}/{name}"]).replace("\r\n", "\n") == hub.cli("export", "--from", iso(now - 3 * HOUR), "--to", iso(now - 2 * HOUR)).stdout
    assert not {place(now_ms()), place(now - 5 * HOUR)} & {str(pathlib.Path(f).parent) for f in files(hub)}  # not over; empty
    status = part(hub)
    assert status["files"] >= 2 and status["kept_files"] == len(files(hub)) / 2 and status["last_file"].endswith(name)
    assert "export" in hub.cli("status").stdout and "kept" in hub.cli("status").stdout

    # Late: a reading, and the same again, which changes nothing.
    send(hub, "m2", now - 3 * HOUR + 1, hr=81)
    wait_for(lambda: f"{first}/readings-r2.csv.gz" in files(hub) and idle(hub)(), "the hour to be written again")
    assert check(hub, first, 2, [name])["rows"] == 41 and check(hub, second, 1)["rows"] == 41

    # After a restart nothing is written again.
    before = {f: (p.stat().st_ino, p.stat().st_mtime_ns) for f, p in files(hub).items() if not f.startswith(place(now_ms()))}
    hub.restart_gateway()
    send(hub, "m2", now - 2 * HOUR + 1, hr=81)
    wait_for(lambda: f"{second}/readings-r2.csv.gz" in files(hub) and idle(hub)(), "the other hour")
    assert all((files(hub)[f].stat().st_ino, files(hub)[f].stat().st_mtime_ns) == was for f, was in before.items() if not f.startswith(second))

    # Asked for by somebody: everything since then once more.
    assert "again" in hub.cli("outlet", "rewind", "export", "--to", iso(now - 2 * HOUR)).stdout
    wait_for(lambda: f"{second}/readings-r3.csv.gz" in files(hub) and idle(hub)(), "it to be written again")
    assert check(hub, second, 3, ["readings-r2.csv.gz"])["rows"] == 42 and f"{first}/readings-r2.csv.gz" in files(hub)

    # Another format begins files of its own for what comes; days, filters; what else lies there stays.
    (hub.state / "lake" / "notes.txt").write_text("mine")
    options(hub, every="day", format="jsonl", gzip=False, signals="heart*", devices="m2", back_h=72)
    day = place(now - 3 * HOUR).split("/")[0]
    if place(now_ms()).split("/")[0] != day:
        wait_for(lambda: f"{day}/readings.jsonl" in files(hub) and idle(hub)(), "the day")
        assert {json.loads(line)["device"] for line in content(files(hub)[f"{day}/readings.jsonl"]).splitlines()} == {"m2"}
    assert (hub.state / "lake" / "notes.txt").read_text() == "mine"


def test_what_comes_while_it_is_down_and_how_long_files_stay(hubs):
    hub = hubs(bus=False).start()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    now = now_ms() // HOUR * HOUR
    for hours in range(2, 8):
        frames(hub, "m1", now - hours * HOUR, 300, 10000)
    options(hub, gzip=False, format="jsonl")
    wait_for(lambda: len(files(hub)) >= 12 and idle(hub)(), "six hours")
    total = sum(p.stat().st_size for f, p in files(hub).items() if "readings" in f)
    assert total > 500000
    # Less room than they take: the oldest go, also where nothing new is written.
    options(hub, gzip=False, format="jsonl", max_mb=1)
    wait_for(lambda: sum(p.stat().st_size for p in files(hub).values()) <= 1 << 20, "room")
    assert f"{place(now - 2 * HOUR)}/readings.jsonl" in files(hub)
    # Missed while it was switched off: made up for.
    hub.options["export"]["enabled"] = False
    hub.write_config()
    hub.cli("reload")
    send(hub, "m1", now - 9 * HOUR, hr=70)
    options(hub, gzip=False, format="jsonl", back_h=10)
    wait_for(lambda: f"{place(now - 9 * HOUR)}/readings.jsonl" in files(hub) and idle(hub)(), "the missed hour")
    assert check(hub, place(now - 9 * HOUR), 1)["rows"] == 1
    # Too late for anything.
    send(hub, "m1", now - 50 * HOUR, hr=70)
    wait_for(lambda: part(hub)["readings_too_late"] == 1, "it to be counted")


def test_killed_in_the_middle(hubs):
    hub = hubs(bus=False).start()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    now = now_ms() // HOUR * HOUR
    for hours in range(2, 7):
        frames(hub, "m1", now - hours * HOUR, 1800, 2000, spo2=97)
    hub.options["export"] = {"enabled": True, "dir": "lake", "delay_min": 0, "back_h": 24}
    hub.write_config()
    lake = hub.state / "lake"
    seen = 0
    for _ in range(8):
        hub.gateway.kill()
        hub.gateway.child.wait()
        hub.gateway = hub.spawn_gateway()
        wait_for(lambda: (lake.exists() and (any(lake.rglob("*.part")) or len(list(lake.rglob("readings*"))) > seen)) or hub.answers() and idle(hub)(), "a file", every=0.001)
        seen = len(list(lake.rglob("readings*")))
    hub.gateway.kill()
    hub.gateway.child.wait()
    (lake / place(now - 2 * HOUR)).mkdir(parents=True, exist_ok=True)
    (lake / place(now - 2 * HOUR) / ".readings.csv.gz.1.part").write_text("half of")
    hub.start_gateway()
    wait_for(idle(hub), "all hours")
    assert not any(p.suffix == ".part" for p in files(hub).values())
    for hours in range(2, 7):
        manifest = json.loads((lake / place(now - hours * HOUR) / "_manifest.json").read_text())
        assert check(hub, place(now - hours * HOUR), 1)["rows"] == 3600, manifest


def test_a_disk_without_room(hubs):
    hub = hubs(bus=False)
    lake = hub.state / "lake"
    lake.mkdir()
    hub.options["store"] = {"disk_reserve_mb": 0}
    hub.write_config()
    mount = ["unshare", "-m" if os.getuid() == 0 else "-rm", "sh", "-c", f"mount -t tmpfs -o size=300k none {lake} && exec \"$@\"", "sh"]
    hub.start_gateway(wrap=mount)
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    now = now_ms() // HOUR * HOUR
    frames(hub, "m1", now - 2 * HOUR, 1800, 2000, spo2=97)
    options(hub, gzip=False)
    root = pathlib.Path(f"/proc/{hub.gateway.pid}/root{lake}")
    wait_for(lambda: part(hub)["state"] == "full", "the disk to be full")
    assert "No space left" in part(hub)["error"] and "full: " in hub.cli("status").stdout
    assert files(hub, root) == {}
    send(hub, "m1", now_ms(), hr=60)  # it is the export's trouble, and nobody else's
    options(hub, gzip=True)
    wait_for(lambda: idle(hub)() and len(files(hub, root)) >= 2, "the hour, compressed")
    assert rows(files(hub, root)[f"{place(now - 2 * HOUR)}/readings.csv.gz"])[0]["device"] == "m1"


def test_whose_they_were(hubs):
    hub = hubs(bus=False).start()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    now = now_ms()
    hub.cli("place", "m1", "ICU^^3", "--from", "-30h")
    hub.options["export"] = {"enabled": True, "dir": "lake", "delay_min": 0, "back_h": 24, "patients": True, "gzip": False}
    hub.write_config()
    hub.cli("reload")
    send(hub, "m1", now - 2 * HOUR, hr=60)
    where = hub.state / "lake" / place(now - 2 * HOUR)

    def last():
        found = sorted(where.glob("readings*"), key=lambda p: p.stat().st_mtime_ns) if where.exists() else []
        return [(r["bed"], r["patient"], r["unsure"]) for r in rows(found[-1])] if found else None

    wait_for(lambda: last() == [("ICU^^3", "", "")], "the hour without a patient")
    # Told later: it is written again, with the patient.
    hub.cli("associate", "--bed", "ICU^^3", "--patient", "12^^^K", "--from", "-20h")
    wait_for(lambda: last() == [("ICU^^3", "12^^^K", "")], "the hour with the patient", 40)
    # Two in one bed: whose it is nobody knows, where it was measured is sure.
    hub.cli("associate", "--bed", "ICU^^3", "--patient", "13^^^K", "--from", "-20h")
    wait_for(lambda: last() == [("ICU^^3", "", "true")], "the hour of two in one bed", 40)
