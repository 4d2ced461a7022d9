# SPDX-License-Identifier: Apache-2.0
"""The clients that people test with: mosquitto_pub, mosquitto_sub and coap-client, as commands."""
import json
import subprocess
import time

from .hub import Process, wait_for


def now_ms(offset_s=0.0):
    return int((time.time() + offset_s) * 1000)


def iso(ms):
    """Milliseconds since 1970 as RFC 3339."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03d}Z"


def run(command, seconds=30, input=None):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=seconds, input=input)


def publish(hub, device, topic, payload, *args, qos=1, version="311", auth=(), seconds=30):
    """One mosquitto_pub; returns the finished process. payload None: args say what to send."""
    command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", hub.mqtt_port, "-V", version, "-i", device, "-q", qos, "-t", topic,
               *auth, *args]
    if payload is not None:
        command += ["-m", payload]
    return run(command, seconds)


def by_certificate(hub, name):
    certificate, key = hub.pki.issue(name)
    return ["--cafile", hub.pki.ca, "--cert", certificate, "--key", key]


def by_password(hub, credential):
    return ["--cafile", hub.pki.ca, "-u", credential["user"], "-P", credential["password"]]


def by_psk(credential):
    return ["--psk", credential["psk_hex"], "--psk-identity", credential["psk_identity"]]


def coap(hub, method, path, payload=None, *args, build="openssl", auth=(), seconds=30, content_format=None):
    """One coap-client of Debian's: build "openssl" or "gnutls"."""
    command = [f"coap-client-{build}", "-m", method, "-B", "10", *auth, *args]
    if content_format is not None:
        command += ["-t", content_format]
    if payload is not None:
        command += ["-e", payload]
    return run([*command, f"coaps://127.0.0.1:{hub.coap_port}/{path}"], seconds)


def coap_psk(credential):
    return ["-u", credential["psk_identity"], "-k", credential["psk"]]


def coap_certificate(hub, name):
    certificate, key = hub.pki.issue(name)
    return ["-c", certificate, "-j", key, "-R", hub.pki.ca, "-C", hub.pki.ca]


class Subscriber:
    """A mosquitto_sub on the bus, its messages as (topic, document)."""

    def __init__(self, hub, topic="vitals/#", *args):
        self.path = hub.state / f"sub-{time.monotonic_ns()}.txt"
        self.process = Process("mosquitto_sub", ["mosquitto_sub", *hub.bus_arguments(), "-q", "1", "-v", "-t", topic,
                                                 "-t", "vitals-gateway/#", *args], self.path)
        hub.clients.append(self.process)
        # The gateway's own status is retained: it comes as soon as the subscription stands.
        wait_for(lambda: self.process.check() and b"vitals-gateway/" in self.path.read_bytes(), "mosquitto_sub to be subscribed")

    def messages(self):
        found = []
        for line in self.path.read_text().splitlines():
            topic, _, document = line.partition(" ")
            if topic.startswith("vitals/"):
                found.append((topic, json.loads(document)))
        return found

    def wait(self, count, seconds=30):
        wait_for(lambda: len(self.messages()) >= count, f"{count} messages on the bus", seconds)
        return self.messages()

    def stop(self):
        self.process.kill()
        self.process.child.wait()
