# SPDX-License-Identifier: Apache-2.0
"""The inbound HL7 door with clients that nobody here wrote: python3-hl7, simple-hl7, node-hl7-client. Duplicates, bad messages, strangers, crashes."""
import json
import socket
import ssl
import threading
import time

import hl7
import hl7.client
import pytest

from test_full import fill_until_refused

from harness import npm
from harness.clients import by_certificate, iso, now_ms, publish
from harness.hub import free_port, wait_for

START, END = b"\x0b", b"\x1c\r"


def adt(control, patient, bed="3", trigger="A01", at=None, family="Muster", more=""):
    """An ADT message as text."""
    at = at or time.strftime("%Y%m%d%H%M%S+0000", time.gmtime(time.time() - 60))
    return (f"MSH|^~\\&|ADT1|KLINIK|VG|HUB|{at}||ADT^{trigger}^ADT_A01|{control}|P|2.6\rEVN||{at}\r"
            f"PID|1||{patient}^^^KLINIK^PI||{family}^Max||19600101|M\rPV1|1|I|ICU^^{bed}^KLINIK|||||||||||||||||V{patient}\r{more}")


def hub_with(hubs, tls=False, peers=None, results=False, **options):
    """results: with a destination and its receiver."""
    port, tls_port = free_port(), free_port() if tls else 0
    out = {"hl7": True, "hl7_options": {"interval_s": 1, "answer_s_max": 1}} if results else {}
    hub = hubs(bus=False, options={"hl7_in": {"enabled": True, "address": "127.0.0.1", "port": port, "tls_port": tls_port,
                                              "peers": peers or [{"name": "adt", "zone": "UTC", "addresses": ["127.0.0.1"]}], **options}}, **out)
    hub.in_port, hub.in_tls_port = port, tls_port
    if results:
        hub.start_receiver()
    return hub.start_gateway()


class Peer:
    """A plain client of our own for what the libraries cannot do: pieces, silence, the raw answer."""

    def __init__(self, port, context=None):
        self.socket = socket.create_connection(("127.0.0.1", port), 20)
        if context:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.rest = b""

    def send(self, *messages, framed=True):
        data = [m if isinstance(m, bytes) else m.encode() for m in messages]
        self.socket.sendall(b"".join(START + m + END for m in data) if framed else b"".join(data))

    def hear(self):
        """The next answer, parsed; None where the connection ended."""
        while END not in self.rest:
            got = self.socket.recv(65536)
            if not got:
                return None
            self.rest += got
        frame, self.rest = self.rest.split(END, 1)
        assert frame.startswith(START)
        return hl7.parse(frame[1:].decode())

    def ask(self, message):
        self.send(message)
        return self.hear()

    def close(self):
        self.socket.close()


def code(answer):
    msa = answer.segment("MSA")
    return str(msa[1]), str(msa[2])


def known(hub, patient):
    """What the hub says of a patient: the timeline of `vitalgate patient show`, or an empty text."""
    done = hub.cli("patient", "show", "--patient", f"{patient}^KLINIK", check=False)
    return done.stdout if done.returncode == 0 else ""


def peer_counts(hub, name="adt"):
    return hub.status()["parts"]["hl7_in"]["peers"][name]


def quarantine(hub):
    return [json.loads(line) for line in hub.cli("quarantine", "list", "--json").stdout.splitlines()]


# ---- Clients that nobody here wrote ----

def test_python_hl7(hubs):
    hub = hub_with(hubs)
    with hl7.client.MLLPClient("127.0.0.1", hub.in_port) as client:
        for i in range(20):
            answer = hl7.parse(client.send_message(adt(f"c{i}", 100 + i, bed=i)).decode().strip("\x0b\x1c\r"))
            assert code(answer) == ("AA", f"c{i}")
            # The answer goes back to whom it came from.
            assert str(answer.segment("MSH")[3]) == "VG" and str(answer.segment("MSH")[5]) == "ADT1"
    assert "ICU^^7" in known(hub, 107)
    assert peer_counts(hub)["taken"] == 20


