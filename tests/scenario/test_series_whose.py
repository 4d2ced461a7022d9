# SPDX-License-Identifier: Apache-2.0
"""Whose a stored reading is when the device's clock is wrong: what queries say of a transfer, live, after a kill, and without a gateway."""
import json
import time

from harness.hub import wait_for
from test_hl7_in import Peer
from test_right_patient import Ward, ticks


def lines(text):
    return [json.loads(line) for line in text.splitlines() if line]


def values(hub, *args):
    """Values as sent, and what was said aside."""
    done = hub.cli("query", *args, "--json")
    return [row["received"]["value"] if "received" in row else f"{row['value']:.3f}" for row in lines(done.stdout)], done.stderr


def transfer(ward, patient, after):
    minute = (ward.now() - ward.start) / 60
    ward.adt("A03", minute, patient, "ICU^^3")
    ward.adt("A01", minute, after, "ICU^^3")


def test_a_device_three_hours_off_over_a_transfer(hubs):
    ward = Ward(hubs, moment=time.time() + 86400, profile="bedside-json", devices=("m1",))
    hub = ward.hub
    ward.place("m1", "ICU^^3", -100)
    ward.adt("A01", -100, "P1", "ICU^^3")
    sent = {"P1": list(ticks(ward, "m1", -3 * 3600, 9))}
    transfer(ward, "P1", "P2")
    ward.wait(12)
    sent["P2"] = list(ticks(ward, "m1", -3 * 3600, 5))
    # And once more: by a clock that is ahead, from here on.
    sent["P2"] += list(ticks(ward, "m1", 2 * 3600, 8))
    transfer(ward, "P2", "P3")
    ward.wait(12)
    sent["P3"] = list(ticks(ward, "m1", 2 * 3600, 5))

    def exactly():
        for patient, all_of_it in sent.items():
            got, aside = values(hub, "--patient", f"{patient}^^^H")
            assert got == sorted(got) and sorted(got) == sorted(all_of_it) and "left out" not in aside, (patient, got, all_of_it, aside)
        assert len(values(hub, "--bed", "ICU^^3")[0]) == 27
        assert [(row["bed"], row.get("unsure")) for row in lines(hub.cli("latest", "--bed", "ICU^^3", "--json").stdout)] == [("ICU^^3", None)]

    exactly()
    # What receivers have charted is the same.
    chart = ward.receivers["pdms"].chart
    wait_for(lambda: {value: patient for patient, readings in sent.items() for value in readings}.items() <= chart().where().items(), "all to be charted", 20, 0.1)
    hub.gateway.kill()
    hub.gateway.child.wait()
    exactly()
    hub.start_gateway()
    ward.door = Peer(ward.in_port)
    exactly()
    # Too near to a change: said in one line, and shown with a mark.
    ticks(ward, "m1", 2 * 3600, 1, 1)
    transfer(ward, "P3", "P4")
    got, aside = values(hub, "--patient", "P3^^^H")
    assert sorted(got) == sorted(sent["P3"]) and "1 readings were left out: measured so near to a change" in aside
    rows = lines(hub.cli("query", "--patient", "P3^^^H", "--unsure", "--json").stdout)
    assert [row.get("unsure") for row in rows] == [None] * 5 + [True]
    assert lines(hub.cli("latest", "--bed", "ICU^^3", "--json").stdout)[0]["value"] == rows[-1]["value"]
    # A clock that jumps is not sure until it stays.
    ticks(ward, "m1", -5 * 3600, 1, 1)
    got, aside = values(hub, "--patient", "P4^^^H")
    assert got == [] and "of 1 the device's clock was not sure, 1 were measured too near" in aside
    hub.gateway.stop()
    assert "of 1 the device's clock was not sure" in values(hub, "--patient", "P4^^^H")[1]
