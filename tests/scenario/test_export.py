# SPDX-License-Identifier: Apache-2.0
"""Exports as files: what is read back by others is what was sent, whoever reads it and however slowly."""
import csv
import datetime
import gzip
import json
import os
import re
import select
import socket
import stat
import subprocess
import threading

from harness.clients import by_certificate, iso, now_ms, publish, run
from harness.hub import wait_for

UNITS = {"{beat}/min": "beat/min", "%": "/100"}


def add(hub, *names, profile="bedside-json", **beds):
    for name in (*names, *beds):
        hub.add_device(name, profile, "--cert-subject", name, "--ward", "3a", *(["--bed", beds[name]] if name in beds else []))


def send(hub, device, ms, **values):
    done = publish(hub, device, f"ward/w/{device}/vitals", json.dumps({"time": iso(ms), **values}), auth=by_certificate(hub, device))
    assert done.returncode == 0, done.stderr


def send_many(hub, device, start, count, every_ms=1000):
    frames = "".join(json.dumps({"time": iso(start + i * every_ms), "hr": 60 + i % 40, "spo2": 97}) + "\n" for i in range(count))
    done = run(["mosquitto_pub", "-h", "127.0.0.1", "-p", hub.mqtt_port, "-i", device, "-q", 1, "-t", f"ward/w/{device}/vitals",
                *by_certificate(hub, device), "-l"], input=frames)
    assert done.returncode == 0, done.stderr


def export(hub, *args):
    return hub.cli("export", *args).stdout


def query(hub, *args):
    return [json.loads(line, parse_float=str) for line in hub.cli("query", *args, "--json").stdout.splitlines()]


def table(text):
    rows = list(csv.DictReader(text.splitlines()))
    assert all(None not in row and None not in row.values() for row in rows)
    return rows


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def check_senml(text):
    """What RFC 8428 asks of a pack, as far as it can be seen: section 4.1 to 4.5, 5."""
    records = json.loads(text)
    assert isinstance(records, list)
    for record in records:
        assert sum(label in record for label in ("v", "vs", "vb", "vd")) == 1
        assert re.fullmatch(r"[A-Za-z0-9][-A-Za-z0-9:./_]*", record["n"]) and record["t"] >= 2 ** 28
        assert all(not label.endswith("_") for label in record)
        assert isinstance(record.get("v", 0), (int, float)) and isinstance(record.get("vs", ""), str) and isinstance(record.get("u", ""), str)
    return records


