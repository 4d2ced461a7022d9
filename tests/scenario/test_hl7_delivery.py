# SPDX-License-Identifier: Apache-2.0
"""Delivery to HL7 destinations: faults of peers, TLS, several destinations, parked messages, receivers that nobody here wrote."""
import json
import pathlib
import re
import subprocess
import time

import pytest

from harness import npm
from harness.clients import by_certificate, iso, now_ms, publish
from harness.hub import Process, free_port, wait_for
from harness.mllp_peer import Peer, StopServing, ack, control, field, framed, server_context
from harness.pki import Pki


@pytest.fixture
def peers():
    made = []

    def make(*args, **kwargs):
        made.append(Peer(*args, **kwargs))
        return made[-1]
    yield make
    for peer in made:
        peer.stop()


def destination(peer, name="pdms", **options):
    return {"name": name, "host": "127.0.0.1", "port": peer if isinstance(peer, int) else peer.port, "production": False, "select": "every",
            "interval_s": 0, "unassociated": "send", "answer_s_max": 1, "backoff_ms_min": 50, "backoff_ms_max": 200, **options}


def hub_to(hubs, *destinations, start=True, **options):
    hub = hubs(bus=False, options={"hl7": {"enabled": True, "destinations": list(destinations)}, **options})
    if start:
        hub.start_gateway()
        hub.add_device("m1", "bedside-json", "--cert-subject", "m1", "--bed", "7", "--ward", "3a")
    return hub


def send(hub, *rates, device="m1"):
    for rate in rates:
        done = publish(hub, device, f"ward/3a/{device}/vitals", json.dumps({"time": iso(now_ms()), "hr": rate}), auth=by_certificate(hub, device))
        assert done.returncode == 0, done.stderr


def rates(messages):
    """Heart rates in messages of different MSH-10, in order of their first coming."""
    seen, found = set(), []
    for message in messages:
        if control(message) not in seen:
            seen.add(control(message))
            found += [int(r) for r in re.findall(rb"\|147842\^[^|]*\|[^|]*\|(\d+)\|", message)]
    return found


def state(hub, name="pdms"):
    return hub.status()["parts"]["hl7"][name] if "parts" in hub.status() else find(hub.status(), name)


def find(tree, name):
    """The status of a destination, wherever it stands."""
    if isinstance(tree, dict):
        if isinstance(tree.get(name), dict) and "outbox" in tree[name]:
            return tree[name]
        for value in tree.values():
            if (got := find(value, name)) is not None:
                return got
    return None


def parked(hub, *args):
    return [json.loads(line) for line in hub.cli("hl7", "list", *args, "--json").stdout.splitlines()]


# ---- Faults of one peer: the same message until it is acknowledged, nothing else meanwhile ----

def late(message, number):
    time.sleep(1.5)  # longer than answer_s_max: being late is the fault
    return ack(message)


FAULTS = {
    "never answers": lambda message, number: None,
    "answers late": late,
    "answers for another": lambda message, number: ack(message, of="ANOTHERS"),
    "garbage": lambda message, number: b"HTTP/1.1 400 Bad Request\r\n\r\n\x0b\xff\xfe\x1c\r",
    "no MSA-2": lambda message, number: framed(b"MSH|^~\\&|P\rMSA|AA\r"),
    "closes mid-frame": lambda message, number: [ack(message)[:-7], StopServing],
    "closes before the answer": lambda message, number: StopServing,
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda name: name.replace(" ", "-"))
def test_a_fault_sends_the_same_message_again(hubs, peers, fault):
    peer = peers(lambda message, number: FAULTS[fault](message, number) if number <= 2 else ack(message))
    hub = hub_to(hubs, destination(peer))
    send(hub, 71, 72)
    wait_for(lambda: state(hub)["acknowledged"] == 2, "both to be acknowledged", 60)
    assert len(peer.messages) == 4 and peer.messages[0] == peer.messages[1] == peer.messages[2]
    assert peer.connections == 3 and rates(peer.messages) == [71, 72]


def test_pauses_double_up_to_a_limit_and_vary(hubs, peers):
    times = []
    peer = peers(lambda message, number: times.append(time.monotonic()) or (StopServing if number <= 24 else ack(message)))
    hub = hub_to(hubs, destination(peer, backoff_ms_min=40, backoff_ms_max=160))
    send(hub, 71)
    wait_for(lambda: state(hub)["acknowledged"] == 1, "it to be acknowledged", 60)
    assert len(set(peer.messages)) == 1
    usual = [0.04, 0.08] + [0.16] * 22
    shares = [(after - before) / pause for before, after, pause in zip(times, times[1:], usual)]
    # A slow machine makes pauses longer, never shorter: by chance they are, a quarter at most.
    assert min(shares) > 0.74 and any(share < 0.97 for share in shares), shares
    assert times[-1] - times[0] < 20


