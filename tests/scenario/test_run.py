# SPDX-License-Identifier: Apache-2.0
"""What ./run starts once it has built: everything it prints to paste works as it stands, and Ctrl-C leaves nothing behind."""
import os
import pathlib
import re
import signal
import subprocess
import time

from harness.hub import ROOT, Process, wait_for


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
        return [line.strip() for line in text.splitlines() if re.match(r"  (mosquitto_|coap-client|\S*vitalgate )", line)]

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


def test_every_line_that_is_printed_works(program, tmp_path):
    demo = Demo(program, tmp_path / "state")
    try:
        lines = demo.wait_until_it_runs().lines()
        assert len(lines) >= 9, demo.text()
        said = {line: paste(line, tmp_path) for line in lines}
        readings = [text for line, text in said.items() if "readings -c" in line]
        assert "heart_rate" in readings[0] and "heart_rate" in readings[1]
        assert any("temperature_body" in text for line, text in said.items() if "-m get" in line)
        assert all(re.match(r"\d{10}\.\d+", text) for line, text in said.items() if "-m post" in line)
        assert any("vitals/" in text for line, text in said.items() if line.startswith("mosquitto_sub"))
        assert any("acknowledged" in text for line, text in said.items() if " status " in line)
        # The simulated devices' readings reach the HL7 receiver.
        wait_for(lambda: any("MDC_" in path.read_text() for path in demo.state.glob("hl7/*.hl7")), "an HL7 message", 30, 0.1)
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
        assert len(demo.children()) == 4
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
