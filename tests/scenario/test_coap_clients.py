# SPDX-License-Identifier: Apache-2.0
"""Debian's coap-client, its OpenSSL and its GnuTLS build, as a device."""
import json
import time

import pytest

from harness.clients import coap, coap_certificate, coap_psk, iso, now_ms
from harness.hub import wait_for

BUILDS = ["openssl", "gnutls"]
serial = iter(range(1, 1000000))


@pytest.fixture(scope="module")
def hub(module_hubs):
    hub = module_hubs(bus=False).start()
    hub.psk = hub.add_device("s-psk", "senml", "--psk")
    hub.add_device("s-cert", "senml", "--cert-subject", "s-cert")
    hub.monitor = hub.add_device("m-psk", "bedside-json", "--psk")
    return hub


def auth(hub, kind):
    return coap_psk(hub.psk) if kind == "psk" else coap_certificate(hub, "s-cert")


def pack(value, name="temperature_body", unit="Cel", at=None):
    return json.dumps([{"n": name, "u": unit, "v": value, "t": at or now_ms() / 1000}])


def last(hub, device):
    return hub.readings(device)[-1]["value"] if hub.readings(device) else None


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("kind", ["psk", "cert"])
@pytest.mark.parametrize("method", ["post", "put"])
def test_confirmable(hub, build, kind, method):
    value = 30 + next(serial) % 100 / 10
    done = coap(hub, method, "readings", pack(value), build=build, auth=auth(hub, kind), content_format=110)
    assert done.returncode == 0, done.stderr
    assert last(hub, f"s-{kind}") == value, done.stdout + done.stderr


@pytest.mark.parametrize("build", BUILDS)
def test_non_confirmable_is_answered_too(hub, build):
    value = 30 + next(serial) % 100 / 10
    done = coap(hub, "post", "readings", pack(value), "-N", "-v", "7", build=build, auth=auth(hub, "psk"), content_format=110)
    assert last(hub, "s-psk") == value
    assert "2.04" in done.stdout + done.stderr


@pytest.mark.parametrize("build", BUILDS)
def test_gets(hub, build):
    value = 30 + next(serial) % 100 / 10
    coap(hub, "post", "readings", pack(value), build=build, auth=auth(hub, "psk"), content_format=110)
    assert coap(hub, "get", "", build=build, auth=auth(hub, "psk")).stdout.strip()
    told = float(coap(hub, "get", "time", build=build, auth=auth(hub, "psk")).stdout.strip().split()[-1])
    assert abs(told - time.time()) < 30
    latest = json.loads(coap(hub, "get", "readings", build=build, auth=auth(hub, "psk")).stdout)
    assert any(record.get("v") == value for record in latest)
    assert "readings" in coap(hub, "get", ".well-known/core", build=build, auth=auth(hub, "psk")).stdout


@pytest.mark.parametrize("build", BUILDS)
def test_block_wise_upload(hub, build):
    """A pack far larger than one datagram arrives whole and once."""
    # In the past: readings are listed by device time.
    count, start = len(hub.readings("s-psk")), now_ms() / 1000 - 100000 - next(serial) * 1000
    records = [{"n": "temperature_body", "u": "Cel", "v": 36 + i / 100, "t": round(start + i, 3)} for i in range(100)]
    path = hub.state / "pack.json"
    path.write_text(json.dumps(records))
    done = coap(hub, "post", "readings", None, "-f", str(path), "-b", "256", build=build, auth=auth(hub, "psk"), content_format=110)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: len(hub.readings("s-psk")) == count + 100, "100 readings", 10)


@pytest.mark.parametrize("build", BUILDS)
def test_a_profile_path(hub, build):
    value = 100 + next(serial) % 50
    done = coap(hub, "post", "ward/w/m-psk/vitals", json.dumps({"time": iso(now_ms()), "hr": value}), build=build, auth=coap_psk(hub.monitor), content_format=50)
    assert done.returncode == 0 and last(hub, "m-psk") == value


def test_senml_cbor(hub):
    import cbor2
    path = hub.state / "pack.cbor"
    at = now_ms() / 1000
    path.write_bytes(cbor2.dumps([{0: "temperature_body", 1: "Cel", 2: 37.25, 6: at}]))
    done = coap(hub, "post", "readings", None, "-f", str(path), auth=auth(hub, "psk"), content_format=112)
    assert done.returncode == 0 and last(hub, "s-psk") == 37.25


def test_another_device_is_refused(hub):
    done = coap(hub, "post", "ward/w/m-psk/vitals", '{"hr": 1}', auth=auth(hub, "psk"), content_format=50)
    assert "4.03" in done.stdout + done.stderr


def test_bad_content_is_quarantined_and_named(hub):
    before = len(hub.quarantine())
    done = coap(hub, "post", "readings", "[{", auth=auth(hub, "psk"), content_format=110)
    assert "4.0" in done.stdout + done.stderr
    assert len(hub.quarantine()) == before + 1


def test_unknown_identities_are_refused(hub):
    count = len(hub.readings("s-psk"))
    coap(hub, "post", "readings", pack(1), "-B", "3", auth=["-u", "nobody", "-k", "00" * 16], content_format=110, seconds=60)
    coap(hub, "post", "readings", pack(1), "-B", "3", auth=["-u", hub.psk["psk_identity"], "-k", "wrongwrongwrong!"], content_format=110, seconds=60)
    assert len(hub.readings("s-psk")) == count


def test_the_same_reading_over_both_protocols_is_stored_once(hub):
    from harness.clients import by_psk, publish
    at, count = now_ms() / 1000, len(hub.readings("s-psk"))
    coap(hub, "post", "readings", pack(35.5, at=at), auth=auth(hub, "psk"), content_format=110)
    done = publish(hub, "s-psk", "devices/s-psk/senml", pack(35.5, at=at), auth=by_psk(hub.psk))
    assert done.returncode == 0, done.stderr
    assert [r["value"] for r in hub.readings("s-psk")[count:]] == [35.5]
