# SPDX-License-Identifier: Apache-2.0
"""The images, really built and run: a reading goes in from a device's container and comes out on the bus."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import pytest

from harness.hub import ROOT, Process, wait_for

WORK = ROOT / "build" / "docker"


def docker(*args, check=True, seconds=1800, **kwargs):
    done = subprocess.run(["docker", *map(str, args)], capture_output=True, text=True, timeout=seconds, **kwargs)
    assert not check or done.returncode == 0, f"docker {' '.join(map(str, args))}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done


def log(text):
    print(f"  container: {text}", flush=True)


@pytest.fixture(scope="module")
def engine():
    """A Docker engine: the one that runs, or one of our own below build/docker (needs root)."""
    if docker("info", check=False, seconds=30).returncode == 0:
        yield
        return
    assert os.getuid() == 0, "no Docker engine can be reached: start it, join the group docker, or run as root"
    WORK.mkdir(parents=True, exist_ok=True)
    runtime = tempfile.mkdtemp(prefix="vg-docker-")
    host = f"unix://{runtime}/docker.sock"
    process = Process("dockerd", ["dockerd", "--data-root", WORK / "data", "--exec-root", f"{runtime}/exec", "-H", host,
                                  "--pidfile", f"{runtime}/pid"], WORK / "dockerd.log")
    os.environ["DOCKER_HOST"] = host
    try:
        wait_for(lambda: process.check() and docker("info", check=False, seconds=30).returncode == 0, "dockerd", 60, 0.2)
        yield
    finally:
        process.stop(60)
        del os.environ["DOCKER_HOST"]
        shutil.rmtree(runtime, ignore_errors=True)


@pytest.fixture(scope="module")
def base(engine):
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


def test_a_reading_through_containers(base):
    from harness.hub import free_port
    import socket
    hub = pathlib.Path(tempfile.mkdtemp(prefix="vg-hub-"))
    environment = dict(os.environ, HUB=str(hub), MQTT_PORT=str(free_port()), COAP_PORT=str(free_port(socket.SOCK_DGRAM)),
                       BUS_TLS_PORT=str(free_port()), DOCKER_BUILDKIT="0", COMPOSE_DOCKER_CLI_BUILD="0")
    project = f"vgtest{os.getpid()}"

    def run(*args, seconds=1800, check=True, input=None):
        done = subprocess.run([*compose(), "-p", project, "-f", str(ROOT / "docker" / "compose.yaml"), *args], env=environment,
                              capture_output=True, text=True, timeout=seconds, input=input)
        assert not check or done.returncode == 0, f"compose {' '.join(args)}:\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
        return done

    def vitalgate(*args):
        return run("exec", "-T", "gateway", "vitalgate", *args).stdout

    try:
        subprocess.run([str(ROOT / "docker" / "init"), str(hub), "gateway"], check=True, capture_output=True)
        log("building the images")
        started = time.monotonic()
        run("build")
        docker("build", "--network", "host", "--target", "device", "-t", "vitalgate-device", "-f", ROOT / "docker" / "bus.Dockerfile",
               ROOT / "docker")
        log(f"built in {time.monotonic() - started:.0f} s")
        run("up", "-d")
        wait_for(lambda: run("exec", "-T", "gateway", "vitalgate", "status", "--json", check=False).returncode == 0, "the gateway", 60, 0.5)
        monitor = json.loads(vitalgate("device", "add", "m1", "--profile", "bedside-json", "--password", "--json"))
        sensor = json.loads(vitalgate("device", "add", "s1", "--profile", "senml", "--psk", "--json"))
        application = (hub / "secrets" / "bus-app").read_text().strip()

        def client(network, *command, **kwargs):
            return docker("run", "--rm", "--network", f"{project}_{network}", "-v", f"{hub}/pki:/pki:ro", "vitalgate-device", *command,
                          seconds=60, **kwargs)

        out = subprocess.Popen(["docker", "run", "--rm", "--network", f"{project}_applications", "-v", f"{hub}/pki:/pki:ro",
                                "vitalgate-device", "mosquitto_sub", "-h", "bus", "-p", "8884", "--cafile", "/pki/ca.pem", "--insecure",
                                "-u", "app", "-P", application, "-t", "vitals/#", "-C", "2", "-W", "60"], stdout=subprocess.PIPE, text=True)
        time_ms = int(time.time() * 1000)
        sent = 0
        while out.poll() is None and sent < 20:  # until the subscriber, which comes up at its own pace, has seen them
            client("devices", "mosquitto_pub", "-h", "gateway", "-p", "8883", "--cafile", "/pki/ca.pem", "-u", monitor["user"], "-P",
                   monitor["password"], "-i", "m1", "-q", "1", "-t", "ward/w/m1/vitals", "-m", json.dumps({"time": iso(time_ms + sent), "hr": 72}))
            pack = json.dumps([{"n": "temperature_body", "u": "Cel", "v": 36.6, "t": (time_ms + sent) / 1000}])
            client("devices", "coap-client-openssl", "-m", "post", "-B", "10", "-u", sensor["psk_identity"], "-k", sensor["psk"], "-t",
                   "110", "-e", pack, "coaps://gateway/readings")
            sent += 1
        documents = [json.loads(line) for line in out.communicate(timeout=60)[0].splitlines()]
        assert len(documents) == 2 and {d["device"] for d in documents} <= {"m1", "s1"}
        assert vitalgate("readings", "--device", "s1", "--format", "json").count("36.6") >= sent

        # Data outlives the container.
        run("restart", "gateway")
        wait_for(lambda: run("exec", "-T", "gateway", "vitalgate", "status", "--json", check=False).returncode == 0, "the gateway again", 60, 0.5)
        assert vitalgate("readings", "--device", "m1", "--format", "json").count('"heart_rate"') == sent
    except BaseException:
        log(run("logs", check=False).stdout[-6000:])
        raise
    finally:
        run("down", "-v", check=False)
        shutil.rmtree(hub, ignore_errors=True)
