# SPDX-License-Identifier: Apache-2.0
"""A backup is restored from before a patient was erased: the erasure is done again by itself, by what is known of it from the store that is replaced or from a list, and
takes nothing of those who came after that patient."""
import json
import shutil
import time

from harness.clients import now_ms
from harness.hub import wait_for
from test_erase import live_bytes, rows, stays_in, traces_of
from test_hl7_in import code
from test_right_patient import ICU, Peer, Ward, dtm

GONE, STAYS = "7719355", "8824466"
HIS, HERS = ["77.123", "77.124"], ["66.501", "66.502"]


def values(hub, *args):
    return [str(row["value"]) for row in rows(hub, "query", *args)]


def all_done(hub):
    wait_for(lambda: all(e["state"] == "done" for e in rows(hub, "patient", "erasures")), "the erasures to be done", 30)
    return rows(hub, "patient", "erasures")


def leaves(ward, patient):
    ward.adt("A03", (ward.now() - ward.start) / 60, patient, ICU.format(1))
    ward.wait(60)


def fill(hubs):
    """He is there with m1 when the backup is made, and leaves; bed and device are another's when he is erased."""
    ward = Ward(hubs, None, ("m1",), moment=time.time())
    hub = ward.hub
    ward.place("m1", ICU.format(1), 0)
    stays_in(ward, GONE, HIS)
    wait_for(lambda: values(hub, "--device", "m1") == HIS, "readings")
    hub.cli("backup", hub.state / "backup")
    leaves(ward, GONE)
    came = ward.now()
    hers = stays_in(ward, STAYS, HERS)
    wait_for(lambda: values(hub, "--patient", f"{STAYS}^^^H") == HERS, "readings of hers")
    done, = rows(hub, "patient", "erase", "--patient", f"{GONE}^^^H", "--yes", "--reason", "case 4711")
    assert done["counts"]["series"] == 2, done
    return ward, came, hers, done


def check_gone(hub):
    found = live_bytes(hub)
    for trace in traces_of([GONE], HIS):
        assert trace not in found, (trace, found[max(0, found.find(trace) - 200):found.find(trace) + 100])
    assert hub.cli("patient", "show", "--patient", f"{GONE}^^^H", check=False).returncode != 0
    assert not set(values(hub, "--device", "m1")) & set(HIS)


def test_the_store_that_is_replaced_tells(hubs):
    ward, came, hers, done = fill(hubs)
    hub = ward.hub
    hub.gateway.stop()
    said = hub.cli("restore", hub.state / "backup", "--replace").stdout
    assert f"to be erased again: erasure {done['erasure']}" in said and "case 4711" in said and GONE not in said, said
    assert f"{GONE}".encode() in live_bytes(hub)
    # Also where nobody has started a gateway yet.
    assert hub.cli("patient", "show", "--patient", f"{GONE}^^^H", check=False).returncode != 0
    hub.start_gateway()
    again, = all_done(hub)
    assert (again["erasure"], again["counts"]["journal"], again["reason"]) == (done["erasure"], 2, "case 4711") and again["again"], again
    assert "restored" in hub.cli("patient", "erasures").stdout
    check_gone(hub)
    # What the device had kept for her is here again, from when nobody knew any more that he had left: it is not his.
    ward.send("m1", hers)
    ward.door = Peer(ward.in_port)
    ward.adt("A01", (came - ward.start) / 60, STAYS, ICU.format(1))
    wait_for(lambda: values(hub, "--patient", f"{STAYS}^^^H") == HERS, "readings of hers")
    # Once done it stays done: the same backup again, and a newer one.
    hub.cli("backup", hub.state / "newer")
    hub.gateway.stop()
    assert "to be erased again" not in hub.cli("restore", hub.state / "newer", "--replace").stdout
    assert done["erasure"] in hub.cli("restore", hub.state / "backup", "--replace").stdout
    hub.start_gateway()
    all_done(hub)
    check_gone(hub)
    hub.cli("verify")
    # Numbers of patients are not given twice, whichever store gave them.
    hub.cli("associate", "--device", "m1", "--patient", "12^^^H", "--from", "-1m")
    number = rows(hub, "patient", "erase", "--patient", "12^^^H")[0]["patients"][0]
    assert number > now_ms() // 1000 - 3600, number


