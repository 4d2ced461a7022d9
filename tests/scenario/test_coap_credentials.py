# SPDX-License-Identifier: Apache-2.0
"""Certificates, authorities and revocation lists change while DTLS sessions are open: who is right stays and goes on sending, who is not goes within a
second, with a close_notify, and on record. Who must not get in by DTLS does not, and the suites are those that are documented."""
import datetime
import json
import os
import signal
import threading
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from harness.clients import coap, coap_certificate, now_ms, run
from harness.dtls import FORMAT, POST, Closed, Dtls, Message
from harness.hub import wait_for
from harness.pki import Pki
from test_credentials import der, events, issue, put, revoke, status, swap

JSON = [(FORMAT, b"\x32")]


class Device:
    def __init__(self, hub, name, certificate=None, key=None, suites=None, session=None):
        self.name, self.mid, self.acked = name, 0, 0
        ca = hub.pki.ca
        self.dtls = Dtls(hub.coap_port, name, key, suites=suites) if key else Dtls(
            hub.coap_port, certificate=certificate or hub.pki.issue(name), ca=ca, suites=suites, session=session)

    def send(self, ms, value):
        """One reading, and its 2.04."""
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03d}Z"
        self.mid = self.mid % 65535 + 1
        request = Message(POST, self.mid, f"ward/w/{self.name}/vitals", json.dumps({"time": when, "hr": value}).encode(), options=JSON)
        for _ in range(5):
            answer = self.dtls.ask(request, 5)
            if answer is not None and answer.mid == self.mid:
                break
        if answer is not None and answer.status == "4.01":  # it was refused, and is closed next
            raise Closed("4.01")
        assert answer is not None and answer.status == "2.04", answer
        self.acked += 1

    def is_open(self):
        try:
            self.dtls.receive(0)
            return True
        except Closed:
            return False


class Load:
    """Sessions each of which sends one reading after the other."""

    def __init__(self, devices):
        self.devices, self.lost, self.stopped, self.stamps, self.ms, self.failed = devices, {}, False, {}, now_ms(), None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopped and self.failed is None:
            for device in [d for d in self.devices if d not in self.lost]:
                self.ms += 1
                try:
                    device.send(self.ms, 40 + self.ms % 100)
                    self.stamps.setdefault(device.name, []).append(self.ms)
                except Closed:
                    self.lost[device] = time.monotonic()
                except Exception as error:  # told by stop()
                    self.failed = error
                    return

    def stop(self):
        self.stopped = True
        self.thread.join(60)
        assert not self.thread.is_alive() and self.failed is None, self.failed


@pytest.fixture
def hub(hubs):
    hub = hubs(bus=False, options={"tls": {"certificate": "live/cert.pem", "key": "live/key.pem", "ca": "pki/ca.pem", "crl": "crl"}, "mqtt": {"enabled": False}})
    hub.live, hub.archive, hub.crl = hub.state / "live", hub.state / "archive", hub.state / "crl"
    for folder in (hub.live, hub.archive, hub.crl):
        folder.mkdir()
    hub.first = issue(hub.pki, hub.archive, "gateway1")
    (hub.live / "cert.pem").symlink_to("../archive/gateway1.pem")
    (hub.live / "key.pem").symlink_to("../archive/gateway1.key")
    revoke(hub.pki, hub.crl / "ca.crl")
    hub.names = [f"c{i}" for i in range(4)]
    hub.start()
    for name in hub.names:
        hub.add_device(name, "bedside-json", "--cert-subject")
    return hub


def with_key(hub, name):
    return bytes.fromhex(hub.add_device(name, "bedside-json", "--psk")["psk_hex"])


def shown(hub):
    device = Device(hub, "c0")
    try:
        return device.dtls.shown()
    finally:
        device.dtls.close()