def test_simple_hl7(hubs):
    hub = hub_with(hubs)
    messages = [adt(f"s{i}", 200 + i, bed=i) for i in range(20)] + [adt("s0", 200, bed=0, at="20261120101500+0000")]
    answers = json.loads(npm.run("simple_client.js", hub.in_port, text=json.dumps(messages)))
    assert answers == [["AA", f"s{i}"] for i in range(20)] + [["AA", "s0"]]
    assert "ICU^^19" in known(hub, 219)


def test_node_hl7_client(hubs):
    hub = hub_with(hubs)
    messages = [adt(f"n{i}", 300 + i, bed=i) for i in range(20)]
    answers = json.loads(npm.run("hl7_client.mjs", hub.in_port, text=json.dumps(messages)))
    assert answers == [["AA", f"n{i}"] for i in range(20)]
    assert "ICU^^19" in known(hub, 319)


def test_node_hl7_client_proves_itself_with_a_certificate(hubs):
    hub = hub_with(hubs, tls=True, peers=[{"name": "adt", "zone": "UTC", "addresses": ["127.0.0.1"], "certificate": "adt.klinik.example"}])
    certificate, key = hub.pki.issue("adt", "adt.klinik.example")
    answers = json.loads(npm.run("hl7_client.mjs", hub.in_tls_port, hub.pki.ca, certificate, key, text=json.dumps([adt("t1", 1), adt("t2", 2, bed=4)])))
    assert answers == [["AA", "t1"], ["AA", "t2"]]
    assert "ICU^^4" in known(hub, 2)


# ---- Bytes ----

def test_pieces_and_line_ends(hubs):
    hub = hub_with(hubs)
    peer = Peer(hub.in_port)
    for byte in START + adt("b1", 1).encode() + END:
        peer.send(bytes([byte]), framed=False)
    assert code(peer.hear()) == ("AA", "b1")
    peer.send(adt("b2", 2, bed=5), adt("b3", 3, bed=6))
    assert code(peer.hear()) == ("AA", "b2") and code(peer.hear()) == ("AA", "b3")
    assert code(peer.ask(adt("b4", 4, bed=7).replace("\r", "\n"))) == ("AA", "b4")
    assert code(peer.ask(adt("b5", 5, bed=8).replace("\r", "\r\n"))) == ("AA", "b5")
    peer.send(START + adt("b6", 6, bed=9).encode() + END[:1], framed=False)  # without its last byte
    assert code(peer.hear()) == ("AA", "b6")
    for patient, bed in ((1, 3), (2, 5), (3, 6), (4, 7), (5, 8), (6, 9)):
        assert f"ICU^^{bed}" in known(hub, patient)


def test_character_sets(hubs):
    hub = hub_with(hubs, peers=[{"name": "adt", "zone": "UTC", "addresses": ["127.0.0.1"], "charset": "8859/1"}])
    peer = Peer(hub.in_port)
    assert code(peer.ask(adt("u1", 1, family="Müller").encode("latin-1"))) == ("AA", "u1")
    named = adt("u2", 2, bed=4, family="Größe").replace("|P|2.6\r", "|P|2.6||||||UNICODE UTF-8\r")
    assert code(peer.ask(named)) == ("AA", "u2")
    euro = adt("u3", 3, bed=5, family="Šimůnek").replace("ů", "u").replace("|P|2.6\r", "|P|2.6||||||8859/15\r")
    assert code(peer.ask(euro.encode("iso-8859-15"))) == ("AA", "u3")
    assert "Müller" in known(hub, 1) and "Größe" in known(hub, 2) and "Šimunek" in known(hub, 3)


# ---- Once ----

