#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a hub on this machine until Ctrl-C: what ./run starts after it has built."""
import argparse
import json
import os
import pathlib
import shlex
import signal
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness.hub import ROOT, Hub, Process, port_or_free  # noqa: E402

DEMO = [  # name, profile, ward, kind, options of `device add`
    ("demo-monitor-1", "bedside-json", "3a", "monitor", ["--cert-subject", "demo-monitor-1", "--bed", "1"]),
    ("demo-monitor-2", "bedside-json", "3a", "monitor", ["--cert-subject", "demo-monitor-2", "--bed", "2"]),
    ("demo-thermo-1", "plain-text", "3a", "thermometer", ["--password", "--bed", "1"]),
    ("demo-oximeter-1", "senml", "3a", "oximeter", ["--psk", "--bed", "2"]),
]


def devices(hub, demo):
    """Registers the user's own device and the demonstration's, once; returns their credentials."""
    path = hub.state / "secrets" / "devices.json"
    known = json.loads(path.read_text()) if path.exists() else {}

    def add(name, profile, *args):
        if name not in known:
            known[name] = hub.add_device(name, profile, *args)
            path.touch(mode=0o600)
            path.write_text(json.dumps(known, indent=2) + "\n")
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
    (hub.state / "demo-devices.jsonl").write_text("".join(line + "\n" for line in lines))
    return known


def paste(hub, known):
    """The lines to paste, each complete."""
    here = pathlib.Path.cwd()

    def short(path):
        path = pathlib.Path(path)
        return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)

    pki, sensor = hub.state / "pki", known["my-sensor"]
    program, config = short(hub.program), short(hub.file)
    now = "'{\"hr\": 72, \"spo2\": 98}'"
    pack = "'[{\"n\":\"temperature_body\",\"u\":\"Cel\",\"v\":36.6}]'"
    bus = " ".join(shlex.quote(a) for a in hub.bus_arguments())
    return f"""
A reading over MQTT/TLS with a client certificate:
  mosquitto_pub -h localhost -p {hub.mqtt_port} --cafile {short(pki / 'ca.pem')} --cert {short(pki / 'my-monitor.pem')} \\
    --key {short(pki / 'my-monitor.key')} -q 1 -i my-monitor -t ward/3a/my-monitor/vitals -m {now}
The same with user and password inside TLS:
  mosquitto_pub -h localhost -p {hub.mqtt_port} --cafile {short(pki / 'ca.pem')} -u {known['my-monitor']['user']} \\
    -P {shlex.quote(known['my-monitor']['password'])} -q 1 -i my-monitor -t ward/3a/my-monitor/vitals -m {now}
A reading over CoAP/DTLS with a pre-shared key:
  coap-client-openssl -m post -u {sensor['psk_identity']} -k {sensor['psk']} -t 110 -e {pack} \\
    coaps://localhost:{hub.coap_port}/readings
The device's latest readings, and the hub's time:
  coap-client-openssl -m get -u {sensor['psk_identity']} -k {sensor['psk']} coaps://localhost:{hub.coap_port}/readings
  coap-client-openssl -m get -u {sensor['psk_identity']} -k {sensor['psk']} coaps://localhost:{hub.coap_port}/time
What goes out on the bus:
  mosquitto_sub {bus} -v -t 'vitals/#'
What is kept:
  {program} readings -c {config} --device my-monitor
  {program} status -c {config}
"""


def main():
    parser = argparse.ArgumentParser(prog="./run", description="Runs a hub on this machine until Ctrl-C.")
    parser.add_argument("--program", default="build/release/vitalgate", help=argparse.SUPPRESS)
    parser.add_argument("--state", default="state", help="folder of keys and data (default: state)")
    parser.add_argument("--no-demo", action="store_true", help="gateway and bus alone")
    args = parser.parse_args()
    ports = {"mqtt": port_or_free(8883), "coap": port_or_free(5684, socket.SOCK_DGRAM), "bus": port_or_free(1883),
             "bus_tls": port_or_free(8884), "hl7": port_or_free(2575)}
    hub = Hub(args.state, args.program, ports=ports, hl7=not args.no_demo,
              options={"mqtt": {"address": "::"}, "coap": {"address": "::"}})
    simulated = None

    def end(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    try:
        print(f"Keys and data: {hub.state}", flush=True)
        hub.prepare().start()
        known = devices(hub, not args.no_demo)
        if not args.no_demo:
            simulated = Process("simulated devices", ["/usr/bin/python3", ROOT / "tests" / "demo" / "devices.py",
                                                      "--devices", hub.state / "demo-devices.jsonl", "--mqtt-port", hub.mqtt_port,
                                                      "--coap-port", hub.coap_port, "--ca", hub.pki.ca],
                                hub.state / "demo-devices.log")
        print(f"""
The hub runs. It listens on
  MQTT over TLS    port {hub.mqtt_port}   (devices)
  CoAP over DTLS   port {hub.coap_port}   (devices)
  MQTT bus         port {hub.bus_port} on loopback, {hub.bus_tls_port} with TLS   (applications)""")
        if not args.no_demo:
            print(f"  HL7 receiver     port {hub.hl7_port} on loopback, messages in {hub.state / 'hl7'}")
            print(f"Simulated devices: {', '.join(row[0] for row in DEMO)}")
        print(paste(hub, known))
        print(f"Logs: {hub.state}/*.log      Ctrl-C stops all of it.", flush=True)
        while True:
            for process in (hub.gateway, hub.broker, hub.receiver, simulated):
                if process is not None:
                    process.check()
            time.sleep(0.5)
    except KeyboardInterrupt:
        print("\nStopping", flush=True)
    except (RuntimeError, AssertionError, OSError) as failure:
        print(f"./run: {failure}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if simulated is not None:
            simulated.stop()
        hub.stop()
    return 0


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
