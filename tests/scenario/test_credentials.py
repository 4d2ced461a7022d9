# SPDX-License-Identifier: Apache-2.0
"""Certificates, keys, authorities and revocation lists change while devices are connected: who is right stays, who is not goes, at once and on record;
and sessions that are resumed are worth what their credential is worth."""
import datetime
import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness.clients import now_ms, run
from harness.hub import free_port, wait_for
from harness.pki import Pki


def utc(seconds=0):
    return datetime.datetime.utcnow() + datetime.timedelta(seconds=seconds)


def authority(pki):
    return (x509.load_pem_x509_certificate(pki.ca.read_bytes()), serialization.load_pem_private_key(pki.ca_key.read_bytes(), None))


def put(path, data):
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.replace(path)


def revoke(pki, path, *certificates, until_s=86400):
    issuer, key = authority(pki)
    crl = x509.CertificateRevocationListBuilder().issuer_name(issuer.subject).last_update(utc(-60)).next_update(utc(until_s))
    for certificate in certificates:
        serial = x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number
        crl = crl.add_revoked_certificate(x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(utc(-60)).build())
    put(path, crl.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def issue(pki, folder, name, curve=None, seconds=86400, server=True):
    """A certificate with a life in seconds; (certificate, key)."""
    issuer, ca_key = authority(pki)
    key = ec.generate_private_key(curve or ec.SECP256R1())
    names = [x509.DNSName("localhost")] if server else [x509.DNSName(name)]
    certificate = (x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])).issuer_name(issuer.subject)
                   .public_key(key.public_key()).serial_number(x509.random_serial_number()).not_valid_before(utc(-60)).not_valid_after(utc(seconds))
                   .add_extension(x509.SubjectAlternativeName(names), False).sign(ca_key, hashes.SHA256()))
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[1].touch(mode=0o600)
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return paths


def text(value):
    return struct.pack(">H", len(value)) + value.encode()


def packet(first, body):
    length, out = len(body), bytearray([first])
    while True:
        length, byte = divmod(length, 128)
        out.append(byte | (0x80 if length else 0))
        if not length:
            return bytes(out) + body


def context_of(hub, certificate=None, version=None):
    context = ssl.create_default_context(cafile=hub.pki.ca)
    if certificate:
        context.load_cert_chain(*certificate)
    if version:
        context.minimum_version = context.maximum_version = version
    return context


class Device:
    def __init__(self, hub, name, context, client=None, session=None):
        self.name, self.sent, self.acked, self.open = name, 0, 0, True
        plain = socket.create_connection(("127.0.0.1", hub.mqtt_port), timeout=30)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = context.wrap_socket(plain, server_hostname="localhost", session=session)
        self.sock.sendall(packet(0x10, text("MQTT") + b"\x04\x02\x00\x3c" + text(client or name)))
        self.answer = self.sock.recv(64)
        self.open = self.answer[:1] == b"\x20" and self.answer[3:4] == b"\0"

    def publish(self, ms, value):
        """One reading, and its acknowledgement."""
        ident = self.sent % 60000 + 1
        payload = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03d}Z", "hr": value}).encode()
        self.sock.sendall(packet(0x32, text(f"ward/w/{self.name}/vitals") + struct.pack(">H", ident) + payload))
        self.sent += 1
        got = b""
        while len(got) < 4:
            more = self.sock.recv(4 - len(got))
            if not more:
                raise ConnectionError("closed")
            got += more
        assert got == b"\x40\x02" + struct.pack(">H", ident), got
        self.acked += 1

    def is_open(self):
        self.sock.setblocking(False)
        try:
            return self.sock.recv(16) != b""
        except (ssl.SSLWantReadError, BlockingIOError):
            return True
        except (OSError, ssl.SSLError):
            return False
        finally:
            self.sock.setblocking(True)
            self.sock.settimeout(30)


