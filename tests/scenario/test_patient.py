# SPDX-License-Identifier: Apache-2.0
"""Associations by hand: without admissions from elsewhere, on day one, and where people correct what was told. With and without a running gateway."""
import datetime
import json
import os
import re
import signal

YESTERDAY = (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)).strftime("%Y-%m-%dT")


def lines(text):
    return [json.loads(line) for line in text.splitlines() if line]


def timeline(hub, *args):
    return lines(hub.cli("patient", "show", *args, "--json").stdout)


def owners(hub, device):
    return [(e.get("patient"), e["from"], e.get("to")) for e in timeline(hub, "--device", device) if e["kind"] == "readings"]


def recorded(hub, words):
    """Whether the journal holds a command with these words, behind who gave it."""
    return re.search(rb"uid \d+ \([^)]*\)" + words, (hub.state / "data" / "data.mdb").read_bytes()) is not None


def test_by_hand_with_and_without_a_gateway(hubs):
    hub = hubs(bus=False).start()
    hub.add_device("m1", "bedside-json", "--bed", "ICU^^3")
    hub.add_device("m2", "bedside-json")
    said = hub.cli("associate", "--bed", "ICU^^3", "--patient", "12^^^K", "--from", YESTERDAY + "10:00:00Z").stdout
    assert "not known before" in said
    hub.cli("place", "m2", "ICU^^3", "--from", YESTERDAY + "09:00:00Z")
    assert timeline(hub, "--patient", "12", "--from", YESTERDAY + "00:00:00Z")[1]["bed"] == "ICU^^3"
    hub.cli("associate", "--device", "m2", "--patient", "13^^^K", "--from", YESTERDAY + "10:05:00Z", "--until", YESTERDAY + "10:30:00Z")
    shown = [e for e in timeline(hub, "--device", "m2", "--from", YESTERDAY + "00:00:00Z") if e["kind"] == "readings"]
    assert [(e["patient"], e["from"]) for e in shown] == [
        ("12^^^K", YESTERDAY + "10:00:00Z"), ("13^^^K", YESTERDAY + "10:05:00Z"), ("12^^^K", YESTERDAY + "10:30:00Z")]
    # Killed without a word: everything that was answered is there, for a command without a gateway, too.
    os.kill(hub.gateway.pid, signal.SIGKILL)
    hub.gateway.child.wait()
    again = [e for e in timeline(hub, "--device", "m2", "--from", YESTERDAY + "00:00:00Z") if e["kind"] == "readings"]
    assert again == shown
    assert "dissociated" in hub.cli("dissociate", "--bed", "ICU^^3", "--from", YESTERDAY + "11:00:00Z").stdout
    hub.start_gateway()
    stay = [e for e in timeline(hub, "--bed", "ICU^^3", "--from", YESTERDAY + "00:00:00Z") if e["kind"] == "stay"]
    assert [(e["from"], e["to"]) for e in stay] == [(YESTERDAY + "10:00:00Z", YESTERDAY + "11:00:00Z")]
    hub.gateway.stop()
    for words in (rb"patient associate, bed ICU", rb"patient show: number \d", rb"patient show: device m2", rb"patient dissociate, bed ICU"):
        assert recorded(hub, words), words
    hub.start_gateway()


def test_a_conflict_is_shown_until_somebody_ends_it(hubs):
    hub = hubs(bus=False).start()
    hub.add_device("m1", "bedside-json")
    assert "CONTRADICTION" not in hub.cli("associate", "--device", "m1", "--patient", "1^^^K", "--from", "-20m").stdout
    assert "CONTRADICTION" in hub.cli("associate", "--device", "m1", "--patient", "2^^^K", "--from", "-10m").stdout
    assert hub.status()["patients"]["conflicts"] == 1
    assert "1 CONFLICT" in hub.cli("status").stdout
    conflict, = lines(hub.cli("patient", "conflicts", "--json").stdout)
    assert {conflict["patient"], conflict["other"]} == {"1^^^K", "2^^^K"} and conflict["device"] == "m1"
    assert [o[0] for o in owners(hub, "m1")] == ["1^^^K", None]
    hub.cli("dissociate", "--device", "m1", "--patient", "1^^^K", "--from", conflict["from"])
    assert lines(hub.cli("patient", "conflicts", "--json").stdout) == []
    assert [o[0] for o in owners(hub, "m1")] == ["1^^^K", "2^^^K"]
    # One person under two numbers is no conflict, once somebody has said so.
    hub.cli("associate", "--device", "m1", "--patient", "3^^^K", "--from", "-5m")
    assert hub.status()["patients"]["conflicts"] == 1
    hub.cli("patient", "merge", "--patient", "3^^^K", "--into", "2^^^K")
    assert hub.status()["patients"]["conflicts"] == 0
    assert [o[0] for o in owners(hub, "m1")] == ["1^^^K", "2^^^K"]


def test_census(hubs, tmp_path):
    hub = hubs(bus=False).start()
    hub.add_device("m1", "bedside-json", "--bed", "ICU^^1")
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("bed,patient,authority,from\nICU^^1,1,K,\nICU^^1,2,K,\nICU^^3,1,K,\n,4,K,\nICU^^5,5,K,soon\n")
    said = hub.cli("census", "import", str(wrong), check=False)
    assert said.returncode != 0 and all(f"line {n}:" in said.stdout for n in (3, 4, 5, 6)) and "line 2:" not in said.stdout
    assert hub.status()["patients"]["kept"] == 0
    right = tmp_path / "right.csv"
    right.write_text("bed;patient;authority;family;given;birth;sex;from\n" +
                     "".join(f"ICU^^{n};{n};K;Müller;Ada;19800101;F;{YESTERDAY}00:00:00Z\n" for n in range(1, 2001)))
    assert "would" in hub.cli("census", "import", str(right), "--dry-run").stdout
    assert hub.status()["patients"]["kept"] == 0
    assert "2000 patients" in hub.cli("census", "import", str(right)).stdout
    assert hub.status()["patients"]["beds_taken"] == 2000
    person, stay = timeline(hub, "--patient", "1700^^^K", "--from", YESTERDAY + "00:00:00Z")
    assert person["name"] == "Müller, Ada" and stay["bed"] == "ICU^^1700"
    hub.restart_gateway()
    assert hub.status()["patients"]["beds_taken"] == 2000
    # The same list again changes nothing; another patient for a bed is refused.
    hub.cli("census", "import", str(right))
    right.write_text("bed,patient,authority\nICU^^7,9999,K\n")
    assert hub.cli("census", "import", str(right), check=False).returncode != 0
    # No name and no number of a patient in the diagnostics.
    log = (hub.state / "vitalgate.log").read_text()
    assert "Müller" not in log and "9999" not in log


def test_mistakes_have_words(hubs):
    hub = hubs(bus=False).start()
    hub.add_device("m1", "bedside-json")
    for args in (("associate", "--patient", "1"), ("associate", "--device", "nosuch", "--patient", "1"), ("patient", "show"),
                 ("associate", "--device", "m1", "--bed", "b", "--patient", "1"), ("patient", "show", "--patient", "77"),
                 ("dissociate", "--device", "m1", "--patient", "77"), ("place", "nosuch", "B1"), ("associate", "--device", "m1", "--patient", "9" * 65),
                 ("associate", "--device", "m1", "--patient", "1", "--from", "now", "--until", "-5m")):
        said = hub.cli(*args, check=False)
        assert said.returncode != 0 and len(said.stderr) > 20, args
    assert hub.status()["patients"]["kept"] == 0