def test_an_answer_byte_by_byte(hubs, peers):
    peer = peers(lambda message, number: [bytes([b]) for b in ack(message)])
    hub = hub_to(hubs, destination(peer))
    send(hub, 71, 72, 73)
    wait_for(lambda: state(hub)["acknowledged"] == 3, "all to be acknowledged", 60)
    assert peer.connections == 1 and len(peer.messages) == 3


def test_errors_for_ever_are_parked_one_by_one(hubs, peers):
    peer = peers(lambda message, number: ack(message, "AE", text="database is full"))
    hub = hub_to(hubs, destination(peer, errors_max=3))
    send(hub, 71, 72)
    wait_for(lambda: state(hub)["parked"] == 2, "both to be parked", 60)
    assert len(peer.messages) == 6 and peer.connections == 1
    assert [p["reason"] for p in parked(hub)] == ["AE database is full"] * 2


@pytest.mark.parametrize("fault", ["never answers", "closes before the answer"], ids=lambda name: name.replace(" ", "-"))
def test_killed_with_a_message_under_way(hubs, peers, fault):
    peer = peers(FAULTS[fault])
    hub = hub_to(hubs, destination(peer))
    send(hub, 71, 72, 73)
    wait_for(lambda: peer.messages, "the first message", 60)
    hub.gateway.kill()
    hub.gateway.child.wait()
    before = list(peer.messages)
    peer.answer = lambda message, number: ack(message)
    hub.start_gateway()
    wait_for(lambda: rates(peer.messages) == [71, 72, 73], "all of them", 60)
    assert all(m == before[0] for m in before) and peer.messages[len(before)] == before[0]


# ---- Parked messages ----

def test_parked_messages_by_command(hubs, peers):
    peer = peers(lambda message, number: ack(message, "AR", text="no such bed"))
    hub = hub_to(hubs, destination(peer, "one"), destination(peer, "two"))
    send(hub, 71, 72, 73)
    wait_for(lambda: len(parked(hub)) == 6, "all to be parked twice", 60)
    ones = parked(hub, "one")
    assert [p["destination"] for p in ones] == ["one"] * 3 and all(p["reason"] == "AR no such bed" for p in ones)
    number = str(ones[1]["number"])
    shown = json.loads(hub.cli("hl7", "show", "one", number, "--json").stdout)
    assert shown["message"] == ones[1]["message"] and shown["segments"][0].startswith("MSH|") and any("|72|" in s for s in shown["segments"])
    assert "OBX|" in hub.cli("hl7", "show", "one", number).stdout
    # Slips are errors, and change nothing.
    for bad in (["show", "one", "12abc"], ["retry", "one", "12abc"], ["drop", "one", "-1"], ["drop", "one", ""], ["drop", "one", "999"],
                ["show", "one", "0"], ["retry", "oen", number], ["drop", "one"], ["drop", "one", "99999999999999999999"]):
        done = hub.cli("hl7", *bad, check=False)
        assert done.returncode != 0 and done.stderr, bad
    assert "did you mean \"one\"" in hub.cli("hl7", "retry", "oen", check=False).stderr
    assert len(parked(hub)) == 6
    # Sent again under the same MSH-10; dropped, and who did it is on record.
    peer.answer = lambda message, count: ack(message)
    already = len(peer.messages)
    hub.cli("hl7", "retry", "one", number)
    wait_for(lambda: len(parked(hub, "one")) == 2, "it to be gone", 60)
    wait_for(lambda: state(hub, "one")["acknowledged"] == 1, "it to be acknowledged", 60)
    assert peer.controls()[already:] == [ones[1]["message"]]
    hub.cli("hl7", "drop", "one", str(ones[0]["number"]))
    wait_for(lambda: len(parked(hub, "one")) == 1, "it to be gone", 60)
    hub.cli("hl7", "retry", "two")
    wait_for(lambda: state(hub, "two")["acknowledged"] == 3 and not parked(hub, "two"), "all of them", 60)
    assert len(parked(hub)) == 1


# ---- Several destinations ----