def test_every_format_says_what_was_sent(hubs):
    hub = hubs(bus=False).start()
    add(hub, "m1", "m2")
    start = now_ms() // 1000 * 1000 - 60000
    for i in range(5):
        send(hub, "m1", start + i * 1000 + i, hr=60 + i, spo2=97)
    send(hub, "m1", start, hr=61)  # another value for what was said before
    send(hub, "m1", start + 9000, hr=-999, temp=36.60)
    send(hub, "m1", start + 10000, hr=400)  # not plausible
    send(hub, "m2", start, hr=80)
    rows = query(hub, "--device", "m1")
    assert len(rows) == 14 and {flag for row in rows for flag in row["flags"]} == {"revision", "not_available", "questionable"}

    assert [json.loads(line, parse_float=str) for line in export(hub, "--device", "m1", "--format", "jsonl").splitlines()] == rows
    cells = table(export(hub, "--device", "m1"))
    assert [(c["time"], c["received_time"], c["device"], c["signal"], int(c["instance"]), int(c["mdc"]), c["value"] or None, c["unit"],
             c["value_received"], c["unit_received"], c["flags"].split(), c["kind"], int(c["revision"])) for c in cells] == [
        (r["time"], r["received_time"], r["device"], r["signal"], r["instance"], r["mdc"], None if r["value"] is None else str(r["value"]), r["unit"],
         r["received"]["value"], r["received"].get("unit", ""), r["flags"], r["kind"], r["revision"]) for r in rows]
    records = check_senml(export(hub, "--device", "m1", "--format", "senml"))
    assert [(s["n"], round(s["t"] * 1e6), s.get("v", s.get("vs")), s.get("u")) for s in records] == [
        (f"m1/{r['signal']}", round(seconds(r["time"]) * 1e6), "not-available" if r["value"] is None else float(r["value"]),
         UNITS.get(r["unit"], r["unit"])) for r in rows]

    # A ward and everything; steps; a limit over all devices; a file; a compressed one.
    assert len(table(export(hub, "--ward", "3a"))) == len(table(export(hub))) == 15
    assert len(table(export(hub, "--limit", "14"))) == 14 and table(export(hub, "--ward", "nowhere")) == []
    steps = table(export(hub, "--device", "m1", "--signal", "spo2", "--step", "1h"))
    assert sum(int(s["count"]) for s in steps) == 5 and {s["mean"] for s in steps} == {"97"}
    path = hub.state / "out.csv"
    done = hub.cli("export", "--output", path, "--progress")
    assert path.read_text() == export(hub) and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert re.search(r"15 rows, .* of csv, \S+Z to \S+Z, in ", done.stderr) and done.stdout == ""
    hub.cli("export", "--output", path, "--gzip", "--format", "jsonl")
    assert len(gzip.decompress(path.read_bytes()).splitlines()) == 15
    assert sorted(p.name for p in hub.state.iterdir() if "out" in p.name) == ["out.csv"]

    fifo = hub.state / "fifo"
    os.mkfifo(fifo)
    for wrong in (["--device", "m1", "--bed", "B"], ["--ward", "3a", "--device", "m1"], ["--format", "json"], ["--format", "senml", "--step", "1h"],
                  ["--output", hub.state / "no" / "such"], ["--output", hub.state / "data"], ["--output", ""], ["--output", fifo],
                  ["--signal", "heart_rat"], ["--device", ""], ["--bed", ""], ["--ward", ""], ["--patient", ""]):
        before = sorted(hub.state.iterdir())
        done = hub.cli("export", *(wrong if "--output" in wrong else ["--output", hub.state / "wrong", *wrong]), check=False)
        assert done.returncode != 0 and done.stderr, wrong
        assert sorted(hub.state.iterdir()) == before  # neither a file nor a part of one
    assert fifo.is_fifo()
    for command, slip in ((("export",), ("--device", "m11")), (("query",), ("--device", "m11")), (("latest",), ("--device", "m11"))):
        assert 'did you mean "m1"?' in hub.cli(*command, *slip).stderr
    assert "no reading fits" in hub.cli("export", "--ward", "nowhere").stderr and "empty" in hub.cli("latest", "--ward", "", check=False).stderr
    everything = export(hub)
    assert export(hub, "--output", "-") == everything
    hub.gateway.stop()
    assert export(hub) == everything  # without a gateway
    assert re.search(rb"uid \d+ \([^)]*\)export: ward 3a", (hub.state / "data" / "data.mdb").read_bytes())


def test_columns_that_were_chosen(hubs):
    hub = hubs(bus=False).start()
    add(hub, "m1", m2="3a^1")
    start = now_ms() // 1000 * 1000 - 600000
    send_many(hub, "m1", start, 200)
    send(hub, "m2", now_ms(), hr=80)
    wait_for(lambda: len(table(export(hub))) == 401, "all readings")
    whole = table(export(hub))
    some = export(hub, "--columns", "value,time,device,flags")
    assert some.splitlines()[0] == "value,time,device,flags"
    assert table(some) == [{name: row[name] for name in ("value", "time", "device", "flags")} for row in whole]
    steps = export(hub, "--step", "1m", "--signal", "heart_rate", "--columns", "mean,time")
    assert table(steps) == [{name: row[name] for name in ("mean", "time")} for row in table(export(hub, "--step", "1m", "--signal", "heart_rate"))]
    assert export(hub, "--bed", "3a^1", "--columns", "bed").split() == ["bed", "3a^1"]
    for wrong, words in (("value,tim", "no column tim"), ("time,time", "twice"), ("bed", "no column bed"), ("", "no column")):
        done = hub.cli("export", "--columns", wrong, check=False)
        assert done.returncode != 0 and words in done.stderr and done.stdout == ""
    done = hub.cli("export", "--columns", "time", "--format", "jsonl", check=False)
    assert done.returncode != 0 and "CSV" in done.stderr


