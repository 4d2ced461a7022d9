# SPDX-License-Identifier: Apache-2.0
"""The images, really built and run: a reading goes in from a device's container and comes out on the bus."""
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

import pytest

from harness.clients import iso, now_ms
from harness.hub import ROOT, Process, free_port, wait_for

WORK = ROOT / "build" / "docker"  # a second run finds the layers here


def docker(*args, check=True, seconds=120, **kwargs):
    done = subprocess.run(["docker", *map(str, args)], capture_output=True, text=True, timeout=seconds, **kwargs)
    assert not check or done.returncode == 0, f"docker {' '.join(map(str, args))}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done


@pytest.fixture(scope="module")
def log(request):
    """Says what a long step does, past pytest's capture."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(text):
        with capture.global_and_fixture_disabled():
            print(f"\n  container: {text}", end="", flush=True)
    return say


def watched(command, log, env=None):
    """A long command: its steps are said, all of it is in build/docker/build.log, and the end of that when it fails."""
    lines = []
    with subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as child, \
            open(WORK / "build.log", "a", encoding="utf-8") as file:
        for line in child.stdout:
            file.write(line)
            lines.append(line)
            if line.startswith(("Step ", "deps:")):
                log(line.strip()[:100])
    assert child.returncode == 0, f"{' '.join(map(str, command))}: status {child.returncode}\n{''.join(lines[-60:])}"


@pytest.fixture(scope="module")
def engine(log):
    """A Docker engine: the one that runs, or one of our own below build/docker (needs root)."""
    WORK.mkdir(parents=True, exist_ok=True)
    if docker("info", check=False, seconds=30).returncode == 0:
        yield
        return
    assert os.getuid() == 0, "no Docker engine can be reached: start it, join the group docker, or run as root"
    log("no Docker engine answers: starting one in build/docker")
    runtime = tempfile.mkdtemp(prefix="vg-docker-")
    host = f"unix://{runtime}/docker.sock"
    process = Process("dockerd", ["dockerd", "--data-root", WORK / "data", "--exec-root", f"{runtime}/exec", "-H", host,
                                  "--pidfile", f"{runtime}/pid", "--bridge", "none"], WORK / "dockerd.log")
    os.environ["DOCKER_HOST"] = host
    try:
        wait_for(lambda: process.check() and docker("info", check=False, seconds=30).returncode == 0, "dockerd", 60, 0.2)
        yield
    finally:
        process.stop(60)
        del os.environ["DOCKER_HOST"]
        shutil.rmtree(runtime, ignore_errors=True)


@pytest.fixture(scope="module")
def base(engine, log):
    """debian:trixie-slim: there, or pulled, or made by debootstrap where no registry can be reached."""
    if docker("image", "inspect", "debian:trixie-slim", check=False).returncode == 0:
        return
    log("pulling debian:trixie-slim")
    try:
        if docker("pull", "debian:trixie-slim", check=False, seconds=120).returncode == 0:
            return
    except subprocess.TimeoutExpired:
        pass
    log("no registry: making the base image with debootstrap")
    root = tempfile.mkdtemp(prefix="vg-trixie-")
    try:
        done = subprocess.run(["debootstrap", "--variant=minbase", "trixie", root], capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as tar:
            docker("import", "-", "debian:trixie-slim", stdin=tar.stdout)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def compose():
    """`docker compose` or the older docker-compose."""
    if docker("compose", "version", check=False).returncode == 0:
        return ["docker", "compose"]
    return ["docker-compose"]


class Stack:
    """docker/compose.yaml under a name and on ports of its own, as the README says to start it."""

    def __init__(self, log):
        self.log, self.project = log, f"vgtest{os.getpid()}"
        self.hub = pathlib.Path(tempfile.mkdtemp(prefix="vg-hub-"))
        self.mqtt_port = free_port()
        self.environment = dict(os.environ, HUB=str(self.hub), MQTT_PORT=str(self.mqtt_port), COAP_PORT=str(free_port(socket.SOCK_DGRAM)),
                                BUS_TLS_PORT=str(free_port()), DOCKER_BUILDKIT="0", COMPOSE_DOCKER_CLI_BUILD="0")
        self.command = [*compose(), "-p", self.project, "-f", str(ROOT / "docker" / "compose.yaml")]

    def compose(self, *args, check=True, seconds=180):
        done = subprocess.run([*self.command, *args], env=self.environment, capture_output=True, text=True, timeout=seconds)
        assert not check or done.returncode == 0, f"compose {' '.join(args)}:\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
        return done

    def up(self):
        done = subprocess.run([str(ROOT / "docker" / "init"), str(self.hub)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        started = time.monotonic()
        (WORK / "build.log").unlink(missing_ok=True)
        self.log("building the images")
        watched([*self.command, "build"], self.log, self.environment)
        watched(["docker", "build", "--network", "host", "--target", "device", "-t", "vitalgate-device", "-f",
                 ROOT / "docker" / "bus.Dockerfile", ROOT / "docker"], self.log, self.environment)
        self.log(f"built in {time.monotonic() - started:.0f} s")
        self.compose("up", "-d")
        self.gateway = self.compose("ps", "-q", "gateway").stdout.strip()
        self.wait_until_healthy()

    def wait_until_healthy(self):
        wait_for(lambda: self.inspect("{{.State.Health.Status}}") == "healthy", "the gateway's health check", 90, 0.3)

    def inspect(self, what):
        return docker("inspect", "-f", what, self.gateway).stdout.strip()

    def vitalgate(self, *args):
        return self.compose("exec", "-T", "gateway", "vitalgate", *args).stdout

    def device(self, *command, network="devices"):
        """A command in a container that stands for a bedside device; returns what it said."""
        return docker("run", "--rm", "--network", f"{self.project}_{network}", "-v", f"{self.hub}/pki:/pki:ro", "vitalgate-device", *command).stdout

    def down(self):
        self.compose("down", "-v", check=False)
        shutil.rmtree(self.hub, ignore_errors=True)


@pytest.fixture(scope="module")
def stack(base, log):
    made = Stack(log)
    try:
        made.up()
        yield made
    finally:
        if hasattr(made, "gateway"):
            (WORK / "containers.log").write_text(made.compose("logs", "--no-color", check=False).stdout)
        made.down()


def test_a_reading_through_containers(stack):
    monitor = json.loads(stack.vitalgate("device", "add", "m1", "--profile", "bedside-json", "--password", "--json"))
    sensor = json.loads(stack.vitalgate("device", "add", "s1", "--profile", "senml", "--psk", "--json"))
    application = (stack.hub / "secrets" / "bus-app").read_text().strip()
    out = tempfile.TemporaryFile("w+")
    bus = subprocess.Popen(["docker", "run", "--rm", "--network", f"{stack.project}_applications", "-v", f"{stack.hub}/pki:/pki:ro",
                            "vitalgate-device", "mosquitto_sub", "-h", "bus", "-p", "8884", "--cafile", "/pki/ca.pem", "-u", "app", "-P",
                            application, "-t", "vitals/#", "-t", "vitals-gateway/#", "-v", "-C", "3", "-W", "90"], stdout=out)
    try:
        # The gateway's own status is retained: it comes as soon as the subscription stands.
        wait_for(lambda: bus.poll() is not None or out.seek(0) == 0 and "vitals-gateway/" in out.read(), "the subscriber", 60, 0.1)
        ms = now_ms()
        stack.device("mosquitto_pub", "-h", "gateway", "-p", "8883", "--cafile", "/pki/ca.pem", "-u", monitor["user"], "-P", monitor["password"],
                     "-i", "m1", "-q", "1", "-t", "ward/w/m1/vitals", "-m", json.dumps({"time": iso(ms), "hr": 72}))
        pack = json.dumps([{"n": "temperature_body", "u": "Cel", "v": 36.6, "t": ms / 1000}])
        answer = stack.device("coap-client-openssl", "-m", "post", "-B", "10", "-u", sensor["psk_identity"], "-k", sensor["psk"], "-t", "110",
                              "-e", pack, "coaps://gateway/readings")
        assert abs(float(answer) - ms / 1000) < 120
        assert bus.wait(60) == 0
    finally:
        bus.kill()
        bus.wait()
    out.seek(0)
    documents = {d["device"]: d for d in (json.loads(line.partition(" ")[2]) for line in out if line.startswith("vitals/"))}
    assert documents["m1"]["value"] == 72 and documents["s1"]["value"] == 36.6

    # From outside, through the port that is published.
    ca = stack.hub / "pki" / "ca.pem"
    done = subprocess.run(["mosquitto_pub", "-h", "localhost", "-p", str(stack.mqtt_port), "--cafile", str(ca), "-u", monitor["user"], "-P",
                           monitor["password"], "-i", "m1", "-q", "1", "-t", "ward/w/m1/vitals", "-m",
                           json.dumps({"time": iso(ms + 1000), "hr": 73})], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_data_outlives_the_container(stack):
    stack.vitalgate("device", "add", "m2", "--profile", "bedside-json", "--psk")
    stack.compose("up", "-d", "--force-recreate", "gateway")
    stack.gateway = stack.compose("ps", "-q", "gateway").stdout.strip()
    stack.wait_until_healthy()
    assert "m2" in stack.vitalgate("device", "list")


def test_the_image_is_locked_down(stack):
    assert stack.inspect("{{.HostConfig.ReadonlyRootfs}}") == "true"
    assert stack.compose("exec", "-T", "gateway", "id", "-u").stdout.strip() == "8883"
    assert stack.compose("exec", "-T", "gateway", "touch", "/here", check=False).returncode != 0
    # Profiles name time zones.
    assert stack.compose("exec", "-T", "gateway", "test", "-f", "/usr/share/zoneinfo/Europe/Berlin", check=False).returncode == 0
    # Who may read the gateway's keys cannot issue certificates.
    assert "ca.key" not in stack.compose("exec", "-T", "gateway", "ls", "/etc/vitalgate/pki").stdout


def test_the_health_check_notices(stack):
    docker("kill", "--signal", "STOP", stack.gateway)
    try:
        wait_for(lambda: stack.inspect("{{.State.Health.Status}}") == "unhealthy", "the health check to fail", 120, 0.5)
    finally:
        docker("kill", "--signal", "CONT", stack.gateway)
    stack.wait_until_healthy()