def test_renewal_under_load(hub):
    key = with_key(hub, "p0")
    load = Load([Device(hub, name) for name in hub.names for _ in range(10)] + [Device(hub, "p0", key=key) for _ in range(10)])
    assert len(load.devices) == 50 and shown(hub) == der(hub.first[0])
    wait_for(lambda: load.failed or all(d.acked for d in load.devices), "every session to send")
    # Swapped links, to another kind of key.
    second = issue(hub.pki, hub.archive, "gateway2", ec.SECP384R1())
    swap(hub.live / "cert.pem", "../archive/gateway2.pem")
    swap(hub.live / "key.pem", "../archive/gateway2.key")
    wait_for(lambda: shown(hub) == der(second[0]), "the second certificate", 20)
    # A pair that does not fit is refused, and said so.
    third = issue(hub.pki, hub.archive, "gateway3")
    swap(hub.live / "cert.pem", "../archive/gateway3.pem")
    wait_for(lambda: "does not belong" in status(hub, "coap").get("refused", ""), "the refusal", 20)
    assert shown(hub) == der(second[0])
    failed = hub.cli("cert", "reload", check=False)
    assert failed.returncode != 0 and "does not belong" in failed.stdout + failed.stderr
    swap(hub.live / "key.pem", "../archive/gateway3.key")
    wait_for(lambda: shown(hub) == der(third[0]), "the third certificate", 20)
    assert "refused" not in status(hub, "coap")
    # One device is revoked: its sessions go within a second of its list being taken up, all others stay.
    assert not load.lost
    began = time.monotonic()
    revoke(hub.pki, hub.crl / "ca.crl", hub.pki.issue("c3")[0])
    assert "taken anew" in hub.cli("cert", "reload").stdout
    wait_for(lambda: len(load.lost) == 10, "the revoked device's sessions to be cut", 10)
    assert max(load.lost.values()) - began < 5
    event = wait_for(lambda: events(hub, "revoked-certificate"), "the record", 10)[0]
    assert event["claimed"] == "c3" and event["device"] == "c3" and event["door"] == "coap"
    before = {d: d.acked for d in load.devices}
    wait_for(lambda: load.failed or all(d.acked > before[d] + 3 for d in load.devices if d.name != "c3"), "all others to go on sending")
    load.stop()
    assert {d.name for d in load.lost} == {"c3"}
    for name in [*hub.names, "p0"]:
        stored = {round(datetime.datetime.fromisoformat(r["time"].replace("Z", "+00:00")).timestamp() * 1000) for r in hub.readings(name, "--limit", "100000")}
        assert set(load.stamps[name]) <= stored, f"readings of {name} are missing"
    refused = hub.status()["parts"]["coap"]["credentials_refused"]
    with pytest.raises(Closed):
        Device(hub, "c3").send(now_ms(), 60)
    assert hub.status()["parts"]["coap"]["credentials_refused"] == refused + 1


def test_an_authority_is_taken_away(hub):
    other = Pki(hub.state / "other" / "pki", "Another authority")
    both = hub.state / "pki" / "ca.pem"
    first = both.read_bytes()
    stranger = other.issue("away")
    hub.add_device("away", "bedside-json", "--cert-subject")
    with pytest.raises(Closed):
        Device(hub, "away", other.issue("stranger")).send(now_ms(), 60)
    assert wait_for(lambda: events(hub, "foreign-authority"), "the record", 10)[0]["claimed"] == "stranger"
    put(both, first + other.ca.read_bytes())
    assert "taken anew" in hub.cli("cert", "reload").stdout
    away, here = Device(hub, "away", stranger), Device(hub, "c0")
    away.send(now_ms(), 61)
    here.send(now_ms(), 62)
    put(both, first)
    os.kill(hub.gateway.child.pid, signal.SIGHUP)
    began = time.monotonic()
    wait_for(lambda: not away.is_open(), "the session to be cut", 10)
    assert time.monotonic() - began < 5
    wait_for(lambda: any(e.get("device") == "away" for e in events(hub, "foreign-authority")), "the record", 10)
    here.send(now_ms(), 63)


def test_a_certificate_expires_while_it_is_connected(hub):
    certificate = issue(hub.pki, hub.archive, "c1", seconds=6, server=False)
    short, other = Device(hub, "c1", certificate), Device(hub, "c2")
    assert short.is_open()
    wait_for(lambda: not short.is_open(), "the session to be cut", 20)
    assert wait_for(lambda: events(hub, "expired-certificate"), "the record", 10)[0]["device"] == "c1"
    other.send(now_ms(), 60)


