# SPDX-License-Identifier: Apache-2.0
"""What ./run starts once it has built: everything it prints to paste works as it stands, and Ctrl-C leaves nothing behind."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import textwrap
import time

import hl7
import yaml

from harness.hub import ROOT, Process, free_port, wait_for
from harness.pki import Pki


class Demo(Process):
    def __init__(self, program, state, *args):
        self.state, self.output = state, state.parent / f"run-{time.monotonic_ns()}.out"
        super().__init__("demo", ["/usr/bin/python3", ROOT / "tests" / "demo" / "demo.py", "--program", program, "--state", state, *args],
                         self.output, cwd=state.parent)

    def text(self):
        return self.output.read_text()

    def wait_until_it_runs(self):
        wait_for(lambda: self.check() and "Ctrl-C stops all of it" in self.text(), "everything to run", 90, 0.1)
        return self

    def lines(self):
        """The commands it prints, whole."""
        text = self.text().replace("\\\n", "")
        return [line.strip() for line in text.splitlines() if re.match(r"  (mosquitto_|coap-client|mllp_send|tr |\S*vitalgate )", line)]

    def children(self):
        """Processes whose command names the folder of the hub."""
        found = []
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if str(self.state).encode() in (folder / "cmdline").read_bytes() and int(folder.name) != self.pid:
                    found.append(folder.name)
            except OSError:
                pass
        return found

    def interrupt(self):
        self.child.send_signal(signal.SIGINT)
        assert self.child.wait(60) == 0, self.text()
        assert "Everything is stopped" in self.text()
        assert not self.children()


def paste(line, folder):
    """As a person would; what listens for ever is ended by its first message."""
    if line.startswith("mosquitto_sub"):
        line += " -C 1 -W 30"
    done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def received(demo):
    return [hl7.parse(path.read_bytes().decode()) for path in sorted(demo.state.glob("hl7/*.hl7"))]


def whose(message):
    """Identifier, bed, and the order that is answered."""
    return tuple(str(message.segment(name)[n]) for name, n in (("PID", 3), ("PV1", 3), ("OBR", 2)))


def check_hospital(demo, pasted, folder):
    """The simulated devices' readings reach the receiver for the patients whom the hospital put into their beds, and mine for whom I admitted."""
    def of(words):
        return [text for line, text in pasted if words in line]

    assert "V100001" in of("patient show")[0] and "100002^^^HOSPITAL" in of("--device demo-oximeter-1")[0]
    assert "PID|" in of("tr ")[0] and "OBR|1|" in of("tr ")[0]
    assert len(re.findall(r"MSA\|AA\|MINE1O?\n", of("mllp_send")[0])) == 2, of("mllp_send")
    assert "V100000" in of("--bed '3a^^9'")[0]
    assert "hl7/pdms" in of("trace -c")[0] and "answered AA" not in of("trace -c")[1]
    mine = ("100000^^^HOSPITAL^PI", "3a^^9", "O100000^HOSPITAL")
    wait_for(lambda: mine in map(whose, received(demo)), "my readings, for my patient", 30, 0.1)
    line = next(line for line, text in pasted if "trace -c" in line and "my-monitor" in line)
    wait_for(lambda: "answered AA" in paste(line, folder), "the trace to tell of the answer", 30, 0.2)
    wait_for(lambda: {("100001^^^HOSPITAL^PI", "3a^^1", "O100001^HOSPITAL"), ("100002^^^HOSPITAL^PI", "3a^^2", "O100002^HOSPITAL"),
                      mine} == set(map(whose, received(demo))), "messages of all three patients", 30, 0.1)


def test_every_line_that_is_printed_works(program, tmp_path):
    demo = Demo(program, tmp_path / "state")
    try:
        lines = demo.wait_until_it_runs().lines()
        assert len(lines) >= 17, demo.text()
        wait_for(lambda: any(path.stat().st_size for path in demo.state.glob("hl7/*.hl7")), "the first HL7 message", 30, 0.1)
        pasted = [(line, paste(line, tmp_path)) for line in lines]
        said = dict(pasted)
        check_hospital(demo, pasted, tmp_path)
        readings = [text for line, text in said.items() if "readings -c" in line]
        assert "heart_rate" in readings[0] and "heart_rate" in readings[1]
        assert any("temperature_body" in text for line, text in said.items() if "-m get" in line)
        assert all(re.match(r"\d{10}\.\d+", text) for line, text in said.items() if "-m post" in line)
        assert any("vitals/" in text for line, text in said.items() if line.startswith("mosquitto_sub"))
        assert any("acknowledged" in text for line, text in said.items() if " status " in line)
        secrets = (demo.state / "secrets" / "devices.json").read_bytes()
        authority = (demo.state / "pki" / "ca.pem").read_bytes()
        demo.interrupt()

        # Kept between runs: keys, devices, readings. Without the demonstration: gateway and bus alone.
        demo = Demo(program, tmp_path / "state", "--no-demo").wait_until_it_runs()
        assert "HL7" not in demo.text() and len(demo.children()) == 2
        assert (demo.state / "secrets" / "devices.json").read_bytes() == secrets
        assert (demo.state / "pki" / "ca.pem").read_bytes() == authority
        line = next(line for line in demo.lines() if "readings -c" in line)
        assert paste(line, tmp_path).count("heart_rate") == said[line].count("heart_rate")
        demo.interrupt()
    finally:
        demo.kill()


