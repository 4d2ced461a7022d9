# SPDX-License-Identifier: Apache-2.0
"""What was erased is in no file of an export on schedule either: such files are written again, also where exports were switched off or the gateway was killed meanwhile."""
import json
import subprocess

from harness.clients import now_ms
from harness.hub import wait_for
from test_export_schedule import HOUR, check, content, files, frames, idle, options, place

DAY = 24 * HOUR


def erase(hub, patient, *args, **kwargs):
    return hub.cli("patient", "erase", "--patient", patient, "--yes", "--reason", "r", "--json", *args, **kwargs)


def test_files_are_written_again_without_what_was_erased(hubs):
    hub = hubs(bus=False).start()
    now = now_ms() // HOUR * HOUR
    for name, patient in (("m1", "71^^^K"), ("m2", "72^^^K"), ("m3", "73^^^K")):
        hub.add_device(name, "bedside-json", "--cert-subject", name)
        hub.cli("associate", "--device", name, "--patient", patient, "--from", "-6h")
        frames(hub, name, now - 3 * HOUR, 20, 60000)
        if name == "m1":
            frames(hub, name, now - 2 * HOUR, 20, 60000)
        hub.cli("dissociate", "--device", name)  # his also where the clock was not sure
    options(hub)
    both, alone = place(now - 3 * HOUR), place(now - 2 * HOUR)
    wait_for(lambda: f"{both}/readings.csv.gz" in files(hub) and f"{alone}/readings.csv.gz" in files(hub) and idle(hub)(), "both hours")
    assert check(hub, both, 1)["rows"] == 60 and check(hub, alone, 1)["rows"] == 20

    done = json.loads(erase(hub, "71^^^K").stdout)
    assert done["state"] == "done" and done["counts"]["series"] == 40, done
    wait_for(lambda: f"{both}/readings-r2.csv.gz" in files(hub) and f"{alone}/readings.csv.gz" not in files(hub) and idle(hub)(), "the hours to be written again")
    assert check(hub, both, 2, ["readings.csv.gz"])["rows"] == 40
    assert "m1" not in content(files(hub)[f"{both}/readings-r2.csv.gz"])
    # An hour in which nothing is left has no file any more, and a manifest that says so.
    assert json.loads((hub.state / "lake" / alone / "_manifest.json").read_text())["file"] is None

    # Switched off meanwhile, and killed thereafter: at the next start with exports.
    options(hub, enabled=False)
    assert "export" not in hub.status()["parts"]
    erase(hub, "72^^^K")
    hub.gateway.kill()
    hub.gateway.child.wait()
    hub.start_gateway()
    assert f"{both}/readings-r2.csv.gz" in files(hub)
    options(hub)
    wait_for(lambda: f"{both}/readings-r3.csv.gz" in files(hub) and idle(hub)(), "the hour to be written again")
    assert check(hub, both, 3, ["readings-r2.csv.gz"])["rows"] == 20
    assert "m2" not in content(files(hub)[f"{both}/readings-r3.csv.gz"])

    # Killed while it erases.
    child = subprocess.Popen([str(hub.program), "patient", "-c", str(hub.file), "erase", "--patient", "73^^^K", "--yes", "--reason", "again"], env=hub.env,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: child.poll() is not None or '"again"' in hub.cli("patient", "erasures", "--json").stdout, "it to begin", every=0.001)
    hub.gateway.kill()
    hub.gateway.child.wait()
    child.wait()
    hub.start_gateway()
    wait_for(lambda: f"{both}/readings-r3.csv.gz" not in files(hub) and idle(hub)(), "the hour to be written again", 30)
    assert not [f for f in files(hub) if f.startswith(both) and "readings" in f]
    hub.cli("verify")


def test_files_of_another_length_are_written_again_too(hubs):
    """Days were exported before hours are: both have what is erased."""
    hub = hubs(bus=False).start()
    now = now_ms() // DAY * DAY - 2 * HOUR
    for name, patient in (("m1", "71^^^K"), ("m2", "72^^^K")):
        hub.add_device(name, "bedside-json", "--cert-subject", name)
        hub.cli("associate", "--device", name, "--patient", patient, "--from", "-72h")
        frames(hub, name, now, 20, 60000)
        hub.cli("dissociate", "--device", name)
    options(hub, every="day")
    day = place(now).split("/")[0]
    wait_for(lambda: f"{day}/readings.csv.gz" in files(hub) and idle(hub)(), "the day")
    options(hub, every="hour")
    wait_for(lambda: f"{place(now)}/readings.csv.gz" in files(hub) and idle(hub)(), "the hour")
    assert json.loads(erase(hub, "71^^^K").stdout)["counts"]["series"] == 20
    for where in (day, place(now)):
        wait_for(lambda: f"{where}/readings-r2.csv.gz" in files(hub) and f"{where}/readings.csv.gz" not in files(hub), f"{where} to be written again")
        text = content(files(hub)[f"{where}/readings-r2.csv.gz"])
        assert "m1" not in text and "m2" in text
