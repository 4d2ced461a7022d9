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
    hub = module_hubs(bus=False, options={"mqtt": {"threads": 1, "admit_s_max": 20}})
    # The address sanitizer keeps freed memory for a while: little, here, where memory is watched.
    hub.env["ASAN_OPTIONS"] = "quarantine_size_mb=4"
    hub.start()
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


def test_take_overs_changes_of_the_registry_and_a_stop_under_load(hubs):
    """Several devices fight over one session while devices come and go, and the gateway stops in the middle of it: orderly, in time."""
    hub = hubs(bus=False, options={"mqtt": {"threads": 2, "tickets_max": 64, "session_expiry_s_max": 600}}).start()
    for name in ("a", "b"):
        hub.add_device(name, "bedside-json", "--cert-subject", name)
        hub.pki.issue(name)
    stop, served = threading.Event(), []

    def fight(number):
        level, ident = 4 + number % 2, 0
        while not stop.is_set():
            try:
                device = Device(hub, "ab"[number % 2], client=f"c{number % 3}", level=level, clean=number % 5 == 0, expiry=60)
                for ident in range(1, 40):
                    device.publish(frame(60 + ident), ident, qos=1 + number % 2)
                device.send(packet(0x82, b"\x00\x07" + (b"\x00" if level == 5 else b"") + text(f"downlink/{device.name}/#") + b"\x01"))
                if device.read() is not None:
                    served.append(number)
                if number % 4 == 0:
                    device.reset()
                elif number % 4 == 1 and level == 5:
                    device.send(packet(0xe0, b"\x00\x05\x11\x00\x00\x00" + bytes([number % 2])))
                device.close()
            except (OSError, ssl.SSLError, AssertionError, TypeError):
                pass

    fighters = [threading.Thread(target=fight, args=(i,), daemon=True) for i in range(10)]
    for thread in fighters:
        thread.start()
    try:
        for _ in range(4):
            hub.cli("device", "disable", "b")
            hub.cli("device", "enable", "b")
        wait_for(lambda: hub.gateway.check() and len(set(served)) >= 8 and len(served) >= 200, "most of them to be served", 60)
        assert hub.gateway.stop() == 0
    finally:
        stop.set()
        for thread in fighters:
            thread.join()


def test_identifiers_of_qos_2_outlive_a_kill_and_a_device_that_forgot_them(hubs):
    """Without a time of their own messages are told apart by identifier and content alone."""
    hub = hubs(bus=False).start()
    hub.add_device("p", "plain-text", "--cert-subject", "p")

    def kill():
        hub.gateway.kill()
        hub.gateway.child.wait()
        hub.start_gateway()

    def say(device, value, ident, dup=False):
        device.publish(value, ident, qos=2, dup=dup, topic="sensors/p/heart_rate")
        return device.read()

    first = Device(hub, "p", clean=False)
    assert say(first, "61", 1) == b"\x50\x00\x01"
    kill()
    second = Device(hub, "p", clean=False)
    assert second.present
    assert say(second, "61", 1, dup=True) == b"\x50\x00\x01"  # the device remembers: the same message
    kill()
    third = Device(hub, "p", clean=False)
    assert say(third, "62", 1) == b"\x50\x00\x01"  # it has been switched off meanwhile, and counts from 1 again
    third.send(b"\x62\x02\x00\x01")
    assert third.read() == b"\x70\x00\x01"
    kill()
    fourth = Device(hub, "p", clean=False)
    assert say(fourth, "62", 1) == b"\x50\x00\x01"  # released: a new message of equal content
    assert [r["value"] for r in hub.readings("p")] == [61, 62, 62]


def test_those_who_never_read_are_bounded_and_harm_nobody(hub):
    """They ask and ask and take no answer: in the end the gateway listens to them no more, and holds little for each."""
    def rss_kb():
        with open(f"/proc/{hub.gateway.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))

    def flood(device, what):
        device.sock.settimeout(1)
        try:
            for _ in range(400):
                device.sock.sendall(what)
        except (OSError, ssl.SSLError):
            pass

    before = rss_kb()
    bad = packet(0x32, text("ward/w/m2/vitals") + b"\x00\x01\x00" + b"{")
    for what, level in ((b"\xc0\x00" * 8000, 4), (b"\x62\x02\x00\x09" * 4000, 5), (bad * 500, 5)):
        deaf = [Device(hub, "m2", client=f"deaf{i}", level=level) for i in range(6)]
        threads = [threading.Thread(target=flood, args=(device, what)) for device in deaf]
        for thread in threads:
            thread.start()
        for i in range(5):
            done = publish(hub, "m1", "ward/w/m1/vitals", frame(70 + i), auth=by_certificate(hub, "m1"))
            assert done.returncode == 0, done.stderr
        for thread in threads:
            thread.join()
        for device in deaf:
            device.close()
    assert rss_kb() - before < 60000
    assert len(hub.readings("m1")) >= 15


def test_neither_user_name_nor_client_identifier_makes_somebody_else(hub):
    """A certificate and the user name of another, the client identifier of another's session: the certificate says who it is."""
    other = Device(hub, "m1", client="m1")
    body = text("MQTT") + b"\x04\xc2\x00\x3c" + text("m1") + text("m1") + text("whatever")
    device = Device(hub, "m2", connect=False)
    device.send(packet(0x10, body))
    assert device.read() == b"\x20\x00\x00"
    other.send(b"\xc0\x00")
    assert other.read() == b"\xd0"  # nobody took its session
    count = len(hub.readings("m1"))
    device.publish(frame(99), 1, topic="ward/w/m1/vitals")
    assert device.read() is None  # 3.1.1: refused and closed
    assert len(hub.readings("m1")) == count
    other.close()
