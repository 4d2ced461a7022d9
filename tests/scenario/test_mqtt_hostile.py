# SPDX-License-Identifier: Apache-2.0
"""Devices with a valid credential that misbehave on MQTT, packet by packet: the others are served, nothing is lost, nobody becomes somebody else."""
import json
import socket
import ssl
import struct
import subprocess
import threading
import time

import pytest

from harness.clients import by_certificate, by_psk, iso, now_ms, publish
from harness.hub import wait_for


@pytest.fixture(scope="module")
def hub(module_hubs):
    hub = module_hubs(bus=False, options={"mqtt": {"threads": 1, "admit_s_max": 20}}).start()
    for name in ("m1", "m2", "m3"):
        hub.add_device(name, "bedside-json", "--cert-subject", name)
    hub.add_device("p1", "plain-text", "--cert-subject", "p1")
    for name in ("m1", "m2", "m3", "p1"):  # before threads ask for them
        hub.pki.issue(name)
    return hub


def text(value):
    value = value.encode() if isinstance(value, str) else value
    return struct.pack(">H", len(value)) + value


def packet(first, body):
    length, out = len(body), bytearray([first])
    while True:
        length, byte = divmod(length, 128)
        out.append(byte | (0x80 if length else 0))
        if not length:
            return bytes(out) + body


class Device:
    """One connection, written and read by hand."""

    def __init__(self, hub, name, client=None, level=4, clean=True, expiry=0, connect=True):
        context = ssl.create_default_context(cafile=hub.pki.ca)
        context.load_cert_chain(*hub.pki.issue(name))
        self.name, self.level = name, level
        self.sock = context.wrap_socket(socket.create_connection(("127.0.0.1", hub.mqtt_port), timeout=20), server_hostname="localhost")
        properties = (bytes([5, 0x11]) + struct.pack(">I", expiry) if expiry else b"\x00") if level == 5 else b""
        self.hello = packet(0x10, text("MQTT") + bytes([level, 2 if clean else 0]) + b"\x00\x3c" + properties + text(client or name))
        if connect:
            self.send(self.hello)
            answer = self.read()
            assert answer[0] == 0x20 and answer[2] == 0, answer
            self.present = bool(answer[1] & 1)

    def send(self, data):
        self.sock.sendall(data)

    def read(self):
        """The next packet: type and flags, then its body. None: the other side closed."""
        head = self._exactly(1)
        if head is None:
            return None
        length = shift = 0
        while True:
            byte = self._exactly(1)[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return head + (self._exactly(length) if length else b"")

    def _exactly(self, count):
        out = b""
        while len(out) < count:
            try:
                more = self.sock.recv(count - len(out))
            except (ConnectionError, ssl.SSLError):
                more = b""
            if not more:
                return None
            out += more
        return out

    def publish(self, payload, ident=0, qos=1, dup=False, topic=None):
        body = text(topic or f"ward/w/{self.name}/vitals") + (struct.pack(">H", ident) if qos else b"") + (b"\x00" if self.level == 5 else b"")
        self.send(packet(0x30 | qos << 1 | (8 if dup else 0), body + (payload if isinstance(payload, bytes) else payload.encode())))

    def reset(self):
        """Gone without a word, and without TLS's."""
        raw = socket.socket(fileno=self.sock.detach())
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.close()

    def close(self):
        self.sock.close()


def door(hub):
    """The door's counts."""
    return json.loads(hub.cli("status", "--json").stdout)["parts"]["mqtt"]


def handshakes(hub):
    return door(hub)["handshakes_ok"]


def frame(hr, ms=None):
    return json.dumps({"time": iso(ms or now_ms()), "hr": hr})


def test_a_connection_that_ends_takes_nobodys_answer_along(hub):
    """Answers of one round go out together; one of those connections ends in that very round."""
    stop = threading.Event()

    def offend():
        while not stop.is_set():
            offender = Device(hub, "m2", client=f"offender{threading.get_ident()}", level=5)
            offender.send(packet(0x30, text("a/#") + b"\x00"))  # malformed: DISCONNECT, and the connection ends
            while offender.read() is not None:
                pass
            offender.close()

    offenders = [threading.Thread(target=offend) for _ in range(4)]
    honest = [Device(hub, "m1", client=f"honest{i}") for i in range(40)]
    for thread in offenders:
        thread.start()
    try:
        end = time.monotonic() + 4
        while time.monotonic() < end:
            for device in honest:
                device.send(b"\xc0\x00")
            for device in honest:
                assert device.read() == b"\xd0"
    finally:
        stop.set()
        for thread in offenders:
            thread.join()
    for device in honest:
        device.close()


def test_one_that_waits_for_its_session_and_goes_while_it_is_handed_over(hub):
    """The first connection of a session ends, and at that moment the second one, which waits for it, is reset."""
    stop = threading.Event()

    def shake():  # keeps the thread that admits busy, so that both fall into one turn of its loop
        while not stop.is_set():
            try:
                Device(hub, "m3", connect=False).close()
            except (OSError, ssl.SSLError):
                pass

    busy = [threading.Thread(target=shake) for _ in range(6)]
    for thread in busy:
        thread.start()
    try:
        for i in range(60):
            first, second = Device(hub, "m2", client="same"), Device(hub, "m2", client="same", connect=False)
            second.send(second.hello)
            first.read()
            time.sleep(i % 12 / 1000)  # not a wait: where in the turn it falls
            second.reset()
            first.close()
            hub.gateway.check()
    finally:
        stop.set()
        for thread in busy:
            thread.join()
    done = publish(hub, "m1", "ward/w/m1/vitals", frame(61), auth=by_certificate(hub, "m1"))
    assert done.returncode == 0, done.stderr



@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_revoked_key_that_was_proved_before_is_worth_nothing(hub, version):
    """A thief shakes hands and waits. The device is removed and added anew with another key; only then comes the thief's CONNECT."""
    old = hub.add_device("rotated", "bedside-json", "--psk")
    before = handshakes(hub)
    thief = subprocess.Popen(["openssl", "s_client", "-quiet", version, "-connect", f"127.0.0.1:{hub.mqtt_port}", "-psk_identity",
                              old["psk_identity"], "-psk", old["psk_hex"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: handshakes(hub) > before, "the thief's handshake", 20)
        hub.cli("device", "remove", "rotated")
        hub.add_device("rotated", "bedside-json", "--psk")
        thief.stdin.write(packet(0x10, text("MQTT") + b"\x04\x02\x00\x3c" + text("thief")))
        thief.stdin.flush()
        assert thief.stdout.read(4) == b"\x20\x02\x00\x03"  # unavailable: to be proved anew
    finally:
        thief.kill()
        thief.wait()
        hub.cli("device", "remove", "rotated")
