# SPDX-License-Identifier: Apache-2.0
"""What is measured: this gateway, Mosquitto and libcoap's example server, each started afresh on core 0 for every measurement."""
import json
import os
import pathlib
import random
import shutil
import socket
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness.hub import Hub, Process, listening, mosquitto, wait_for  # noqa: E402
from harness.pki import Pki  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
KEY = b"0123456789abcdef"          # every device's pre-shared key: it changes no cost and the example server knows only one
SERVER_CORE, LOAD_CORE = "0", "1"
DEVICES_MAX = 10000

# The cipher suites are fixed so that both sides of a comparison do the same cryptography.
SUITES = {
    "cert13": ["--tls-min", "1.3", "--suite", "TLS1-3-AES-128-GCM-SHA256"],
    "cert12": ["--tls-max", "1.2", "--suite", "TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256"],
    "psk12": ["--tls-max", "1.2", "--suite", "TLS-PSK-WITH-AES-128-GCM-SHA256"],
    "dtls": ["--suite", "TLS-PSK-WITH-AES-128-CCM-8"],
}


def device(number):
    return f"bench-{number:05d}"


def pinned(core):
    return ["taskset", "-c", core]


def credentials(auth, pki):
    if auth.startswith("cert"):
        return ["--ca", pki.ca, "--ca-key", pki.ca_key, *SUITES[auth]]
    return ["--psk-identity", "bench-%05d", "--psk-key", KEY.hex(), *SUITES[auth]]


class Gateway:
    """The gateway with its outlets off, as Mosquitto is without subscribers. All that depends on its commands and configuration is here."""
    name = "vitalgate"
    mqtt_topic, coap_path, method = "devices/{device}/senml", "readings", "POST"

    def __init__(self, folder, program, devices=DEVICES_MAX):
        self.folder, self.devices = pathlib.Path(folder) / "gateway", devices
        ports = {"mqtt": server_port(), "coap": server_port(socket.SOCK_DGRAM)}
        self.hub = Hub(self.folder, program, bus=False, ports=ports, options={
            "store": {"dir": "data", "budget_mb": 16384, "disk_reserve_mb": 16},
            "log": {"level": "warning"},
            "series": {"enabled": False},
        })
        self.pki = self.hub.pki

    def prepare(self):
        """Keys and a store that knows all devices; every measurement starts with a copy of it."""
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        self.hub.prepare()
        self.hub.start_gateway()
        table = self.folder / "devices.csv"
        rows = [f"{device(i)},senml,{device(i)},{device(i)},{KEY.hex()}" for i in range(self.devices)]
        table.write_text("id,profile,cert_subject,psk_identity,psk\n" + "\n".join(rows) + "\n")
        self.hub.cli("device", "import", table)
        self.hub.gateway.stop()
        self.registered = self.folder / "data-registered"
        shutil.rmtree(self.registered, ignore_errors=True)
        (self.folder / "data").rename(self.registered)

    def start(self, auth=None, slow_ms=0, slowsync=None, wrap=()):
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        subprocess.run(["cp", "-r", "--sparse=always", self.registered, self.folder / "data"], check=True)
        if slow_ms:
            # A program with the address sanitizer wants to be asked before another library is loaded ahead of it.
            wrap = [*wrap, "env", f"LD_PRELOAD={slowsync}", f"SLOWSYNC_MS={slow_ms}",
                    f"ASAN_OPTIONS={os.environ.get('ASAN_OPTIONS', '')}:verify_asan_link_order=0"]
        return self.begin(wrap)

    def begin(self, wrap=()):
        """Waits until it serves: a socket that a killed one left behind says nothing."""
        (self.folder / "vitalgate.sock").unlink(missing_ok=True)
        self.hub.start_gateway(wrap=[*pinned(SERVER_CORE), *wrap])
        wait_for(lambda: self.hub.status().get("running"), "the gateway to serve")
        return self.hub.gateway.pid

    def load(self, protocol, auth):
        if protocol == "mqtt":
            return ["--mqtt", "--port", self.hub.mqtt_port, "--topic", self.mqtt_topic, *credentials(auth, self.pki)]
        return ["--coap", "--port", self.hub.coap_port, "--topic", self.coap_path, "--method", self.method,
                *credentials(auth, self.pki)]

    def readings(self, number):
        return len(self.hub.readings(device(number)))

    def verify(self, result):
        """What was acknowledged is there as readings, each once: an answer for something refused or known already would be too cheap."""
        status = self.hub.status()
        intake = status["intake"]
        if intake["readings"] < result["total_acked"] or intake["duplicates"] or status["store"]["quarantined"]:
            result["trouble"] = (f"{result['total_acked']} acknowledged, but {intake['readings']} stored, {intake['duplicates']} duplicates, "
                                 f"{status['store']['quarantined']} in quarantine")

    def kill(self):
        self.hub.gateway.kill()
        self.hub.gateway.child.wait()

    def stop(self):
        if self.hub.gateway is not None:
            self.hub.gateway.kill()
            self.hub.gateway.child.wait()
            shutil.rmtree(self.folder / "data", ignore_errors=True)

    def version(self):
        done = subprocess.run([self.hub.program, "--version"], capture_output=True, text=True)
        return (done.stdout.strip().splitlines() or ["vitalgate"])[0]


