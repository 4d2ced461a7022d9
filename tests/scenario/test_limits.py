# SPDX-License-Identifier: Apache-2.0
"""Limits of what one principal, one address, one connection may take: each is an option, and the others are served meanwhile."""
import contextlib
import json
import socket
import ssl
import struct

import pytest

from harness.clients import by_certificate, by_password, by_psk, iso, now_ms, publish, run
from harness.dtls import BLOCK1, FORMAT, POST, Closed, Dtls, Message, uint
from harness.hub import Process, wait_for

SENML = (FORMAT, uint(110))


@pytest.fixture(scope="module")
def hub(module_hubs):
    hub = module_hubs(bus=False, options={
        "mqtt": {"connections_of_one": 2, "handshakes_max": 8, "handshakes_of_one": 3, "admit_s_max": 60, "connect_bytes_max": 300, "filters_max": 2,
                 "topic_aliases_max": 3, "kept_topic_bytes_max": 64, "unsent_bytes_max": 4096, "refusal_records_per_min": 2,
                 "password_checks_of_one": 100, "sessions_of_one": 2},
        "coap": {"handshakes_max": 8, "handshakes_of_one": 3, "sessions_of_one": 2, "uploads_of_one": 1, "refusal_records_per_min": 2}})
    hub.start()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    hub.add_device("m2", "bedside-json", "--cert-subject", "m2")
    hub.keys = {name: hub.add_device(name, "senml", "--psk") for name in ("s1", "s2")}
    return hub


def part(hub, name="mqtt"):
    return hub.status()["parts"][name]


def none_left(hub):
    wait_for(lambda: part(hub)["connections"] == 0, "all connections to be gone")


def raw(hub, source="127.0.0.1"):
    return socket.create_connection(("127.0.0.1", hub.mqtt_port), timeout=20, source_address=(source, 0))


def tls(hub, plain, name="m1"):
    context = ssl.create_default_context(cafile=hub.pki.ca)
    context.load_cert_chain(*hub.pki.issue(name))
    return context.wrap_socket(plain, server_hostname="localhost")


def text(value):
    return struct.pack(">H", len(value)) + value


def packet(first, body):
    assert len(body) < 128 * 128
    return bytes([first, len(body)] if len(body) < 128 else [first, len(body) & 0x7F | 0x80, len(body) >> 7]) + body


def connect(hub, client=b"raw", name="m1", plain=None):
    """An MQTT 5 connection by hand; its CONNACK."""
    sock = tls(hub, plain or raw(hub), name)
    sock.sendall(packet(0x10, text(b"MQTT") + b"\5\2\0\x3c\0" + text(client)))
    return sock, read(sock)


def read(sock):
    """The next packet; empty: closed."""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        head = sock.recv(2)
        if len(head) == 2:
            body = b""
            while len(body) < head[1] and (more := sock.recv(head[1] - len(body))):
                body += more
            return head + body
    return b""


def is_open(sock):
    sock.setblocking(False)
    try:
        return sock.recv(1) != b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False
    finally:
        sock.settimeout(20)


# ---- MQTT ----

def subscriber(hub, client):
    before = part(hub)["connects_ok"]
    process = Process("mosquitto_sub", ["mosquitto_sub", "-h", "127.0.0.1", "-p", hub.mqtt_port, "-i", client, "-t", "downlink/m1/x",
                                        *by_certificate(hub, "m1")], hub.state / f"{client}.txt")
    hub.clients.append(process)
    wait_for(lambda: process.check() and part(hub)["connects_ok"] == before + 1, "mosquitto_sub to be connected")
    return process


def test_connections_of_one_principal(hub):
    none_left(hub)
    first, second = subscriber(hub, "first"), subscriber(hub, "second")
    before, said = part(hub), json.dumps({"time": iso(now_ms()), "hr": 60})
    for _ in range(3):
        done = publish(hub, "third", "ward/w/m1/vitals", said, version="5", auth=by_certificate(hub, "m1"))
        assert done.returncode != 0 and "Quota exceeded" in done.stderr, done.stderr
        done = publish(hub, "third", "ward/w/m1/vitals", said, auth=by_certificate(hub, "m1"))
        assert done.returncode == 3, done  # CONNACK 3: mosquitto_pub ends with it
    sock, answer = connect(hub, b"third")
    assert answer[3] == 0x97
    sock.close()
    now = part(hub)
    assert now["connections_beyond_limit_of_one"] == before["connections_beyond_limit_of_one"] + 7
    assert now["credentials_refused"] == before["credentials_refused"]
    assert first.alive() and second.alive()
    assert (now["connections"], now["connects_ok"]) == (before["connections"], before["connects_ok"])  # the same two all the time
    # Another principal is not meant, nor one of the two that comes again; and the place of one that goes is free.
    assert publish(hub, "m2", "ward/w/m2/vitals", said, auth=by_certificate(hub, "m2")).returncode == 0
    assert publish(hub, "second", "ward/w/m1/vitals", said, auth=by_certificate(hub, "m1")).returncode == 0
    first.kill()
    wait_for(lambda: publish(hub, "third", "ward/w/m1/vitals", said, auth=by_certificate(hub, "m1")).returncode == 0, "the place to be free")
    second.kill()


