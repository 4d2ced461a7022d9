# SPDX-License-Identifier: Apache-2.0
"""Let's Encrypt: certbot gets a certificate from an ACME server (pebble, on loopback; it asks for the challenge over HTTP as the real one does), hands it to the
gateway by conf/certbot-deploy, and renews it while a device is connected."""
import json
import os
import socket
import ssl
import subprocess
import urllib.request

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from harness.clients import now_ms
from harness.hub import ROOT, Process, free_port, wait_for, write_whole
from test_credentials import Device, der

NAME = "gateway.hospital.example"
USER = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()


class Acme:
    """pebble with a name server for its look-ups, and certbot with folders of its own."""

    def __init__(self, hub):
        self.hub, self.folder = hub, hub.state / "acme"
        self.folder.mkdir()
        self.port, self.management, self.http, dns, control = (free_port() for _ in range(5))
        certificate, key = hub.pki.issue("acme", "acme", ["localhost"], ["127.0.0.1"], server=True)
        config = self.folder / "pebble.json"
        config.write_text(json.dumps({"pebble": {
            "listenAddress": f"127.0.0.1:{self.port}", "managementListenAddress": f"127.0.0.1:{self.management}", "certificate": str(certificate),
            "privateKey": str(key), "httpPort": self.http, "tlsPort": free_port()}}))
        hub.clients.append(Process("name server", ["pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", f"127.0.0.1:{dns}",
                                                   "-http01", "", "-https01", "", "-tlsalpn01", "", "-management", f"127.0.0.1:{control}"],
                                   self.folder / "dns.log"))
        hub.clients.append(Process("pebble", ["pebble", "-config", config, "-dnsserver", f"127.0.0.1:{dns}"], self.folder / "pebble.log",
                                   env={**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0"}))
        self.root = self.folder / "root.pem"
        self.root.write_bytes(wait_for(self.fetch_root, "pebble to answer"))

    def fetch_root(self):
        for process in self.hub.clients:
            process.check()
        try:
            return urllib.request.urlopen(f"https://localhost:{self.management}/roots/0", context=ssl.create_default_context(cafile=self.hub.pki.ca)).read()
        except OSError:
            return None

    def certbot(self, command, *args):
        done = subprocess.run(["certbot", command, "--non-interactive", "--config-dir", self.folder / "etc", "--work-dir", self.folder / "work",
                               "--logs-dir", self.folder / "log", "--server", f"https://localhost:{self.port}/dir", "--standalone",
                               "--http-01-address", "127.0.0.1", "--http-01-port", str(self.http), *args],
                              env={**os.environ, "REQUESTS_CA_BUNDLE": str(self.hub.pki.ca)}, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout + done.stderr

    def obtain(self, hook):
        return self.certbot("certonly", "--agree-tos", "--register-unsafely-without-email", "--key-type", "ecdsa", "--elliptic-curve", "secp256r1",
                            "-d", NAME, "--deploy-hook", hook)

    def renew(self):
        return self.certbot("renew", "--force-renewal", "--no-random-sleep-on-renew")

    def context(self, *certificate):
        """A device's, that believes this authority alone."""
        context = ssl.create_default_context(cafile=self.root)
        context.check_hostname = False  # it connects by address
        if certificate:
            context.load_cert_chain(*certificate)
        return context


def shown(hub, context):
    """What the door shows, verified."""
    with socket.create_connection(("127.0.0.1", hub.mqtt_port), timeout=30) as plain, context.wrap_socket(plain, server_hostname=NAME) as sock:
        return sock.getpeercert(True)


def live(acme):
    return der(acme.folder / "etc" / "live" / NAME / "cert.pem")


@pytest.fixture
def hub(hubs):
    return hubs(bus=False, options={"tls": {"certificate": "tls/live/fullchain.pem", "key": "tls/live/privkey.pem", "ca": "pki/ca.pem"}})


def test_obtained_and_renewed_while_a_device_is_connected(hub):
    acme = Acme(hub)
    folder = hub.state / "tls"
    code, said = acme.obtain(f"{ROOT}/conf/certbot-deploy -u {USER} -d {folder} -c {hub.file} -p {hub.program}")
    assert code == 0 and "it takes the pair when it starts" in said, said
    hub.start()
    hub.add_device("c0", "bedside-json", "--cert-subject")
    first = live(acme)
    assert shown(hub, acme.context()) == first
    certificate = x509.load_der_x509_certificate(first)
    assert certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName) == [NAME]
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    device = Device(hub, "c0", acme.context(*hub.pki.issue("c0")))
    device.publish(now_ms(), 60)
    # A renewal: the same process, the same connection, another certificate.
    pid = hub.gateway.pid
    code, said = acme.renew()
    assert code == 0 and "renewals succeeded" in said, said
    second = live(acme)
    assert second != first and shown(hub, acme.context()) == second  # at once: the hook returned after it was taken up
    device.publish(now_ms(), 61)
    assert hub.gateway.alive() and hub.gateway.pid == pid
    key = folder / "live" / "privkey.pem"
    assert key.stat().st_mode & 0o777 == 0o400 and len(list(folder.glob("pair-*"))) == 1
    # What the gateway refuses is told, it goes on with what it had, and the pair is there once the reason is gone.
    authorities = hub.pki.ca.read_bytes()
    write_whole(hub.pki.ca, "nothing")
    code, said = subprocess_hook(hub, acme, folder)
    assert code == 1 and "the gateway goes on with what it had" in said, said
    assert shown(hub, acme.context()) == second
    write_whole(hub.pki.ca, authorities.decode())
    hub.cli("cert", "reload")
    device.publish(now_ms(), 62)
    assert len(hub.readings("c0")) >= 3


def subprocess_hook(hub, acme, folder):
    done = subprocess.run([ROOT / "conf" / "certbot-deploy", "-u", USER, "-d", folder, "-c", hub.file, "-p", hub.program],
                          env={**os.environ, "RENEWED_LINEAGE": str(acme.folder / "etc" / "live" / NAME)}, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_the_hook_says_what_is_missing(tmp_path):
    hook = ROOT / "conf" / "certbot-deploy"
    plain = {key: value for key, value in os.environ.items() if key != "RENEWED_LINEAGE"}
    done = subprocess.run([hook, "-d", tmp_path], env=plain, capture_output=True, text=True)
    assert done.returncode == 2 and "RENEWED_LINEAGE" in done.stderr
    done = subprocess.run([hook, "-d", tmp_path, "-u", "nobody-such"], env={**plain, "RENEWED_LINEAGE": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 2 and "nobody-such" in done.stderr
    # A pair that cannot be copied leaves nothing behind.
    done = subprocess.run([hook, "-d", tmp_path, "-u", USER], env={**plain, "RENEWED_LINEAGE": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode != 0 and not list(tmp_path.iterdir())


def test_as_pkcs12(hub):
    """The same pair as PKCS#12, made by openssl as README says."""
    acme = Acme(hub)
    code, said = acme.obtain("true")
    assert code == 0, said
    lineage, p12, passphrase = acme.folder / "etc" / "live" / NAME, hub.state / "gateway.p12", hub.state / "passphrase"
    write_whole(passphrase, "correct horse\n")
    subprocess.run(["openssl", "pkcs12", "-export", "-in", lineage / "fullchain.pem", "-inkey", lineage / "privkey.pem", "-out", p12,
                    "-passout", f"file:{passphrase}"], check=True, capture_output=True)
    p12.chmod(0o600)
    hub.options["tls"].update(certificate=str(p12), key="", key_passphrase_file=str(passphrase))
    hub.write_config()
    hub.start()
    assert shown(hub, acme.context()) == live(acme)