def shown(hub, version=None):
    """The certificate that the door shows now, as DER."""
    with socket.create_connection(("127.0.0.1", hub.mqtt_port), timeout=30) as plain:
        with context_of(hub, version=version).wrap_socket(plain, server_hostname="localhost") as sock:
            return sock.getpeercert(True)


def der(path):
    return ssl.PEM_cert_to_DER_cert(path.read_text())


def status(hub, part="mqtt"):
    return status_of(hub, part)["credentials"]


def status_of(hub, part="mqtt"):
    return json.loads(hub.cli("status", "--json").stdout)["parts"][part]


def events(hub, reason):
    return [e for e in (json.loads(line) for line in hub.cli("events", "--json").stdout.splitlines()) if e.get("reason") == reason]


def swap(link, target):
    """As certbot does."""
    part = link.with_name(link.name + ".new")
    part.symlink_to(target)
    part.replace(link)


class Load:
    """Sessions of one hub, each of which sends one reading after the other."""

    def __init__(self, hub, names, each):
        self.devices = [Device(hub, name, context_of(hub, hub.pki.issue(name)), f"{name}-{i}") for name in names for i in range(each)]
        assert all(device.open for device in self.devices)
        self.stopped, self.lost, self.ms, self.stamps = False, [], now_ms(), {}
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopped:
            for device in [d for d in self.devices if d.open]:
                self.ms += 1  # every reading has a time of its own
                try:
                    device.publish(self.ms, 40 + self.ms % 100)
                    self.stamps.setdefault(device.name, []).append(self.ms)
                except (OSError, ssl.SSLError):
                    device.open = False
                    self.lost.append(device)

    def stop(self):
        self.stopped = True
        self.thread.join(60)
        assert not self.thread.is_alive()


@pytest.fixture
def hub(hubs):
    hub = hubs(bus=False, options={"tls": {"certificate": "live/cert.pem", "key": "live/key.pem", "ca": "pki/ca.pem", "crl": "crl"},
                                   "coap": {"enabled": False}})
    hub.live, hub.archive, hub.crl = hub.state / "live", hub.state / "archive", hub.state / "crl"
    for folder in (hub.live, hub.archive, hub.crl):
        folder.mkdir()
    hub.first = issue(hub.pki, hub.archive, "gateway1")
    (hub.live / "cert.pem").symlink_to("../archive/gateway1.pem")
    (hub.live / "key.pem").symlink_to("../archive/gateway1.key")
    revoke(hub.pki, hub.crl / "ca.crl")
    hub.names = [f"c{i}" for i in range(5)]
    hub.start()
    for name in hub.names:
        hub.add_device(name, "bedside-json", "--cert-subject")
    return hub