def test_handshakes_of_one_address(hub):
    none_left(hub)
    before = part(hub)["handshakes_beyond_limit_of_one"]
    patient = raw(hub)  # the oldest of all, and it says nothing for long
    wait_for(lambda: part(hub)["handshakes_under_way"] == 1, "the first connection to be seen")
    crowd = [raw(hub, "127.0.0.2") for _ in range(20)]
    wait_for(lambda: part(hub)["handshakes_beyond_limit_of_one"] == before + 17, "the crowd's oldest to be dropped")
    assert part(hub)["handshakes_under_way"] == 4
    wait_for(lambda: sum(map(is_open, crowd)) == 3, "the crowd to be told")
    assert all(map(is_open, crowd[-3:])) and is_open(patient)
    sock, answer = connect(hub, plain=patient)
    assert answer[3] == 0
    wait_for(lambda: part(hub)["handshakes_under_way"] == 3, "the patient one to be admitted")
    # Having been admitted is no handshake under way: one address may have many connections.
    more = [connect(hub, b"n%d" % i, "m2")[0] for i in range(2)]
    for each in (sock, *more, *crowd):
        each.close()
    none_left(hub)


def test_the_first_packet(hub):
    none_left(hub)
    sock = tls(hub, raw(hub))
    sock.sendall(packet(0x10, text(b"MQTT") + b"\5\2\0\x3c\0" + text(b"x" * 400)))
    assert read(sock) == b""
    sock, answer = connect(hub, b"x" * 250)
    assert answer[3] == 0
    assert b"\x22\0\3" in answer[4:]  # topic alias maximum
    sock.close()


def test_packets_of_a_connection(hub):
    none_left(hub)

    def subscribe(*filters):
        return packet(0x82, b"\0\1\0" + b"".join(text(f) + b"\0" for f in filters))

    sock, _ = connect(hub)
    long = b"downlink/m1/" + b"x" * 52
    sock.sendall(subscribe(long, long + b"x"))
    assert read(sock)[5:] == b"\x00\x8f"
    sock.sendall(subscribe(b"downlink/m1/a", b"downlink/m1/b", b"downlink/m1/c"))
    answer = read(sock)
    assert (answer[0], answer[2]) == (0xe0, 0x97)
    sock.close()
    for alias, topic, reason in ((3, b"t" * 64, None), (4, b"t", 0x94), (1, b"t" * 65, 0x90)):
        sock, _ = connect(hub)
        sock.sendall(packet(0x32, text(topic) + b"\0\7\3\x23" + struct.pack(">H", alias) + b"x"))
        answer = read(sock)
        sock.close()
        assert answer[0] == 0x40 if reason is None else (answer[0], answer[2]) == (0xe0, reason), answer




def test_answers_that_wait(hub):
    """More than a client's answers may take at once ends its connection, and nobody else's."""
    none_left(hub)
    other, _ = connect(hub, b"other")
    sock, _ = connect(hub)
    for count, served in ((1000, True), (3000, False)):
        sock.sendall(b"\xc0\0" * count)  # one record, so one turn of the gateway
        got = 0
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while got < 2 * count and (more := sock.recv(65536)):
                got += len(more)
        assert (got == 2 * count) == served
    other.sendall(b"\xc0\0")
    assert read(other) == b"\xd0\0"
    for each in (sock, other):
        each.close()


def test_lasting_sessions_of_one(hub):
    none_left(hub)
    auth = by_certificate(hub, "m1")

    def session(client):
        done = run(["mosquitto_sub", "-h", "127.0.0.1", "-p", hub.mqtt_port, "-i", client, "-c", "-q", "1", "-t", "downlink/m1/x", "-E", "-d", *auth])
        assert done.returncode == 0, done.stderr

    before = part(hub)["sessions"]
    for i in range(5):
        session(f"lasting{i}")
    wait_for(lambda: part(hub)["sessions"] == before + 2, "the oldest sessions to go")


