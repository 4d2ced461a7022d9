# SPDX-License-Identifier: Apache-2.0
"""Devices that speak DTLS well and CoAP badly, networks that lose and double, and strangers before their handshake is complete."""
import json
import os
import select
import socket
import subprocess
import threading
import time

import pytest

from harness.dtls import (ACCEPT, ACK, BLOCK1, BLOCK2, CON, DELETE, FORMAT, GET, IF_MATCH, NO_RESPONSE, NON, OBSERVE, POST, PROXY_URI, RST, SIZE1,
                          URI_HOST, URI_PORT, Closed, Dtls, Message, uint)
from harness.hub import ROOT, wait_for

SENML = (FORMAT, uint(110))
serial = iter(range(1, 1000000))


@pytest.fixture(scope="module")
def hub(module_hubs):
    hub = module_hubs(bus=False, options={"coap": {"payload_bytes_max": 4096, "uploads_max": 8, "sessions_max": 40, "handshakes_max": 20}})
    hub.env["ASAN_OPTIONS"] = "quarantine_size_mb=4"
    hub.start()
    hub.keys = {name: hub.add_device(name, "senml", "--psk") for name in ("s1", "s2", "s3")}
    return hub


def dtls(hub, name="s1", **more):
    return Dtls(hub.coap_port, hub.keys[name]["psk_identity"], bytes.fromhex(hub.keys[name]["psk_hex"]), **more)


@pytest.fixture
def device(hub):
    device = dtls(hub)
    yield device
    device.close()


def pack(value=36.5, at=None, count=1):
    at = at or 1e9 + next(serial)
    return json.dumps([{"n": "temperature_body", "u": "Cel", "v": value, "t": at + i * 1e-3} for i in range(count)]).encode()


def post(mid=None, payload=None, options=(), **more):
    return Message(POST, mid if mid is not None else next(serial), "readings", payload if payload is not None else pack(), options=[SENML, *options], **more)


def block1(number, more, szx=2):
    return BLOCK1, uint(number << 4 | more << 3 | szx)


def served(hub):
    other = dtls(hub, "s2")
    assert other.ask(post()).status == "2.04"
    other.close()


# ---- Once ----

def test_copies_are_stored_once_and_get_the_same_answer(hub, device):
    before = len(hub.readings("s1"))
    request = post()
    answers = [device.ask(request) for _ in range(5)]
    assert all(bytes(a) == bytes(answers[0]) for a in answers), answers
    assert answers[0].status == "2.04" and answers[0].kind == ACK and answers[0].mid == request.mid
    assert len(hub.readings("s1")) == before + 1


def test_the_same_message_id_with_other_content_is_another_request(hub, device):
    before, mid = len(hub.readings("s1")), next(serial)
    for _ in range(3):
        assert device.ask(post(mid)).status == "2.04"
    assert device.ask(post(mid, b"[{")).status == "4.00"
    assert len(hub.readings("s1")) == before + 3


def test_copies_of_what_is_refused_are_quarantined_once(hub, device):
    before, request = len(hub.quarantine()), post(payload=b"[{\"n\":")
    answers = [device.ask(request) for _ in range(3)]
    assert {a.status for a in answers} == {"4.00"} and len({a.payload for a in answers}) == 1 and answers[0].payload
    assert len(hub.quarantine()) == before + 1


# ---- Messages ----

def test_tokens(hub, device):
    for length in range(9):
        token = os.urandom(length)
        assert device.ask(post(token=token)).token == token
    for length in (9, 13, 300):  # extended (RFC 8974): refused, in words or by a reset, and never answered under another token
        answer = device.ask(post(token=bytes(length)), 3)
        assert answer is None or answer.kind == RST or answer.code >> 5 == 4, answer
    for nibble in (9, 12, 15):  # reserved
        device.send(bytes([0x40 | nibble, POST, 0x7f, nibble]) + bytes(20))
    while device.receive(0.3):
        pass
    assert device.ask(post()).status == "2.04"


def test_pings_resets_and_empty_messages(hub, device):
    answer = device.ask(Message(0, 77, token=b""))
    assert (answer.kind, answer.mid, answer.code) == (RST, 77, 0)
    device.send(bytes(Message(0, 78, kind=RST, token=b"")))
    device.send(bytes(Message(0, 79, kind=ACK, token=b"")))
    device.send(bytes(Message(0, 80, kind=NON, token=b"")))
    device.send(bytes(Message(0x44, 81, kind=ACK)))           # an answer that nobody asked for
    device.send(b"\x40\x00\x00\x52junk")                      # empty, with something behind
    device.send(b"\x80\x02\x00\x53")                          # version 2
    device.send(b"\x40")
    device.send(bytes(Message(0xe1, 84)))                     # signalling, of TCP
    while device.receive(0.3):
        pass
    assert device.ask(post()).status == "2.04"


