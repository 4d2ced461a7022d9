# SPDX-License-Identifier: Apache-2.0
"""One patient's data is erased: nothing of it is left anywhere in the store, and all that is another's is there. Two patients one after the other in one bed, with one
device; a receiver that is away, one that refuses, a frame and a message in quarantine."""
import json
import os
import signal
import struct
import subprocess
import time

from harness.clients import now_ms
from harness.hub import wait_for
from test_export_schedule import frames
from test_hl7_in import code
from test_right_patient import ICU, Ward, dtm

GONE, STAYS = "7719355", "8824466"
HIS, HERS = ["77.123", "77.124", "77.125"], ["66.501", "66.502", "66.503"]


def rows(hub, *args):
    return [json.loads(line) for line in hub.cli(*args, "--json").stdout.splitlines() if line]


def live_bytes(hub):
    """All that transactions can see, of both environments."""
    found = b""
    for folder in (hub.state / "data", hub.state / "data" / "series"):
        found += subprocess.run([hub.program.parent / "live_bytes", folder], capture_output=True, check=True).stdout
    return found


def traces_of(words, values):
    """What a patient's data looks like, wherever it is stored: texts, and numbers as the journal has them."""
    numbers = [struct.pack("<qh", int(value.replace(".", "")), -3) for value in values]
    return [word.encode() for word in [*words, *values]] + numbers


def said_of(hub):
    """What commands say."""
    commands = [["readings", "--device", "m1", "--format", "json"], ["query", "--device", "m1", "--json"], ["latest", "--json"], ["trace", "--device", "m1", "--json"],
                ["quarantine", "list", "--json"], ["hl7", "list", "--json"], ["hl7", "held", "--json"], ["hl7", "misfiled", "--json"], ["status", "--json"],
                ["patient", "show", "--bed", ICU.format(1), "--json"], ["patient", "show", "--device", "m1", "--json"], ["patient", "conflicts", "--json"],
                ["patient", "erasures", "--json"]]
    text = "".join(hub.cli(*command).stdout for command in commands)
    for entry in hub.quarantine():
        text += hub.cli("quarantine", "show", str(entry["id"]), "--json").stdout
    for entry in rows(hub, "hl7", "list"):
        text += hub.cli("hl7", "show", entry["destination"], str(entry["number"]), "--json").stdout
    return text.encode()


def stays_in(ward, patient, values):
    """Admitted, measured and discharged, all of it as it happens."""
    now = (ward.now() - ward.start) / 60
    ward.adt("A01", now, patient, ICU.format(1))
    ward.wait(60)
    sent = []
    for value in values:
        ward.wait(20)
        sent.append((round(ward.now(), 3), value))
        ward.send("m1", [sent[-1]])
    ward.wait(60)
    return sent


def fill(hubs):
    ward = Ward(hubs, {name: {} for name in ("pdms", "away", "picky")}, ("m1",), moment=time.time())
    ward.place("m1", ICU.format(1), 0)
    for name, args in (("away", None), ("picky", ("--code", "AR"))):
        ward.receivers[name].stop()
        if args:
            ward.receivers[name].start(*args)
    hers_before = stays_in(ward, STAYS, HERS[:1])
    ward.adt("A03", (ward.now() - ward.start) / 60, STAYS, ICU.format(1))
    ward.wait(60)
    his = stays_in(ward, GONE, HIS)
    ward.publish("m1", "devices/m1/senml", "[not json " + HIS[0])
    assert code(ward.door.ask(f"MSH|^~\\&|ADT|H|VG|H|{dtm(ward.now())}||ADT^A40|bad1|P|2.5\rPID|1||{GONE}^^^H^PI||N{GONE}\r"))[0] in ("AE", "AR")
    ward.adt("A03", (ward.now() - ward.start) / 60, GONE, ICU.format(1))
    ward.wait(60)
    hers = stays_in(ward, STAYS, HERS[1:])
    assert code(ward.door.ask(f"MSH|^~\\&|ADT|H|VG|H|{dtm(ward.now())}||ADT^A40|bad2|P|2.5\rPID|1||{STAYS}^^^H^PI||N{STAYS}\r"))[0] in ("AE", "AR")
    everything = {**{v: STAYS for v in HERS}, **{v: GONE for v in HIS}}
    ward.expect(everything)
    wait_for(lambda: len(rows(ward.hub, "hl7", "list")) == 6, "messages to be parked", 20)
    wait_for(lambda: ward.destination("away")["made"] == 6, "messages to wait", 20)
    assert len(ward.hub.quarantine()) == 3
    return ward, his, [*hers_before, *hers]