def test_passwords_of_one(hub):
    """Many at once with one user name: all of them are checked, where the option says so."""
    none_left(hub)
    credential = hub.add_device("w1", "bedside-json", "--password")
    clients = [Process("mosquitto_pub", ["mosquitto_pub", "-h", "127.0.0.1", "-p", hub.mqtt_port, "-V", "5", "-i", f"w{i}", "-t", "ward/w/w1/vitals", "-m",
                                         "{}", *by_password(hub, {**credential, "password": "wrong"})], hub.state / f"w{i}.txt") for i in range(8)]
    for client in clients:
        client.child.wait(30)
        assert b"busy" not in client.log.read_bytes().lower(), client.log.read_bytes()


def refuse_mqtt(hub, number):
    done = publish(hub, "x", "a", "b", version="5", auth=by_psk({"psk_hex": "00" * 16, "psk_identity": f"stranger{number}"}))
    assert done.returncode != 0


def refuse_coap(hub, number):
    with pytest.raises((Closed, TimeoutError)):
        Dtls(hub.coap_port, f"stranger{number}", b"k" * 16, connect=False).connect(2)


@pytest.mark.parametrize("name, refuse", [("mqtt", refuse_mqtt), ("coap", refuse_coap)])
def test_refusals_on_record(hubs, name, refuse):
    """Each is counted; the first few a minute are put on record."""
    hub = hubs(bus=False, options={name: {"refusal_records_per_min": 2}}).start()
    for number in range(6):
        refuse(hub, number)
    wait_for(lambda: part(hub, name)["credentials_refused"] >= 6, "all of them to be counted")
    assert hub.status()["store"]["last_position"] == 2


# ---- CoAP ----

def dtls(hub, name="s1", **more):
    return Dtls(hub.coap_port, hub.keys[name]["psk_identity"], bytes.fromhex(hub.keys[name]["psk_hex"]), **more)


def post(mid, value=36.5):
    return Message(POST, mid, "readings", json.dumps([{"n": "temperature_body", "u": "Cel", "v": value, "t": 1e9 + mid}]).encode(), options=[SENML])


def hello(cookie=b""):
    """A ClientHello by hand: TLS_PSK_WITH_AES_128_CCM_8."""
    body = b"\xfe\xfd" + b"r" * 32 + b"\0" + bytes([len(cookie)]) + cookie + b"\0\2\xc0\xa8" + b"\1\0"
    number = bool(cookie)
    message = b"\1" + len(body).to_bytes(3, "big") + number.to_bytes(2, "big") + bytes(3) + len(body).to_bytes(3, "big") + body
    return b"\x16\xfe\xfd\0\0" + number.to_bytes(6, "big") + len(message).to_bytes(2, "big") + message


def half_open(hub, source):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((source, 0))
    sock.connect(("127.0.0.1", hub.coap_port))
    sock.settimeout(10)
    sock.send(hello())
    sock.send(hello(sock.recv(2048)[28:]))
    assert sock.recv(2048)[13] == 2  # ServerHello
    return sock


def test_dtls_handshakes_of_one_address(hub):
    wait_for(lambda: part(hub, "coap")["handshakes"] == 0, "no handshake to be under way", 60)
    before = part(hub, "coap")["handshakes_beyond_limit_of_one"]
    patient = half_open(hub, "127.0.0.1")
    crowd = [half_open(hub, "127.0.0.2") for _ in range(20)]
    wait_for(lambda: part(hub, "coap")["handshakes"] == 4, "the crowd's oldest to be dropped")
    assert part(hub, "coap")["handshakes_beyond_limit_of_one"] == before + 17
    # Who has proved something is no handshake under way: one address may have many sessions.
    honest = [dtls(hub, name) for name in ("s1", "s1", "s2", "s2")]
    for number, device in enumerate(honest):
        assert device.ask(post(1000 + number)).status == "2.04"
    now = part(hub, "coap")
    assert (now["handshakes"], now["sessions"], now["handshakes_beyond_limit_of_one"]) == (4, 4, before + 17)
    for each in (patient, *crowd, *honest):
        each.close()


def test_dtls_sessions_of_one(hub):
    quiet, again = dtls(hub, "s2"), [dtls(hub) for _ in range(3)]
    for number, device in enumerate((quiet, *again[1:])):
        assert device.ask(post(2000 + number)).status == "2.04"
    with pytest.raises(Closed):
        again[0].receive(5)
    for each in (quiet, *again):
        each.close()


def test_uploads_of_one(hub):
    device = dtls(hub)

    def block(mid, path, number):
        return device.ask(Message(POST, mid, path, b"x" * 64, options=[SENML, (BLOCK1, uint(number << 4 | 8 | 2))])).status

    assert block(3000, "readings", 0) == "2.31" and block(3001, "readings", 1) == "2.31"
    assert block(3002, "another", 0) == "2.31" and block(3003, "another", 1) == "2.31"
    assert block(3004, "readings", 2) == "4.08"  # it made room
    device.close()
