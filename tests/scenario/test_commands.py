# SPDX-License-Identifier: Apache-2.0
"""The command line as people use it, with and without a running gateway."""
import csv
import io
import json

import yaml

from harness.clients import by_certificate, by_password, iso, now_ms, publish


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


def test_help_and_mistakes(hubs):
    hub = hubs()
    from harness.clients import run
    assert "readings" in run([hub.program, "help"]).stdout
    done = run([hub.program, "redings"])
    assert done.returncode == 2 and "readings" in done.stderr
    assert "mqtt" in run([hub.program, "options"]).stdout
