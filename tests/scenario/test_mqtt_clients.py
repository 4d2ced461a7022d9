# SPDX-License-Identifier: Apache-2.0
"""mosquitto_pub as a device: versions, qualities, credentials, refusals."""
import json
import subprocess

import pytest

from harness.clients import by_certificate, by_password, by_psk, iso, now_ms, publish, run
from harness.hub import wait_for


@pytest.fixture(scope="module")
def hub(module_hubs):
    hub = module_hubs(bus=False).start()
    hub.credential = {"password": hub.add_device("pw", "bedside-json", "--password"),
                      "psk": hub.add_device("psk", "bedside-json", "--psk"),
                      "cert": hub.add_device("cert", "bedside-json", "--cert-subject", "cert")}
    return hub


def auth(hub, kind):
    return {"password": lambda: by_password(hub, hub.credential["password"]), "psk": lambda: by_psk(hub.credential["psk"]),
            "cert": lambda: by_certificate(hub, "cert")}[kind]()


DEVICE = {"password": "pw", "psk": "psk", "cert": "cert"}
serial = iter(range(1, 1000000))


def vitals(hub, kind, **kwargs):
    device, value = DEVICE[kind], 40 + next(serial) % 200
    done = publish(hub, device, f"ward/w/{device}/vitals", json.dumps({"time": iso(now_ms()), "hr": value}), auth=auth(hub, kind), **kwargs)
    return done, device, value


@pytest.mark.parametrize("kind", ["cert", "psk", "password"])
@pytest.mark.parametrize("version", ["311", "5"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_every_version_quality_and_credential(hub, kind, version, qos):
    done, device, value = vitals(hub, kind, version=version, qos=qos)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: hub.readings(device)[-1:] and hub.readings(device)[-1]["value"] == value, "the reading", 10)


@pytest.mark.parametrize("tls", ["tlsv1.2", "tlsv1.3"])
def test_tls_versions(hub, tls):
    device, certificate = "cert", by_certificate(hub, "cert")
    done = publish(hub, device, "ward/w/cert/vitals", json.dumps({"time": iso(now_ms()), "hr": 50}), "--tls-version", tls, auth=certificate)
    assert done.returncode == 0, done.stderr


def test_retain_is_taken_and_has_no_effect(hub):
    done, device, value = vitals(hub, "cert")
    done = publish(hub, "cert", "ward/w/cert/vitals", json.dumps({"time": iso(now_ms()), "hr": 77}), "-r", auth=auth(hub, "cert"))
    assert done.returncode == 0, done.stderr
    assert hub.readings("cert")[-1]["value"] == 77


@pytest.mark.parametrize("version", ["311", "5"])
@pytest.mark.parametrize("qos", [1, 2])
def test_a_bad_message_is_quarantined_and_good_ones_follow(hub, version, qos):
    """One client sends good, bad, good lines: all answered, none twice, the bad one kept whole with a reason."""
    before, count = len(hub.quarantine()), len(hub.readings("cert"))
    ms = now_ms()
    lines = [json.dumps({"time": iso(ms), "hr": 81}), '{"time": oh no', json.dumps({"time": iso(ms + 1), "hr": 82}), json.dumps({"time": iso(ms + 2), "hr": 83})]
    done = publish(hub, "cert", "ward/w/cert/vitals", None, "-l", qos=qos, version=version, auth=auth(hub, "cert"))
    command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", hub.mqtt_port, "-V", version, "-i", f"batch{version}{qos}", "-q", qos,
               "-t", "ward/w/cert/vitals", "-l", *auth(hub, "cert")]
    done = run(command, input="\n".join(lines) + "\n")
    assert done.returncode == 0, done.stderr
    wait_for(lambda: [r["value"] for r in hub.readings("cert")[count:]] == [81, 82, 83], "the good ones, once each", 10)
    bad = hub.quarantine()[before:]
    assert len(bad) == 1, bad
    shown = hub.cli("quarantine", "show", str(bad[0]["id"])).stdout
    assert '{"time": oh no' in shown and "ward/w/cert/vitals" in shown