def test_it_takes_its_children_along_however_it_ends(program, tmp_path):
    demo = Demo(program, tmp_path / "state")
    try:
        demo.wait_until_it_runs()
        assert len(demo.children()) == 5
        second = subprocess.run(demo.command, capture_output=True, text=True, timeout=60)
        assert second.returncode == 1 and "runs already" in second.stderr
        demo.kill()
        wait_for(lambda: not demo.children(), "everything to end", 30, 0.1)
    finally:
        demo.kill()
        demo.child.wait()


def test_interrupted_at_any_moment_the_next_start_works(program, tmp_path):
    for delay_ms in (20, 60, 100, 130, 160, 200, 250, 300, 400, 600, 900):
        demo = Demo(program, tmp_path / "state", "--no-demo")
        time.sleep(delay_ms / 1000)  # moments, not a condition: each must do
        os.killpg(demo.pid, signal.SIGINT)  # as a terminal does, also to what it runs just then
        demo.child.wait(60)
        wait_for(lambda: not demo.children(), f"everything to end, interrupted after {delay_ms} ms", 30, 0.05)
    demo = Demo(program, tmp_path / "state", "--no-demo")
    try:
        demo.wait_until_it_runs().interrupt()
    finally:
        demo.kill()
        demo.child.wait()


def test_lines_for_a_new_device_work(hubs):
    hub = hubs().start()
    for name, profile in (("bed-1", "bedside-json"), ("bed-2", "senml"), ("bed-3", "plain-text")):
        text = hub.cli("device", "add", name, "--profile", profile, "--psk").stdout
        lines = [line.strip().replace(os.uname().nodename, "127.0.0.1") for line in text.splitlines()
                 if line.startswith(("  mosquitto_pub", "  coap-client"))]
        assert len(lines) == 2, text
        for line in lines:
            paste(line, hub.state)
        assert len(hub.readings(name)) >= 2


def test_the_simulated_hospital(hubs):
    """Each of its events is taken, nothing contradicts itself, and what it could not tell it tells later, once."""
    port = free_port()
    hub = hubs(bus=False, options={"hl7_in": {"enabled": True, "address": "127.0.0.1", "port": port, "fields": {"services": "MON^LOCAL"},
                                              "peers": [{"name": "hospital", "addresses": ["127.0.0.1"], "zone": "UTC"}]}}).start()
    command = ["/usr/bin/python3", ROOT / "tests" / "demo" / "hospital.py", "--state", hub.state / "hospital.json", "--port", port, "--step", "0.2"]
    log = hub.state / "hospital.log"
    hospital = Process("hospital", command, log)
    try:
        wait_for(lambda: hospital.check() and log.read_text().count("ADT^A03") >= 4, "two rounds", 30, 0.1)
        hub.gateway.stop()
        wait_for(lambda: hospital.check() and "tried again" in log.read_text(), "it to find nobody", 30, 0.1)
        hub.start_gateway()
        before = log.read_text().count("ADT^A01")
        wait_for(lambda: hospital.check() and log.read_text().count("ADT^A01") >= before + 3, "it to go on", 30, 0.1)
    finally:
        hospital.stop()
    answers = [line for line in log.read_text().splitlines() if " H0" in line]
    assert len(answers) > 20 and all(line.endswith(": AA") for line in answers), log.read_text()
    assert all(any(kind in line for line in answers) for kind in ("ADT^A01", "ADT^A02", "ADT^A03", "ORM^O01"))
    assert len({line.split()[2] for line in answers}) == len(answers)
    lying = json.loads((hub.state / "hospital.json").read_text())["lying"]
    for bed, (number, _) in lying.items():
        now = [line for line in hub.cli("patient", "show", "--bed", bed).stdout.splitlines() if "to now" in line]
        assert len(now) == 1 and f" {number}^^^HOSPITAL" in now[0], (bed, number, now)
    assert hub.status()["patients"]["conflicts"] == 0


def uncommented(text):
    """The shipped configuration with its examples instead of what they show."""
    return re.sub(r"(?m)^( *)#> ?", r"\1", text)


def check_example(program, folder, text):
    """What `vitalgate check` understands; the files that the example names are made."""
    pki = Pki(folder)
    pki.issue("vitalgate", "vitalgate")
    shutil.copy(pki.ca, folder / "hospital-ca.pem")
    file = folder / "vitalgate.yaml"
    file.write_text(text)
    done = subprocess.run([program, "check", "-c", file], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    config = yaml.safe_load(done.stdout)
    assert [d["name"] for d in config["hl7"]["destinations"]] == ["pdms", "research"] and config["hl7"]["enabled"]
    assert [p["name"] for p in config["hl7_in"]["peers"]] == ["adt", "cpoe"] and config["hl7_in"]["enabled"]


def test_examples_in_the_shipped_configuration(program, tmp_path):
    text = uncommented((ROOT / "conf" / "vitalgate.yaml").read_text())
    check_example(program, tmp_path, text.replace("tls/gateway.", "tls/vitalgate.").replace("/etc/vitalgate/tls", str(tmp_path)))


def test_examples_in_the_readme(program, tmp_path):
    blocks = re.findall(r"(?m)^    (?:hl7|hl7_in):\n(?:    .*\n)+", (ROOT / "README.md").read_text())
    assert len(blocks) == 2
    check_example(program, tmp_path, textwrap.dedent("".join(blocks)) +
                  "tls: {certificate: vitalgate.pem, key: vitalgate.key, ca: ca.pem}\nstore: {dir: data}\ncontrol: {socket: s.sock}\n")