class Mosquitto:
    """Debian's Mosquitto, persistence as shipped (on, written every 30 minutes and at an orderly end)."""
    name = "mosquitto"

    def __init__(self, folder):
        self.folder = pathlib.Path(folder) / "mosquitto"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.pki = Pki(self.folder / "pki")
        self.process = None

    def prepare(self):
        self.certificate, self.key = self.pki.issue("server", "localhost", ["localhost"], ["127.0.0.1"], server=True)
        psk = self.folder / "psk"
        psk.write_text("".join(f"{device(i)}:{KEY.hex()}\n" for i in range(DEVICES_MAX)) + f"keeper:{KEY.hex()}\n")

    def start(self, auth=None, keep=False, wrap=(), **_):
        data = self.folder / "data"
        if not keep:
            shutil.rmtree(data, ignore_errors=True)
            data.mkdir()
            self.port = server_port()
        door = ["psk_hint bench", f"psk_file {self.folder / 'psk'}"] if auth == "psk12" else [
            f"cafile {self.pki.ca}", f"certfile {self.certificate}", f"keyfile {self.key}", "require_certificate true"]
        conf = self.folder / "mosquitto.conf"
        conf.write_text("\n".join([
            *(["user root"] if os.getuid() == 0 else []),
            "persistence true", f"persistence_location {data}/", "log_dest none",
            f"listener {self.port} 127.0.0.1", *door, "use_identity_as_username true"]) + "\n")
        self.process = Process("mosquitto", [*pinned(SERVER_CORE), *wrap, mosquitto(), "-c", conf], self.folder / "mosquitto.log")
        wait_for(lambda: self.process.check() and listening(self.port), "Mosquitto to listen")
        return self.process.pid

    def load(self, protocol, auth):
        return ["--mqtt", "--port", self.port, "--topic", "bench/{device}", *credentials(auth, self.pki)]

    def subscriber(self, *args):
        """mosquitto_sub with a session that outlives its connection."""
        return subprocess.run(["mosquitto_sub", "-h", "127.0.0.1", "-p", str(self.port), "-i", "keeper", "-c", "-q", "1",
                               "-t", "bench/#", "--psk-identity", "keeper", "--psk", KEY.hex(), *args],
                              capture_output=True, text=True, timeout=60)

    def kill(self):
        self.process.kill()
        self.process.child.wait()

    def stop(self):
        if self.process is not None:
            self.kill()

    def version(self):
        text = subprocess.run([mosquitto(), "-h"], capture_output=True, text=True).stdout
        return "mosquitto " + text.split()[2] if text.startswith("mosquitto version") else "mosquitto"


class CoapServer:
    """libcoap's example server as released: it keeps one body in memory and answers."""
    name = "coap-server"

    def __init__(self, folder, program):
        self.program = pathlib.Path(program)
        self.folder = pathlib.Path(folder)
        self.process = None

    def prepare(self):
        pass

    def start(self, auth=None, wrap=(), **_):
        self.port = server_port(socket.SOCK_DGRAM, 2)
        self.process = Process("coap-server", [*pinned(SERVER_CORE), *wrap, self.program, "-A", "127.0.0.1", "-p", self.port,
                                               "-k", KEY.decode(), "-h", "bench", "-v", "2"], self.folder / "coap-server.log")
        wait_for(lambda: self.process.check() and bound(self.port + 1), "coap-server to listen")
        return self.process.pid

    def load(self, protocol, auth):
        return ["--coap", "--port", self.port + 1, "--topic", "example_data", "--method", "PUT", *credentials(auth, None)]

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.child.wait()

    def version(self):
        return "coap-server of libcoap 4.3.5"


def bound(port, kind=socket.SOCK_DGRAM):
    with socket.socket(socket.AF_INET, kind) as s:
        try:
            s.bind(("127.0.0.1", port))
            return False
        except OSError:
            return True


def server_port(kind=socket.SOCK_STREAM, together=1):
    """A free port (and the ones after it) below those that the kernel gives to clients: thousands of them come and go here."""
    while True:
        port = random.randint(20000, 31999)
        if not any(bound(port + i, kind) for i in range(together)):
            return port


class Load:
    """The generator, on core 1; gives its report."""

    def __init__(self, program, pid_of_server=None):
        self.program = pathlib.Path(program)

    def command(self, *args):
        return [*pinned(LOAD_CORE), str(self.program), "--quiet", "--quick-ack", *map(str, args)]

    def run(self, *args, timeout=300):
        done = subprocess.run(self.command(*args), capture_output=True, text=True, timeout=timeout)
        lines = done.stdout.strip().splitlines()
        if not lines:
            raise RuntimeError(f"the load generator said: {done.stderr.strip()}")
        result = json.loads(lines[-1])
        if done.returncode != 0:
            result["trouble"] = result["first_error"] or done.stderr.strip() or "nothing was acknowledged"
        return result


def payload(name):
    return HERE / "payloads" / name