def test_the_same_message_again(hubs):
    hub = hub_with(hubs)
    message = adt("d1", 1)
    first, second = Peer(hub.in_port), Peer(hub.in_port)
    assert code(first.ask(message)) == ("AA", "d1")
    before = known(hub, 1)
    for peer in (first, second, first):
        assert code(peer.ask(message)) == ("AA", "d1")
    hub.gateway.kill()
    hub.gateway.child.wait()
    hub.start_gateway()
    assert code(Peer(hub.in_port).ask(message)) == ("AA", "d1")
    assert known(hub, 1) == before
    assert peer_counts(hub)["again"] == 1 and peer_counts(hub)["taken"] == 0
    # The control id with other content is another message.
    assert code(Peer(hub.in_port).ask(adt("d1", 2, bed=9))) == ("AA", "d1")
    assert "ICU^^9" in known(hub, 2)


# ---- What is wrong ----

def test_a_bad_message_is_kept_and_answered(hubs):
    hub = hub_with(hubs)
    peer = Peer(hub.in_port)
    bad = adt("q1", "").replace("PID|1||^^^KLINIK^PI", "PID|1||")
    for _ in range(3):
        answer = peer.ask(bad)
        assert code(answer) == ("AE", "q1")
        err = answer.segment("ERR")
        assert str(err[2]) == "PID^1^3" and str(err[3]).startswith("101^") and str(err[4]) == "E"
    assert code(peer.ask("nonsense"))[0] == "AR"
    assert code(peer.ask(adt("q2", 2))) == ("AA", "q2")  # it goes on
    entries = quarantine(hub)
    assert [(e["door"], e["principal"], e["route"]) for e in entries] == [("hl7", "adt", "ADT^A01 q1"), ("hl7", "adt", "")]
    shown = json.loads(hub.cli("quarantine", "show", "1", "--json").stdout)
    assert shown["payload"] == bad
    # No patient's name or number stands in diagnostics.
    log = (hub.state / "vitalgate.log").read_text()
    assert "Muster" not in log and "q1" not in log


def test_replay_of_what_was_refused(hubs):
    hub = hub_with(hubs, fields={"services": "MON"})
    peer = Peer(hub.in_port)
    order = (f"MSH|^~\\&|CPOE|KLINIK|VG|HUB|{time.strftime('%Y%m%d%H%M%S')}+0000||ORM^O01|o1|P|2.5\rPID|1||55^^^KLINIK^PI||Muster^Max\r"
             "ORC|NW|P77\rOBR|1|P77||MON" + "|" * 14 + "m1\r")
    answer = peer.ask(order)
    assert code(answer) == ("AE", "o1")
    assert len(quarantine(hub)) == 1
    assert "refused again" in hub.cli("quarantine", "replay", "1").stdout
    assert len(quarantine(hub)) == 1
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    assert "taken" in hub.cli("quarantine", "replay", "1").stdout
    assert quarantine(hub) == []
    assert "m1" in known(hub, 55)
    assert code(peer.ask(order)) == ("AA", "o1")
    assert peer_counts(hub)["again"] == 1
    # Frames of devices and messages of hospitals do not get in each other's way.
    assert code(peer.ask("nonsense"))[0] == "AR"
    assert "refused again" in hub.cli("quarantine", "replay", "all").stdout
    hub.gateway.stop()
    done = hub.cli("quarantine", "replay", "all", check=False)
    assert "hl7_in" in done.stdout + done.stderr


def test_events_without_use_never_stop_a_feed(hubs):
    hub = hub_with(hubs)
    peer = Peer(hub.in_port)
    for i, trigger in enumerate(("A60", "A20", "A29", "A99")):
        assert code(peer.ask(adt(f"e{i}", 1, trigger=trigger))) == ("AA", f"e{i}")
    assert code(peer.ask("MSH|^~\\&|RIS|K|VG|H|20261120||MDM^T02|e9|P|2.5\rTXA|1\r")) == ("AA", "e9")
    assert peer_counts(hub)["unused"] >= 1 and peer_counts(hub)["refused"] == 0
    assert quarantine(hub) == []


# ---- What it is for ----