def test_a_device_is_disabled(hub):
    gone, other = Device(hub, "c1"), Device(hub, "c2")
    gone.send(now_ms(), 60)
    hub.cli("device", "disable", "c1")
    wait_for(lambda: not gone.is_open(), "the session to be cut", 10)
    assert wait_for(lambda: events(hub, "disabled-device"), "the record", 10)[0]["device"] == "c1"
    other.send(now_ms(), 61)


def test_a_list_past_its_time(hubs):
    hub = hubs(bus=False, options={"tls": {"crl": "crl", "crl_expired": "refuse"}, "mqtt": {"enabled": False}})
    (hub.state / "crl").mkdir()
    revoke(hub.pki, hub.state / "crl" / "ca.crl", until_s=-30)
    hub.start()
    hub.add_device("c0", "bedside-json", "--cert-subject")
    with pytest.raises(Closed):
        Device(hub, "c0").send(now_ms(), 60)
    assert wait_for(lambda: events(hub, "expired-crl"), "the record", 10)[0]["claimed"] == "c0"
    revoke(hub.pki, hub.state / "crl" / "ca.crl")
    hub.cli("cert", "reload")
    Device(hub, "c0").send(now_ms(), 61)


def test_names_by_rule(hubs):
    hub = hubs(bus=False, options={"tls": {"identities": [{"from": "dns", "match": "([a-z0-9]+)\\.beds\\.example"}]}, "mqtt": {"enabled": False}})
    hub.start()
    hub.add_device("bed7", "bedside-json", "--cert-subject")
    certificate = hub.pki.issue("rule", "something else", names=["bed7.beds.example"])
    device = Device(hub, "bed7", certificate)
    device.send(now_ms(), 60)
    with pytest.raises(Closed):  # its common name is nobody's business now
        Device(hub, "bed7", hub.pki.issue("bed7")).send(now_ms(), 61)
    assert wait_for(lambda: events(hub, "unknown-certificate"), "the record", 10)[0]["claimed"] == "bed7"


# ---- Resumption ----

def test_sessions_are_resumed(hub):
    whole = Device(hub, "c3")
    assert not whole.dtls.resumed()
    again = Device(hub, "c3", session=whole.dtls.session())
    assert again.dtls.resumed()
    again.send(now_ms(), 70)
    whole.send(now_ms(), 71)
    assert [r["value"] for r in hub.readings("c3")] == [70, 71]
    newer = again.dtls.session()
    assert (hub.state / "data" / "coap-ticket-keys").stat().st_mode & 0o777 == 0o600
    hub.restart_gateway()
    over, other = Device(hub, "c3", session=newer), Device(hub, "c2")
    assert over.dtls.resumed()
    over.send(now_ms(), 72)
    assert hub.status()["parts"]["coap"]["sessions_resumed"] == 1
    # With its certificate revoked a ticket is worth nothing, nor is what it resumed.
    revoke(hub.pki, hub.crl / "ca.crl", hub.pki.issue("c3")[0])
    wait_for(lambda: not over.is_open(), "the resumed session to be cut", 10)
    assert wait_for(lambda: events(hub, "revoked-certificate"), "the record", 10)[0]["device"] == "c3"
    with pytest.raises(Closed):
        Device(hub, "c3", session=newer).send(now_ms(), 73)
    other.send(now_ms(), 74)
    revoke(hub.pki, hub.crl / "ca.crl")
    hub.cli("cert", "reload")
    assert Device(hub, "c3", session=newer).dtls.resumed()
    # Nor is it once the device is disabled, or gone.
    hub.cli("device", "disable", "c3")
    with pytest.raises(Closed):
        Device(hub, "c3", session=newer).send(now_ms(), 75)
    hub.cli("device", "remove", "c3")
    with pytest.raises(Closed):
        Device(hub, "c3", session=newer).send(now_ms(), 76)
    # Who was switched off comes back from the same address and port.
    port = other.dtls.sock.getsockname()[1]
    back = other.dtls.session()
    other.dtls.vanish()
    other.dtls = Dtls(hub.coap_port, certificate=hub.pki.issue("c2"), ca=hub.pki.ca, session=back, source="127.0.0.1", port_here=port)
    assert other.dtls.resumed()
    other.send(now_ms(), 77)
    # A key's session gets none.
    key = with_key(hub, "p2")
    assert not Device(hub, "p2", key=key, session=Device(hub, "p2", key=key).dtls.session()).dtls.resumed()


