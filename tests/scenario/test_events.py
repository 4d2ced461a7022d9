# SPDX-License-Identifier: Apache-2.0
"""Every attempt to get in without a right is an event: when, how, from where, as whom, and why. The same from every door."""
import json
import socket
import ssl

import jsonschema
import pytest

from harness.clients import Subscriber, by_certificate, by_password, by_psk, coap, coap_certificate, coap_psk, publish
from harness.dtls import Closed, Dtls
from harness.hub import ROOT, free_port, wait_for
from harness.pki import Pki


def events(hub, *args, check=True):
    return [json.loads(line) for line in hub.cli("events", "--json", *args).stdout.splitlines()]


def found(hub, **members):
    """The events with these members, once there is one."""
    def look():
        return [e for e in events(hub) if all(e.get(k) == v for k, v in members.items())]
    return wait_for(look, f"an event with {members}; there are {[(e.get('reason'), e.get('claimed')) for e in events(hub)]}", 10)


@pytest.fixture(scope="module")
def hub(module_hubs):
    port, tls_port = free_port(), free_port()
    hub = module_hubs(bus=True, options={
        "hl7_in": {"enabled": True, "address": "127.0.0.1", "port": port, "tls_port": tls_port,
                   "peers": [{"name": "adt", "zone": "UTC", "addresses": ["127.0.0.1"], "certificate": "adt.example"}]}})
    hub.in_port, hub.in_tls_port = port, tls_port
    hub.start()
    hub.psk = hub.add_device("p1", "bedside-json", "--psk")
    hub.pw = hub.add_device("w1", "bedside-json", "--password")
    hub.off = hub.add_device("off", "bedside-json", "--psk")
    hub.add_device("c1", "bedside-json", "--cert-subject")
    hub.cli("device", "disable", "off")
    hub.sub = Subscriber(hub)
    return hub


def by_file(hub, certificate, key):
    return ["--cafile", hub.pki.ca, "--cert", certificate, "--key", key]


def other(hub):
    return Pki(hub.state / "other" / "pki", "Somebody else")


MQTT = [
    ("wrong-psk", "p1", lambda hub: by_psk({"psk_hex": "00" * 16, "psk_identity": "p1"})),
    ("unknown-psk-identity", "nobody-psk", lambda hub: by_psk({"psk_hex": "00" * 16, "psk_identity": "nobody-psk"})),
    ("unknown-certificate", "stranger", lambda hub: by_certificate(hub, "stranger")),
    ("expired-certificate", "old", lambda hub: by_file(hub, *hub.pki.issue("old", days=-1))),
    ("foreign-authority", "c1", lambda hub: by_file(hub, *other(hub).issue("c1"))),
    ("wrong-password", "w1", lambda hub: by_password(hub, {**hub.pw, "password": "wrong"})),
    ("unknown-user", "nobody", lambda hub: ["--cafile", hub.pki.ca, "-u", "nobody", "-P", "x"]),
    ("no-credential", "dev-x", lambda hub: ["--cafile", hub.pki.ca]),
    ("disabled-device", "off", lambda hub: by_psk(hub.off)),
]


@pytest.mark.parametrize("reason, claimed, auth", MQTT, ids=[row[0] for row in MQTT])
def test_mqtt(hub, reason, claimed, auth):
    done = publish(hub, "dev-x", "ward/w/p1/vitals", '{"hr": 1}', version="5", auth=auth(hub))
    assert done.returncode != 0
    event = found(hub, door="mqtt", reason=reason)[0]
    assert event["protocol"] == "mqtts" and event["from"] == "127.0.0.1" and event["port"] > 0 and event["claimed"] == claimed
    assert event["event"] == "refused-credential" and event.get("device") == (claimed if reason == "disabled-device" else None)