def test_options(hub, device):
    assert device.ask(post(options=[(9, b"")])).status == "4.02"             # critical, unknown (OSCORE is not built)
    assert device.ask(post(options=[(65001, b"x" * 200)])).status == "4.02"
    assert device.ask(post(options=[(65000, b"x" * 500)])).status == "2.04"  # elective
    assert device.ask(post(options=[(IF_MATCH, b"x")])).status == "4.12"
    too_long = device.ask(post(options=[(ACCEPT, b"12345")]))
    assert too_long.kind == RST or too_long.status == "4.02"
    assert device.ask(Message(DELETE, next(serial), "readings")).status == "4.05"
    assert device.ask(Message(GET, next(serial), "nothing/here")).status == "4.04"
    assert device.ask(Message(GET, next(serial), "/".join("x" * 100 for _ in range(9)))).status == "4.04"
    assert b"readings" in device.ask(Message(GET, next(serial), ".well-known/core")).payload
    observed = device.ask(Message(GET, next(serial), "time", options=[(OBSERVE, b"")]))
    assert observed.status == "2.05" and observed.option(OBSERVE) is None  # answered once, and nothing is promised
    quiet = device.ask(post(options=[(NO_RESPONSE, uint(2))]))
    assert quiet.status == "0.00" and quiet.kind == ACK


def test_requests_of_all_kinds(hub, device):
    for code in range(5, 32):  # FETCH, PATCH, iPATCH, and what has no name
        answer = device.ask(Message(code, next(serial), "readings", b"x", options=[SENML]))
        assert answer.status == "4.05", (code, answer)
    assert device.ask(Message(GET, next(serial), "time", options=[(PROXY_URI, b"coap://elsewhere/x")])).status == "5.05"
    assert device.ask(Message(GET, next(serial), "time", options=[(URI_HOST, b"x" * 255), (URI_PORT, b"\1")])).code >> 5 in (2, 4, 5)
    assert device.ask(Message(GET, next(serial), "time", options=[(ACCEPT, uint(60))])).status == "4.06"
    assert device.ask(Message(GET, next(serial), "time", options=[(FORMAT, uint(60))])).status == "2.05"
    assert device.ask(post(options=[(12, uint(50))])).code >> 5 == 4  # Content-Format twice
    assert device.ask(Message(POST, next(serial), "readings")).code >> 5 == 4
    assert device.ask(Message(POST, next(serial), "", pack(), options=[SENML])).code >> 5 == 4


def test_blocks_of_answers(hub, device):
    whole = device.ask(Message(GET, next(serial), ".well-known/core")).payload
    for szx in range(7):
        got, number, more = b"", 0, 1
        while more:
            answer = device.ask(Message(GET, next(serial), ".well-known/core", options=[(BLOCK2, uint(number << 4 | szx))]))
            assert answer.status == "2.05"
            more = int.from_bytes(answer.option(BLOCK2) or b"", "big") & 8
            got, number = got + answer.payload, number + 1
        assert got == whole
    for value in (0xffffff, 0xfffff0, 0x7):
        answer = device.ask(Message(GET, next(serial), "time", options=[(BLOCK2, uint(value))]))
        assert answer.code >> 5 == 4 or answer.status == "2.05"
    assert device.ask(post()).status == "2.04"


def test_options_that_run_over_the_end(hub, device):
    for tail in (b"\xbf", b"\xe0", b"\xee\xff", b"\xfe\xff\xff\xff\xff", b"\xd0", b"\xb5abc", b"\xff", b"\xe1\xff\xff\xff" * 3):
        device.send(bytes(Message(POST, next(serial), token=b"")) + tail)
    while device.receive(0.3):
        pass
    assert device.ask(post()).status == "2.04"


# ---- Blocks ----

