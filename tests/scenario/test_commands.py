# SPDX-License-Identifier: Apache-2.0
"""The command line as people use it, with and without a running gateway."""
import csv
import io
import json
import re

import yaml

from harness.clients import by_certificate, by_password, iso, now_ms, publish
from harness.hub import free_port, wait_for


def test_device_life(hubs):
    hub = hubs(bus=False).start()
    shown = hub.cli("device", "add", "d1", "--profile", "bedside-json", "--psk", "--mac", "00:11:22:33:44:55", "--ward", "3a",
                    "--manufacturer", "Acme").stdout
    assert "coap-client" in shown and "mosquitto_pub" in shown
    hub.add_device("d2", "plain-text", "--password")
    assert hub.cli("device", "add", "d1", "--profile", "bedside-json", check=False).returncode != 0
    wrong = hub.cli("device", "add", "d3", "--profile", "bedside-jsno", check=False)
    assert wrong.returncode != 0 and "bedside-json" in wrong.stderr + wrong.stdout
    rows = list(csv.DictReader(io.StringIO(hub.cli("device", "list", "--format", "csv").stdout)))
    assert {r["id"] for r in rows} == {"d1", "d2"}
    assert next(r for r in rows if r["id"] == "d1")["mac"].lower() == "00:11:22:33:44:55"
    assert "Acme" in hub.cli("device", "show", "d1").stdout
    hub.cli("device", "remove", "d1")
    assert hub.cli("device", "show", "d1", check=False).returncode != 0
    # Kept over a restart, and readable without a gateway.
    hub.gateway.stop()
    assert "d2" in hub.cli("device", "list").stdout
    hub.start_gateway()
    assert "d2" in hub.cli("device", "list").stdout


def test_how_far_a_clock_is_off(hubs):
    hub = hubs(bus=False).start()
    for name, ahead_ms in (("right", 0), ("fast", 5000), ("behind", -3 * 3600 * 1000)):
        hub.add_device(name, "bedside-json", "--cert-subject", name)
        publish(hub, name, f"ward/w/{name}/vitals", json.dumps({"time": iso(now_ms() + ahead_ms), "hr": 60}), auth=by_certificate(hub, name))
    rows = {row["id"]: row for row in map(json.loads, hub.cli("device", "list", "--json").stdout.splitlines())}
    assert rows["right"]["clock_ahead"] == "+0.0 s"
    assert 0 < float(rows["fast"]["clock_ahead"].split()[0]) <= 5
    # Three hours late, or three hours off: one frame cannot tell.
    assert rows["behind"]["clock"] == "measuring" and "clock_ahead" not in rows["behind"]


def test_readings_in_every_format(hubs):
    hub = hubs(bus=False).start()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    at = now_ms()
    for i, value in enumerate((60, 61)):
        publish(hub, "m1", "ward/w/m1/vitals", json.dumps({"time": iso(at + i * 1000), "hr": value, "spo2": 97}), auth=by_certificate(hub, "m1"))
    assert [r["value"] for r in hub.readings("m1", "--signal", "heart_rate")] == [60, 61]
    rows = list(csv.DictReader(io.StringIO(hub.cli("readings", "--device", "m1", "--format", "csv").stdout)))
    assert len(rows) == 4 and {r["signal"] for r in rows} == {"heart_rate", "spo2"}
    senml = json.loads(hub.cli("readings", "--device", "m1", "--format", "senml").stdout)
    assert len([r for r in senml if "v" in r]) == 4
    assert "heart_rate" in hub.cli("readings", "--device", "m1").stdout
    late = hub.cli("readings", "--device", "m1", "--from", str((at + 500) / 1000), "--format", "json").stdout
    assert len(late.splitlines()) == 2
    wrong = hub.cli("readings", "--device", "m1", "--signal", "heart_rat", check=False)
    assert wrong.returncode != 0 and "heart_rate" in wrong.stderr + wrong.stdout


def test_check_prints_what_parses_back(hubs, tmp_path):
    hub = hubs()
    first = hub.cli("check").stdout
    assert yaml.safe_load(first)["mqtt"]["port"] == hub.mqtt_port
    hub.file.write_text(first)
    assert hub.cli("check").stdout == first
    hub.file.write_text("mqtt:\n  prot: 8883\n")
    wrong = hub.cli("check", check=False)
    assert wrong.returncode != 0 and "port" in wrong.stderr and "2" in wrong.stderr


def test_quarantine_replay_after_the_device_got_its_profile(hubs):
    hub = hubs(bus=False).start()
    credential = hub.add_device("m1", "plain-text", "--password")
    publish(hub, "m1", "ward/w/m1/vitals", json.dumps({"time": iso(now_ms()), "hr": 66}), auth=by_password(hub, credential))
    held = hub.quarantine()
    assert len(held) == 1
    hub.cli("device", "remove", "m1")
    hub.add_device("m1", "bedside-json", "--password")
    hub.cli("quarantine", "replay", str(held[0]["id"]))
    assert hub.quarantine() == [] and [r["value"] for r in hub.readings("m1")] == [66]


def test_status_for_people_and_programs(hubs):
    hub = hubs().start()
    status = hub.status()
    assert {"store", "intake", "mqtt", "coap", "bus"} <= status.keys() | status.get("parts", {}).keys(), status
    text = hub.cli("status").stdout
    assert "mqtt" in text and "bus" in text


def test_status_of_every_part_in_words(hubs):
    hub = hubs(hl7=True, hl7_options={"interval_s": 1}, options={"hl7_in": {"enabled": True, "address": "127.0.0.1", "port": free_port(), "peers": [
        {"name": "adt", "zone": "UTC", "addresses": ["127.0.0.1"]}]}}).start("--first", "AR")
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    assert "nothing is parked" in hub.cli("hl7", "list").stdout and hub.cli("hl7", "list", "--json").stdout == ""
    for payload in (json.dumps({"time": iso(now_ms()), "hr": 60}), "{nonsense"):
        publish(hub, "m1", "ward/3a/m1/vitals", payload, auth=by_certificate(hub, "m1"))
    wait_for(lambda: "PARKED" in hub.cli("status").stdout and "1 refused: payload cannot be decoded (1)" in hub.cli("status").stdout, "both to be told", 60)
    text = hub.cli("status").stdout
    assert not set('{}"_') & set(text.replace(str(hub.state), "").replace("hl7_in", "")), text
    assert ["series", "bus", "hl7/pdms", "hl7_in", "hl7_in/adt", "mqtt", "coap"] == [
        line.split()[0] for line in text.splitlines() if line[0] != " " and line.split()[0] not in ("vitalgate", "store", "quarantine", "intake", "devices", "patients")]
    head, row = hub.cli("hl7", "list").stdout.splitlines()
    assert row[head.index("DEVICE"):].split()[0] == "m1"
    assert re.search("^device +m1$", hub.cli("hl7", "show", "pdms", "1").stdout, re.M)


def test_help_and_mistakes(hubs):
    hub = hubs()
    from harness.clients import run
    assert "readings" in run([hub.program, "help"]).stdout
    done = run([hub.program, "redings"])
    assert done.returncode == 2 and "readings" in done.stderr
    assert "mqtt" in run([hub.program, "options"]).stdout
