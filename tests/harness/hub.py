# SPDX-License-Identifier: Apache-2.0
"""A whole hub on loopback: the gateway, Mosquitto as its bus, an HL7 receiver. Used by ./run and by the scenario tests."""
import contextlib
import datetime
import errno
import functools
import getpass
import json
import os
import pathlib
import random
import secrets
import signal
import socket
import subprocess
import time

from .pki import Pki

ROOT = pathlib.Path(__file__).resolve().parents[2]


def free_port(kind=socket.SOCK_STREAM):
    """Below the ports that the kernel gives to clients: a server that starts again must find its port free."""
    while True:
        port = random.randrange(10000, 32000)
        if port_is_free(port, kind):
            return port


def port_is_free(port, kind=socket.SOCK_STREAM, everywhere=False):
    for family, address in [(socket.AF_INET, "0.0.0.0" if everywhere else "127.0.0.1")] + [(socket.AF_INET6, "::")] * everywhere:
        try:
            with socket.socket(family, kind) as s:
                if kind == socket.SOCK_STREAM:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                s.bind((address, port))
        except OSError as failure:
            if failure.errno == errno.EADDRINUSE or port < 1024:
                return False
    return True


def port_or_free(port, kind=socket.SOCK_STREAM, everywhere=False):
    """The usual port; where somebody has it 10,000 higher, so that it is the same at the next start; else any."""
    for candidate in (port, port + 10000, port + 20000):
        if port_is_free(candidate, kind, everywhere):
            return candidate
    return free_port(kind)


def wait_for(condition, what, seconds=30, every=0.02):
    """Waits until condition() is true and returns what it gave; fails with words."""
    end = time.monotonic() + seconds
    while True:
        got = condition()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(every)


def write_whole(path, text):
    """All of a file or none of it, readable by us alone."""
    part = path.with_name(path.name + ".part")
    part.touch(mode=0o600)
    part.write_text(text)
    part.replace(path)


def listening(port, host="127.0.0.1"):
    with socket.socket() as s:
        s.settimeout(0.5)
        return s.connect_ex((host, port)) == 0


class Process:
    """A child with its output in a file. with_parent: it ends with the thread that made it, however that ends."""

    def __init__(self, name, command, log, env=None, cwd=None, with_parent=False):
        self.name, self.command, self.log = name, [str(c) for c in command], pathlib.Path(log)
        if with_parent:
            self.command = ["setpriv", "--pdeathsig", "TERM", "--", *self.command]
        self.file = open(self.log, "ab")
        self.child = subprocess.Popen(self.command, stdout=self.file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                      env=env, cwd=cwd, start_new_session=True)

    @property
    def pid(self):
        return self.child.pid

    def alive(self):
        return self.child.poll() is None

    def check(self):
        if not self.alive():
            tail = b"\n".join(self.log.read_bytes().splitlines()[-15:]).decode(errors="replace")
            raise RuntimeError(f"{self.name} ended with status {self.child.returncode}; the end of {self.log}:\n{tail}")
        return True

    def kill(self, sig=signal.SIGKILL):
        if self.alive():
            self.child.send_signal(sig)

    def stop(self, seconds=20):
        """Orderly; returns the exit status."""
        if self.alive():
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
                raise AssertionError(f"{self.name} did not stop within {seconds} s of SIGTERM; see {self.log}") from None
            finally:
                self.file.close()
            with contextlib.suppress(ProcessLookupError):  # what the child started itself
                os.killpg(self.pid, signal.SIGKILL)
        return self.child.returncode