def test_claiming_another_device_is_refused_and_recorded(hub):
    payload = json.dumps({"time": iso(now_ms()), "hr": 99})
    count = len(hub.readings("psk"))
    done = publish(hub, "cert", "ward/w/psk/vitals", payload, version="5", auth=auth(hub, "cert"))
    assert "135" in done.stderr or "Not authorized" in done.stderr or done.returncode != 0, done.stderr
    done = publish(hub, "cert", "ward/w/psk/vitals", payload, version="311", auth=auth(hub, "cert"), seconds=20)
    assert len(hub.readings("psk")) == count


@pytest.mark.parametrize("arguments", [
    ["-u", "pw", "-P", "wrong"], ["-u", "nobody", "-P", "wrong"], []])
@pytest.mark.parametrize("version", ["311", "5"])
def test_without_a_valid_credential_nothing_is_taken(hub, arguments, version):
    count = len(hub.readings("pw"))
    done = publish(hub, "pw", "ward/w/pw/vitals", '{"hr": 1}', version=version, auth=["--cafile", hub.pki.ca, *arguments])
    assert done.returncode != 0 and len(hub.readings("pw")) == count


def test_a_foreign_authority_and_a_wrong_key_are_refused(hub, tmp_path):
    from harness.pki import Pki
    other = Pki(tmp_path / "other", "Somebody else")
    certificate, key = other.issue("cert")
    assert publish(hub, "cert", "ward/w/cert/vitals", '{"hr": 1}', auth=["--cafile", hub.pki.ca, "--cert", certificate, "--key", key]).returncode != 0
    assert publish(hub, "psk", "ward/w/psk/vitals", '{"hr": 1}', auth=["--psk", "00" * 16, "--psk-identity", "psk"]).returncode != 0


def test_a_disabled_device_is_refused_at_once(hub):
    credential = hub.add_device("gone", "bedside-json", "--password")
    assert publish(hub, "gone", "ward/w/gone/vitals", '{"hr": 60}', auth=by_password(hub, credential)).returncode == 0
    hub.cli("device", "disable", "gone")
    assert publish(hub, "gone", "ward/w/gone/vitals", '{"hr": 61}', auth=by_password(hub, credential)).returncode != 0
    hub.cli("device", "enable", "gone")
    assert publish(hub, "gone", "ward/w/gone/vitals", '{"hr": 62}', auth=by_password(hub, credential)).returncode == 0
    assert [r["value"] for r in hub.readings("gone")] == [60, 62]


def test_own_downlink_may_be_subscribed_and_nothing_else(hub):
    def subscribe(topic, version):
        return subprocess.run(["mosquitto_sub", "-h", "127.0.0.1", "-p", str(hub.mqtt_port), "-V", version, "-i", "sub", "-q", "1", "-E", "-d",
                               "-t", topic, *map(str, auth(hub, "cert"))], capture_output=True, text=True, timeout=20)
    for version in ("311", "5"):
        assert "Subscribed (mid: 1): 1\n" in subscribe("downlink/cert/config", version).stdout
        assert "Subscribed (mid: 1): 1\n" not in subscribe("downlink/psk/config", version).stdout
        assert "Subscribed (mid: 1): 1\n" not in subscribe("#", version).stdout


def test_the_same_reading_again_is_stored_once(hub):
    frame, count = json.dumps({"time": iso(now_ms()), "hr": 93}), len(hub.readings("psk"))
    for version in ("311", "5", "311"):
        assert publish(hub, "psk", "ward/w/psk/vitals", frame, version=version, auth=auth(hub, "psk")).returncode == 0
    assert [r["value"] for r in hub.readings("psk")[count:]] == [93]


def test_the_same_time_with_another_value_is_a_revision(hub):
    ms, count = now_ms(), len(hub.readings("psk"))
    for value in (70, 71):
        assert publish(hub, "psk", "ward/w/psk/vitals", json.dumps({"time": iso(ms), "hr": value}), auth=auth(hub, "psk")).returncode == 0
    rows = hub.readings("psk")[count:]
    assert [(r["value"], r["revision"]) for r in rows] == [(70, 0), (71, 1)]