def test_from_admission_and_order_to_the_result(hubs):
    hub = hub_with(hubs, results=True, fields={"services": "MON"})
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    hub.cli("place", "m1", "ICU^^3^KLINIK", "--from", "-1h")
    peer = Peer(hub.in_port)

    def ago(seconds):
        return time.strftime("%Y%m%d%H%M%S+0000", time.gmtime(time.time() - seconds))

    def result_of(rate):
        """A rate is measured; the message in which it arrives."""
        done = publish(hub, "m1", "ward/3a/m1/vitals", json.dumps({"time": iso(now_ms()), "hr": rate}), auth=by_certificate(hub, "m1"))
        assert done.returncode == 0, done.stderr
        return wait_for(lambda: [m for m in map(hl7.parse, (p.read_bytes().decode() for p in (hub.state / "hl7").glob("*.hl7")))
                                 if any(str(o[5]) == str(rate) for o in m.segments("OBX"))], f"the rate {rate}")[0]

    admission = adt("r1", 77, family="Größe", at=ago(600)).replace("|P|2.6\r", "|P|2.6||||||UNICODE UTF-8\r")
    assert code(peer.ask(admission)) == ("AA", "r1")
    first = result_of(71)
    assert str(first.segment("PID")[3]).startswith("77^^^KLINIK") and str(first.segment("PID")[5]).startswith("Größe^Max")
    assert str(first.segment("PV1")[3]).startswith("ICU^^3^KLINIK")
    # Moved and followed by somebody else: the device stays at the bed.
    assert code(peer.ask(adt("r2", 77, bed=9, trigger="A02", at=ago(400)))) == ("AA", "r2")
    assert code(peer.ask(adt("r3", 78, family="Neu", at=ago(300)))) == ("AA", "r3")
    second = result_of(72)
    assert str(second.segment("PID")[3]).startswith("78^^^KLINIK")
    # An order's number is that of its results.
    order = (f"MSH|^~\\&|CPOE|KLINIK|VG|HUB|{ago(200)}||ORM^O01|r4|P|2.5\rPID|1||78^^^KLINIK^PI\r"
             "ORC|NW|P4711^CPOE\rOBR|1|P4711^CPOE||MON" + "|" * 14 + "m1\r")
    assert code(peer.ask(order)) == ("AA", "r4")
    third = result_of(73)
    assert str(third.segment("PID")[3]).startswith("78^^^KLINIK") and str(third.segment("OBR")[2]).startswith("P4711^CPOE")


def test_association_reports(hubs):
    """IHE PCIM, DEV-51: accept acknowledgement, then the application's; a device by its EUI-64."""
    hub = hub_with(hubs)
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1", "--eui64", "231A8456B1CB2366")
    peer = Peer(hub.in_port)
    now = int(time.time())

    def report(control, event, at, patient="AB60001", wants="AL|AL"):
        stamp = time.strftime("%Y%m%d%H%M%S+0000", time.gmtime(at))
        return (f"MSH|^~\\&|MonitorGateway||AssocMgr||{stamp}||ORU^R01^ORU_R01|{control}|P|2.6|||{wants}|USA||||IHE_DEV_051^IHE PCD^1.3.6.1.4.1.19376.1.6.1.51.1^ISO\r"
                f"PID|||{patient}^^^KLINIK^PI||Doe^J^P^^^^L\rPV1||E|3 WEST ICU^3001^1\r"
                f"OBR|||15404697^^132233FFFE445566^EUI-64|69136^MDC_OBS_ASSOCIATION_PATIENT_DEVICE^MDC|||{stamp}|{stamp}\r"
                f"OBX|1|CWE|68487^MDC_ATTR_EVT_COND^MDC||{event}^MDC||||||R\r"
                "PRT|1|UC||EQUIP^EQUIP^HL70912|||||3 WEST ICU^3001^1|MON5588^^231A8456B1CB2366^EUI-64\r")

    began, ended = "198332^MDC_EVT_ASSOCIATION_PATIENT_DEVICE", "198334^MDC_EVT_DISASSOCIATION_PATIENT_DEVICE"
    assert code(peer.ask(report("p1", began, now - 600))) == ("CA", "p1")
    assert code(peer.hear()) == ("AA", "p1")
    peer.send("MSH|^~\\&|MonitorGateway||AssocMgr||2026||ACK^R01^ACK|x|P|2.6|||NE|NE\rMSA|CA|whatever\r")  # for our AA: not answered
    assert code(peer.ask(report("p2", ended, now - 300, wants="AL|NE"))) == ("CA", "p2")
    timeline = [json.loads(line) for line in hub.cli("patient", "show", "--device", "m1", "--json").stdout.splitlines()]
    told = [e for e in timeline if "m1" in json.dumps(e) and "AB60001" in json.dumps(e)]
    assert told, timeline
    assert code(peer.ask(report("p3", began, now - 100).replace("231A8456B1CB2366", "231A8456B1CB2367"))) == ("CA", "p3")
    assert code(peer.hear()) == ("AE", "p3")  # accepted into quarantine, and of no use: an unknown device
    assert [e["route"] for e in quarantine(hub)] == ["ORU^R01 p3"]