def test_a_patient_by_bed_and_by_name(hubs):
    hub = hubs(bus=False).start()
    add(hub, m1="ICU^^3")
    hub.cli("place", "m1", "ICU^^3", "--from", "-60m")
    now = now_ms() // 1000 * 1000
    hub.cli("associate", "--bed", "ICU^^3", "--patient", "12^^^K", "--from", "-30m")
    send(hub, "m1", now, hr=60)
    send(hub, "m1", now - 35 * 60000, hr=55)  # late, over the change
    rows = table(export(hub, "--patient", "12^^^K"))
    assert [(r["value"], r["patient"]) for r in rows] == [("60", "12^^^K")]
    assert "1 readings were left out" in hub.cli("export", "--patient", "12^^^K").stderr
    rows = table(export(hub, "--patient", "12^^^K", "--unsure"))
    assert [(r["value"], r["unsure"]) for r in rows] == [("55", "true"), ("60", "")]
    assert {r["bed"] for r in table(export(hub, "--bed", "ICU^^3"))} == {"ICU^^3"}


def test_senml_is_taken_in_again(hubs):
    """Into another hub: the same readings, digit for digit."""
    first = hubs(bus=False).start()
    add(first, "m1", profile="senml")
    now = now_ms() / 1000 // 1 - 100
    sent = [{"n": "temperature_body", "u": "Cel", "t": now + i, "v": "36.%02d" % i} for i in range(20)]
    sent += [{"n": "spo2/1", "u": "/100", "t": now + i / 8, "v": 90 + i} for i in range(5)]
    sent += [{"n": "heart_rate", "u": "beat/min", "t": now, "vs": "not-available"}, {"n": "heart_rate", "u": "beat/min", "t": now + 1, "v": 999},
             {"n": "ecg_rhythm_status", "t": now, "vs": "sinus, with \"quotes\""}]
    pack = re.sub(r'"v": "([0-9.]+)"', r'"v": \1', json.dumps(sent))
    assert publish(first, "m1", "devices/m1/senml", pack, auth=by_certificate(first, "m1")).returncode == 0
    wanted = query(first, "--device", "m1")
    assert len(wanted) == 28 and first.quarantine() == []
    records = export(first, "--device", "m1", "--format", "senml")
    check_senml(records)

    second = hubs(bus=False).start()
    add(second, "m1", profile="senml")
    lines = records.splitlines()[1:-1]
    for at in range(0, len(lines), 10):  # cut into packs anywhere
        part = "[" + "\n".join(lines[at:at + 10]).rstrip(",") + "]"
        assert publish(second, "m1", "devices/m1/senml", part, auth=by_certificate(second, "m1")).returncode == 0
    assert second.quarantine() == []
    again = query(second, "--device", "m1")

    def plain(row):
        return {k: row[k] for k in ("device", "signal", "instance", "value", "unit", "flags", "time", "kind", "revision") if k in row}

    assert [plain(row) for row in again] == [plain(row) for row in wanted]


