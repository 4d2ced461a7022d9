# SPDX-License-Identifier: Apache-2.0
"""A ward of two hundred devices behind one address, and one of them that hammers with a wrong credential: all the others get in."""
import socket
import ssl
import struct
import threading

from harness.dtls import Closed, Dtls
from harness.hub import wait_for
from harness.pki import Pki

WARD = 200


def part(hub, name):
    return hub.status()["parts"][name]


def in_threads(count, work):
    """Runs work(i) for i below count in forty threads; what failed."""
    todo, failed, lock = iter(range(count)), [], threading.Lock()

    def run():
        while True:
            with lock:
                i = next(todo, None)
            if i is None:
                return
            try:
                work(i)
            except Exception as problem:  # told by the test
                failed.append((i, problem))
    threads = [threading.Thread(target=run) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    return failed


class Hammer:
    """Tries again as soon as it was refused, several times at once, until it is told to stop."""

    def __init__(self, attempt, at_once=10):
        self.stopping, self.attempts = threading.Event(), 0
        self.threads = [threading.Thread(target=self.run, args=(attempt,), daemon=True) for _ in range(at_once)]
        for thread in self.threads:
            thread.start()

    def run(self, attempt):
        while not self.stopping.is_set():
            attempt()
            self.attempts += 1

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)


def connect_packet(client):
    body = struct.pack(">H4sBBH", 4, b"MQTT", 4, 2, 60) + struct.pack(">H", len(client)) + client
    return bytes([0x10, len(body)]) + body


def context_of(hub, certificate, key):
    context = ssl.create_default_context(cafile=hub.pki.ca)
    context.load_cert_chain(certificate, key)
    return context


def test_mqtt(hubs):
    hub = hubs(bus=False, options={"mqtt": {"connections_of_one": WARD + 50, "slowed_per_s": 50}}).start()
    hub.add_device("d1", "bedside-json", "--cert-subject")
    good = context_of(hub, *hub.pki.issue("d1"))
    bad = context_of(hub, *Pki(hub.state / "other" / "pki", "Somebody else").issue("d1"))
    connected = []

    def attempt():
        try:
            with socket.create_connection(("127.0.0.1", hub.mqtt_port), 30) as plain, bad.wrap_socket(plain, server_hostname="localhost") as tls:
                tls.settimeout(30)
                tls.sendall(connect_packet(b"wrong"))
                tls.recv(4)
        except OSError:
            pass

    def device(i, source="127.0.0.1"):
        plain = socket.create_connection(("127.0.0.1", hub.mqtt_port), 60, source_address=(source, 0))
        tls = good.wrap_socket(plain, server_hostname="localhost")
        connected.append(tls)
        tls.sendall(connect_packet(b"d%d" % i))
        assert tls.recv(4) == b"\x20\x02\x00\x00"

    hammer = Hammer(attempt)
    wait_for(lambda: part(hub, "mqtt")["handshakes_slowed"] > 20, "the one that hammers to be slowed", 60)
    failed = in_threads(WARD, device)
    device(WARD, "127.0.0.2")  # and another address is not slowed at all
    status = part(hub, "mqtt")
    hammer.stop()
    assert not failed, failed[:3]
    assert status["connections"] >= WARD and status["handshakes_failed"] > 20
    for sock in connected:
        sock.close()


def test_coap(hubs):
    hub = hubs(bus=False, options={"coap": {"sessions_of_one": WARD + 50}}).start()
    credential = hub.add_device("d1", "senml", "--psk")
    identity, key = credential["psk_identity"], bytes.fromhex(credential["psk_hex"])
    sessions = []

    def attempt():
        try:
            Dtls(hub.coap_port, identity, b"wrongwrongwrong!", connect=False).connect(2)
        except (Closed, TimeoutError):
            pass

    def device(_):
        for _ in range(5):  # as devices do
            try:
                session = Dtls(hub.coap_port, identity, key, connect=False)
                sessions.append(session)
                session.connect(10)
                return
            except (Closed, TimeoutError):
                continue
        raise AssertionError("five attempts")

    hammer = Hammer(attempt)
    wait_for(lambda: part(hub, "coap")["credentials_refused"] > 20, "refusals", 60)
    failed = in_threads(WARD, device)
    status = part(hub, "coap")
    hammer.stop()
    assert not failed, failed[:3]
    assert status["sessions_proved"] >= WARD