def check_gone(hub):
    found, said = live_bytes(hub), said_of(hub)
    for trace in traces_of([GONE, "N" + GONE], HIS):
        assert trace not in found, (trace, found[max(0, found.find(trace) - 200):found.find(trace) + 100])
        assert trace not in said, trace
    for trace in traces_of([STAYS, "N" + STAYS], HERS):
        assert trace in found, trace


def check_others(ward):
    hub = ward.hub
    assert [r["received"]["value"] if "received" in r else str(r["value"]) for r in hub.readings("m1")] == HERS
    assert [str(r["value"]) for r in rows(hub, "query", "--patient", f"{STAYS}^^^H")] == HERS
    assert [str(r["value"]) for r in rows(hub, "query", "--device", "m1")] == HERS
    assert len(rows(hub, "hl7", "list")) == 3
    assert len(hub.quarantine()) == 1


def test_nothing_of_one_patient_is_left_and_all_of_the_other(hubs):
    ward, his, hers = fill(hubs)
    hub = ward.hub
    before = live_bytes(hub)
    for trace in traces_of([GONE, "N" + GONE], HIS):
        assert trace in before, trace
    # What is known of a patient can be given to that patient: all of it, and nothing of the other.
    given = rows(hub, "patient", "export", "--patient", f"{GONE}^^^H")
    assert [str(line["value"]) for line in given if line["about"] == "reading"] == HIS
    assert {line["state"] for line in given if line["about"] == "message"} == {"made", "sent", "parked"}
    assert len([line for line in given if line["about"] == "quarantine"]) == 2
    assert given[0]["name"] == "N" + GONE and given[-1]["about"] == "end" and given[-1]["readings"] == 3
    assert not any(trace in json.dumps(given) for trace in [STAYS, *HERS])
    dry, = rows(hub, "patient", "erase", "--patient", f"{GONE}^^^H", "--dry-run")
    assert dry["state"] == "dry run" and dry["counts"]["journal"] == 3 and dry["counts"]["messages"] == 6, dry
    # Somebody has to mean it, and to say why.
    assert rows(hub, "patient", "erase", "--patient", f"{GONE}^^^H", "--reason", "x")[0]["state"] == "dry run"
    assert hub.cli("patient", "erase", "--patient", f"{GONE}^^^H", "--yes", check=False).returncode != 0
    present = hub.cli("patient", "erase", "--patient", f"{STAYS}^^^H", "--yes", "--reason", "x", check=False)
    assert present.returncode != 0 and "in bed" in present.stderr
    assert live_bytes(hub).count(GONE.encode()) >= before.count(GONE.encode())
    done, = rows(hub, "patient", "erase", "--patient", f"{GONE}^^^H", "--yes", "--reason", "asked for in case 4711")
    counts = done["counts"]
    assert done["state"] == "done" and done["reason"] == "asked for in case 4711"
    assert (counts["journal"], counts["series"], counts["messages"], counts["quarantine"]) == (3, 3, 6, 2), counts
    assert [w["device"] for w in done["windows"]] == ["m1"]
    check_gone(hub)
    check_others(ward)
    assert hub.cli("patient", "show", "--patient", f"{GONE}^^^H", check=False).returncode != 0
    assert rows(hub, "patient", "erasures")[0]["erasure"] == done["erasure"]
    # Sent again by the device, after a restart as well: it does not come back.
    for restart in (False, True):
        if restart:
            hub.restart_gateway()
        ward.send_frames("m1", [[reading] for reading in his])
        ward.send_frames("m1", [[reading] for reading in hers])
        check_gone(hub)
        check_others(ward)
    hub.cli("verify")
    # What waited for the receiver that was away is all of it hers.
    ward.receivers["away"].start()
    ward.expect({v: STAYS for v in HERS}, "away")


