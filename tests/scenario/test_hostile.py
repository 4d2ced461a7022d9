# SPDX-License-Identifier: Apache-2.0
"""What strangers and broken devices send: nothing crashes, hangs or grows, and the honest ones are served meanwhile."""
import json
import os
import random
import socket
import ssl
import time

import pytest

from harness.clients import by_certificate, coap, coap_psk, iso, now_ms, publish, run
from harness.hub import wait_for


@pytest.fixture(scope="module")
def hub(module_hubs):
    hub = module_hubs(bus=False, options={"mqtt": {"handshakes_max": 40, "admit_s_max": 5, "connections_max": 100, "connections_of_one": 1000,
                                                   "packet_bytes_max": 65536},
                                          "coap": {"payload_bytes_max": 4096, "uploads_max": 8},
                                          "store": {"quarantine_mb": 1}})
    # The address sanitizer keeps freed memory for a while: little, here, where memory is watched.
    hub.env["ASAN_OPTIONS"] = "quarantine_size_mb=4"
    hub.start()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    hub.sensor = hub.add_device("s1", "senml", "--psk")
    return hub


def served(hub):
    """An honest device of each protocol gets its reading through, right now."""
    value = random.randint(40, 200)
    done = publish(hub, "m1", "ward/w/m1/vitals", json.dumps({"time": iso(now_ms()), "hr": value}), auth=by_certificate(hub, "m1"))
    assert done.returncode == 0, done.stderr
    assert hub.readings("m1")[-1]["value"] == value
    pack = json.dumps([{"n": "temperature_body", "u": "Cel", "v": 30 + value / 100, "t": now_ms() / 1000}])
    coap(hub, "post", "readings", pack, auth=coap_psk(hub.sensor), content_format=110)
    assert hub.readings("s1")[-1]["value"] == 30 + value / 100