def test_a_dead_destination_delays_no_other(hubs, peers):
    good = peers()
    # Little room, so that what a dead destination may keep back is soon reached.
    hub = hub_to(hubs, destination(good, "good", backlog_per_s=0), destination(free_port(), "dead", outbox_max=1, backlog_percent_max=1),
                 store={"budget_mb": 16, "reserve_mb": 4})
    send(hub, 60)
    began, many = now_ms(), 4000
    lines = "\n".join(json.dumps({"time": iso(began - (many - i)), "hr": 61 + i % 40}) for i in range(many))
    certificate, key = hub.pki.issue("m1")
    done = subprocess.run(["mosquitto_pub", "-h", "127.0.0.1", "-p", str(hub.mqtt_port), "-i", "m1", "-q", "1", "-t", "ward/3a/m1/vitals", "--cafile",
                           hub.pki.ca, "--cert", certificate, "--key", key, "-l"], input=lines, text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    send(hub, 59)
    wait_for(lambda: state(hub, "good")["lag_records"] == 0 and state(hub, "good")["outbox"] == 0, "the good one to have all", 120, 0.5)
    assert len(rates(good.messages)) == many + 2 and rates(good.messages)[-1] == 59
    status = state(hub, "dead")
    assert status["acknowledged"] == 0 and status["outbox"] >= 1 and status["state"] == "waiting for the peer" and "refused" in status["last_error"]
    # Beyond its limit it is suspended with a recorded gap: when the gateway starts again, and every minute.
    hub.restart_gateway()
    wait_for(lambda: state(hub, "dead").get("gaps", 0) >= 1, "the gap to be shown", 90)
    assert state(hub, "good")["lag_records"] == 0 and "gaps" not in state(hub, "good")


def test_hosts_by_name(hubs, peers):
    peer = peers()
    hub = hub_to(hubs, destination(peer, "known", host="localhost"), destination(peer, "unknown", host="no-such-host.invalid"))
    send(hub, 71)
    wait_for(lambda: state(hub, "known")["acknowledged"] == 1 and "no-such-host.invalid" in state(hub, "unknown").get("last_error", ""), "both", 60)
    assert rates(peer.messages) == [71]


def test_destinations_have_their_own_filters(hubs, peers):
    all_of_it, some, ward = peers(), peers(), peers()
    hub = hub_to(hubs, destination(all_of_it, "all"), destination(some, "some", devices=["m2*"]), destination(ward, "ward", wards=["4*"]))
    hub.add_device("m2", "bedside-json", "--cert-subject", "m2", "--bed", "9", "--ward", "4b")
    send(hub, 71)
    send(hub, 82, device="m2")
    wait_for(lambda: sorted(rates(all_of_it.messages)) == [71, 82] and rates(some.messages) == rates(ward.messages) == [82], "each to have its own", 60)


def test_a_destination_that_becomes_one_of_production(hubs, peers):
    """What was made, parked or held for it when it was a test system stays with the gateway: it is of simulated devices."""
    trial = peers(lambda message, number: ack(message, "AR", text="no such bed"))
    hub = hub_to(hubs, destination(trial, unassociated="hold"))
    for device in ("t1", "t2"):
        hub.add_device(device, "bedside-json", "--cert-subject", device, "--test")
    for device in ("m1", "t1"):
        hub.cli("associate", "--device", device, "--patient", "4711^^^H", "--from", "-1h")
    send(hub, 71, device="t1")
    wait_for(lambda: state(hub)["parked"] == 1, "one to be parked", 60)
    assert field(trial.messages[0], 11) == b"D" and b"TEST" in trial.messages[0]
    trial.stop()
    send(hub, 72, device="t1")
    wait_for(lambda: state(hub)["outbox"] == 1, "one to wait", 60)
    send(hub, 73, device="t2")
    wait_for(lambda: state(hub)["held"] == 1, "one to be held", 60)
    real = peers()
    hub.options["hl7"]["destinations"] = [destination(real, unassociated="hold", production=True)]
    hub.write_config()
    hub.restart_gateway()
    wait_for(lambda: state(hub)["parked"] == 2, "what waited to be parked", 60)
    assert "test" in parked(hub)[1]["reason"]
    hub.cli("hl7", "retry", "pdms")
    hub.cli("associate", "--device", "t2", "--patient", "4711^^^H", "--from", "-1h")
    send(hub, 74)
    wait_for(lambda: rates(real.messages) == [74], "the real one", 60)
    wait_for(lambda: state(hub)["held"] == 0 and state(hub)["parked"] == 2 and state(hub)["outbox"] == 0, "all others to be kept back", 60)
    assert all(field(message, 11) == b"P" and b"TEST" not in message for message in real.messages)


# ---- TLS ----

def certificates(hub, folder="other", **kwargs):
    return Pki(pathlib.Path(hub.state, folder, "pki"), **kwargs)


def tls_options(hub, **options):
    return {"tls": True, "ca": str(hub.pki.ca), **options}


def test_tls_with_a_client_certificate(hubs, peers):
    hub = hub_to(hubs, start=False)
    server = hub.pki.issue("pdms", "pdms.example", ["pdms.example"], ["127.0.0.1"], server=True)
    mine = hub.pki.issue("outlet", "vitalgate-outlet")
    for name, version in {"pdms.example": None, "127.0.0.1": "1.2", "": "1.3"}.items():
        context = server_context(*server, client_ca=hub.pki.ca)
        if version is not None:
            import ssl
            wanted = ssl.TLSVersion.TLSv1_2 if version == "1.2" else ssl.TLSVersion.TLSv1_3
            context.minimum_version = context.maximum_version = wanted
        peer = peers(context=context)
        hub.options["hl7"]["destinations"] = [destination(peer, f"tls{version or ''}", server_name=name, **tls_options(
            hub, certificate=str(mine[0]), key=str(mine[1])))]
        hub.write_config()
        if hub.gateway is None:
            hub.start_gateway()
            hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
        else:
            hub.restart_gateway()
        send(hub, 71, 72)
        wait_for(lambda: rates(peer.messages) == [71, 72], "both inside TLS", 60)
        assert dict(x[0] for x in peer.certificates[0]["subject"])["commonName"] == "vitalgate-outlet" and peer.connections == 1


def refused_by(hubs, peers, server, words, **options):
    """Nothing goes to a peer that is not who it should be, and the status says why."""
    hub = hub_to(hubs, start=False)
    context = server_context(*server(hub))
    peer = peers(context=context)
    hub.options["hl7"]["destinations"] = [destination(peer, **{**tls_options(hub), **{k: v(hub) if callable(v) else v for k, v in options.items()}})]
    hub.write_config()
    hub.start_gateway()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    send(hub, 71)
    wait_for(lambda: words in state(hub).get("last_error", ""), f"{words!r}", 60)
    assert not peer.messages and state(hub)["acknowledged"] == 0 and state(hub)["state"] == "waiting for the peer"


def test_tls_of_another_authority(hubs, peers):
    refused_by(hubs, peers, lambda hub: certificates(hub).issue("pdms", "pdms", ["localhost"], ["127.0.0.1"], server=True),
               "its certificate is of no authority in")


def test_tls_of_another_name(hubs, peers):
    refused_by(hubs, peers, lambda hub: hub.pki.issue("pdms", "pdms", ["pdms.example"], [], server=True), 'is not for "127.0.0.1"')


def test_tls_of_another_name_by_dns(hubs, peers):
    refused_by(hubs, peers, lambda hub: hub.pki.issue("pdms", "pdms", ["pdms.example"], ["127.0.0.1"], server=True),
               'is not for "lab.example"', server_name="lab.example")


def test_tls_expired(hubs, peers):
    refused_by(hubs, peers, lambda hub: hub.pki.issue("old", "pdms", ["localhost"], ["127.0.0.1"], server=True, days=-1), "has expired")


def test_tls_without_the_client_certificate_that_is_wanted(hubs, peers):
    hub = hub_to(hubs, start=False)
    peer = peers(context=server_context(*hub.pki.issue("pdms", "pdms", [], ["127.0.0.1"], server=True), client_ca=hub.pki.ca))
    hub.options["hl7"]["destinations"] = [destination(peer, **tls_options(hub))]
    hub.write_config()
    hub.start_gateway()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    send(hub, 71)
    wait_for(lambda: "client certificate" in state(hub).get("last_error", ""), "the reason", 60)
    assert not peer.messages and peer.refused


def test_plain_where_tls_is_spoken_and_the_other_way_round(hubs, peers):
    hub = hub_to(hubs, start=False)
    inside = peers(context=server_context(*hub.pki.issue("pdms", "pdms", [], ["127.0.0.1"], server=True)))
    plain = peers(lambda message, number: None)
    hub.options["hl7"]["destinations"] = [destination(inside, "a"), destination(plain, "b", **tls_options(hub))]
    hub.write_config()
    hub.start_gateway()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    send(hub, 71)
    wait_for(lambda: state(hub, "a")["unanswered"] + state(hub, "a")["not_understood"] > 0 and state(hub, "b").get("last_error"), "both to fail", 60)
    assert not inside.messages and not plain.messages
    assert state(hub, "a")["acknowledged"] == state(hub, "b")["acknowledged"] == 0


# ---- What a configuration has to say ----

def test_mistakes_are_found_before_anything_runs(hubs):
    hub = hub_to(hubs, start=False)
    key = str(hub.pki.issue("one")[1])
    certificate = str(hub.pki.issue("two")[0])
    for bad, words in [
        ([destination(1, "a"), destination(1, "a")], "has this name too"),
        ([destination(1, signals=["heart_rat"])], 'did you mean "heart_rate"'),
        ([destination(1, production=True, processing_id="T")], "processing_id T is for tests"),
        ([destination(1, tls=True, ca="nowhere.pem")], "nowhere.pem"),
        ([destination(1, tls=True, ca=str(hub.pki.ca), certificate=certificate, key=key)], "does not belong to the certificate"),
        ([destination(1, version="3.0")], "one of"),
        ([], "without a destination"),
    ]:
        hub.options["hl7"]["destinations"] = bad
        hub.write_config()
        for command in ("check", "run"):
            done = hub.cli(command, check=False)
            assert done.returncode != 0 and words in done.stderr, (command, done.stderr)


# ---- Receivers that nobody here wrote ----

@pytest.mark.parametrize("name", ["simple_server.js", "hl7_server.mjs"])
def test_receivers_of_npm(hubs, name):
    port = free_port()
    hub = hub_to(hubs, destination(port, answer_s_max=10))
    receiver = Process(name, ["node", npm.script(name), port], hub.state / "npm.log")
    hub.clients.append(receiver)
    send(hub, *range(60, 80))
    wait_for(lambda: receiver.check() and state(hub)["acknowledged"] == 20 and state(hub)["outbox"] == 0, "all to be acknowledged", 60)
    lines = [line for line in receiver.log.read_text().splitlines() if re.fullmatch("[0-9A-Z]{20}", line)]
    assert len(set(lines)) == 20


def test_npm_s_receiver_inside_tls(hubs):
    port = free_port()
    hub = hub_to(hubs, start=False)
    certificate, key = hub.pki.issue("pdms", "pdms", ["localhost"], ["127.0.0.1"], server=True)
    hub.options["hl7"]["destinations"] = [destination(port, answer_s_max=10, **tls_options(hub))]
    hub.write_config()
    hub.start_gateway()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    receiver = Process("hl7_server.mjs", ["node", npm.script("hl7_server.mjs"), port, certificate, key], hub.state / "npm.log")
    hub.clients.append(receiver)
    send(hub, 71, 72, 73)
    wait_for(lambda: receiver.check() and state(hub)["acknowledged"] == 3, "all to be acknowledged", 60)


def test_wireshark_understands_what_is_sent(hubs, peers, tmp_path):
    peer = peers()
    hub = hub_to(hubs, destination(peer))
    send(hub, 71)
    wait_for(lambda: peer.messages, "a message", 60)
    dump = "\n".join(f"{at:06x} " + " ".join(f"{b:02x}" for b in framed(peer.messages[0])[at:at + 16])
                     for at in range(0, len(framed(peer.messages[0])), 16)) + "\n"
    (tmp_path / "message.txt").write_text(dump)
    subprocess.run(["text2pcap", "-q", "-T", "40000,2575", tmp_path / "message.txt", tmp_path / "message.pcap"], check=True, capture_output=True)
    done = subprocess.run(["tshark", "-r", tmp_path / "message.pcap", "-d", "tcp.port==2575,hl7", "-V"], check=True, capture_output=True, text=True)
    assert "Health Level Seven, Type: Unsolicited transmission of an observation, Event: Unsolicited transmission of an observation message" in done.stdout, done.stdout[-3000:]
    segments = [s.split(b"|")[0].decode() for s in peer.messages[0].split(b"\r") if s]
    assert [s for s in re.findall(r"^    (\w{3})", done.stdout, re.M) if s in ("MSH", "PID", "PV1", "OBR", "OBX")] == segments
    assert control(peer.messages[0]) in done.stdout and field(peer.messages[0], 9) == b"ORU^R01^ORU_R01"
    assert "Malformed" not in done.stdout
