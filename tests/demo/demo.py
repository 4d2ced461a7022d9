#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a hub on this machine until Ctrl-C: what ./run starts after it has built."""
import argparse
import fcntl
import json
import os
import pathlib
import shlex
import signal
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import hospital as hospital_messages  # noqa: E402
from hospital import BEDS  # noqa: E402
from harness.hub import ROOT, Hub, Process, port_or_free, wait_for, write_whole  # noqa: E402

DEMO = [  # name, profile, ward, kind, options of `device add`
    ("demo-monitor-1", "bedside-json", "3a", "monitor", ["--cert-subject", "demo-monitor-1", "--bed", "3a^^1"]),
    ("demo-monitor-2", "bedside-json", "3a", "monitor", ["--cert-subject", "demo-monitor-2", "--bed", "3a^^2"]),
    ("demo-thermo-1", "plain-text", "3a", "thermometer", ["--password", "--bed", "3a^^1"]),
    ("demo-oximeter-1", "senml", "3a", "oximeter", ["--psk", "--bed", "3a^^2"]),
]
MY_BED = "3a^^9"  # where my-monitor and my-sensor stand
PORTS = [  # name, usual port, kind, what for
    ("mqtt", 8883, socket.SOCK_STREAM, "MQTT over TLS"),
    ("coap", 5684, socket.SOCK_DGRAM, "CoAP over DTLS"),
    ("bus", 1883, socket.SOCK_STREAM, "the bus"),
    ("bus_tls", 8884, socket.SOCK_STREAM, "the bus with TLS"),
    ("hl7_in", 2575, socket.SOCK_STREAM, "HL7 from the hospital"),  # from here on with the demonstration only
    ("hl7", 2577, socket.SOCK_STREAM, "the HL7 receiver"),
]


def say(text):
    print(text, flush=True)


def choose_ports(demo):
    """The usual ports, and others where somebody has them: said, and the same at the next start."""
    ports = {}
    for name, usual, kind, what in PORTS if demo else PORTS[:-2]:
        ports[name] = port_or_free(usual, kind, everywhere=name in ("mqtt", "coap", "bus_tls"))
        if ports[name] != usual:
            say(f"Port {usual} is taken by another program: {what} listens on {ports[name]}")
    return ports


def any_address():
    """Of both kinds, where the kernel has IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::", 0))
        return "::"
    except OSError:
        return "0.0.0.0"


def devices(hub, demo):
    """Registers the user's own devices and the demonstration's, once; returns their credentials."""
    path = hub.state / "secrets" / "devices.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    rows = hub.cli("device", "list", "--format", "json").stdout.splitlines()
    registered = {row["id"]: row for row in map(json.loads, filter(str.strip, rows))}

    def certificate(name):
        return [hub.ca.parent / f"{name}{end}" for end in (".pem", ".key")]

    def add(name, profile, *args):
        bed, with_files = args[args.index("--bed") + 1], "--pem" in args
        there = not with_files or all(path.exists() for path in certificate(name))
        if name in known and registered.get(name, {}).get("bed") == bed and there:
            return known[name]
        for old in certificate(name) if with_files else []:
            old.unlink(missing_ok=True)
        if name in registered:  # its credential is not known here any more, or its bed had another name
            hub.cli("device", "remove", name)
        known[name] = hub.add_device(name, profile, *args)
        # Without this it stands there since just now, and who can say of a clock seen for seconds whether a reading was before or after that?
        hub.cli("place", name, bed, "--from", "-1h")
        write_whole(path, json.dumps(known, indent=2) + "\n")
        return known[name]

    add("my-monitor", "bedside-json", "--pem", hub.ca.parent, "--password", "--ward", "3a", "--bed", MY_BED)
    add("my-sensor", "senml", "--psk", "--ward", "3a", "--bed", MY_BED)
    lines = []
    for name, profile, ward, kind, args in DEMO if demo else []:
        with_certificate = "--cert-subject" in args
        credential = add(name, profile, "--test", "--ward", ward, *(["--pem", hub.ca.parent] if with_certificate else []), *args)
        device = {"name": name, "kind": kind, "ward": ward}
        if with_certificate:
            device["certificate"], device["key"] = map(str, certificate(name))
        device.update({k: credential[v] for k, v in {"user": "user", "password": "password", "identity": "psk_identity",
                                                     "psk": "psk"}.items() if credential.get(v)})
        lines.append(json.dumps(device))
    write_whole(hub.state / "demo-devices.jsonl", "".join(line + "\n" for line in lines))
    return known


def short(path):
    """As one would type it in the folder where ./run was started."""
    path, here = pathlib.Path(path), pathlib.Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def paste(hub, known, demo):
    """The lines to paste, each complete."""
    pki, sensor, monitor = hub.state / "pki", known["my-sensor"], known["my-monitor"]
    program, config = short(hub.program), short(hub.file)
    frame = "'{\"hr\": 72, \"spo2\": 98}'"
    pack = "'[{\"n\":\"temperature_body\",\"u\":\"Cel\",\"v\":36.6}]'"
    mqtt = f"mosquitto_pub -h localhost -p {hub.mqtt_port} --cafile {short(pki / 'ca.pem')}"
    coap = f"-u {sensor['psk_identity']} -k {sensor['psk']}"
    uri = f"coaps://localhost:{hub.coap_port}"
    more = f"  {program} readings -c {config} --device demo-monitor-1 --from -1m\n" if demo else ""
    hospital = paste_hospital(hub, program, config) if demo else ""
    return f"""