def test_a_list_tells_where_no_store_is(hubs):
    ward, _, _, done = fill(hubs)
    hub = ward.hub
    kept = hub.state / "erasures.json"
    kept.write_text(hub.cli("patient", "erasures", "--json").stdout)
    hub.gateway.stop()
    shutil.rmtree(hub.state / "data")
    (hub.state / "wrong").write_text(kept.read_text() + "{}\n")
    wrong = hub.cli("restore", hub.state / "backup", "--erasures", hub.state / "wrong", check=False)
    assert wrong.returncode != 0 and "line 2" in wrong.stderr and not (hub.state / "data" / "data.mdb").exists(), wrong
    said = hub.cli("restore", hub.state / "backup", "--to", hub.state / "elsewhere").stdout
    assert "--erasures" in said and "here again" in said, said
    said = hub.cli("restore", hub.state / "backup", "--erasures", kept).stdout
    assert done["erasure"] in said and "here again" not in said, said
    hub.start_gateway()
    assert all_done(hub)[0]["counts"]["journal"] == 2
    check_gone(hub)


def test_another_hubs_list_erases_nobody(hubs):
    ward, _, _, done = fill(hubs)
    hub = ward.hub
    done["windows"] = [{**window, "device": "x9"} for window in done["windows"]]
    kept = hub.state / "erasures.json"
    kept.write_text(json.dumps(done) + "\n")
    hub.gateway.stop()
    shutil.rmtree(hub.state / "data")
    hub.cli("restore", hub.state / "backup", "--erasures", kept)
    hub.start_gateway()
    assert "another hub" in (hub.state / "vitalgate.log").read_text()
    assert [e["state"] for e in rows(hub, "patient", "erasures")] == ["again"]
    assert hub.cli("patient", "show", "--patient", f"{GONE}^^^H").returncode == 0


def test_a_damaged_store_tells_what_it_can(hubs):
    """Its pages are read one by one: LMDB would follow whatever they say."""
    ward, _, _, done = fill(hubs)
    hub = ward.hub
    hub.gateway.stop()
    data = hub.state / "data" / "data.mdb"
    with open(data, "r+b") as file:
        file.truncate(8192)
    said = hub.cli("restore", hub.state / "backup", "--replace").stdout
    assert "--erasures" in said or "may have been more" in said, said
    assert "to be erased again" not in said


def test_what_waits_for_a_destination_is_not_sent(hubs):
    """Messages of his in the backup's outbox go before any destination runs."""
    ward = Ward(hubs, {"pdms": {}}, ("m1",), moment=time.time())
    hub = ward.hub
    ward.place("m1", ICU.format(1), 0)
    ward.receivers["pdms"].stop()
    ward.adt("A01", 10, GONE, ICU.format(1))
    ward.send("m1", [(ward.at(20), HIS[0]), (ward.now(), HIS[1])])
    wait_for(lambda: ward.destination("pdms")["made"] >= 1, "a message to wait", 20)
    assert code(ward.door.ask(f"MSH|^~\\&|ADT|H|VG|H|{dtm(ward.now())}||ADT^A40|bad1|P|2.5\rPID|1||{GONE}^^^H^PI||N{GONE}\r"))[0] in ("AE", "AR")
    hub.cli("backup", hub.state / "backup")
    ward.wait(60)
    leaves(ward, GONE)
    rows(hub, "patient", "erase", "--patient", f"{GONE}^^^H", "--yes", "--reason", "r")
    hub.gateway.stop()
    hub.cli("restore", hub.state / "backup", "--replace")
    ward.receivers["pdms"].start()
    hub.start_gateway()
    all_done(hub)
    found = live_bytes(hub)
    assert not any(trace in found for trace in traces_of([GONE], HIS))
    ward.door = Peer(ward.in_port)
    ward.adt("A01", (ward.now() - ward.start) / 60, STAYS, ICU.format(1))
    ward.wait(60)
    ward.send("m1", [(ward.now(), HERS[1])])
    wait_for(lambda: HERS[1] in ward.receivers["pdms"].chart().where(), "what is measured now")
    assert HIS[0] not in ward.receivers["pdms"].chart().where()