def test_another_programs_resumption(hub, tmp_path):
    certificate, key = hub.pki.issue("c2")
    s_client = ["openssl", "s_client", "-dtls1_2", "-connect", f"127.0.0.1:{hub.coap_port}", "-CAfile", hub.pki.ca, "-cert", certificate, "-key", key]
    first = run([*s_client, "-sess_out", tmp_path / "session"], input="")
    assert "New, TLSv1.2" in first.stdout and "TLS session ticket:" in first.stdout, first.stdout + first.stderr
    second = run([*s_client, "-sess_in", tmp_path / "session"], input="")
    assert "Reused, TLSv1.2" in second.stdout, second.stdout + second.stderr


# ---- Suites ----

TAKEN = ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-CCM8", "ECDHE-ECDSA-AES128-CCM", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"]
TAKEN_BY_KEY = ["PSK-AES128-CCM8", "PSK-AES128-CCM", "PSK-AES128-GCM-SHA256", "ECDHE-PSK-CHACHA20-POLY1305"]
REFUSED = ["ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA384"]
REFUSED_BY_KEY = ["PSK-AES128-CBC-SHA", "PSK-AES128-CBC-SHA256", "ECDHE-PSK-AES128-CBC-SHA256", "PSK-NULL-SHA256", "DHE-PSK-AES128-GCM-SHA256"]


def test_suites(hub):
    key = with_key(hub, "p1")
    for suite in TAKEN:
        Device(hub, "c0", suites=suite).send(now_ms(), 60)
    for suite in TAKEN_BY_KEY:
        Device(hub, "p1", key=key, suites=suite).send(now_ms(), 61)
    for suite in REFUSED:
        with pytest.raises(Closed):
            Device(hub, "c0", suites=suite)
    for suite in REFUSED_BY_KEY:
        with pytest.raises(Closed):
            Device(hub, "p1", key=key, suites=suite)


def test_other_peoples_clients(hub):
    certificate, key = hub.pki.issue("c2")
    s_client = ["openssl", "s_client", "-connect", f"127.0.0.1:{hub.coap_port}", "-CAfile", hub.pki.ca, "-cert", certificate, "-key", key, "-verify_return_error"]
    done = run([*s_client, "-dtls1_2"], input="")
    assert "Cipher is ECDHE-ECDSA-AES128-GCM-SHA256" in done.stdout and "Verify return code: 0" in done.stdout, done.stdout + done.stderr
    assert "Secure Renegotiation IS supported" in done.stdout and "Compression: NONE" in done.stdout
    for old in (["-dtls1", "-cipher", "ALL:@SECLEVEL=0"], ["-dtls1_2", "-cipher", "AES128-GCM-SHA256:AES128-SHA:DHE-RSA-AES128-GCM-SHA256"]):
        done = run([*s_client, *old], input="")
        assert "Cipher is (NONE)" in done.stdout, done.stdout
    gnutls = ["gnutls-cli", "--udp", "--x509cafile", hub.pki.ca, "--x509certfile", certificate, "--x509keyfile", key, "-p", hub.coap_port, "localhost"]
    done = run([*gnutls, "--priority", "NORMAL:-VERS-ALL:+VERS-DTLS1.2"], input="")
    assert "Handshake was completed" in done.stdout, done.stdout + done.stderr
    for old in ("NORMAL:-VERS-ALL:+VERS-DTLS1.0", "NORMAL:-VERS-ALL:+VERS-DTLS1.2:-CIPHER-ALL:+AES-128-CBC:+AES-256-CBC"):
        assert "Handshake was completed" not in run([*gnutls, "--priority", old], input="").stdout
    for build in ("openssl", "gnutls"):
        done = coap(hub, "post", "ward/w/c2/vitals", '{"hr":70}', build=build, auth=coap_certificate(hub, "c2"), content_format=50)
        assert done.returncode == 0 and hub.readings("c2"), done.stdout + done.stderr