A reading over MQTT/TLS with a client certificate:
  {mqtt} --cert {short(pki / 'my-monitor.pem')} \\
    --key {short(pki / 'my-monitor.key')} -q 1 -i my-monitor -t ward/3a/my-monitor/vitals -m {frame}
The same with user and password inside TLS:
  {mqtt} -u {monitor['user']} \\
    -P {shlex.quote(monitor['password'])} -q 1 -i my-monitor -t ward/3a/my-monitor/vitals -m {frame}
A reading over CoAP/DTLS with a pre-shared key (the answer is the hub's time):
  coap-client-openssl -m post {coap} -t 110 -e {pack} \\
    {uri}/readings
The device's latest readings, and the hub's time:
  coap-client-openssl -m get {coap} {uri}/readings
  coap-client-openssl -m get {coap} {uri}/time
What goes out on the bus:
  mosquitto_sub {' '.join(shlex.quote(a) for a in hub.bus_arguments())} -v -t 'vitals/#'
What is kept, and how everything is:
  {program} readings -c {config} --device my-monitor
{more}  {program} status -c {config}
The newest of everything, means of each minute, a file for a spreadsheet:
  {program} latest -c {config}
  {program} query -c {config} --device my-monitor --signal heart_rate --step 1m
  {program} export -c {config} --device my-monitor --output {short(hub.state / 'my-monitor.csv')}
{hospital}"""


def paste_hospital(hub, program, config):
    """What a hospital sees, from its messages to those that it gets."""
    received = short(hub.state / "hl7")
    return f"""
The hospital's side. Who lies in a bed, since when, said by which message; and the same of a device:
  {program} patient show -c {config} --bed '{BEDS[0]}'
  {program} patient show -c {config} --device demo-oximeter-1
The newest of the messages that the HL7 receiver got, one segment a line:
  tr '\\r' '\\n' < "$(ls -t {received}/*.hl7 | head -n 1)"
What became of a device's readings, up to the receiver's answer:
  {program} trace -c {config} --device demo-monitor-1 --signal nibp_mean --from -1m
Nobody lies in the bed of my-monitor: its readings wait. Admit somebody, with an order, by HL7; then they go, and the trace says so:
  {program} trace -c {config} --device my-monitor
  mllp_send --loose --port {hub.hl7_in_port} --file {short(hub.state / 'admit.hl7')} 127.0.0.1 | tr '\\r' '\\n'
  {program} patient show -c {config} --bed '{MY_BED}'
  {program} trace -c {config} --device my-monitor
Messages that the receiver refused (none, as long as all is well):
  {program} hl7 list -c {config} pdms
"""


def write_admission(hub):
    """A ready file: somebody of the user's own, in the bed of my-monitor since an hour. It may be sent as often as one likes."""
    path = hub.state / "admit.hl7"
    if not path.exists():
        text = "".join(hospital_messages.admission("MINE1", 100000, MY_BED, time.time() - 3600))
        write_whole(path, text.replace("\r", "\n"))


def where(hub, demo):
    lines = f"""
The hub runs. It listens on
  MQTT over TLS    port {hub.mqtt_port}   (devices)
  CoAP over DTLS   port {hub.coap_port}   (devices)
  MQTT bus         port {hub.bus_port} on loopback, {hub.bus_tls_port} with TLS   (applications)"""
    if demo:
        lines += f"\n  HL7              port {hub.hl7_in_port} on loopback   (admissions and orders from the hospital)"
        lines += f"\nand sends HL7 results to a receiver on port {hub.hl7_port}, which keeps them in {short(hub.state / 'hl7')}"
        lines += f"\nSimulated: the devices {', '.join(row[0] for row in DEMO)}"
        lines += f"\n           and a hospital that admits, transfers and discharges who lies there ({short(hub.state / 'hospital.log')})"
    return lines


def hl7_options(ports):
    """The door for the hospital's messages, on loopback as the hospital is; orders with one code mean monitoring."""
    return {"hl7_in": {"enabled": True, "address": "127.0.0.1", "port": ports["hl7_in"], "fields": {"services": "MON^LOCAL"},
                       "peers": [{"name": "hospital", "addresses": ["127.0.0.1"], "zone": "UTC"}]}}


def start_hospital(hub, step):
    write_admission(hub)
    return Process("simulated hospital", ["/usr/bin/python3", ROOT / "tests" / "demo" / "hospital.py", "--state", hub.state / "hospital.json",
                                          "--port", hub.hl7_in_port, "--step", step], hub.state / "hospital.log", with_parent=True)


def start_devices(hub):
    process = Process("simulated devices", ["/usr/bin/python3", ROOT / "tests" / "demo" / "devices.py",
                                            "--devices", hub.state / "demo-devices.jsonl", "--mqtt-port", hub.mqtt_port,
                                            "--coap-port", hub.coap_port, "--ca", hub.ca],
                      hub.state / "demo-devices.log", with_parent=True)
    for row in DEMO:
        wait_for(lambda: process.check() and hub.readings(row[0], "--from", "-1m"), f"a reading of {row[0]}", 60, 0.2)
    return process


def lock(state):
    """One hub a folder; kept until the process ends."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        file = open(state / "run.lock", "w")
    except OSError as failure:
        raise RuntimeError(f"the folder {state} cannot be used: {failure.strerror}; say --state DIR") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise RuntimeError(f"a hub with the folder {state} runs already; stop it, or say --state DIR") from None
    return file


def end(*_):
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(prog="./run", description="Runs a hub on this machine until Ctrl-C.")
    parser.add_argument("--program", default=str(ROOT / "build" / "release" / "vitalgate"), help=argparse.SUPPRESS)
    parser.add_argument("--state", default=str(ROOT / "state"), help="folder of keys and data (default: state)")
    parser.add_argument("--no-demo", action="store_true", help="gateway and bus alone")
    parser.add_argument("--hospital-step", default=180, help=argparse.SUPPRESS)
    args = parser.parse_args()
    demo, hub, simulated, hospital, status = not args.no_demo, None, None, None, 0
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    try:
        locked = lock(pathlib.Path(args.state).resolve())
        ports = choose_ports(demo)
        hub = Hub(args.state, args.program, ports=ports, hl7=demo, with_parent=True, own_trust=True,
                  hl7_options={"unassociated": "hold", "corrections": "resend", "sending_facility": "HOSPITAL",
                               "receiving_application": "PDMS", "receiving_facility": "HOSPITAL"},
                  options={"mqtt": {"address": any_address()}, "coap": {"address": any_address()}, **(hl7_options(ports) if demo else {})})
        hub.hl7_in_port = ports.get("hl7_in")
        say(f"Keys and data: {hub.state}\nStarting the bus{', an HL7 receiver' if demo else ''} and the gateway")
        hub.prepare().start("--keep", "1000")
        known = devices(hub, demo)
        if demo:
            say("Starting a simulated hospital and simulated devices")
            hospital = start_hospital(hub, args.hospital_step)
            simulated = start_devices(hub)
        print(where(hub, demo))
        print(paste(hub, known, demo))
        say(f"Logs: {short(hub.state)}/*.log      Ctrl-C stops all of it.")
        while True:
            for process in (hub.gateway, hub.broker, hub.receiver, simulated, hospital):
                if process is not None:
                    process.check()
            time.sleep(0.5)
    except KeyboardInterrupt:
        say("\nStopping")
    except Exception as failure:  # whatever it is, what was started is stopped
        print(f"./run: {failure}", file=sys.stderr)
        status = 1
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        for process in (simulated, hospital):
            if process is not None:
                process.stop()
        if hub is not None:
            hub.stop()
    except AssertionError as failure:
        print(f"./run: {failure}", file=sys.stderr)
        status = 1
    if hub is not None:
        say("Everything is stopped." if status == 0 else f"Logs: {short(hub.state)}/*.log")
        locked.close()
    return status


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