def test_what_happened_is_told_late_and_out_of_order(hubs):
    hub = hub_with(hubs)
    peer = Peer(hub.in_port)

    def ago(minutes):
        return time.strftime("%Y%m%d%H%M%S+0000", time.gmtime(int(time.time()) - 60 * minutes))

    discharged = ago(30)
    for message in (adt("t1", 7, bed=5, trigger="A02", at=ago(40)),  # the transfer before the admission
                    adt("t2", 7, bed=4, trigger="A01", at=ago(90)),
                    adt("t3", 7, trigger="A03", at=discharged),
                    adt("t4", 7, bed=5, trigger="A13", at=ago(20)),  # the discharge was none
                    adt("t5", 8, bed=6, at=ago(50))):
        assert code(peer.ask(message))[0] == "AA"
    merge = (f"MSH|^~\\&|ADT1|KLINIK|VG|HUB|{ago(10)}||ADT^A40^ADT_A39|t6|P|2.6\rEVN||{ago(10)}\rPID|1||7^^^KLINIK^PI||Muster^Max\rMRG|9^^^KLINIK^PI\r")
    assert code(peer.ask(adt("t7", 9, bed=8, at=ago(95)).replace("Muster", "Doppelt")))[0] == "AA"
    assert code(peer.ask(merge)) == ("AA", "t6")
    stays = known(hub, 7)
    assert "ICU^^4" in stays and "ICU^^5" in stays and "to now" in stays
    assert "7^^^KLINIK" in known(hub, 9)  # both numbers mean the same person


# ---- Who may ----

def closes(port, context=None):
    """Whether a connection is closed without an answer."""
    try:
        peer = Peer(port, context)
        peer.send(adt("x", 1))
        return peer.hear() is None
    except (ConnectionError, ssl.SSLError):
        return True


def client_context(hub, name=None, common_name=None):
    context = ssl.create_default_context(cafile=hub.pki.ca)
    if name:
        context.load_cert_chain(*hub.pki.issue(name, common_name or name))
    return context


