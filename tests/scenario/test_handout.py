# SPDX-License-Identifier: Apache-2.0
"""Credentials of devices as installers get them, used exactly as they were handed out; the gateway's own certificate; rotation, and the end of credentials while
sessions are up."""
import base64
import hashlib
import json
import re
import socket
import ssl
import subprocess
import time
import urllib.parse

import pytest

from harness.clients import by_psk, coap, coap_psk, publish, run
from harness.dtls import Closed, Dtls, Message
from harness.hub import Process, wait_for

LOCAL = {"tls": {"certificate": "", "key": "", "ca": ""}, "mqtt": {"refusal_records_per_min": 1000}}
FRAME = '{"hr": 71}'


@pytest.fixture(scope="module")
def hub(module_hubs):
    return module_hubs(options=LOCAL, bus=False).start()


@pytest.fixture(scope="module")
def quiet(module_hubs):
    """One where nobody else has sessions."""
    return module_hubs(options=LOCAL, bus=False).start()


@pytest.fixture
def out(tmp_path):
    return tmp_path


def authority(hub):
    return hub.state / "data" / "pki" / "ca.pem"


def openssl(*args, input=None):
    done = subprocess.run(["openssl", *map(str, args)], capture_output=True, input=input)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def lines_to_try(text):
    """The commands that `device add` prints."""
    return [line.strip() for line in text.splitlines() if line.startswith(("  mosquitto_pub ", "  coap-client"))]


def taken(hub, device, text):
    """Runs each printed command in a shell; each has to be answered, and its reading kept."""
    commands = lines_to_try(text)
    for command in commands:
        count = len(hub.readings(device))
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0 and not re.search(r"^[45]\.", done.stdout, re.M), f"{command}\n{done.stdout}{done.stderr}"
        wait_for(lambda: len(hub.readings(device)) > count, f"the reading of: {command}", 10)
    return commands


# ---- What is handed out, as it is printed ----

def test_printed_lines_work_as_they_are(hub, out):
    psk = hub.cli("device", "add", "p-psk", "--profile", "bedside-json", "--ward", "3a", "--host", "127.0.0.1").stdout
    assert len(taken(hub, "p-psk", psk)) == 2
    key = re.search(r"as text +(\S+)", psk)[1]
    assert len(key) == 28 and not set(key) & set("OI01") and key.upper() == key
    password = hub.cli("device", "add", "p-pass", "--profile", "bedside-json", "--ward", "3a", "--password", "--host", "127.0.0.1").stdout
    assert len(taken(hub, "p-pass", password)) == 1
    certificate = hub.cli("device", "add", "p-cert", "--profile", "bedside-json", "--ward", "3a", "--pem", out / "pem", "--host", "127.0.0.1").stdout
    assert len(taken(hub, "p-cert", certificate)) == 2
    assert (out / "pem" / "p-cert.key").stat().st_mode & 0o777 == 0o600
    assert "PRIVATE KEY" not in certificate
    # Without a file for it the key is printed, that once.
    printed = hub.cli("device", "issue", "p-cert").stdout
    assert printed.count("BEGIN CERTIFICATE") == printed.count("BEGIN PRIVATE KEY") == 1
    assert "PRIVATE KEY" not in hub.cli("cert", "list", "--json").stdout + hub.cli("device", "show", "p-cert", "--json").stdout


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa2048"])
def test_p12_with_the_printed_passphrase(hub, out, kind):
    device, legacy = f"p12-{kind}", kind == "p384"
    text = hub.cli("device", "add", device, "--profile", "bedside-json", "--key-kind", kind, "--p12", out / "d.p12", *(["--p12-legacy"] if legacy else [])).stdout
    passphrase = re.search(r"passphrase of it +(\S+)", text)[1]
    assert (out / "d.p12").stat().st_mode & 0o777 == 0o600
    pem = openssl("pkcs12", "-in", out / "d.p12", "-passin", f"pass:{passphrase}", "-nodes")
    (out / "d.pem").write_bytes(pem)
    (out / "ca.pem").write_bytes(openssl("pkcs12", "-in", out / "d.p12", "-passin", f"pass:{passphrase}", "-nokeys", "-cacerts"))
    done = publish(hub, device, f"ward/3a/{device}/vitals", FRAME, auth=["--cafile", out / "ca.pem", "--cert", out / "d.pem", "--key", out / "d.pem"])
    assert done.returncode == 0, done.stderr
    assert len(hub.readings(device)) == 1
    if kind == "p256":
        answer = coap(hub, "post", f"ward/3a/{device}/vitals", FRAME, auth=["-c", out / "d.pem", "-j", out / "d.pem", "-C", out / "ca.pem", "-R", out / "ca.pem"],
                      content_format=50)
        wait_for(lambda: len(hub.readings(device)) == 2, f"the reading over CoAP ({answer.stderr})", 10)


