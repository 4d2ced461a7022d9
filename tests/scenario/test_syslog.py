# SPDX-License-Identifier: Apache-2.0
"""Who was refused, at a syslog collector: rsyslog with TLS and client certificates, and a collector of our own that reads frames and messages by the letter of
RFC 5425 and RFC 5424."""
import datetime
import json
import re
import shutil
import socket
import ssl
import threading

import pytest

from harness.clients import by_psk, iso, now_ms, publish
from harness.hub import Process, free_port, listening, wait_for

NASTY = 'no"body\\of]us\u00fc'


# ---- RFC 5424, section 6 ----

HEAD = re.compile(r"<(\d{1,3})>1 (\S{1,32}) ([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) ")
NAME = re.compile(r"[!#-<>-\\^-~]{1,32}")


def parse(text):
    """A message as a dictionary; fails where it is none."""
    head = HEAD.match(text)
    assert head, text
    priority, time, host, app, process, kind = head.groups()
    assert int(priority) <= 191
    stamp = datetime.datetime.fromisoformat(time.replace("Z", "+00:00"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", time)
    at, data = head.end(), {}
    assert text[at] == "["
    name = NAME.match(text, at + 1)
    at = name.end()
    while text[at] == " ":
        param = NAME.match(text, at + 1)
        assert text[param.end():param.end() + 2] == '="', text[at:]
        at, value = param.end() + 2, ""
        while text[at] != '"':
            assert text[at] != "]", "']' must be escaped"
            if text[at] == "\\":
                at += 1
                assert text[at] in '"\\]'
            value += text[at]
            at += 1
        assert param.group() not in data
        data[param.group()] = value
        at += 1
    assert text[at] == "]" and text[at + 1:at + 2] in ("", " ")
    return {"priority": int(priority), "time": stamp, "host": host, "app": app, "process": process, "kind": kind, "id": name.group(), "data": data,
            "words": text[at + 2:].removeprefix("\ufeff")}


class Collector:
    """Takes connections one after the other and keeps what came: frames "LEN SP MSG" and nothing else."""

    def __init__(self, context=None, port=0):
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port, self.context, self.frames, self.bad, self.refused = self.listener.getsockname()[1], context, [], [], 0
        self.ends = []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                plain, _ = self.listener.accept()
                sock = self.context.wrap_socket(plain, server_side=True) if self.context else plain
            except ssl.SSLError:
                self.refused += 1
                continue
            except OSError:
                return
            self.ends.append(sock)
            self.read(sock)

    def read(self, sock):
        rest = b""
        while True:
            try:
                got = sock.recv(4096)
            except OSError:
                return
            if not got:
                return
            rest += got
            while b" " in rest:
                length, _, body = rest.partition(b" ")
                if not length.isdigit() or length.startswith(b"0"):
                    self.bad.append(rest)
                    return
                if len(body) < int(length):
                    break
                self.frames.append(parse(body[:int(length)].decode()))
                rest = body[int(length):]

    def close(self):
        self.listener.close()
        for sock in self.ends:
            sock.close()

    def of(self, claimed):
        return [m for m in self.frames if m["data"].get("claimed") == claimed]


def refuse(hub, name):
    assert publish(hub, "x", "a", "b", version="5", auth=by_psk({"psk_hex": "00" * 16, "psk_identity": name})).returncode != 0


def part(hub):
    return hub.status()["parts"]["syslog"]


# ---- rsyslog ----

def rsyslog(hub, port):
    folder = hub.state / "rsyslog"
    folder.mkdir(exist_ok=True)
    certificate, key = hub.pki.issue("collector", "collector", ["localhost"], ["127.0.0.1"], server=True)
    (folder / "rsyslog.conf").write_text(f'''
global(workDirectory="{folder}" defaultNetstreamDriver="gtls" defaultNetstreamDriverCAFile="{hub.pki.ca}"
       defaultNetstreamDriverCertFile="{certificate}" defaultNetstreamDriverKeyFile="{key}")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="x509/name" permittedPeer=["siem-client"])
input(type="imtcp" port="{port}" address="127.0.0.1")
action(type="omfile" file="{folder}/out.log" template="RSYSLOG_SyslogProtocol23Format")
''')
    process = Process("rsyslogd", [shutil.which("rsyslogd") or "/usr/sbin/rsyslogd", "-n", "-f", folder / "rsyslog.conf", "-i", folder / "pid"], hub.state / "rsyslog.log")
    wait_for(lambda: process.check() and listening(port), "rsyslog to listen")
    hub.clients.append(process)
    return process, folder / "out.log"


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def test_rsyslog_with_tls_and_a_client_certificate(hubs):
    port = free_port()
    hub = hubs(bus=False)
    certificate, key = hub.pki.issue("siem-client")
    hub.options["syslog"] = {"enabled": True, "host": "127.0.0.1", "port": port, "ca": "pki/ca.pem", "certificate": str(certificate), "key": str(key),
                             "hostname": "hub-icu", "facility": "local4"}
    hub.write_config()
    process, out = rsyslog(hub, port)
    hub.start()
    wait_for(lambda: part(hub)["state"] == "connected", "the collector to be connected")
    refuse(hub, NASTY)
    wait_for(lambda: any("no\\\"body" in line for line in lines(out)), "the message")
    message = parse(next(line for line in lines(out) if "no\\\"body" in line))
    event = json.loads(hub.cli("events", "--json", "--kind", "unknown-psk-identity").stdout.splitlines()[0])
    assert message["priority"] == 20 * 8 + 4 and message["host"] == "hub-icu" and message["app"] == "vitalgate" and message["kind"] == "refused-credential"
    assert message["data"]["claimed"] == NASTY == event["claimed"] and message["data"]["from"] == "127.0.0.1" and message["data"]["port"] == str(event["port"])
    assert message["data"]["reason"] == event["reason"] and message["data"]["protocol"] == "mqtts" and message["words"] == event["text"]
    assert message["id"] == "vitalgate@32473" and message["time"] == datetime.datetime.fromisoformat(event["at"].replace("Z", "+00:00"))
    assert [o["outlet"] for o in map(json.loads, hub.cli("outlet", "list", "--json").stdout.splitlines()) if o["running"]] == ["series", "syslog"]
    # Away for a while: it comes afterwards, and again when somebody asks for it.
    process.stop()
    hub.clients.remove(process)
    refuse(hub, "while-away")
    wait_for(lambda: part(hub)["state"] != "connected", "the loss to be seen")
    process, out = rsyslog(hub, port)
    wait_for(lambda: any("while-away" in line for line in lines(out)), "what happened meanwhile", 60)
    ids = [parse(line)["data"]["id"] for line in lines(out) if "while-away" in line]
    hub.cli("outlet", "rewind", "syslog", "--to", "-1h")
    wait_for(lambda: sum("while-away" in line for line in lines(out)) > len(ids), "it once more")
    assert {parse(line)["data"]["id"] for line in lines(out) if "while-away" in line} == set(ids) and len(set(ids)) == 1
    process.stop()
    hub.clients.remove(process)


# ---- A collector of our own ----

def test_plain_tcp_frames(hubs):
    collector = Collector()
    hub = hubs(bus=False, options={"syslog": {"enabled": True, "host": "localhost", "port": collector.port, "tls": False, "operational": True}}).start()
    credential = hub.add_device("p1", "bedside-json", "--psk")
    assert publish(hub, "p1", "ward/w/p1/vitals", json.dumps({"time": iso(now_ms()), "hr": 123}), auth=by_psk(credential)).returncode == 0
    publish(hub, "p1", "ward/w/other-device/vitals", '{"hr": 123}', version="5", auth=by_psk(credential))
    for number in range(5):
        refuse(hub, f"stranger{number}")
    wait_for(lambda: collector.of("stranger4"), "the last of them")
    assert [m["data"]["claimed"] for m in collector.frames if "claimed" in m["data"]] == [f"stranger{n}" for n in range(5)]
    claim = next(m for m in collector.frames if m["kind"] == "refused-claim")
    assert claim["data"]["device"] == "p1" and claim["data"]["reason"] == "foreign-device"
    assert not collector.bad and not any("123" in str(v) for m in collector.frames for k, v in m["data"].items() if k not in ("id", "port"))
    assert len({m["data"]["id"] for m in collector.frames}) == len(collector.frames) == 6
    # After a restart it goes on where it was.
    wait_for(lambda: part(hub)["lag_records"] == 0, "the cursor")
    hub.restart_gateway()
    refuse(hub, "after")
    wait_for(lambda: collector.of("after"), "the one after the restart")
    assert len(collector.frames) == 7
    # The collector's end is seen, and another connection made.
    for sock in list(collector.ends):
        sock.shutdown(socket.SHUT_RDWR)
    wait_for(lambda: part(hub)["connects"] >= 2, "another connection")
    refuse(hub, "later")
    wait_for(lambda: collector.of("later"), "the one over it")
    collector.close()


def test_a_collector_must_prove_its_name(hubs):
    hub = hubs(bus=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*hub.pki.issue("other", "other", ["siem.example"], [], server=True))
    collector = Collector(context)
    hub.options["syslog"] = {"enabled": True, "host": "127.0.0.1", "port": collector.port, "ca": "pki/ca.pem"}
    hub.write_config()
    hub.start()
    refuse(hub, "stranger")
    wait_for(lambda: 'is not for "127.0.0.1"' in part(hub).get("last_error", ""), "the reason")
    assert not collector.frames and part(hub)["state"] == "waiting for the collector"
    # The right name is taken by a reload, and what waited is sent.
    hub.options["syslog"]["server_name"] = "siem.example"
    hub.write_config()
    hub.cli("reload")
    wait_for(lambda: collector.of("stranger"), "what waited", 60)
    collector.close()


@pytest.mark.parametrize("options, words", [
    ({"host": ""}, "syslog.host"), ({"ca": ""}, "syslog.ca"), ({"sd_id": "a b"}, "syslog.sd_id"), ({"certificate": "pki/gateway.pem"}, "syslog.key")])
def test_what_cannot_be(hubs, options, words):
    hub = hubs(bus=False, options={"syslog": {"enabled": True, "host": "127.0.0.1", "ca": "pki/ca.pem", **options}})
    done = hub.cli("check", check=False)
    assert done.returncode != 0 and words in done.stderr