def test_who_takes_it_slowly_or_not_at_all(hubs):
    hub = hubs(bus=False).start()
    add(hub, "m1")
    send_many(hub, "m1", now_ms() // 1000 * 1000 - 9000000, 8000)
    whole = export(hub, "--format", "jsonl")
    assert len(whole.splitlines()) == 16000
    command = [str(hub.program), "export", "-c", str(hub.file), "--format", "jsonl"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    first = child.stdout.readline()
    # Nothing of it keeps the store from being closed and opened anew.
    hub.options["series"] = {"hold_min": 7}
    hub.write_config()
    assert "series: started anew" in hub.cli("reload").stdout
    assert first + child.stdout.read() == whole and child.wait() == 0
    child.stdout.close()
    # A pipe that its maker reads now and then, and has made so that nobody waits for him.
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    child = subprocess.Popen(command, stdout=writer, stderr=subprocess.DEVNULL)
    os.close(writer)
    with os.fdopen(reader) as text:
        wait_for(lambda: len(select.select([reader], [], [], 0)[0]) > 0, "the first of it")
        assert text.read() == whole and child.wait() == 0
    # One that goes away is no matter.
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    child.stdout.readline()
    child.stdout.close()
    assert child.wait() != 0
    child.stderr.close()
    # Killed in the middle: the file never had its name, and nothing of it is left.
    path = hub.state / "killed.jsonl"
    child = subprocess.Popen([*command, "--output", path, "--gzip"])
    wait_for(lambda: any("killed" in p.name for p in hub.state.iterdir()) or child.poll() is not None, "the file")
    child.kill()
    child.wait()
    wait_for(lambda: not any(p.suffix == ".part" for p in hub.state.iterdir()), "the rest of it to be gone")
    if path.exists():  # it was quicker than this test
        assert gzip.decompress(path.read_bytes()).decode() == whole
    wait_for(lambda: export(hub, "--limit", "1") != "", "the command's place to be free")


def test_a_disk_that_is_full(hubs):
    hub = hubs(bus=False).start()
    add(hub, "m1")
    send_many(hub, "m1", now_ms() // 1000 * 1000 - 9000000, 3000)
    small = hub.state / "small"
    small.mkdir()
    script = f"mount -t tmpfs -o size=256k none {small} && {hub.program} export -c {hub.file} --format jsonl --output {small}/out; s=$?; ls -A {small} >&2; exit $s"
    done = run(["unshare", "-m" if os.getuid() == 0 else "-rm", "sh", "-c", script])
    assert done.returncode != 0 and "No space left" in done.stderr and "out" not in done.stderr.splitlines()[-1], done.stderr


def ask(hub, request, descriptors):
    """A request over the socket, with descriptors beside it; the last line of the answer."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(hub.state / "vitalgate.sock"))
        socket.send_fds(s, [json.dumps(request).encode() + b"\n"], descriptors)
        answer = b""
        while piece := s.recv(65536):
            answer += piece
    return json.loads(answer.splitlines()[-1])


def test_what_may_come_along_with_a_request(hubs):
    hub = hubs(bus=False).start()
    add(hub, "m1")
    send(hub, "m1", now_ms(), hr=60)
    open_files = f"/proc/{hub.gateway.pid}/fd"
    before = len(os.listdir(open_files))
    request = {"command": "export", "format": "csv"}
    assert "pipe" in ask(hub, request, [])["why"]
    with open(hub.state / "plain", "wb") as plain:
        assert "pipe" in ask(hub, request, [plain.fileno()])["why"]
        # Whatever else somebody sends along is closed, with the command and with any other.
        assert ask(hub, {"command": "device list"}, [plain.fileno()] * 50)["error"] == "GW_OK"
    assert (hub.state / "plain").read_bytes() == b""
    reader, writer = os.pipe()
    assert ask(hub, request, [writer, writer])["error"] == "GW_OK"
    os.close(writer)
    with os.fdopen(reader) as text:
        assert len(table(text.read())) == 1
    # Nobody reads: an answer, not a command that hangs.
    reader, writer = os.pipe()
    os.close(reader)
    assert "nobody" in ask(hub, request, [writer])["why"]
    os.close(writer)
    wait_for(lambda: len(os.listdir(open_files)) <= before, "descriptors to be closed")


def test_a_pipe_whose_maker_has_other_ideas(hubs):
    """He makes it one that waits, and reads nothing: a reload does not wait with it."""
    hub = hubs(bus=False).start()
    add(hub, "m1")
    send_many(hub, "m1", now_ms() // 1000 * 1000 - 9000000, 3000)
    reader, writer = os.pipe()
    done = threading.Event()

    def meddle():
        while not done.is_set():
            os.set_blocking(writer, True)

    meddler = threading.Thread(target=meddle)
    meddler.start()
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(hub.state / "vitalgate.sock"))
            socket.send_fds(s, [json.dumps({"command": "export", "format": "jsonl"}).encode() + b"\n"], [writer])
            wait_for(lambda: len(select.select([reader], [], [], 0)[0]) > 0, "the first of it")
            hub.options["series"] = {"hold_min": 7}
            hub.write_config()
            assert "series: started anew" in hub.cli("reload").stdout
    finally:
        done.set()
        meddler.join()
        os.close(reader)
        os.close(writer)