def test_strangers(hubs):
    hub = hub_with(hubs, peers=[{"name": "adt", "zone": "UTC", "addresses": ["127.0.0.77"]}])
    assert closes(hub.in_port)
    status = wait_for(lambda: [s for s in [hub.status()["parts"]["hl7_in"]] if s["refused_strangers"]], "the refusal")[0]
    assert status["connections"] == 0 and status["peers"]["adt"]["messages"] == 0
    assert "hl7_in.refused" in (hub.state / "vitalgate.log").read_text()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_certificates(hubs, version):
    hub = hub_with(hubs, tls=True, peers=[{"name": "adt", "zone": "UTC", "addresses": ["127.0.0.0/8"], "certificate": "adt.example"}])
    good = client_context(hub, "adt", "adt.example")
    good.minimum_version = good.maximum_version = version
    peer = Peer(hub.in_tls_port, good)
    assert code(peer.ask(adt("c1", 1))) == ("AA", "c1")
    peer.send(*[adt(f"c{i}", i, bed=i, more="NTE|1||" + "x" * 5000 + "\r") for i in range(2, 40)])
    assert [code(peer.hear()) for _ in range(2, 40)] == [("AA", f"c{i}") for i in range(2, 40)]
    assert closes(hub.in_tls_port, client_context(hub))
    assert closes(hub.in_tls_port, client_context(hub, "other", "other.example"))
    assert closes(hub.in_port)  # without TLS it proves nothing
    assert peer_counts(hub)["taken"] == 39


# ---- Full ----

def test_a_full_store(hubs, program):
    """What changes who is where goes on; what would only be kept is told later, and never taken for done."""
    port = free_port()
    hub = hubs(options={"store": {"budget_mb": 16, "reserve_mb": 8, "retention_h": 1, "retention_full_h": 0}, "bus": {"backlog_percent_max": 100},
                        "hl7_in": {"enabled": True, "address": "127.0.0.1", "port": port, "peers": [{"name": "adt", "zone": "UTC", "addresses": ["127.0.0.1"]}]}})
    hub.start()
    hub.broker.stop()  # nothing may be trimmed
    fill_until_refused(hub, program)
    peer = Peer(port)
    assert code(peer.ask(adt("f1", 1))) == ("AA", "f1")
    assert code(peer.ask(adt("f2", 1, trigger="A60"))) == ("AA", "f2")
    refused = peer.ask(adt("f3", "").replace("PID|1||^^^KLINIK^PI", "PID|1||"))
    assert code(refused) == ("AE", "f3") and str(refused.segment("ERR")[3]).startswith("207^")
    assert quarantine(hub) == [] and peer_counts(hub)["told_later"] == 1
    hub.gateway.kill()
    hub.gateway.child.wait()
    hub.start_gateway()
    assert "ICU^^3" in known(hub, 1)


# ---- Crashes ----

def test_killed_after_the_answer_it_is_known(hubs):
    hub = hub_with(hubs)
    for round in range(4):
        peer = Peer(hub.in_port)
        assert code(peer.ask(adt(f"k{round}", 500 + round, bed=20 + round))) == ("AA", f"k{round}")
        hub.gateway.kill()
        hub.gateway.child.wait()
        hub.start_gateway()
    for round in range(4):
        assert f"ICU^^{20 + round}" in known(hub, 500 + round)


def test_killed_at_any_moment_the_sender_comes_again(hubs):
    """A sender that repeats what was not answered; everything is there once in the end."""
    hub = hub_with(hubs)
    total, sent = 300, {"answered": 0}
    messages = [adt(f"m{i}", 1000 + i, bed=i) for i in range(total)]
    done = threading.Event()

    def feed():
        peer, i = None, 0
        while i < total:
            try:
                peer = peer or Peer(hub.in_port)
                answer = peer.ask(messages[i])
                if answer is None:
                    raise ConnectionError
                assert code(answer) == ("AA", f"m{i}")
                i += 1
                sent["answered"] = i
            except (ConnectionError, socket.timeout):
                peer = None
                time.sleep(0.01)
        done.set()

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    for part in range(1, 4):
        wait_for(lambda part=part: sent["answered"] >= part * total // 5, "some answers", 60)
        hub.gateway.kill()
        hub.gateway.child.wait()
        hub.start_gateway()
    wait_for(done.is_set, "all answers", 60)
    assert hub.status()["patients"]["kept"] == total
    for i in (0, 60, 61, 120, 121, 180, 181, total - 1):
        timeline = known(hub, 1000 + i)
        assert timeline.count(f"ICU^^{i}^KLINIK") == 1
