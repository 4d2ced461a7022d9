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
from harness.hub import ROOT, Hub, Process, port_or_free, wait_for, write_whole  # noqa: E402

DEMO = [  # name, profile, ward, kind, options of `device add`
    ("demo-monitor-1", "bedside-json", "3a", "monitor", ["--cert-subject", "demo-monitor-1", "--bed", "1"]),
    ("demo-monitor-2", "bedside-json", "3a", "monitor", ["--cert-subject", "demo-monitor-2", "--bed", "2"]),
    ("demo-thermo-1", "plain-text", "3a", "thermometer", ["--password", "--bed", "1"]),
    ("demo-oximeter-1", "senml", "3a", "oximeter", ["--psk", "--bed", "2"]),
]
PORTS = [  # name, usual port, kind, what for
    ("mqtt", 8883, socket.SOCK_STREAM, "MQTT over TLS"),
    ("coap", 5684, socket.SOCK_DGRAM, "CoAP over DTLS"),
    ("bus", 1883, socket.SOCK_STREAM, "the bus"),
    ("bus_tls", 8884, socket.SOCK_STREAM, "the bus with TLS"),
    ("hl7", 2575, socket.SOCK_STREAM, "the HL7 receiver"),
]


def say(text):
    print(text, flush=True)


def choose_ports(demo):
    """The usual ports, and others where somebody has them: said, and the same at the next start."""
    ports = {}
    for name, usual, kind, what in PORTS if demo else PORTS[:-1]:
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
    registered = {json.loads(row)["id"] for row in rows if row.strip()}

    def add(name, profile, *args):
        if name in known and name in registered:
            return known[name]
        if name in registered:  # its credential is not known here any more
            hub.cli("device", "remove", name)
        known[name] = hub.add_device(name, profile, *args)
        write_whole(path, json.dumps(known, indent=2) + "\n")
        return known[name]

    hub.pki.issue("my-monitor")
    add("my-monitor", "bedside-json", "--cert-subject", "my-monitor", "--password", "--ward", "3a", "--bed", "9")
    add("my-sensor", "senml", "--psk", "--ward", "3a", "--bed", "9")
    lines = []
    for name, profile, ward, kind, args in DEMO if demo else []:
        credential = add(name, profile, "--test", "--ward", ward, *args)
        device = {"name": name, "kind": kind, "ward": ward}
        if "--cert-subject" in args:
            device["certificate"], device["key"] = map(str, hub.pki.issue(name))
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
"""


def where(hub, demo):
    lines = f"""
The hub runs. It listens on
  MQTT over TLS    port {hub.mqtt_port}   (devices)
  CoAP over DTLS   port {hub.coap_port}   (devices)
  MQTT bus         port {hub.bus_port} on loopback, {hub.bus_tls_port} with TLS   (applications)"""
    if demo:
        lines += f"\n  HL7 receiver     port {hub.hl7_port} on loopback, messages in {short(hub.state / 'hl7')}"
        lines += f"\nSimulated devices: {', '.join(row[0] for row in DEMO)}"
    return lines


def start_devices(hub):
    process = Process("simulated devices", ["/usr/bin/python3", ROOT / "tests" / "demo" / "devices.py",
                                            "--devices", hub.state / "demo-devices.jsonl", "--mqtt-port", hub.mqtt_port,
                                            "--coap-port", hub.coap_port, "--ca", hub.pki.ca],
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
    args = parser.parse_args()
    demo, hub, simulated, status = not args.no_demo, None, None, 0
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    try:
        locked = lock(pathlib.Path(args.state).resolve())
        hub = Hub(args.state, args.program, ports=choose_ports(demo), hl7=demo, with_parent=True,
                  options={"mqtt": {"address": any_address()}, "coap": {"address": any_address()}})
        say(f"Keys and data: {hub.state}\nStarting the bus{', an HL7 receiver' if demo else ''} and the gateway")
        hub.prepare().start()
        known = devices(hub, demo)
        if demo:
            say("Starting simulated devices")
            simulated = start_devices(hub)
        print(where(hub, demo))
        print(paste(hub, known, demo))
        say(f"Logs: {short(hub.state)}/*.log      Ctrl-C stops all of it.")
        while True:
            for process in (hub.gateway, hub.broker, hub.receiver, simulated):
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
        if simulated is not None:
            simulated.stop()
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
