# SPDX-License-Identifier: Apache-2.0
"""A journal that is damaged on the disk: the gateway does not start on it and says why, once; `salvage` makes a new one of all that can be read."""
import json
import os
import random
import re
import signal
import subprocess
import time

from harness.clients import by_certificate, iso, now_ms, run
from harness.hub import wait_for

PAGE = 4096
DAMAGED = 65


def number(data, at, size=8):
    return int.from_bytes(data[at:at + size], "little")


def tables(data):
    """Root page and depth of each table: LMDB's newest head, and the leaf of its table of tables."""
    head = max((0, PAGE), key=lambda at: number(data, at + 144))
    leaf = number(data, head + 88 + 40) * PAGE
    found = {}
    for i in range((number(data, leaf + 12, 2) - 16) // 2):
        node = leaf + number(data, leaf + 16 + 2 * i, 2)
        size = number(data, node + 6, 2)
        row = node + 8 + size
        found[data[node + 8:node + 8 + size].decode()] = (number(data, row + 40), number(data, row + 6, 2))
    return found


def leaves(data, table):
    page, depth = tables(data)[table]
    level = [page]
    for _ in range(depth - 1):
        level = [number(data, node, 2) | number(data, node + 2, 2) << 16 | number(data, node + 4, 2) << 32
                 for at in (p * PAGE for p in level) for i in range((number(data, at + 12, 2) - 16) // 2)
                 for node in [at + number(data, at + 16 + 2 * i, 2)]]
    return level


def journal_file(hub):
    return hub.state / "data" / "data.mdb"


def spoil(hub, page, at=0, mask=0x40):
    with open(journal_file(hub), "r+b") as file:
        file.seek(page * PAGE + at)
        byte = file.read(1)[0]
        file.seek(page * PAGE + at)
        file.write(bytes([byte ^ mask]))


def fill(hub, count, first=0):
    start = now_ms() // 1000 * 1000 - 7200 * 1000
    noise = random.Random(first)
    frames = "".join(json.dumps({"time": iso(start + (first + i) * 1000), "hr": noise.randrange(40, 180), "spo2": noise.randrange(60, 100)}) + "\n"
                     for i in range(count))
    run(["mosquitto_pub", "-h", "127.0.0.1", "-p", hub.mqtt_port, "-i", "m1", "-q", 1, "-t", "ward/w/m1/vitals", *by_certificate(hub, "m1"), "-l"],
        input=frames)


def values(hub):
    return [(r["time"], r["signal"], r["value"]) for r in hub.readings("m1", "--from", "-3h", "--limit", 100000)]


def damaged_hub(hubs, table, count=1500, **kwargs):
    hub = hubs(**kwargs).start()
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")
    fill(hub, count)
    before = values(hub)
    hub.gateway.stop()
    data = journal_file(hub).read_bytes()
    return hub, before, leaves(data, table)


def refuses(hub):
    gateway = hub.spawn_gateway()
    gateway.child.wait(60)
    gateway.stop()
    return gateway.child.returncode


def log(hub):
    return (hub.state / "vitalgate.log").read_text(errors="replace")


def test_a_damaged_page_is_named_and_salvaged(hubs):
    """A leaf of the records' tree. Every record of it lies in pages of its own, or is small and on it."""
    hub, before, pages = damaged_hub(hubs, "journal", options={"log": {"level": "info"}})
    assert len(before) == 3000
    spoil(hub, pages[0])
    assert refuses(hub) == DAMAGED and refuses(hub) == DAMAGED
    assert f"page {pages[0]} of journal" in log(hub) and "vitalgate salvage" in log(hub)
    status = hub.cli("status", check=False)
    assert status.returncode != 0 and "vitalgate salvage" in status.stderr
    done = hub.cli("salvage", "--progress")
    assert f"page {pages[0]} of journal" in done.stdout and "replaced-" in done.stdout
    hub.start_gateway()
    after = values(hub)
    assert set(after) <= set(before)
    missing = sum(int(b) - int(a) + 1 for a, b in re.findall(r"missing: positions (\d+) to (\d+)", done.stdout))
    first = int(re.search(r"positions (\d+) to", done.stdout.split("a new journal")[1])[1])
    assert len(after) >= len(before) - 2 * (missing + first - 1) and len(after) > 2500, done.stdout
    assert hub.cli("verify", check=False).returncode == 0, hub.cli("verify", check=False).stdout
    fill(hub, 100, first=2000)
    assert len(values(hub)) == len(after) + 200
    hub.restart_gateway()
    assert b"salvaged from a damaged journal" in journal_file(hub).read_bytes()
    assert len(values(hub)) == len(after) + 200


def test_what_is_only_an_index_costs_nothing(hubs):
    hub, before, pages = damaged_hub(hubs, "index", count=2500)
    spoil(hub, pages[0], 10)
    assert refuses(hub) == DAMAGED
    assert "identifiers go on as they were" in hub.cli("salvage").stdout
    hub.start_gateway()
    assert values(hub) == before
    assert hub.cli("verify", check=False).returncode == 0


def test_a_lost_cursor_sends_again(hubs):
    """The rows' tree is one leaf here: where outlets were is lost with it, and devices are. Records are sent again rather than not at all."""
    hub, before, pages = damaged_hub(hubs, "rows", count=200, bus=True, options={"series": {"enabled": True}})
    for page in pages:
        spoil(hub, page)
    assert refuses(hub) == DAMAGED
    done = hub.cli("salvage")
    assert "outlet bus: where it was is not known" in done.stdout and "identifiers are new ones" in done.stdout
    hub.start_gateway()
    assert values(hub) == before
    wait_for(lambda: hub.status()["parts"]["bus"]["published"] >= len(before), "the bus to have all again")
    assert "m1" not in hub.cli("device", "list").stdout


def test_a_flipped_bit_in_a_row_lets_nobody_in(hubs):
    hub, before, pages = damaged_hub(hubs, "rows", count=20, bus=False)
    data = journal_file(hub).read_bytes()
    found = [(page, at) for page in pages for at in [data.find(b"device/m1", page * PAGE, (page + 1) * PAGE)] if at > 0]
    assert len(found) == 1
    spoil(hub, found[0][0], found[0][1] + 9 + 20 - found[0][0] * PAGE, 1)
    hub.start_gateway()
    assert "row device/m1 does not match its checksum" in log(hub) and "m1" not in hub.cli("device", "list").stdout
    assert hub.status()["store"]["rows_damaged"] >= 1
    named = hub.cli("verify", check=False)
    assert named.returncode != 0 and "row device/m1: it does not match its checksum" in named.stdout
    hub.gateway.stop()
    assert "row device/m1" in hub.cli("salvage").stdout
    hub.start_gateway()
    assert hub.cli("verify", check=False).returncode == 0 and values(hub) == before
    hub.add_device("m1", "bedside-json", "--cert-subject", "m1")


def test_killed_in_its_middle_it_is_done_again(hubs):
    hub, before, pages = damaged_hub(hubs, "index", count=2500, bus=False)
    spoil(hub, pages[0], 10)
    started = time.monotonic()
    hub.cli("salvage")
    took = time.monotonic() - started
    hub.start_gateway()
    hub.gateway.stop()
    cut = 0
    for i in range(8):
        data = journal_file(hub).read_bytes()
        spoil(hub, leaves(data, "index")[0], 10)
        child = subprocess.Popen([str(hub.program), "salvage", "-c", str(hub.file)], stdout=subprocess.DEVNULL, env=hub.env)
        time.sleep(took * (i + 1) / 9)
        child.send_signal(signal.SIGKILL)
        cut += child.wait() == -signal.SIGKILL
        if refuses_or_runs(hub):
            hub.cli("salvage")
            hub.start_gateway()
        assert values(hub) == before
        hub.gateway.stop()
    assert cut > 0
    assert not (hub.state / "data" / "restoring.part").exists()


def refuses_or_runs(hub):
    """True: it refused, for the salvage did not come to count."""
    hub.gateway = hub.spawn_gateway()
    wait_for(lambda: not hub.gateway.alive() or hub.answers(), "the gateway to start or to refuse")
    if hub.gateway.alive():
        return False
    assert hub.gateway.child.returncode == DAMAGED
    return True


def test_the_newest_page_and_the_root(hubs):
    """What came last lies on the last leaf; the root leads to all of it. Afterwards `verify` has nothing to say, and positions go on beyond what was given."""
    hub, before, _ = damaged_hub(hubs, "journal", bus=False)
    for choose in (lambda data: tables(data)["journal"][0], lambda data: leaves(data, "journal")[-1]):
        spoil(hub, choose(journal_file(hub).read_bytes()))
        assert refuses(hub) == DAMAGED
        done = hub.cli("salvage")
        assert "The newest records may be missing" in done.stdout
        hub.start_gateway()
        after = values(hub)
        assert set(after) <= set(before) and len(after) > 2500, done.stdout
        named = hub.cli("verify", check=False)
        assert named.returncode == 0, named.stdout
        hub.gateway.stop()