class Hub:
    """Keys, configuration and processes below one folder. Options override the configuration: {"mqtt": {"threads": 2}}; hl7_options those of its
    HL7 destination, unless options has destinations of its own. own_trust: certificates are made by the gateway's own authority, else by openssl."""

    def __init__(self, state, program, options=None, ports=None, bus=True, hl7=False, with_parent=False, hl7_options=None, own_trust=False):
        self.state = pathlib.Path(state).resolve()
        self.state.mkdir(parents=True, exist_ok=True)
        self.program = pathlib.Path(program).resolve()
        ports = ports or {}
        self.mqtt_port = ports.get("mqtt") or free_port()
        self.coap_port = ports.get("coap") or free_port(socket.SOCK_DGRAM)
        self.bus_port = ports.get("bus") or free_port()
        self.bus_tls_port = ports.get("bus_tls") or free_port()
        self.hl7_port = ports.get("hl7") or free_port()
        self.with_bus, self.with_hl7, self.with_parent = bus, hl7, with_parent
        # Where the broker finds itself: another address and other folders in a container.
        self.bus_address = "127.0.0.1"
        self.bus_folder, self.pki_folder = self.state / "bus", self.state / "pki"
        self.own_trust = own_trust
        self.ca = self.pki_folder / "ca.pem"
        self.options, self.hl7_options = options or {}, hl7_options or {}
        self.gateway = self.broker = self.receiver = None
        self.clients = []  # further processes that end with the hub
        self.file = self.state / "vitalgate.yaml"
        self.env = dict(os.environ)

    # ---- set-up ----

    @functools.cached_property
    def pki(self):
        """The authority that openssl makes."""
        return Pki(self.state / "pki")

    def _tls(self):
        if not self.own_trust:
            return {"certificate": "pki/gateway.pem", "key": "pki/gateway.key", "ca": "pki/ca.pem"}
        before = {"local_ca": "pki/ca.pem", "local_ca_key": "ca/ca.key"}  # where openssl once made it
        return {"local_dir": "pki", **(before if (self.state / "ca" / "ca.key").exists() else {})}

    def server_certificate(self, name, *names):
        """A certificate of the gateway's own authority for another program, made anew some months before it ends."""
        certificate = self.state / "pki" / f"{name}.pem"
        if certificate.exists() and subprocess.run(["openssl", "x509", "-noout", "-checkend", str(90 * 86400), "-in", str(certificate)],
                                                   capture_output=True).returncode == 0:
            return
        for path in (certificate, certificate.with_suffix(".key")):
            path.unlink(missing_ok=True)
        self.cli("cert", "issue", name, "--server", "--names", ",".join(names), "--pem", certificate.parent)

    def password(self, name):
        """A secret of the hub's own, made once."""
        path = self.state / "secrets" / name
        path.parent.mkdir(exist_ok=True, mode=0o700)
        if not path.exists():
            write_whole(path, secrets.token_urlsafe(18) + "\n")
        return path.read_text().strip()

    def prepare(self):
        names = ["localhost", socket.gethostname()]
        self.write_config()
        if not self.own_trust:
            self.certificate, self.key = self.pki.issue("gateway", "vitalgate", names, ["127.0.0.1", "::1"], server=True)
        if self.with_bus:
            self._prepare_bus()
        return self

    def write_config(self):
        config = {
            "store": {"dir": "data", "budget_mb": 1024, "disk_reserve_mb": 16},
            "control": {"socket": "vitalgate.sock"},
            "tls": self._tls(),
            "mqtt": {"port": self.mqtt_port, "address": "127.0.0.1"},
            "coap": {"port": self.coap_port, "address": "127.0.0.1"},
            "bus": {"enabled": self.with_bus},
            "hl7": {"enabled": self.with_hl7},
        }
        if self.with_bus:
            config["bus"].update(uri=f"mqtt://127.0.0.1:{self.bus_port}", user="gateway",
                                 password_file="secrets/bus-gateway")
        for section, values in self.options.items():
            config.setdefault(section, {}).update(values)
        if self.with_hl7 and "destinations" not in config["hl7"]:
            config["hl7"] = {"enabled": True, **config["hl7"], "destinations": [self.destination()]}
        lines = ["# Written anew at each start. For options of your own: copy it, stop the hub, and say vitalgate run -c COPY."]
        for section, values in config.items():
            lines.append(f"{section}:")
            lines += [f"  {key}: {json.dumps(value)}" for key, value in values.items()]
        self.file.write_text("\n".join(lines) + "\n")

    def destination(self, name="pdms", **options):
        """A destination: by default the hub's own receiver, a test system."""
        return {"name": name, "host": "127.0.0.1", "port": self.hl7_port, "production": False, "interval_s": 10, "unassociated": "send",
                **self.hl7_options, **options}

    def _prepare_bus(self):
        """Fills Mosquitto's shipped configuration (conf/mosquitto.conf) with this hub's folders, ports and users."""
        folder = self.state / "bus"
        folder.mkdir(exist_ok=True)
        if self.own_trust:
            self.server_certificate("bus", "localhost", socket.gethostname(), "127.0.0.1", "::1")
        else:
            self.pki.issue("bus", "vitalgate-bus", ["localhost", socket.gethostname()], ["127.0.0.1", "::1"], server=True)
        text = (ROOT / "conf" / "mosquitto.conf").read_text()
        for name, value in {"@BUS@": self.bus_folder, "@PKI@": self.pki_folder, "@PORT@": self.bus_port,
                            "@ADDRESS@": self.bus_address, "@USER@": getpass.getuser(), "@TLS_PORT@": self.bus_tls_port}.items():
            text = text.replace(name, str(value))
        (folder / "mosquitto.conf").write_text(text)
        if not (folder / "mosquitto.acl").exists():
            write_whole(folder / "mosquitto.acl", (ROOT / "conf" / "mosquitto.acl").read_text())
        self._prepare_users(folder / "mosquitto.passwd")
        for path in [folder, *folder.iterdir()]:
            path.chmod(0o755 if path.is_dir() else 0o600)

    def _prepare_users(self, path):
        """The users that the hub itself needs; others, added by hand, stay."""
        own = ("gateway", "app")
        others = [line for line in path.read_text().splitlines() if line.split(":")[0] not in own] if path.exists() else []
        fresh = path.with_suffix(".part")
        fresh.touch(mode=0o600)
        fresh.write_text("".join(f"{user}:{self.password('bus-' + user)}\n" for user in own))
        subprocess.run(["mosquitto_passwd", "-U", str(fresh)], check=True, capture_output=True)
        with fresh.open("a") as file:
            file.writelines(line + "\n" for line in others)
        fresh.replace(path)

    # ---- processes ----

    def start_bus(self):
        self.broker = Process("mosquitto", [mosquitto(), "-c", self.state / "bus" / "mosquitto.conf"],
                              self.state / "mosquitto.log", with_parent=self.with_parent)
        wait_for(lambda: self.broker.check() and listening(self.bus_port), "Mosquitto to listen")

    def start_receiver(self, *args):
        self.receiver = Process("HL7 receiver", ["/usr/bin/python3", ROOT / "tests" / "demo" / "hl7_receiver.py",
                                                 "--port", self.hl7_port, "--out", self.state / "hl7", *args],
                                self.state / "hl7-receiver.log", with_parent=self.with_parent)
        wait_for(lambda: self.receiver.check() and listening(self.hl7_port), "the HL7 receiver to listen")

    def spawn_gateway(self, wrap=(), env=None):
        """The process, ready or not."""
        return Process("vitalgate", [*wrap, self.program, "run", "-c", self.file], self.state / "vitalgate.log",
                       env=env or self.env, with_parent=self.with_parent)

    def start_gateway(self, wrap=(), env=None):
        self.gateway = self.spawn_gateway(wrap, env)
        wait_for(self.ready, "the gateway to answer", 60)
        return self

    def start(self, *receiver_args):
        if self.with_bus:
            self.start_bus()
        if self.with_hl7:
            self.start_receiver(*receiver_args)
        return self.start_gateway()

    def ready(self):
        """Whether the gateway accepts commands (a command without a gateway would open the store itself)."""
        self.gateway.check()
        return self.answers()

    def answers(self):
        with socket.socket(socket.AF_UNIX) as s:
            if s.connect_ex(str(self.state / "vitalgate.sock")) != 0:
                return False
        return self.cli("status", "--json", check=False).returncode == 0

    def restart_gateway(self, **kwargs):
        self.gateway.stop()
        return self.start_gateway(**kwargs)

    def stop(self):
        failures = []
        for process in self.clients:
            process.kill()
            process.child.wait()
        for process in (self.gateway, self.receiver, self.broker):
            try:
                if process is not None:
                    process.stop()
            except AssertionError as failure:
                failures.append(str(failure))
        if failures:
            raise AssertionError("; ".join(failures))

    # ---- commands ----

    def cli(self, *args, check=True, input=None):
        done = subprocess.run([str(self.program), args[0], "-c", str(self.file), *map(str, args[1:])], capture_output=True,
                              text=True, input=input, timeout=120, env=self.env)
        if check and done.returncode != 0:
            raise AssertionError(f"vitalgate {' '.join(map(str, args))}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def status(self):
        return json.loads(self.cli("status", "--json").stdout)

    def add_device(self, name, profile, *args):
        """Registers a device and returns its credentials as `device add --json` prints them."""
        return json.loads(self.cli("device", "add", name, "--profile", profile, "--json", *args).stdout)

    def readings(self, device, *args):
        out = self.cli("readings", "--device", device, "--format", "json", *args).stdout
        return [json.loads(line) for line in out.splitlines() if line.strip()]

    def times(self, device):
        """Device times of the readings kept, as milliseconds since base_ms: the load generator's sequence numbers."""
        stamps = (datetime.datetime.fromisoformat(r["time"].replace("Z", "+00:00")) for r in self.readings(device))
        return [round(stamp.timestamp() * 1000) - self.base_ms for stamp in stamps]

    def quarantine(self):
        return [json.loads(line) for line in self.cli("quarantine", "list", "--json").stdout.splitlines() if line.strip()]

    def bus_arguments(self, user="app"):
        return ["-h", "127.0.0.1", "-p", str(self.bus_port), "-u", user, "-P", self.password("bus-" + user)]


def mosquitto():
    for path in ("/usr/sbin/mosquitto", "/usr/bin/mosquitto", "/usr/local/sbin/mosquitto"):
        if os.access(path, os.X_OK):
            return path
    return "mosquitto"