def rss_kb(hub):
    with open(f"/proc/{hub.gateway.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def tls(hub, name="m1"):
    context = ssl.create_default_context(cafile=hub.pki.ca)
    certificate, key = hub.pki.issue(name)
    context.load_cert_chain(certificate, key)
    plain = socket.create_connection(("127.0.0.1", hub.mqtt_port), timeout=20)
    return context.wrap_socket(plain, server_hostname="localhost")


def connect_packet(client=b"raw", level=4, clean=2):
    variable = b"\x00\x04MQTT" + bytes([level, clean]) + b"\x00\x3c" + (b"\x00" if level == 5 else b"")
    payload = len(client).to_bytes(2, "big") + client
    body = variable + payload
    return b"\x10" + bytes([len(body)]) + body


def ends(sock):
    """The other side closes."""
    sock.settimeout(20)
    try:
        while sock.recv(4096):
            pass
    except (ConnectionError, ssl.SSLError):
        pass
    except socket.timeout:
        return False
    return True


def test_silent_connections_do_not_keep_others_out(hub):
    silent = [socket.create_connection(("127.0.0.1", hub.mqtt_port)) for _ in range(120)]
    served(hub)
    for s in silent:
        s.close()


def test_silent_connections_are_closed_in_time(hub):
    with socket.create_connection(("127.0.0.1", hub.mqtt_port)) as s:
        assert ends(s)
    with tls(hub) as s:  # a handshake and then nothing
        assert ends(s)


def test_garbage_instead_of_tls(hub):
    for seed in range(50):
        with socket.create_connection(("127.0.0.1", hub.mqtt_port)) as s:
            s.sendall(random.Random(seed).randbytes(500))
            s.shutdown(socket.SHUT_WR)
            assert ends(s)
    served(hub)


@pytest.mark.parametrize("packet", [
    b"\x30\x0a\x00\x03abc1234", b"\x00\x00", b"\xf0\x00", b"\x10\xff\xff\xff\xff\x7f", b"\x10\x00", b"\x10\x04\x00\x04MQ",
    connect_packet(level=6), connect_packet(clean=3), connect_packet() + connect_packet(),
    connect_packet() + b"\x36\x03\x00\x01a", connect_packet() + b"\x32\x05\x00\x01a\x00\x00",
    connect_packet() + b"\x30\x03\x00\x01#", connect_packet() + b"\x60\x02\x00\x01", connect_packet() + b"\x82\x02\x00\x01",
    connect_packet() + b"\x30\xff\xff\xff\x7f", connect_packet() + b"\x30\xff\xff\xff\xff\x01"])
def test_malformed_packets_close_the_connection(hub, packet):
    with tls(hub) as s:
        s.sendall(packet)
        assert ends(s)
    served(hub)


def test_a_packet_byte_by_byte_is_understood(hub):
    with tls(hub) as s:
        frame = json.dumps({"time": iso(now_ms()), "hr": 123}).encode()
        topic = b"ward/w/m1/vitals"
        body = len(topic).to_bytes(2, "big") + topic + b"\x00\x07" + frame
        for byte in connect_packet() + b"\x32" + bytes([len(body)]) + body:
            s.sendall(bytes([byte]))
        s.settimeout(20)
        answer = b""
        while len(answer) < 8:
            answer += s.recv(100)
        assert answer == b"\x20\x02\x00\x00\x40\x02\x00\x07"
    assert hub.readings("m1")[-1]["value"] == 123


def test_connections_have_a_limit(hub):
    held = []
    for i in range(130):
        try:
            s = tls(hub)
            s.sendall(connect_packet(b"c%d" % i))
            s.settimeout(20)
            if s.recv(4) != b"\x20\x02\x00\x00":
                s.close()
                break
            held.append(s)
        except (ConnectionError, ssl.SSLError, socket.timeout):
            break
    assert 80 <= len(held) <= 100
    for s in held:
        s.close()
    wait_for(lambda: publish(hub, "m1", "ward/w/m1/vitals", json.dumps({"time": iso(now_ms()), "hr": 60}),
                             auth=by_certificate(hub, "m1")).returncode == 0, "room again", 20)


def test_datagrams_of_garbage(hub):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for seed in range(3000):
            generator = random.Random(seed)
            data = generator.randbytes(generator.randrange(1, 300))
            if seed % 3 == 0:  # the beginning of a handshake record
                data = b"\x16\xfe\xfd" + data
            if seed % 3 == 1:  # a Connection ID record
                data = b"\x19\xfe\xfd" + data
            s.sendto(data, ("127.0.0.1", hub.coap_port))
    served(hub)


def test_an_upload_that_is_too_large_is_refused(hub):
    path = hub.state / "large.json"
    path.write_text(json.dumps([{"n": "temperature_body", "u": "Cel", "v": 36.5, "t": 1e9 + i} for i in range(300)]))
    done = coap(hub, "post", "readings", None, "-f", str(path), "-b", "512", auth=coap_psk(hub.sensor), content_format=110)
    assert "4.13" in done.stdout + done.stderr
    served(hub)


def test_quarantine_has_a_limit_and_says_so(hub):
    """One sender may not fill it: its share is refused, others are kept."""
    payload = "x" * 20000
    for i in range(20):
        publish(hub, "m1", "ward/w/m1/vitals", payload, version="5", auth=by_certificate(hub, "m1"))
    kept = sum(1 for q in hub.quarantine() if q["principal"] == "m1")
    assert kept < 20
    # A 3.1.1 client cannot be told; its good messages come through all the same.
    lines = [payload, json.dumps({"time": iso(now_ms()), "hr": 64})]
    done = run(["mosquitto_pub", "-h", "127.0.0.1", "-p", hub.mqtt_port, "-i", "full", "-q", "1", "-t", "ward/w/m1/vitals", "-l",
                *by_certificate(hub, "m1")], input="\n".join(lines) + "\n")
    assert done.returncode == 0, done.stderr
    wait_for(lambda: hub.readings("m1")[-1]["value"] == 64, "the good message behind the bad one", 10)
    assert sum(1 for q in hub.quarantine() if q["principal"] == "m1") == kept
    before = len(hub.quarantine())
    coap(hub, "post", "readings", "[{", auth=coap_psk(hub.sensor), content_format=110)
    assert len(hub.quarantine()) == before + 1
    served(hub)


def test_memory_does_not_grow(hub):
    def round_of_abuse(n):
        for i in range(n):
            with socket.create_connection(("127.0.0.1", hub.mqtt_port)) as s:
                s.sendall(os.urandom(100))
            with tls(hub) as s:
                s.sendall(connect_packet(b"x%d" % (i % 3)) + b"\x30\x03\x00\x01#")
                ends(s)
    round_of_abuse(30)
    before = rss_kb(hub)
    round_of_abuse(150)
    assert rss_kb(hub) - before < 30000
    served(hub)