def test_a_request_of_the_device_itself(hub, out):
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", out / "d.key")
    openssl("req", "-new", "-key", out / "d.key", "-subj", "/CN=somebody-else", "-out", out / "d.csr")
    row = hub.add_device("own-key", "bedside-json", "--csr", out / "d.csr")
    assert "key" not in row
    (out / "d.pem").write_text(row["certificate"])
    assert b"own-key" in openssl("x509", "-in", out / "d.pem", "-noout", "-subject")  # the name is ours
    assert publish(hub, "own-key", "ward/3a/own-key/vitals", FRAME, auth=["--cafile", authority(hub), "--cert", out / "d.pem", "--key", out / "d.key"]).returncode == 0
    refused = hub.cli("device", "add", "no-key", "--profile", "bedside-json", "--csr", out / "d.pem", check=False)
    assert refused.returncode != 0 and "PKCS#10" in refused.stderr


def test_the_qr_code_is_enough(hub, out):
    """Host, port, identity, key: nothing else is known. And the pin is the authority's that the gateway shows."""
    row = hub.add_device("qr", "bedside-json", "--ward", "3a", "--host", "127.0.0.1", "--qr", out / "qr.png")
    seen = subprocess.run(["zbarimg", "-q", "--raw", str(out / "qr.png")], capture_output=True, text=True, check=True).stdout.strip()
    assert seen == row["uri"] and seen.startswith("vitalgate://127.0.0.1?")
    url = urllib.parse.urlsplit(seen)
    told = dict(urllib.parse.parse_qsl(url.query))
    auth = ["--psk", told["key"], "--psk-identity", told["identity"]]
    done = run(["mosquitto_pub", "-h", url.hostname, "-p", told["mqtt"], "-i", told["id"], "-q", "1", "-t", "ward/3a/qr/vitals", "-m", FRAME, *auth])
    assert done.returncode == 0, done.stderr
    chain = subprocess.run(["openssl", "s_client", "-showcerts", "-connect", f"{url.hostname}:{told['mqtt']}"], capture_output=True, input=b"").stdout.decode()
    shown = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", chain, re.S)
    spki = openssl("pkey", "-pubin", "-outform", "der", input=openssl("x509", "-noout", "-pubkey", input=shown[-1].encode()))
    assert told["ca"] == base64.urlsafe_b64encode(hashlib.sha256(spki).digest()).decode().rstrip("=")
    # On a terminal, and as a picture for a page.
    printed = hub.cli("device", "add", "qr2", "--profile", "senml", "--qr").stdout
    assert printed.count("\u2588") > 500
    hub.cli("device", "add", "qr3", "--profile", "senml", "--qr", out / "qr.svg")
    assert (out / "qr.svg").read_text().startswith("<svg ")


def test_the_sheet_says_what_to_type(hub, out):
    row = hub.add_device("typed", "bedside-json", "--password", "--psk", "--sheet", out / "s.txt")
    text = (out / "s.txt").read_text()
    for secret in (row["psk"], row["psk_hex"], row["password"]):
        groups = [secret[i:i + 4] for i in range(0, len(secret), 4)]
        assert re.search(r"\s+".join(groups), text), secret
    row = hub.add_device("<b>&", "bedside-json", "--sheet", out / "s.html")
    page = (out / "s.html").read_text()
    assert "&#60;b&#62;&#38;" in page and "<h1><b>" not in page
    assert re.sub(r"</?b>|<br>", "", re.search(r"as text.*?<td[^>]*>(.*?)</td>", page, re.S)[1]) == row["psk"]
    assert (out / "s.html").stat().st_mode & 0o777 == 0o600
    again = hub.cli("device", "add", "later", "--profile", "senml", "--sheet", out / "s.html", check=False)
    assert again.returncode != 0 and "nothing is written over" in again.stderr
    assert hub.cli("device", "show", "later", check=False).returncode != 0