COAP = [
    ("wrong-psk", "p1", lambda hub: coap_psk({"psk_identity": "p1", "psk": "wrongwrongwrong!"})),
    ("unknown-psk-identity", "nobody-psk", lambda hub: coap_psk({"psk_identity": "nobody-psk", "psk": "x" * 16})),
    ("unknown-certificate", "stranger", lambda hub: coap_certificate(hub, "stranger")),
    ("expired-certificate", "old", lambda hub: ["-c", hub.pki.issue("old", days=-1)[0], "-j", hub.pki.issue("old", days=-1)[1], "-R", hub.pki.ca, "-C", hub.pki.ca]),
    ("foreign-authority", "c1", lambda hub: ["-c", other(hub).issue("c1")[0], "-j", other(hub).issue("c1")[1], "-R", hub.pki.ca, "-C", hub.pki.ca]),
    ("disabled-device", "off", lambda hub: coap_psk(hub.off)),
]


@pytest.mark.parametrize("reason, claimed, auth", COAP, ids=[row[0] for row in COAP])
def test_coap(hub, reason, claimed, auth):
    coap(hub, "post", "readings", "[]", "-B", "2", auth=auth(hub), content_format=110)
    event = found(hub, door="coap", reason=reason)[0]
    assert event["protocol"] == "coaps" and event["from"] == "127.0.0.1" and event["port"] > 0 and event["claimed"] == claimed


def hl7_client(hub, port, context=None):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        try:
            with (context.wrap_socket(plain, server_hostname="localhost") if context else plain) as s:
                s.settimeout(10)
                assert s.recv(1) == b""
        except (ssl.SSLError, ConnectionError):
            pass


def test_hl7(hub):
    hl7_client(hub, hub.in_port)  # without TLS nobody is known who has a certificate
    assert found(hub, door="hl7", reason="address-not-allowed")[0]["protocol"] == "mllp"
    for name, pki, reason in (("stranger", hub.pki, "certificate-not-allowed"), ("adt.example", other(hub), "foreign-authority")):
        context = ssl.create_default_context(cafile=hub.pki.ca)
        context.load_cert_chain(*pki.issue(name))
        hl7_client(hub, hub.in_tls_port, context)
        event = found(hub, door="hl7", reason=reason)[0]
        assert event["protocol"] == "mllps" and event["from"] == "127.0.0.1" and event["claimed"] == name


def test_a_claim_of_another_device(hub):
    publish(hub, "p1", "ward/w/w1/vitals", '{"hr": 1}', version="5", auth=by_psk(hub.psk))
    event = found(hub, event="refused-claim", door="mqtt")[0]
    assert event["reason"] == "foreign-device" and event["principal"] == event["device"] == "p1" and event["route"] == "ward/w/w1/vitals"
    assert event["from"] == "127.0.0.1" and event["protocol"] == "mqtts" and event["port"] > 0
    coap(hub, "post", "ward/w/w1/vitals", '{"hr": 1}', auth=coap_psk(hub.psk), content_format=50)
    assert found(hub, event="refused-claim", door="coap")[0]["protocol"] == "coaps"
    # And a topic that it may not listen to.
    import subprocess
    subprocess.run(["mosquitto_sub", "-h", "127.0.0.1", "-p", str(hub.mqtt_port), "-V", "5", "-i", "sub", "-E", "-t", "downlink/w1/#", *map(str, by_psk(hub.psk))],
                   capture_output=True, timeout=20)
    assert found(hub, reason="foreign-device", route="downlink/w1/#")[0]["principal"] == "p1"


