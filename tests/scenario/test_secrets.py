# SPDX-License-Identifier: Apache-2.0
"""Keys and passwords are in no log, no event, no list of processes and no core dump."""
import json
import pathlib

from harness.clients import by_certificate, by_password, by_psk, coap, coap_psk, publish
from harness.hub import wait_for


def limits(pid):
    rows = pathlib.Path(f"/proc/{pid}/limits").read_text().splitlines()
    return next(row.split()[4:6] for row in rows if row.startswith("Max core file size"))


def test_secrets_stay_where_they_belong(hubs):
    hub = hubs(bus=True, options={"log": {"level": "debug"}}).start()
    key, password = "7365637265742d6b65792d6f662d7031", "correct-horse-battery"
    chosen = hub.add_device("p1", "bedside-json", "--psk-key", key)
    made = hub.add_device("p2", "senml", "--psk")
    user = json.loads(hub.cli("device", "add", "w1", "--profile", "bedside-json", "--json", "--password", "-", input=password + "\n").stdout)
    generated = hub.add_device("w2", "bedside-json", "--password")
    hub.add_device("c1", "bedside-json", "--cert-subject")
    hub.pki.issue("c1")
    wrong_key, wrong_password = "a1b2c3d4e5f60718293a4b5c6d7e8f90", "wrong-horse-wrong-password"
    for version in ("311", "5"):
        for auth in (by_psk(chosen), by_psk(made), by_psk({**chosen, "psk_hex": wrong_key}), by_password(hub, {**user, "password": password}), by_password(hub, generated),
                     by_password(hub, {**user, "password": wrong_password}), by_password(hub, {"user": "nobody", "password": wrong_password}), by_certificate(hub, "c1")):
            publish(hub, "x", "ward/w/p1/vitals", "{}", version=version, auth=auth)
    for credential in (made, {**made, "psk": "wrong-psk-text!!"}, {"psk_identity": "nobody", "psk": "wrong-psk-text!!"}):
        coap(hub, "post", "readings", "[]", "-B", "2", auth=coap_psk(credential), content_format=110)
    hub.cli("device", "disable", "p2")
    coap(hub, "post", "readings", "[]", "-B", "2", auth=coap_psk(made), content_format=110)
    wait_for(lambda: hub.status()["refused"]["by_reason"].get("disabled-device"), "the last of them")
    shown = "".join(hub.cli(*command).stdout for command in (("events", "--json"), ("audit", "--json"), ("status", "--json"), ("device", "list", "--json"),
                                                             ("device", "show", "p1", "--json"), ("device", "show", "w1"), ("check",)))
    process = pathlib.Path(f"/proc/{hub.gateway.pid}")
    listed = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    assert limits(hub.gateway.pid) == ["0", "0"]
    hub.gateway.stop()
    log = (hub.state / "vitalgate.log").read_text()
    secrets = [key, password, wrong_key, wrong_password, made["psk_hex"], made["psk"], generated["password"], hub.password("bus-gateway"), "secret-key-of-p1", "wrong-psk-text",
               "$argon2id$"]
    assert "debug" in log and "mqtt.refused" in log
    for secret in secrets:
        for where, text in (("log", log), ("output", shown), ("process list", listed.decode(errors="replace"))):
            assert secret.lower() not in text.lower(), f"{secret} is in the {where}"


def test_core_dumps_where_somebody_wants_them(hubs):
    hub = hubs(bus=False, options={"process": {"core_dumps": True}})
    hub.start_gateway(wrap=("prlimit", "--core=4096:4096"))
    assert limits(hub.gateway.pid)[1] == "4096"