def test_what_turns_out_later_brings_nothing_back(hubs):
    """He was charted, and is erased. Then it is told that another had lain there all along: what went out is not made again from the ledger."""
    ward = Ward(hubs, {"pdms": {"corrections": "resend"}}, ("m1",))
    hub = ward.hub
    ward.place("m1", ICU.format(1), 0)
    ward.adt("A01", 10, GONE, ICU.format(1))
    ward.adt("A03", 30, GONE, ICU.format(1))
    ward.adt("A01", 40, STAYS, ICU.format(1))
    ward.send("m1", [(ward.at(20), HIS[0]), (ward.at(25), HIS[1]), (ward.at(50), HERS[0]), (ward.now(), HERS[1])])
    charted = {HIS[0]: GONE, HIS[1]: GONE, HERS[0]: STAYS, HERS[1]: STAYS}
    ward.expect(charted)
    wait_for(lambda: {m["state"] for m in rows(hub, "patient", "export", "--patient", f"{GONE}^^^H") if m["about"] == "message"} == {"sent"}, "answers")
    done, = rows(hub, "patient", "erase", "--patient", f"{GONE}^^^H", "--yes", "--reason", "case 1")
    assert done["counts"]["journal"] == 2 and done["counts"]["ledger"] > 0, done
    sent = ward.destination("pdms")["made"]
    ward.adt("A02", 15, STAYS, ICU.format(1))
    ward.adt("A11", 41, STAYS, ICU.format(1))
    ward.adt("A01", 45, GONE, ICU.format(2)) # he is here again, as somebody new
    ward.adt("A01", 42, STAYS, ICU.format(1))
    hub.restart_gateway()
    ward.send("m1", [(ward.at(20), HIS[0]), (ward.at(25), HIS[2]), (ward.now(), HERS[2])])
    wait_for(lambda: HERS[2] in ward.receivers["pdms"].chart().where(), "what is measured now")
    now = ward.receivers["pdms"].chart().where()
    assert now[HERS[2]] == STAYS and HIS[2] not in now and now.get(HIS[0]) == GONE and now.get(HIS[1]) == GONE, now
    found = live_bytes(hub)
    assert not any(trace in found for trace in traces_of([], HIS))
    assert sent > 0
    hub.cli("verify")


def test_who_was_said_to_be_in_two_beds(hubs):
    """What was measured in either meanwhile may be another's: it stays, and nobody gets it; all else of his goes. With --unsure it goes as well."""
    ward = Ward(hubs, None, ("m1", "m2"), moment=time.time())
    hub = ward.hub
    ward.place("m1", ICU.format(1), 0)
    ward.place("m2", ICU.format(2), 0)
    sent = {}

    def measured(device, value):
        ward.wait(60)
        sent[value] = (device, round(ward.now(), 3))
        ward.send(device, [(sent[value][1], value)])
        ward.wait(60)

    def tell(event, patient, bed, **more):
        ward.adt(event, (ward.now() - ward.start) / 60, patient, ICU.format(bed), **more)

    tell("A01", GONE, 1)
    measured("m1", HIS[0])
    measured("m1", HIS[1])
    tell("A02", GONE, 2, prior=ICU.format(5))  # in 1, as was known, or in 5
    measured("m2", HIS[2])
    tell("A03", GONE, 2)
    ward.wait(60)
    tell("A01", STAYS, 5)
    ward.adt("A01", (ward.now() - ward.start) / 60 - 30, "9911", ICU.format(5))  # another, who may have lain there alone
    measured("m1", HERS[0])
    wait_for(lambda: len(rows(hub, "query", "--device", "m1")) == 3, "readings")

    def of(patient, *args):
        return [str(row["value"]) for row in rows(hub, "query", "--patient", f"{patient}^^^H", *args)]

    def beds():
        return [(e.get("patient"), e.get("conflict", False), e["from"]) for bed in (1, 5) for e in rows(hub, "patient", "show", "--bed", ICU.format(bed)) if e["kind"] == "stay"]

    disputed = HIS[:2]
    assert of(GONE) == HIS[2:]
    before = beds()
    said = hub.cli("patient", "erase", "--patient", f"{GONE}^^^H", "--yes", "--reason", "r")
    assert "1 readings in the series; 2 more may be another's and stayed (--unsure)" in said.stdout, said.stdout
    for _ in range(2):
        assert [str(r["value"]) for device in ("m1", "m2") for r in rows(hub, "query", "--device", device)] == [*disputed, HERS[0]]
        assert not set(of(STAYS) + of("9911")) & set(HIS)
        assert [("(1)" if row[0] == f"{GONE}^^^H" else row[0], *row[1:]) for row in before] == beds()
        hub.restart_gateway()
    assert GONE.encode() not in live_bytes(hub)
    hub.cli("verify")