def test_blocks(hub, device):
    before, body = len(hub.readings("s1")), pack(count=20)

    def send(number, more=None, szx=2, data=None, path="readings"):
        size = 16 << szx
        piece = body[number * size:(number + 1) * size] if data is None else data
        more = (number + 1) * size < len(body) if more is None else more
        return device.ask(Message(POST, next(serial), path, piece, options=[SENML, block1(number, more, szx)])).status

    assert send(0) == "2.31" and send(2) == "4.08"                              # a gap
    assert send(0) == "2.31" and send(1) == "2.31" and send(1) == "2.31"        # again, as a new message
    assert send(1, data=b"x" * 64) == "4.08"                                    # again, but other
    assert send(0, data=b"short", more=True) == "4.00"
    assert send(0xfffff, more=True, data=b"x" * 64) == "4.13"
    assert send(0, more=True, szx=7, data=b"x" * 64) in ("4.00", "4.02")
    assert send(5) == "4.08"                                                    # nothing has begun
    assert send(0) == "2.31" and send(1, szx=1) != "2.04"                       # another size: overlapping
    assert device.ask(Message(POST, next(serial), "readings", b"x" * 64, options=[SENML, block1(0, 1), (SIZE1, uint(10 ** 6))])).status == "4.13"
    last = (len(body) - 1) // 64
    for number in range(last):
        assert send(number) == "2.31"
    assert send(last) == "2.04"
    assert len(hub.readings("s1")) == before + 20
    assert send(last) == "4.08"                                                 # of a body that is complete


def test_the_last_block_lost_and_sent_again(hub, device):
    before, body = len(hub.readings("s1")), pack(count=5)
    pieces = [body[at:at + 64] for at in range(0, len(body), 64)]
    for number, piece in enumerate(pieces[:-1]):
        assert device.ask(Message(POST, next(serial), "readings", piece, options=[SENML, block1(number, 1)])).status == "2.31"
    last = Message(POST, next(serial), "readings", pieces[-1], options=[SENML, block1(len(pieces) - 1, 0)])
    assert device.ask(last).status == "2.04" and device.ask(last).status == "2.04"
    assert len(hub.readings("s1")) == before + 5