def test_what_is_told_of_them(hub):
    """On the bus, in status, in the log, by kind."""
    publish(hub, "x", "a", "b", version="5", auth=by_psk({"psk_hex": "00" * 16, "psk_identity": "told\x1b[31m\u202eon the bus"}))
    event = found(hub, reason="unknown-psk-identity", claimed="told?[31m?on the bus")[0]
    topic = "vitals-gateway/vitalgate/event"

    def published():
        return [json.loads(line.partition(" ")[2]) for line in hub.sub.path.read_text().splitlines() if line.startswith(topic)]
    told = [m for m in wait_for(lambda: [m for m in published() if m.get("claimed") == event["claimed"]], "it on the bus")]
    assert len(told) == 1 and told[0]["reason"] == "unknown-psk-identity" and told[0]["protocol"] == "mqtts" and told[0]["from"] == "127.0.0.1"
    jsonschema.validate(told[0], json.loads((ROOT / "schemas" / "bus-event.schema.json").read_text()))
    status = hub.status()["refused"]
    assert status["attempts"] >= status["on_record"] >= 1 and status["by_reason"]["unknown-psk-identity"] >= 1 and status["by_door"]["mqtt"] >= 1
    assert status["last"]["claimed"] == event["claimed"]
    log = (hub.state / "vitalgate.log").read_text()
    assert "mqtt.refused: from=127.0.0.1 port=" in log and "\x1b" not in log
    only = events(hub, "--kind", "unknown-psk-identity")
    assert only and all(e["reason"] == "unknown-psk-identity" for e in only)
    assert {e["event"] for e in events(hub, "--kind", "refused")} >= {"refused-credential"}
    assert events(hub, "--kind", "refused", "--limit", "2") == events(hub, "--kind", "refused")[:2]
    assert "no such kind" in hub.cli("events", "--kind", "nonsense", check=False).stderr
    table = hub.cli("events").stdout
    assert "REASON" in table and "unknown-psk-identity" in table and "\x1b" not in table
    assert "attempts since the start" in hub.cli("status").stdout


def test_a_flood_is_counted_and_told(hubs):
    """Some are on record one by one; how many more there were is told, by address."""
    hub = hubs(bus=False, options={"mqtt": {"refusal_records_per_min": 4}}).start()
    for number in range(9):
        assert publish(hub, "x", "a", "b", version="5", auth=by_psk({"psk_hex": "00" * 16, "psk_identity": f"stranger{number % 6}"})).returncode != 0
    with pytest.raises((Closed, TimeoutError)):
        Dtls(hub.coap_port, "elsewhere", b"k" * 16, connect=False).connect(2)
    assert found(hub, door="coap", claimed="elsewhere")  # another door's records are its own
    assert hub.status()["refused"]["attempts"] >= 10
    hub.gateway.stop()
    kept = events(hub, "--kind", "refused")
    ones = [e for e in kept if e["event"] == "refused-credential" and e["door"] == "mqtt"]
    more = [e for e in kept if e["event"] == "refused-more" and e["door"] == "mqtt"]
    assert [e["claimed"] for e in ones] == ["stranger0", "stranger1", "stranger2"]  # three quarters of four
    assert [(e["more"], e["from"], e["text"]) for e in more] == [(6, "127.0.0.1", "and 6 more of 127.0.0.1")]


def test_who_may_give_commands(hubs):
    """Others than those named are refused and recorded; root and the gateway's own user always may."""
    import os
    import subprocess
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]  # as packages are installed
    hub = hubs(bus=False, options={"control": {"socket": "vitalgate.sock", "users": ["daemon"]}}).start()
    os.chmod(hub.state, 0o755)
    os.chmod(hub.state / "vitalgate.sock", 0o666)
    ask = ("import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
           "s.send(b'{\"command\":\"device list\"}\\n', socket.MSG_NOSIGNAL) if sys.argv[2] == 'daemon' else 0; print(s.makefile().read())")
    for user, word in (("nobody", "GW_E_FORBIDDEN"), ("daemon", "GW_OK")):
        done = subprocess.run([*as_root, "setpriv", "--reuid", user, "--clear-groups", "/usr/bin/python3", "-c", ask, str(hub.state / "vitalgate.sock"), user],
                              capture_output=True, text=True, timeout=30)
        assert word in done.stdout, done
    event = found(hub, door="command", reason="user-not-allowed")[0]
    assert "nobody" in event["claimed"] and event["protocol"] == "unix"