def test_who_looks_is_recorded(hubs):
    hub = hubs(bus=False).start()
    hub.add_device("m1", "bedside-json")
    hub.cli("associate", "--device", "m1", "--patient", "12^^^K", "--from", "-20m")
    for _ in range(3):
        hub.cli("readings", "--device", "m1")
    hub.cli("trace", "--device", "m1")
    hub.cli("quarantine", "list")
    hub.cli("patient", "show", "--patient", "12^^^K")
    found = rows(hub, "audit")
    what = [entry["what"] for entry in found]
    assert what.count("readings: device m1") + what.count("readings: m1") == 1, what
    assert "trace: m1" in what and "quarantine list" in what and any(w.startswith("patient show: number") for w in what)
    assert all(entry["who"].startswith("uid ") for entry in found)
    mine = rows(hub, "audit", "--patient", "12^^^K")
    assert [e["what"] for e in mine] == [w for w in what if w.startswith("patient show")]
    assert {e["device"] for e in rows(hub, "audit", "--device", "m1")} == {"m1"}
    assert "12^^^K" not in json.dumps(found)
    # The same holds where no gateway runs.
    hub.gateway.stop()
    hub.cli("hl7", "list", check=False)
    hub.cli("readings", "--device", "m1")
    assert [e["what"] for e in rows(hub, "audit")].count("readings: m1") == 2
    hub.start_gateway()


def test_a_script_that_looks_each_second_fills_nothing(hubs):
    hub = hubs(bus=False).start()
    hub.add_device("m1", "bedside-json")
    hub.add_device("m2", "bedside-json")
    hub.cli("associate", "--device", "m1", "--patient", "12^^^K", "--from", "-20m")
    commands = [("query", "--device", "m1"), ("query", "--device", "m2"), ("query", "--patient", "12^^^K"), ("latest",), ("latest", "--device", "m1"),
                ("export", "--device", "m1"), ("patient", "show", "--patient", "12^^^K"), ("patient", "show", "--device", "m1"), ("patient", "conflicts"),
                ("patient", "export", "--patient", "12^^^K"), ("patient", "erase", "--patient", "12^^^K", "--dry-run"), ("audit",)]
    for _ in range(4):
        for command in commands:
            hub.cli(*command)
    what = [entry["what"] for entry in rows(hub, "audit") if not entry["what"].startswith(("device add", "patient associate"))]
    # Export is made of show and query, for which it stands.
    assert len(what) == len(set(what)) and len(what) <= len(commands), what
    for command in ("query: device m1", "query: device m2", "latest: all devices", "latest: device m1", "export: device m1", "patient show: device m1", "audit"):
        assert command in what, what
    # Who erases is recorded each time.
    for _ in range(2):
        hub.cli("patient", "erase", "--patient", "12^^^K", "--present", "--yes", "--reason", "case 1", check=False)
        hub.cli("associate", "--device", "m1", "--patient", "12^^^K", "--from", "-1m")
    assert len([e for e in rows(hub, "audit") if e["what"].startswith("patient erase: ")]) == 2


def test_somebody_who_has_been_there_for_longer_than_is_kept(hubs):
    hub = hubs(bus=False).start()
    hub.add_device("m1", "bedside-json")
    hub.cli("associate", "--device", "m1", "--patient", f"{GONE}^^^K", "--from", "-2000h")
    hub.cli("dissociate", "--device", "m1", "--patient", f"{GONE}^^^K")
    done, = rows(hub, "patient", "erase", "--patient", f"{GONE}^^^K", "--yes", "--reason", "case 1")
    assert done["state"] == "done" and GONE.encode() not in live_bytes(hub)


def test_the_reason_does_not_name_the_patient(hubs):
    hub = hubs(bus=False).start()
    hub.add_device("m1", "bedside-json")
    hub.cli("associate", "--device", "m1", "--patient", f"{GONE}^^^K", "--from", "-30m", "--until", "-5m")
    said = hub.cli("patient", "erase", "--patient", f"{GONE}^^^K", "--yes", "--reason", f"request of {GONE}", check=False)
    assert said.returncode != 0 and "names the patient" in said.stderr
    assert hub.cli("patient", "show", "--patient", f"{GONE}^^^K").returncode == 0 and not rows(hub, "patient", "erasures")


