# SPDX-License-Identifier: Apache-2.0
"""Questions to the series store: with a running gateway, after it was killed, and without one."""
import csv
import datetime
import io
import json
import re
import subprocess

from harness.clients import by_certificate, iso, now_ms, publish, run


def lines(text):
    return [json.loads(line) for line in text.splitlines() if line]


def query(hub, *args):
    return lines(hub.cli("query", *args, "--json").stdout)


def latest(hub, *args):
    return lines(hub.cli("latest", *args, "--json").stdout)


def send(hub, device, ms, **values):
    publish(hub, device, f"ward/w/{device}/vitals", json.dumps({"time": iso(ms), **values}), auth=by_certificate(hub, device))


def add(hub, *names, **beds):
    for name in (*names, *beds):
        hub.add_device(name, "bedside-json", "--cert-subject", name, "--ward", "3a", *(["--bed", beds[name]] if name in beds else []))


def found(hub, count, *args):
    """What was acknowledged is in the very next answer."""
    rows = query(hub, *args)
    assert len(rows) == count
    return rows


def same(rows, journal):
    """`query` and `readings` speak the same words, but for the place in the journal, and microseconds of the receive time."""
    def plain(row):
        row = {k: v for k, v in row.items() if k != "position"}
        received = datetime.datetime.fromisoformat(row["received_time"].replace("Z", "+00:00"))
        return {**row, "received_time": int(received.timestamp() * 1000 // 1)}

    def key(row):
        return row["signal"], row["time"]

    assert sorted(map(plain, rows), key=key) == sorted(map(plain, journal), key=key)


def test_found_with_and_without_a_gateway_and_after_a_kill(hubs):
    hub = hubs(bus=False).start()
    add(hub, "m1", "m2")
    start = now_ms() // 1000 * 1000 - 30000
    for i in range(20):
        send(hub, "m1", start + i * 1000, hr=60 + i, spo2=97)
    send(hub, "m2", start, hr=80)
    rows = found(hub, 40, "--device", "m1")
    same(rows, hub.readings("m1"))
    assert [r["value"] for r in query(hub, "--device", "m1", "--signal", "heart_rate")] == list(range(60, 80))
    assert {(r["device"], r["signal"]): r["value"] for r in latest(hub, "--ward", "3a")} == {
        ("m1", "heart_rate"): 79, ("m1", "spo2"): 97, ("m2", "heart_rate"): 80}
    # Killed without a word: the command line reads the store itself.
    hub.gateway.kill()
    hub.gateway.child.wait()
    assert query(hub, "--device", "m1") == rows
    assert len(latest(hub)) == 3
    hub.start_gateway()
    assert found(hub, 40, "--device", "m1") == rows
    send(hub, "m1", start + 21000, hr=99)
    assert found(hub, 41, "--device", "m1")[20]["value"] == 99
    hub.gateway.stop()
    assert latest(hub, "--device", "m1")[0]["value"] == 99


def test_latest_is_what_was_taken_last(hubs):
    hub = hubs(bus=False).start()
    add(hub, m1="3a^^1")
    start = now_ms() // 1000 * 1000 - 20000
    far = 4102444800000  # 2100
    for i in range(10):
        send(hub, "m1", start + i * 1000, hr=60 + i, spo2=90 + i)
    send(hub, "m1", far, hr=111)
    # It came last: shown as it was said, with what is to be made of it.
    rows = {r["signal"]: r for r in latest(hub)}
    assert (rows["heart_rate"]["value"], rows["heart_rate"]["time"][:4], rows["spo2"]["value"]) == (111, "2100", 99)
    assert rows["heart_rate"]["taken"][:16] == rows["heart_rate"]["received_time"][:16] and "taken" not in rows["spo2"]
    table = hub.cli("latest", "--device", "m1", "--signal", "heart_rate").stdout.splitlines()
    assert table[0].split()[-1] == "TAKEN" and " 2100-01-01T00:00:00" in table[1]
    send(hub, "m1", now_ms(), hr=71)
    send(hub, "m1", start - 60000, spo2=80)  # late
    def values():
        return {r["signal"]: r["value"] for r in latest(hub, "--device", "m1")}
    assert values() == {"heart_rate": 71, "spo2": 99}
    hub.gateway.kill()
    hub.gateway.child.wait()
    assert values() == {"heart_rate": 71, "spo2": 99}
    hub.start_gateway()
    assert values() == {"heart_rate": 71, "spo2": 99}


def test_steps_and_formats(hubs):
    hub = hubs(bus=False).start()
    add(hub, "m1")
    start = now_ms() // 60000 * 60000 - 300000
    for i, value in enumerate((60, 64, 62, 80)):
        send(hub, "m1", start + i * 20000, hr=value, spo2=97)
    found(hub, 8, "--device", "m1")
    steps = query(hub, "--device", "m1", "--signal", "heart*", "--step", "1m")
    assert [(s["count"], s["min"], s["max"], s["mean"], s["first"], s["last"]) for s in steps] == [(3, 60, 64, 62, 60, 62), (1, 80, 80, 80, 80, 80)]
    assert steps[0]["time"] == iso(start).replace(".000", "") or steps[0]["time"].startswith(iso(start)[:19])
    rows = list(csv.DictReader(io.StringIO(hub.cli("query", "--device", "m1", "--step", "1h", "--format", "csv").stdout)))
    assert {r["signal"] for r in rows} == {"heart_rate", "spo2"} and sum(int(r["count"]) for r in rows) == 8
    assert len(json.loads(hub.cli("query", "--device", "m1", "--format", "senml", "--limit", "3").stdout)) >= 3
    assert "MEAN" in hub.cli("query", "--device", "m1", "--step", "1m").stdout
    assert len(query(hub, "--device", "m1", "--limit", "3")) == 3
    done = hub.cli("query", "--device", "m1", "--format", "csv", "--progress")
    assert len(done.stdout.splitlines()) == 9 and "2 of 2 series, 8 rows" in done.stderr
    assert len(query(hub, "--device", "m1", "--from", str(start / 1000 + 15), "--to", str(start / 1000 + 45))) == 4
    for wrong in (["--device", "m1", "--step", "7"], ["--device", "m1", "--bed", "B"], ["--device", "m1", "--signal", "heart_rat"], []):
        assert hub.cli("query", *wrong, check=False).returncode != 0, wrong
    assert query(hub, "--device", "nobody") == []


def test_a_patient_gets_what_was_measured_of_them_and_it_is_recorded(hubs):
    hub = hubs(bus=False).start()
    add(hub, m1="ICU^^3")
    hub.cli("place", "m1", "ICU^^3", "--from", "-60m")
    now = now_ms() // 1000 * 1000
    for i in range(3):
        send(hub, "m1", now - 2000 + i * 1000, hr=60 + i)
    # Who was there all the time gets them; who came after them does not.
    hub.cli("associate", "--bed", "ICU^^3", "--patient", "12^^^K", "--from", "-30m")
    hub.cli("associate", "--bed", "ICU^^9", "--patient", "13^^^K", "--from", "-30m")
    found(hub, 3, "--device", "m1")
    assert [r["value"] for r in query(hub, "--patient", "12^^^K")] == [60, 61, 62]
    assert [r["value"] for r in query(hub, "--bed", "ICU^^3")] == [60, 61, 62]
    assert query(hub, "--patient", "13^^^K") == [] and query(hub, "--bed", "ICU^^9") == []
    assert [(r["bed"], r["value"]) for r in latest(hub, "--bed", "ICU^^3")] == [("ICU^^3", 62)]
    # A reading that came ten minutes late, over the change: nobody can tell, unless somebody wants to see it.
    send(hub, "m1", now - 35 * 60000, hr=55)
    found(hub, 4, "--device", "m1")
    done = hub.cli("query", "--patient", "12^^^K", "--json")
    assert [r["value"] for r in lines(done.stdout)] == [60, 61, 62] and "1 readings were left out" in done.stderr
    assert [(r["value"], r.get("unsure")) for r in query(hub, "--patient", "12^^^K", "--unsure")] == [(55, True), (60, None), (61, None), (62, None)]
    hub.gateway.stop()
    journal = (hub.state / "data" / "data.mdb").read_bytes()
    for words in (rb"query: patient number \d", rb"query: bed ICU", rb"query: device m1", rb"latest: bed ICU"):
        assert re.search(rb"uid \d+ \([^)]*\)" + words, journal), words


def test_who_reads_slowly_keeps_nothing_from_ending(hubs):
    hub = hubs(bus=False).start()
    add(hub, "m1")
    start = now_ms() // 1000 * 1000 - 4000 * 1000
    frames = "".join(json.dumps({"time": iso(start + i * 1000), "hr": 60 + i % 40, "spo2": 97}) + "\n" for i in range(3000))
    run(["mosquitto_pub", "-h", "127.0.0.1", "-p", hub.mqtt_port, "-i", "m1", "-q", 1, "-t", "ward/w/m1/vitals", *by_certificate(hub, "m1"), "-l"],
        input=frames)
    found(hub, 6000, "--device", "m1")
    # Far more than pipes and sockets hold, and nobody reads it.
    child = subprocess.Popen([str(hub.program), "query", "-c", str(hub.file), "--device", "m1", "--json"], stdout=subprocess.PIPE, text=True)
    first = child.stdout.readline()
    # The store is closed, and another one opened in its place.
    hub.options["series"] = {"hold_min": 7}
    hub.write_config()
    assert "series: started anew" in hub.cli("reload").stdout
    rows = lines(first + child.stdout.read())
    assert child.wait() == 0
    assert len(rows) == 6000 and len({r["id"] for r in rows}) == 6000
    # Not the store, but the outlet ends: the rest of the answer is an error, and not silence.
    child = subprocess.Popen([str(hub.program), "query", "-c", str(hub.file), "--device", "m1", "--json"], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
    child.stdout.readline()
    hub.options["series"] = {"enabled": False}
    hub.write_config()
    hub.cli("reload")
    child.stdout.read()
    assert child.wait() != 0 and "the answer is not whole" in child.stderr.read()
    child.stdout.close(), child.stderr.close()
