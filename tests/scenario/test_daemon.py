# SPDX-License-Identifier: Apache-2.0
"""The daemon as a supervisor sees it: it says when it is ready, stops in order, refuses what cannot be, and leaves nothing behind."""
import os
import signal
import socket
import subprocess
import time

from harness.hub import Process, wait_for


def test_supervisors_protocol(hubs):
    hub = hubs(bus=False)
    path = str(hub.state / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(path)
        notify.settimeout(60)
        hub.start_gateway(env=dict(os.environ, NOTIFY_SOCKET=path, WATCHDOG_USEC="300000"))
        assert notify.recv(64) == b"READY=1"
        assert notify.recv(64) == notify.recv(64) == b"WATCHDOG=1"
        hub.gateway.kill(signal.SIGHUP)  # nothing to take anew
        wait_for(lambda: b"nothing has changed" in hub.gateway.log.read_bytes(), "the word about SIGHUP")
        assert hub.status()["running"]
        assert hub.gateway.stop() == 0
        while (word := notify.recv(64)) == b"WATCHDOG=1":
            pass
        assert word == b"STOPPING=1"
    assert not (hub.state / "vitalgate.sock").exists()


def test_stop_with_clients_that_do_nothing(hubs):
    """Neither a half-open handshake nor a silent command holds up the stop."""
    hub = hubs(bus=False).start()
    idle = [socket.create_connection(("127.0.0.1", hub.mqtt_port)) for _ in range(20)]
    command = socket.socket(socket.AF_UNIX)
    command.connect(str(hub.state / "vitalgate.sock"))
    command.sendall(b'{"command":')
    started = time.monotonic()
    assert hub.gateway.stop() == 0
    assert time.monotonic() - started < 8
    for connection in [*idle, command]:
        connection.close()


def test_one_gateway_per_store(hubs):
    hub = hubs(bus=False).start()
    second = subprocess.run([hub.program, "run", "-c", hub.file], capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1 and f"in use by process {hub.gateway.pid}" in second.stderr
    assert hub.status()["running"]  # the first was not disturbed


def test_a_kill_leaves_a_store_and_a_socket_that_the_next_can_use(hubs):
    hub = hubs(bus=False).start()
    hub.add_device("d1", "senml")
    hub.gateway.kill()
    wait_for(lambda: not hub.gateway.alive(), "the end of the gateway")
    assert (hub.state / "vitalgate.sock").exists()
    done = hub.cli("device", "list")  # nobody listens: the store itself is read
    assert "d1" in done.stdout and "no gateway runs" in done.stderr
    hub.start_gateway()
    assert "d1" in hub.cli("device", "list").stdout


def test_a_start_that_cannot_be(hubs):
    hub = hubs(bus=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        hub.mqtt_port = taken.getsockname()[1]
        hub.write_config()
        process = Process("vitalgate", [hub.program, "run", "-c", hub.file], hub.state / "vitalgate.log")
        assert process.child.wait(60) == 1
    text = process.log.read_text()
    assert "gateway.start" in text and str(hub.mqtt_port) in text and "in use" in text.lower()
    hub.file.write_text("tls:\n  certificate: gone.pem\n  key: gone.key\n")
    done = hub.cli("run", check=False)
    assert done.returncode == 1 and "gone.pem" in done.stderr