def test_what_contradicted_itself_does_not_become_the_other_patients(hubs):
    hub = hubs(bus=False).start()
    hub.add_device("m1", "bedside-json")
    hub.add_device("m2", "bedside-json")
    hub.cli("place", "m1", "ICU^^3", "--from", "-60m")
    hub.cli("associate", "--bed", "ICU^^3", "--patient", "7719355^^^K", "--from", "-30m")
    hub.cli("associate", "--bed", "ICU^^3", "--patient", "12^^^K", "--from", "-20m")
    hub.cli("dissociate", "--bed", "ICU^^3", "--patient", "7719355^^^K", "--from", "-10m")
    hub.cli("associate", "--device", "m2", "--patient", "7719355^^^K", "--from", "-9m", "--until", "-8m")
    hub.cli("associate", "--device", "m2", "--patient", "7719355^^^K", "--from", "-7m", "--until", "-6m")

    def owners(device):
        return [(e.get("patient"), e.get("conflict", False), e["from"], e.get("to")) for e in rows(hub, "patient", "show", "--device", device, "--from", "-40m")
                if e["kind"] == "readings"]

    def stays(device):
        return [e[1:] for e in owners(device) if e[1] or e[0] == "12^^^K"]

    before = stays("m1")
    assert len(before) == 2 and [e[0] for e in before] == [True, False]
    assert [e[0] for e in owners("m2") if e[0]] == ["7719355^^^K"] * 2
    hub.cli("patient", "erase", "--patient", "7719355^^^K", "--yes", "--reason", "r")
    for _ in range(2):
        assert stays("m1") == before
        assert not any(e[0] for e in owners("m2"))
        assert b"7719355" not in live_bytes(hub)
        assert hub.cli("patient", "show", "--patient", "7719355^^^K", check=False).returncode != 0
        hub.restart_gateway()
    # Somebody who comes again is somebody new.
    hub.cli("associate", "--device", "m2", "--patient", "7719355^^^K", "--from", "-1m")
    assert [e[0] for e in owners("m2") if e[0]] == ["7719355^^^K"]


def test_killed_in_between_it_goes_on_by_itself(hubs):
    ward, _, _ = fill(hubs)
    hub = ward.hub
    for delay in (0.0, 0.03, 0.1, 0.2):
        child = subprocess.Popen([str(hub.program), "patient", "-c", str(hub.file), "erase", "--patient", f"{GONE}^^^H", "--yes", "--reason", "r"], env=hub.env,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: child.poll() is not None or b'"reason":"r"' in live_bytes(hub), "an erasure to begin", 20)
        time.sleep(delay)
        os.kill(hub.gateway.pid, signal.SIGKILL)
        hub.gateway.child.wait()
        child.wait()
        hub.start_gateway()
    wait_for(lambda: all(e["state"] == "done" for e in rows(hub, "patient", "erasures")), "the erasure to be done", 30)
    check_gone(hub)
    check_others(ward)


def test_who_looked_is_known_for_longer_than_the_journal(hubs):
    hub = hubs(bus=False, options={"store": {"retention_h": 1, "retention_full_h": 1, "audit_d": 2}, "series": {"enabled": False}})
    later = hub.state / "later"
    hub.env.update(LD_PRELOAD=str(hub.program.parent / "later.so"), LATER_FILE=str(later), ASAN_OPTIONS="verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", ""))
    later.write_bytes(struct.pack("=q", 0))
    hub.start()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    hub.cli("patient", "conflicts")
    frames(hub, "m1", now_ms() - 600000, 400, 1000)  # more than lies in one block
    later.write_bytes(struct.pack("=q", 3 * 3600 * 1000000))
    hub.restart_gateway()  # newest times are checkpointed
    frames(hub, "m1", now_ms(), 400, 1000)
    wait_for(lambda: json.loads(hub.cli("verify", "--json").stdout)["first_position"] > 5, "the journal to be trimmed", 60, every=0.2)
    what = [e["what"] for e in rows(hub, "audit")]
    assert "patient conflicts" in what and "device add m1" in " ".join(what), what
    assert [e["what"] for e in rows(hub, "audit", "--since", "-1h")].count("patient conflicts") == 0
    later.write_bytes(struct.pack("=q", 3 * 86400 * 1000000))
    hub.restart_gateway()
    wait_for(lambda: "patient conflicts" not in [e["what"] for e in rows(hub, "audit", "--since", "-30d")], "it to be over")
