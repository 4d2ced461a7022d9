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
import signal
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


def say(device, text):
    print(f"{datetime.datetime.now().isoformat(timespec='seconds')} {device['name']}: {text}\n", end="", flush=True)


def mqtt_client(device, args):
    api = getattr(mqtt, "CallbackAPIVersion", None)  # from version 2 of the library on
    client = mqtt.Client(*[api.VERSION2] if api else [], client_id=device["name"], clean_session=False, protocol=mqtt.MQTTv311)
    client.on_connect = lambda *event: say(device, f"connected: {event[3]}")
    client.on_disconnect = lambda *event: say(device, "disconnected")
    client.max_queued_messages_set(1000)  # a hub that is away is caught up with, as a real monitor does
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
    worked = None
    while not stop.wait(args.interval):
        pack = [{"bn": "", "bt": round(time.time(), 3), "n": "spo2", "u": "/100", "v": patient.spo2()},
                {"n": "pulse_rate_spo2", "u": "{beat}/min", "v": patient.heart_rate()}]
        command = ["coap-client-openssl", "-m", "post", "-B", "10", "-u", device["identity"], "-k", device["psk"], "-t", "110",
                   "-e", json.dumps(pack), f"coaps://{args.host}:{args.coap_port}/readings"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        # The answer is the gateway's time; nothing or words: it was not taken.
        taken = done.stdout.strip()[:1].isdigit()
        if taken != worked:
            worked = taken
            say(device, "readings are taken" if worked else f"not taken: {(done.stdout + done.stderr).strip() or 'no answer'}")


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
    threads = [threading.Thread(target=KINDS[device["kind"]], args=(device, args, stop), daemon=True) for device in devices]
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    for thread in threads:
        thread.start()
    stop.wait()
    for thread in threads:
        thread.join(3)


if __name__ == "__main__":
    main()