def test_renewal_under_load(hub):
    load = Load(hub, hub.names, 10)
    assert shown(hub) == der(hub.first[0])
    wait_for(lambda: all(d.acked for d in load.devices), "every session to send")
    # Swapped links, to another kind of key.
    second = issue(hub.pki, hub.archive, "gateway2", ec.SECP384R1())
    swap(hub.live / "cert.pem", "../archive/gateway2.pem")
    swap(hub.live / "key.pem", "../archive/gateway2.key")
    wait_for(lambda: shown(hub) == der(second[0]), "the second certificate", 20)
    assert shown(hub, ssl.TLSVersion.TLSv1_2) == der(second[0])
    # A pair that does not fit is refused, and said so.
    third = issue(hub.pki, hub.archive, "gateway3")
    swap(hub.live / "cert.pem", "../archive/gateway3.pem")
    wait_for(lambda: "does not belong" in status(hub).get("refused", ""), "the refusal", 20)
    assert shown(hub) == der(second[0])
    failed = hub.cli("cert", "reload", check=False)
    assert failed.returncode != 0 and "does not belong" in failed.stdout + failed.stderr
    swap(hub.live / "key.pem", "../archive/gateway3.key")
    wait_for(lambda: shown(hub) == der(third[0]), "the third certificate", 20)
    assert "refused" not in status(hub)
    # Nor is a key that others may read, or a certificate that is past.
    os.chmod(third[1], 0o644)
    wait_for(lambda: "chmod 600" in status(hub).get("refused", ""), "the refusal", 20)
    os.chmod(third[1], 0o600)
    wait_for(lambda: "refused" not in status(hub), "the key to be good again", 20)
    # One device is revoked: its sessions go within a second of its list being taken up, all others stay.
    assert not load.lost
    revoke(hub.pki, hub.crl / "ca.crl", hub.pki.issue("c4")[0])
    wait_for(lambda: len(load.lost) == 10, "the revoked device's sessions to be cut", 10)
    event = wait_for(lambda: events(hub, "revoked-certificate"), "the record", 10)[0]
    assert event["claimed"] == "c4" and event["device"] == "c4" and event["door"] == "mqtt"
    before = {d: d.acked for d in load.devices}
    wait_for(lambda: all(d.acked > before[d] + 3 for d in load.devices if d.name != "c4"), "all others to go on sending")
    load.stop()
    assert {d.name for d in load.lost} == {"c4"}
    for name in hub.names:
        stored = {round(datetime.datetime.fromisoformat(r["time"].replace("Z", "+00:00")).timestamp() * 1000) for r in hub.readings(name, "--limit", "100000")}
        assert set(load.stamps[name]) <= stored, f"readings of {name} are missing"
    refused = Device.__new__(Device)
    with pytest.raises((OSError, ssl.SSLError, AssertionError)):
        refused.__init__(hub, "c4", context_of(hub, hub.pki.issue("c4")))
        assert refused.open


def test_an_authority_is_taken_away(hub):
    other = Pki(hub.state / "other" / "pki", "Another authority")
    both = hub.state / "pki" / "ca.pem"
    first = both.read_bytes()
    put(both, first + other.ca.read_bytes())
    assert "taken anew" in hub.cli("cert", "reload").stdout
    hub.add_device("away", "bedside-json", "--cert-subject")
    away, here = Device(hub, "away", context_of(hub, other.issue("away"))), Device(hub, "c0", context_of(hub, hub.pki.issue("c0")))
    assert away.open and here.open
    put(both, first)
    os.kill(hub.gateway.child.pid, signal.SIGHUP)
    began = time.monotonic()
    wait_for(lambda: not away.is_open(), "the session to be cut", 10)
    assert time.monotonic() - began < 5
    assert wait_for(lambda: events(hub, "foreign-authority"), "the record", 10)[0]["device"] == "away"
    here.publish(now_ms(), 60)


def test_a_certificate_expires_while_it_is_connected(hub):
    certificate = issue(hub.pki, hub.archive, "c1", seconds=6, server=False)
    short, other = Device(hub, "c1", context_of(hub, certificate)), Device(hub, "c2", context_of(hub, hub.pki.issue("c2")))
    assert short.open and short.is_open()
    wait_for(lambda: not short.is_open(), "the session to be cut", 20)
    assert wait_for(lambda: events(hub, "expired-certificate"), "the record", 10)[0]["device"] == "c1"
    other.publish(now_ms(), 60)


# ---- Resumption ----

@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed(hub, version):
    context = context_of(hub, hub.pki.issue("c3"), version)
    whole = Device(hub, "c3", context)
    assert whole.open and not whole.sock.session_reused
    session = whole.sock.session
    again = Device(hub, "c3", context, session=session)
    assert again.sock.session_reused and again.open
    again.publish(now_ms(), 70)
    assert hub.readings("c3")[-1]["value"] == 70
    newer = again.sock.session
    assert (hub.state / "data" / "mqtt-ticket-keys").stat().st_mode & 0o777 == 0o600
    hub.restart_gateway()
    over = Device(hub, "c3", context, session=newer)
    assert over.sock.session_reused and over.open
    over.publish(now_ms(), 71)
    # With its certificate revoked a ticket is worth nothing, nor is what it resumed.
    revoke(hub.pki, hub.crl / "ca.crl", hub.pki.issue("c3")[0])
    wait_for(lambda: not over.is_open(), "the resumed session to be cut", 10)
    with pytest.raises((OSError, ssl.SSLError, AssertionError)):
        device = Device(hub, "c3", context, session=newer)
        assert device.open
    revoke(hub.pki, hub.crl / "ca.crl")
    hub.cli("cert", "reload")
    assert Device(hub, "c3", context, session=newer).sock.session_reused
    hub.cli("device", "remove", "c3")
    gone = Device(hub, "c3", context, session=newer)
    assert not gone.sock.session_reused and not gone.open


