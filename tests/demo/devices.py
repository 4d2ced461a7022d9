#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Simulated bedside devices that speak the real protocols: one process, one thread a device. Started by ./run.

Each line of --devices (JSON) is one device: {"name", "kind": "monitor"|"thermometer"|"oximeter", "ward", ...credential}.
"""
import argparse
import datetime
import json
import math
import random
import ssl
import subprocess
import threading
import time

import paho.mqtt.client as mqtt


class Patient:
    """A calm adult: slow waves, a little noise."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.phase = self.random.uniform(0, 6.28)
        self.pulse, self.temperature = self.random.uniform(62, 88), self.random.uniform(36.4, 37.6)

    def wave(self, period, depth):
        return depth * math.sin(time.time() * 6.28 / period + self.phase) + self.random.gauss(0, depth / 6)

    def heart_rate(self):
        return round(self.pulse + self.wave(90, 4))

    def spo2(self):
        return min(100, round(97 + self.wave(240, 1)))

    def temperature_now(self):
        return round(self.temperature + self.wave(3600, 0.2), 1)

    def pressure(self):
        systolic = round(121 + self.wave(300, 9))
        diastolic = round(78 + self.wave(300, 5))
        return systolic, diastolic, round(diastolic + (systolic - diastolic) / 3)


def mqtt_client(device, args):
    client = mqtt.Client(client_id=device["name"], clean_session=False, protocol=mqtt.MQTTv311)
    client.tls_set(ca_certs=args.ca, certfile=device.get("certificate"), keyfile=device.get("key"), tls_version=ssl.PROTOCOL_TLS_CLIENT)
    if device.get("password"):
        client.username_pw_set(device["user"], device["password"])
    client.reconnect_delay_set(1, 10)
    client.connect_async(args.host, args.mqtt_port, keepalive=30)
    client.loop_start()
    return client


def monitor(device, args, stop):
    patient, client, topic = Patient(device["name"]), mqtt_client(device, args), f"ward/{device['ward']}/{device['name']}/vitals"
    beat = 0
    while not stop.wait(args.interval):
        frame = {"time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds"), "hr": patient.heart_rate(), "spo2": patient.spo2()}
        if beat % 6 == 0:
            frame["nibp_sys"], frame["nibp_dia"], frame["nibp_mean"] = patient.pressure()
        client.publish(topic, json.dumps(frame), qos=1)
        beat += 1
    client.disconnect()


def thermometer(device, args, stop):
    patient, client = Patient(device["name"]), mqtt_client(device, args)
    while not stop.wait(args.interval * 2):
        client.publish(f"sensors/{device['name']}/temperature_body", f"{patient.temperature_now():.1f} Cel", qos=1)
    client.disconnect()


def oximeter(device, args, stop):
    patient = Patient(device["name"])
    while not stop.wait(args.interval):
        pack = [{"bn": "", "bt": round(time.time(), 3), "n": "spo2", "u": "/100", "v": patient.spo2()},
                {"n": "pulse_rate_spo2", "u": "{beat}/min", "v": patient.heart_rate()}]
        subprocess.run(["coap-client-openssl", "-m", "post", "-u", device["identity"], "-k", device["psk"], "-t", "110",
                        "-e", json.dumps(pack), f"coaps://{args.host}:{args.coap_port}/readings"],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, check=False)


KINDS = {"monitor": monitor, "thermometer": thermometer, "oximeter": oximeter}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--mqtt-port", type=int, required=True)
    parser.add_argument("--coap-port", type=int, required=True)
    parser.add_argument("--ca", required=True)
    parser.add_argument("--interval", type=float, default=2.0)
    args = parser.parse_args()
    stop = threading.Event()
    with open(args.devices, encoding="utf-8") as file:
        devices = [json.loads(line) for line in file]
    for device in devices:
        threading.Thread(target=KINDS[device["kind"]], args=(device, args, stop), daemon=True).start()
    print(f"{len(devices)} devices", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        stop.set()


if __name__ == "__main__":
    main()