def test_no_secret_stays_in_the_list_of_processes(hub, out):
    """A key given as an argument is gone from there before the gateway is asked; from standard input and files it never was."""
    slow = socket.socket(socket.AF_UNIX)
    path = out / "s"
    slow.bind(str(path))
    slow.listen(1)
    (out / "v.yaml").write_text(f"store:\n  dir: {out}/data\ncontrol:\n  socket: {path}\n")
    key, password = "00112233445566778899aabbccddeeff", "correct horse"
    child = subprocess.Popen([hub.program, "device", "add", "x", "--profile", "senml", "--psk-key", key, f"--password={password}", "-c", out / "v.yaml"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peer, _ = slow.accept()
    request = json.loads(peer.recv(65536))
    command_line = open(f"/proc/{child.pid}/cmdline", "rb").read()
    peer.close()
    slow.close()
    child.wait(20)
    assert request["psk-key"] == key and request["password"] == password
    assert key.encode() not in command_line and password.encode() not in command_line and b"--psk-key" in command_line
    row = json.loads(hub.cli("device", "add", "from-stdin", "--profile", "senml", "--psk-key", "-", "--password", "-", "--json", input=f"{key}\n{password}\n").stdout)
    assert row["psk_hex"] == key and row["password"] == password
    (out / "key").write_text(key + "\n")
    assert hub.add_device("from-file", "senml", "--psk-key-file", out / "key")["psk_hex"] == key


# ---- Groups ----

def test_hundreds_at_once(hub, out):
    text = "id,profile,ward\n" + "".join(f"bulk-{i},bedside-json,3a\n" for i in range(200))
    (out / "list.csv").write_text(text)
    hub.cli("device", "import", out / "list.csv", "--issue", "--p12", out / "p12", "--qr", out / "qr", "--sheet", out / "all.html", "--secrets", out / "secrets.csv")
    rows = [line.split(",") for line in (out / "secrets.csv").read_text().splitlines()]
    column = {name: i for i, name in enumerate(rows[0])}
    assert len(rows) == 201 and len(list((out / "p12").iterdir())) == len(list((out / "qr").iterdir())) == 200
    assert (out / "all.html").read_text().count("<section>") == 200
    assert (out / "secrets.csv").stat().st_mode & 0o777 == 0o600
    row = rows[137]
    device, passphrase = row[0], row[column["p12_passphrase"]]
    (out / "d.pem").write_bytes(openssl("pkcs12", "-in", row[column["p12"]], "-passin", f"pass:{passphrase}", "-nodes"))
    assert publish(hub, device, f"ward/3a/{device}/vitals", FRAME, auth=["--cafile", authority(hub), "--cert", out / "d.pem", "--key", out / "d.pem"]).returncode == 0
    issued = [json.loads(line) for line in hub.cli("cert", "list", "--json").stdout.splitlines()]
    assert sum(one["device"].startswith("bulk-") for one in issued) == 200


def test_wrong_lines_are_all_told_and_nothing_is_added(hub, out):
    hub.cli("device", "add", "there", "--profile", "senml", "--psk-identity", "taken")
    (out / "list.csv").write_text("id,profile,psk_identity,mac\nnew-1,senml,,\nnew-2,nonsense,,\nthere,senml,,\nnew-3,senml,taken,\nnew-4,senml,,xx\nnew-1,senml,,\n")
    done = hub.cli("device", "import", out / "list.csv", "--issue", "--p12", out / "p12", "--secrets", out / "s.csv", check=False)
    assert done.returncode != 0
    for words in ("line 3: there is no profile", "line 4: device \"there\" exists", "line 5: PSK identity \"taken\"", "line 6: mac is", "line 7: device \"new-1\" is in line 2",
                  "5 lines are wrong: no device was added"):
        assert words in done.stderr, done.stderr
    assert hub.cli("device", "show", "new-1", check=False).returncode != 0
    assert not (out / "s.csv").exists() and not list((out / "p12").iterdir())
    assert "new-1" not in hub.cli("cert", "list").stdout


def test_nothing_is_written_over(hub, out):
    hub.cli("device", "add", "once", "--profile", "senml", "--pem", out)
    for arguments in (("device", "issue", "once", "--pem", out), ("cert", "issue", "../once", "--pem", out), ("device", "issue", "once", "--p12", out / "once.pem")):
        issued = hub.cli("cert", "list", "--json").stdout
        done = hub.cli(*arguments, check=False)
        assert done.returncode != 0 and ("nothing is written over" in done.stderr or "no file can be named" in done.stderr), done.stderr
        assert hub.cli("cert", "list", "--json").stdout == issued
    (out / "list.csv").write_text("id,profile\nmany-1,senml\n")
    done = hub.cli("device", "import", out / "list.csv", "--issue", "--p12", out, check=False)
    assert done.returncode != 0 and "is not empty" in done.stderr and hub.cli("device", "show", "many-1", check=False).returncode != 0


# ---- The gateway's own certificate ----

def test_devices_that_connect_by_address_believe_it(hub, out):
    shown = [json.loads(line) for line in hub.cli("cert", "show", "--json").stdout.splitlines()]
    own = shown[0]
    assert own["use"] == "tls.certificate" and {"IP:127.0.0.1", "IP:::1", "DNS:localhost"} <= set(own["names"]) and 390 < own["days_left"] < 397
    hub.cli("cert", "ca", out / "ca.pem")
    context = ssl.create_default_context(cafile=out / "ca.pem")
    with socket.create_connection(("127.0.0.1", hub.mqtt_port)) as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
        assert hashlib.sha256(tls.getpeercert(True)).hexdigest() == own["sha256"]
    # The same after a restart; and one more name is no other key.
    hub.options["tls"]["names"] = ["gateway.hospital.example"]
    hub.write_config()
    hub.restart_gateway()
    again = [json.loads(line) for line in hub.cli("cert", "show", "--json").stdout.splitlines()]
    assert "DNS:gateway.hospital.example" in again[0]["names"] and again[0]["serial"] != own["serial"]
    assert again[0]["key_pin"] == own["key_pin"] and again[1]["sha256"] == shown[1]["sha256"]
    assert "nothing has changed" in hub.restart_gateway().cli("reload").stdout


def test_an_authority_of_mkcert(hubs, out):
    """Option B of the hub's set-up: mkcert's files as they are, and mkcert's authority to issue from."""
    env = {"CAROOT": str(out / "caroot"), "HOME": str(out), "PATH": "/usr/bin:/bin", "TRUST_STORES": "none"}
    (out / "caroot").mkdir()
    subprocess.run(["mkcert", "-ecdsa", "-cert-file", "g.pem", "-key-file", "g.key", "localhost", "127.0.0.1"], cwd=out, env=env, check=True, capture_output=True)
    subprocess.run(["mkcert", "-client", "-ecdsa", "-cert-file", "c.pem", "-key-file", "c.key", "mk-device"], cwd=out, env=env, check=True, capture_output=True)
    root = out / "caroot" / "rootCA.pem"
    site = hubs(options={"tls": {"certificate": str(out / "g.pem"), "key": str(out / "g.key"), "ca": str(root), "local_ca": str(root),
                                 "local_ca_key": str(out / "caroot" / "rootCA-key.pem")}}, bus=False).start()
    site.add_device("mk-device", "bedside-json", "--cert-subject", "mk-device")
    done = publish(site, "mk-device", "ward/3a/mk-device/vitals", FRAME, auth=["--cafile", root, "--cert", out / "c.pem", "--key", out / "c.key"])
    assert done.returncode == 0, done.stderr
    site.cli("device", "add", "issued", "--profile", "bedside-json", "--pem", out / "pem")
    done = publish(site, "issued", "ward/3a/issued/vitals", FRAME, auth=["--cafile", out / "pem" / "ca.pem", "--cert", out / "pem" / "issued.pem", "--key", out / "pem" / "issued.key"])
    assert done.returncode == 0, done.stderr


def test_what_would_be_refused_is_not_issued(hubs):
    site = hubs(bus=False).start()  # certificates of a site's own
    refused = site.cli("device", "add", "d", "--profile", "senml", "--issue", check=False)
    assert refused.returncode != 0 and "tls.ca does not hold" in refused.stderr
    assert site.cli("device", "show", "d", check=False).returncode != 0
    with open(site.pki.ca, "a") as file:
        file.write(site.cli("cert", "ca").stdout)
    site.restart_gateway()
    assert "BEGIN PRIVATE KEY" in site.cli("device", "add", "d", "--profile", "senml", "--issue").stdout


# ---- Rotation ----

class MqttHold:
    """A mosquitto_sub that stays until it is sent away."""

    def __init__(self, hub, device, auth):
        before, self.hub = connections(hub), hub
        self.process = Process("mosquitto_sub", ["mosquitto_sub", "-h", "127.0.0.1", "-p", hub.mqtt_port, "-i", f"hold-{device}", "-V", "5", "-t", f"downlink/{device}/x", *auth],
                               hub.state / f"hold-{device}.txt")
        hub.clients.append(self.process)
        wait_for(lambda: self.process.check() and connections(hub) > before, "a held connection", 15)

    @property
    def ended(self):
        return not self.process.alive()


def status_of(hub, part):
    return hub.status()["parts"][part]


def connections(hub):
    return status_of(hub, "mqtt")["connections"]


def hold_coap(hub, row):
    session = Dtls(hub.coap_port, row["psk_identity"], bytes.fromhex(row["psk_hex"]))
    assert session.ask(Message(1, 1, "time")).status == "2.05"
    return session


def is_cut(session):
    """Whether the gateway says good-bye within a moment."""
    try:
        while session.receive(10) is not None:
            pass
    except Closed:
        return True
    return False


def rotated(hub, device):
    return [row["what"] for row in map(json.loads, hub.cli("audit", "--device", device, "--json").stdout.splitlines()) if "rotated" in row["what"]]


def test_rotation_until_the_new_key_was_used(hub):
    old = hub.add_device("rot", "bedside-json", "--psk")
    held, mqtt = hold_coap(hub, old), MqttHold(hub, "rot", by_psk(old))
    new = json.loads(hub.cli("device", "rotate", "rot", "--json").stdout)
    assert new["psk_identity"] == "rot.2" and new["old_until_used"] is True and new["psk"] != old["psk"]
    assert publish(hub, "rot", "ward/3a/rot/vitals", FRAME, auth=by_psk(old)).returncode == 0  # both are good
    hub.restart_gateway()  # also after a restart
    held, mqtt = hold_coap(hub, old), MqttHold(hub, "rot", by_psk(old))
    assert not rotated(hub, "rot")
    answer = coap(hub, "post", "ward/3a/rot/vitals", FRAME, auth=coap_psk(new), content_format=50)
    wait_for(lambda: len(hub.readings("rot")) == 2, f"a reading under the new key ({answer.stderr})", 10)
    # The old one is gone, with those who proved it, and that is recorded.
    assert is_cut(held)
    wait_for(lambda: mqtt.ended, "the old key's connection to end", 3)
    assert len(rotated(hub, "rot")) == 1 and "the key of rot is gone, the new one was used" in rotated(hub, "rot")[0]
    assert publish(hub, "rot", "ward/3a/rot/vitals", FRAME, auth=by_psk(old)).returncode != 0
    with pytest.raises(Closed):
        Dtls(hub.coap_port, "rot", bytes.fromhex(old["psk_hex"]))
    assert publish(hub, "rot", "ward/3a/rot/vitals", FRAME, auth=by_psk(new)).returncode == 0
    assert publish(hub, "rot", "ward/3a/rot/vitals", FRAME, "--tls-version", "tlsv1.3", auth=by_psk(new)).returncode == 0
    assert json.loads(hub.cli("device", "show", "rot", "--json").stdout)["psk_identity"] == "rot.2"


def test_rotation_until_a_date(hub):
    old = hub.add_device("dated", "bedside-json", "--psk")
    held, mqtt = hold_coap(hub, old), MqttHold(hub, "dated", by_psk(old))
    new = json.loads(hub.cli("device", "rotate", "dated", "--until", "+4s", "--json").stdout)
    assert publish(hub, "dated", "ward/3a/dated/vitals", FRAME, auth=by_psk(new)).returncode == 0
    assert not rotated(hub, "dated") and "old_until" in new  # the use alone does not end it
    wait_for(lambda: rotated(hub, "dated"), "the date", 10)
    assert is_cut(held)
    wait_for(lambda: mqtt.ended, "the old key's connection to end", 3)
    assert publish(hub, "dated", "ward/3a/dated/vitals", FRAME, auth=by_psk(old)).returncode != 0
    assert publish(hub, "dated", "ward/3a/dated/vitals", FRAME, auth=by_psk(new)).returncode == 0
    for arguments, words in ((["--until", "-1m"], "is over already"), (["--until", "+1h", "--at-once"], "nothing to wait for"), (["--until", "soon"], "is a time")):
        done = hub.cli("device", "rotate", "dated", *arguments, check=False)
        assert done.returncode != 0 and words in done.stderr


# ---- The end of credentials ----

def certificate_of(hub, out, device):
    hub.cli("device", "add", device, "--profile", "bedside-json", "--psk", "--pem", out / "pem")
    return ["--cafile", authority(hub), "--cert", out / "pem" / f"{device}.pem", "--key", out / "pem" / f"{device}.key"]


def hold_coap_by_certificate(hub, out, device):
    pem = out / "pem"
    process = Process("coap-client", ["coap-client-openssl", "-m", "get", "-G", "60", "-c", pem / f"{device}.pem", "-j", pem / f"{device}.key", "-C", pem / "ca.pem",
                                      f"coaps://127.0.0.1:{hub.coap_port}/time"], hub.state / f"coap-{device}.txt")
    hub.clients.append(process)
    wait_for(lambda: status_of(hub, "coap")["sessions"] == 1, "a held CoAP session", 15)
    return process


def good_serial(hub, device):
    rows = [one for one in map(json.loads, hub.cli("cert", "list", "--device", device, "--json").stdout.splitlines()) if one["state"] == "good"]
    assert len(rows) == 1
    return rows[0]["serial"]


def test_a_revoked_certificate_is_of_no_use_and_its_successor_is(quiet, out):
    hub, device = quiet, "succeeds"
    auth = certificate_of(hub, out, device)
    serial = good_serial(hub, device)
    mqtt, client = MqttHold(hub, device, auth), hold_coap_by_certificate(hub, out, device)
    hub.cli("device", "issue", device, "--pem", out / "new")
    done = hub.cli("cert", "revoke", ":".join(re.findall("..", serial.upper())), "--reason", "lost")
    began = time.monotonic()
    assert "revoked" in done.stdout and "lost" in done.stdout
    wait_for(lambda: mqtt.ended and status_of(hub, "coap")["sessions"] == 0, "both to be cut", 10)
    assert time.monotonic() - began < 3, "within a second, and what asking takes on a busy machine"
    client.kill()
    assert publish(hub, device, f"ward/3a/{device}/vitals", FRAME, auth=auth).returncode != 0
    hold = ["-c", out / "pem" / f"{device}.pem", "-j", out / "pem" / f"{device}.key", "-C", authority(hub)]
    coap(hub, "post", f"ward/3a/{device}/vitals", FRAME, auth=hold, content_format=50, seconds=60)
    assert hub.readings(device) == []
    kinds = {(row.get("protocol"), row.get("reason")) for row in map(json.loads, hub.cli("events", "--json").stdout.splitlines())}
    assert {("mqtts", "revoked-certificate"), ("coaps", "revoked-certificate")} <= kinds, kinds
    new = ["--cafile", authority(hub), "--cert", out / "new" / f"{device}.pem", "--key", out / "new" / f"{device}.key"]
    assert publish(hub, device, f"ward/3a/{device}/vitals", FRAME, auth=new).returncode == 0
    assert any(f"cert revoke {device}: {serial}, lost" in row["what"] for row in map(json.loads, hub.cli("audit", "--json").stdout.splitlines()))
    assert hub.cli("cert", "revoke", "0123", check=False).returncode != 0


@pytest.mark.parametrize("verb", ["disable", "remove", "revoke"])
def test_live_sessions_are_cut_within_a_second(quiet, out, verb):
    hub, device = quiet, f"cut-{verb}"
    auth = certificate_of(hub, out, device)
    mqtt, client = MqttHold(hub, device, auth), hold_coap_by_certificate(hub, out, device)
    hub.cli("device", verb, device)
    began = time.monotonic()
    wait_for(lambda: mqtt.ended and status_of(hub, "coap")["sessions"] == 0, "both to be cut", 10)
    assert time.monotonic() - began < 3, "within a second, and what asking takes on a busy machine"
    client.kill()
    assert publish(hub, device, f"ward/3a/{device}/vitals", FRAME, auth=auth).returncode != 0
    assert any(f"device {verb} {device}" in row["what"] for row in map(json.loads, hub.cli("audit", "--json").stdout.splitlines()))
    if verb == "revoke":
        text = openssl("crl", "-in", hub.state / "data" / "pki" / "crl.pem", "-noout", "-text").decode().lower()
        serials = [one["serial"] for one in map(json.loads, hub.cli("cert", "list", "--device", device, "--json").stdout.splitlines())]
        assert len(serials) == 1 and serials[0] in text