def test_uploads_that_stop_keep_nobody_else_out(hub, device):
    """More than all places are taken by one device that begins and never ends; another one's body gets in."""
    for number in range(30):
        device.ask(Message(POST, next(serial), f"readings/{number}", b"x" * 64, options=[SENML, block1(0, 1)]))
    other, body = dtls(hub, "s2"), pack(count=5)
    for number in range(0, len(body), 64):
        done = other.ask(Message(POST, next(serial), "readings", body[number:number + 64],
                                 options=[SENML, block1(number // 64, number + 64 < len(body))]))
        assert done.status in ("2.31", "2.04"), done
    assert done.status == "2.04"
    other.close()


# ---- Floods ----

def test_non_confirmable_flood(hub, device):
    before = len(hub.readings("s1"))
    for _ in range(2000):
        device.send(bytes(post(kind=NON, options=[(NO_RESPONSE, uint(26))])))
    served(hub)
    assert device.ask(post()).status == "2.04"
    assert wait_for(lambda: len(hub.readings("s1", "--limit", "100000")) > before + 100, "most of the flood")


def test_sessions_that_vanish_while_a_request_is_under_way(hub):
    for _ in range(60):
        device = dtls(hub, "s3")
        for _ in range(5):
            device.send(bytes(post()))
        device.vanish() if next(serial) % 2 else device.close()
    served(hub)


def test_the_limit_of_sessions(hub):
    """The one that was idle longest makes room, and only for a peer that has proved who it is."""
    for number in range(44):
        hub.keys[f"d{number}"] = hub.add_device(f"d{number}", "senml", "--psk")
    first = dtls(hub, "s3")
    assert first.ask(post()).status == "2.04"
    others = [dtls(hub, f"d{number}") for number in range(39)]
    until = time.monotonic() + 1.5  # the order is kept to a second
    while time.monotonic() < until:
        assert first.ask(post()).status == "2.04"
    with pytest.raises((Closed, TimeoutError)):
        Dtls(hub.coap_port, hub.keys["s1"]["psk_identity"], b"wrong key", connect=False).connect(2)
    for sock in half_open(hub, 60):
        sock.close()
    assert first.ask(post()).status == "2.04"
    for other in others[-20:]:
        assert other.ask(post()).status == "2.04"
    more = [dtls(hub, f"d{number}") for number in range(39, 44)]
    assert first.ask(post()).status == "2.04"
    assert hub.status()["parts"]["coap"]["sessions"] == 40
    for each in (first, *others, *more):
        each.vanish()


def test_one_device_does_not_take_the_sessions_of_all(hub):
    """One that comes back again and again, and closes nothing, has its own oldest session closed."""
    quiet = dtls(hub, "s3")
    assert quiet.ask(post()).status == "2.04"
    again = [dtls(hub, "s2") for _ in range(60)]
    assert quiet.ask(post()).status == "2.04"
    assert again[-1].ask(post()).status == "2.04" and again[-10].ask(post()).status == "2.04"
    with pytest.raises(Closed):
        again[0].receive(5)
    for each in (quiet, *again):
        each.vanish()


def half_open(hub, count):
    """Strangers who return the cookie, and then say nothing more."""
    socks = []
    for _ in range(count):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect(("127.0.0.1", hub.coap_port))
        sock.settimeout(10)
        sock.send(hello())
        cookie = sock.recv(2048)[28:]
        sock.send(hello(cookie))
        assert sock.recv(2048)[13] == 2  # ServerHello
        socks.append(sock)
    return socks


def hello(cookie=b""):
    """A ClientHello by hand: TLS_PSK_WITH_AES_128_CCM_8."""
    body = b"\xfe\xfd" + b"r" * 32 + b"\0" + bytes([len(cookie)]) + cookie + b"\0\2\xc0\xa8" + b"\1\0"
    number = bool(cookie)
    message = b"\1" + len(body).to_bytes(3, "big") + number.to_bytes(2, "big") + bytes(3) + len(body).to_bytes(3, "big") + body
    return b"\x16\xfe\xfd\0\0" + number.to_bytes(6, "big") + len(message).to_bytes(2, "big") + message


def test_an_answer_to_a_stranger_is_no_larger_than_the_question(hub):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", hub.coap_port))
        sock.settimeout(10)
        sock.send(hello())
        assert len(sock.recv(2048)) <= len(hello())
        sock.settimeout(0.2)
        for size in range(1, 60):  # nothing shorter is answered
            sock.send(hello()[:size])
        with pytest.raises(TimeoutError):
            sock.recv(2048)


def test_a_device_that_is_disabled_while_it_sends(hub):
    device = dtls(hub, "s3")
    for number in range(50):
        device.send(bytes(post()))
        if number == 25:
            hub.cli("device", "disable", "s3")
    with pytest.raises(Closed):
        for _ in range(200):
            device.receive(5)
    device.vanish()
    with pytest.raises(Closed):
        dtls(hub, "s3")
    hub.cli("device", "enable", "s3")
    again = dtls(hub, "s3")
    assert again.ask(post()).status == "2.04"
    again.close()


# ---- A network that loses ----

class Lossy(threading.Thread):
    """Between one client and the gateway; drops the datagrams of these numbers, of both directions counted together."""

    def __init__(self, port, drop):
        super().__init__(daemon=True)
        self.drop, self.count, self.client, self.going = set(drop), 0, None, True
        self.near, self.far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.near.bind(("127.0.0.1", 0))
        self.far.connect(("127.0.0.1", port))
        self.port = self.near.getsockname()[1]
        self.start()

    def run(self):
        while self.going:
            for sock in select.select([self.near, self.far], [], [], 0.1)[0]:
                data, sender = sock.recvfrom(2048)
                if sock is self.near:
                    self.client = sender
                self.count += 1
                if self.count - 1 in self.drop:
                    continue
                if sock is self.near:
                    self.far.send(data)
                else:
                    self.near.sendto(data, self.client)


def test_each_datagram_lost_once(hub):
    """Whichever of the first is lost, or two in a row, the handshake and the request come through; stored once."""
    before, outcomes = len(hub.readings("s1", "--limit", "100000")), []

    def one(drop):
        network = Lossy(hub.coap_port, drop)
        device = Dtls(network.port, hub.keys["s1"]["psk_identity"], bytes.fromhex(hub.keys["s1"]["psk_hex"]))
        request, answer = post(), None
        for _ in range(5):
            answer = answer or device.ask(request, 2)
        outcomes.append(answer is not None and answer.status == "2.04")
        network.going = False
        device.vanish()

    runs = [threading.Thread(target=one, args=(drop,)) for drop in [(n,) for n in range(12)] + [(n, n + 1) for n in range(8)]]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert outcomes == [True] * 20
    assert len(hub.readings("s1", "--limit", "100000")) == before + 20


# ---- Addresses ----

@pytest.mark.parametrize("listen, asked", [("0.0.0.0", ("127.0.0.1", "127.0.0.5")), ("::", ("127.0.0.1", "127.0.0.5", "::1"))])
def test_the_answer_leaves_from_the_address_that_was_asked(hubs, listen, asked):
    """A client's socket, once connected, takes nothing from elsewhere: the handshake's messages and answers, also with two addresses at once."""
    hub = hubs(bus=False, options={"coap": {"address": listen}})
    hub.start()
    hub.keys = {"s1": hub.add_device("s1", "senml", "--psk")}
    devices = [dtls(hub, host=host) for host in asked]
    for _ in range(3):
        requests = [post() for _ in devices]
        for device, request in zip(devices, requests):
            device.send(bytes(request))
        for device, request in zip(devices, requests):
            answer = device.receive(10)
            assert answer is not None and (answer.status, answer.mid) == ("2.04", request.mid)
    for device in devices:
        device.close()


# ---- A slow disk ----

@pytest.fixture
def slow(hubs):
    hub = hubs(bus=False)
    hub.start()
    hub.keys = {name: hub.add_device(name, "senml", "--psk") for name in ("s1", "s2")}
    slowsync = hub.state / "slowsync.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-D_GNU_SOURCE", "-o", slowsync, ROOT / "tests" / "bench" / "slowsync.c", "-ldl"], check=True)
    hub.slowly = lambda ms: hub.restart_gateway(env={**hub.env, "LD_PRELOAD": str(slowsync), "SLOWSYNC_MS": str(ms),
                                                     "ASAN_OPTIONS": "verify_asan_link_order=0"})
    return hub


def test_an_answer_that_comes_late(slow):
    slow.slowly(1500)
    device, request = dtls(slow), post()
    device.send(bytes(request))
    first = device.receive()
    assert (first.kind, first.status, first.mid) == (ACK, "0.00", request.mid)
    device.send(bytes(request))  # the empty ACK was lost
    later = [device.receive(10)]
    while later[-1].kind != CON:
        later.append(device.receive(10))
    answer = later[-1]
    assert (answer.status, answer.token) == ("2.04", request.token)
    assert all((m.kind, m.code, m.mid) == (ACK, 0, request.mid) for m in later[:-1])
    again = device.receive(10)  # its acknowledgement was lost
    assert bytes(again) == bytes(answer)
    device.send(bytes(Message(0, answer.mid, kind=ACK, token=b"")))
    assert len(slow.readings("s1")) == 1
    device.send(bytes(request))  # late, for the third time
    assert device.receive(10).code in (0, 0x44)
    assert len(slow.readings("s1")) == 1
    device.close()


def test_many_wait_for_a_slow_disk_and_it_stops(slow):
    slow.slowly(300)
    devices = [dtls(slow, f"s{1 + number % 2}") for number in range(20)]
    for device in devices:
        for _ in range(3):
            device.send(bytes(post()))
    acknowledged = 0
    slow.gateway.kill(15)
    for device in devices:
        try:
            while (answer := device.receive(5)) is not None:
                acknowledged += answer.status == "2.04"
        except Closed:
            pass
        device.vanish()
    slow.gateway.stop()
    slow.start_gateway()
    assert len(slow.readings("s1", "--limit", "1000")) + len(slow.readings("s2", "--limit", "1000")) >= acknowledged > 0


def test_whoever_goes_while_a_request_waits(slow):
    """Disabled, gone with or without a word, or back from the same port: the request is stored, its answer goes to nobody else, and nothing breaks."""
    slow.slowly(700)
    closing, vanishing, disabled = dtls(slow), dtls(slow), dtls(slow, "s2")
    requests = [post() for _ in range(3)]
    for device, request in zip((closing, vanishing, disabled), requests):
        device.send(bytes(request))
    closing.close()
    port = vanishing.sock.getsockname()[1]
    vanishing.vanish()
    back = Dtls(slow.coap_port, slow.keys["s1"]["psk_identity"], bytes.fromhex(slow.keys["s1"]["psk_hex"]), source="127.0.0.1", port_here=port)
    slow.cli("device", "disable", "s2")
    with pytest.raises(Closed):
        while disabled.receive(10):
            pass
    wait_for(lambda: len(slow.readings("s1")) == 2 and len(slow.readings("s2")) == 1, "what was sent before")
    assert back.receive(1) is None
    back.send(bytes(requests[1]))  # the device does not know whether it was heard
    answer = back.receive(10)
    if answer.code == 0:
        answer = back.receive(10)
    assert answer.status == "2.04" and len(slow.readings("s1")) == 2
    for device in (back, disabled):
        device.vanish()


def test_thousands_of_sessions_and_stop(hubs):
    hub = hubs(bus=False, options={"coap": {"handshakes_max": 2000}})
    hub.start()
    hub.keys = {f"d{number}": hub.add_device(f"d{number}", "senml", "--psk") for number in range(30)}
    half = half_open(hub, 1500)
    devices = [dtls(hub, f"d{number % 30}") for number in range(300)]
    assert devices[0].ask(post()).status == "2.04"
    began = time.monotonic()
    hub.gateway.stop()
    assert time.monotonic() - began < 15
    for device in devices:
        with pytest.raises(Closed):
            device.receive(5)
        device.vanish()
    for sock in half:
        sock.close()
