# SPDX-License-Identifier: Apache-2.0
"""What is kept of a patient, as a file for that patient: the same as on standard output, with the rights of who asks, whole or not at all."""
import gzip
import json
import stat

from harness.clients import now_ms
from test_export import add, send_many


def test_as_a_file(hubs):
    hub = hubs(bus=False).start()
    add(hub, "m1")
    hub.cli("associate", "--device", "m1", "--patient", "71^^^K", "--from", "-2h")
    send_many(hub, "m1", now_ms() // 1000 * 1000 - 900000, 800)
    ask = ["patient", "export", "--patient", "71^^^K"]
    plain = hub.cli(*ask)
    lines = [json.loads(line) for line in plain.stdout.splitlines()]
    assert lines[-1]["about"] == "end" and lines[-1]["readings"] == 1600 and len([line for line in lines if line["about"] == "reading"]) == 1600
    assert hub.cli(*ask, "--json").stdout == plain.stdout
    path = hub.state / "out.jsonl"
    for with_gateway in (True, False):
        done = hub.cli(*ask, "--output", path)
        assert path.read_text() == plain.stdout and stat.S_IMODE(path.stat().st_mode) == 0o600
        assert f"{len(lines)} lines" in done.stderr and done.stdout == ""
        hub.cli(*ask, "--output", path, "--gzip", "--json")
        assert gzip.decompress(path.read_bytes()).decode() == plain.stdout
        told = hub.cli(*ask, "--progress")
        assert told.stdout == plain.stdout and f"{len(lines)} lines" in told.stderr
        assert sorted(p.name for p in hub.state.iterdir() if "out" in p.name) == ["out.jsonl"]
        # Neither a file nor a part of one.
        for wrong in (["--patient", "72^^^K", "--output", hub.state / "wrong"], ["--patient", "71^^^K", "--output", hub.state / "no" / "such"]):
            before = sorted(hub.state.iterdir())
            done = hub.cli("patient", "export", *wrong, check=False)
            assert done.returncode != 0 and done.stderr and sorted(hub.state.iterdir()) == before
        if with_gateway:
            hub.gateway.stop()
    audit = [json.loads(line)["what"] for line in hub.cli("audit", "--json").stdout.splitlines()]
    assert any(what.startswith("patient export: patient number") for what in audit)
    hub.start_gateway()