def resumed_by_openssl(hub, version, session, first):
    certificate, key = hub.pki.issue("c3")
    how = ["-sess_out", session] if first else ["-sess_in", session]
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{hub.mqtt_port}", "-CAfile", hub.pki.ca, "-cert", certificate, "-key", key, f"-tls1_{version}", *how]
    with subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        if first:  # the ticket comes after the handshake
            wait_for(lambda: session.exists() and session.stat().st_size > 0, "the ticket", 20)
        return "Reused, TLS" in child.communicate(timeout=60)[0]


def resumed_by_gnutls(hub, version, _session, _first):
    certificate, key = hub.pki.issue("c3")
    done = run(["gnutls-cli", "--resume", "-p", hub.mqtt_port, "--x509cafile", hub.pki.ca, "--x509certfile", certificate, "--x509keyfile", key,
                "--priority", f"NORMAL:-VERS-ALL:+VERS-TLS1.{version}", "--waitresumption", "localhost"], seconds=60, input="")
    return "This is a resumed session" in done.stdout


@pytest.mark.parametrize("client", [resumed_by_openssl, resumed_by_gnutls])
def test_other_clients_resume(hub, client):
    for version in (2, 3):
        session = hub.state / f"session-{version}"
        began = status_of(hub)["handshakes_ok"]
        if client is resumed_by_openssl:
            assert not client(hub, version, session, True)
            hub.restart_gateway()
            began = 0
        assert client(hub, version, session, False)
        assert status_of(hub)["handshakes_ok"] > began


# ---- HL7 in ----

def test_hl7_in_takes_up_files_too(hubs):
    port, tls_port = free_port(), free_port()
    hub = hubs(bus=False, options={
        "tls": {"crl": "crl"}, "coap": {"enabled": False},
        "hl7_in": {"enabled": True, "address": "127.0.0.1", "port": port, "tls_port": tls_port,
                   "peers": [{"name": n, "zone": "UTC", "addresses": ["127.0.0.1"], "certificate": n} for n in ("adt", "orders")]}})
    (hub.state / "crl").mkdir()
    revoke(hub.pki, hub.state / "crl" / "ca.crl")
    hub.start()

    def connect(name):
        sock = context_of(hub, hub.pki.issue(name)).wrap_socket(socket.create_connection(("127.0.0.1", tls_port), timeout=30), server_hostname="localhost")
        sock.sendall(b"\x0bMSH|^~\\&|A|B|C|D|20260101000000||ADT^A01|" + name.encode() + b"|P|2.5\r\x1c\r")
        assert b"MSA|" in sock.recv(4096)
        return sock

    adt, orders = connect("adt"), connect("orders")
    before = adt.getpeercert(True)
    certificate, key = issue(hub.pki, hub.state, "gateway")
    put(hub.state / "pki" / "gateway.key", key.read_bytes())
    os.chmod(hub.state / "pki" / "gateway.key", 0o600)
    put(hub.state / "pki" / "gateway.pem", certificate.read_bytes())
    wait_for(lambda: connect("adt").getpeercert(True) != before, "the new certificate", 20)
    revoke(hub.pki, hub.state / "crl" / "ca.crl", hub.pki.issue("orders")[0])
    orders.settimeout(20)
    assert orders.recv(16) == b""
    assert wait_for(lambda: events(hub, "revoked-certificate"), "the record", 10)[0]["door"] == "hl7"
    adt.settimeout(0.3)
    with pytest.raises(TimeoutError):
        adt.recv(16)
