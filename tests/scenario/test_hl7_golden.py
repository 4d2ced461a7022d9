# SPDX-License-Identifier: Apache-2.0
"""The golden messages through parsers that nobody here wrote: structure, running numbers, containment, codes; and what identifiers are made of."""
import hashlib
import pathlib
import struct
import subprocess

import hl7
import pytest

FILES = sorted((pathlib.Path(__file__).resolve().parents[1] / "golden" / "hl7").glob("*.hl7"))
CHARSETS = {"UNICODE UTF-8": "utf-8", "8859/1": "iso-8859-1", "8859/15": "iso-8859-15", "": "ascii"}
UNKNOWN = "^^^^^^U"


def text_of(name):
    raw = (FILES[0].parent / f"{name}.hl7").read_bytes()
    return raw.decode(CHARSETS[raw.split(b"\n")[0].split(b"|")[17].decode()])


def parse(name):
    return hl7.parse(text_of(name).replace("\n", "\r"))


def field(segment, n):
    return str(segment[n]) if len(segment) > n else ""


def obx(message, code):
    return [o for o in message.segments("OBX") if field(o, 3).startswith(f"{code}^")]


def check_place(segment, places):
    place = [int(n) for n in field(segment, 4).split(".")]
    assert len(place) in (4, 5, 6) and place not in places and (not places or places[-1] < place)
    # Every level that has a name stands above what it contains, a facet below its metric.
    assert place[0] == 1 and (place[1] == 0 or place[2:] == [0, 0] or [1, place[1], 0, 0] in places)
    assert len(place) == 4 or place[:-1] in places
    places.append(place)


def check_obx(segment):
    code, refid, system = field(segment, 3).split("^")
    assert code.isdigit() and refid.startswith("MDC_") and system == "MDC"
    assert field(segment, 11) in "RXCWF" and len(field(segment, 11)) == 1
    if field(segment, 11) == "X":
        assert field(segment, 2) == field(segment, 5) == ""
    else:
        assert field(segment, 2) in ("NM", "CWE", "ST", "FT", "DTM", "NA", "NR") and field(segment, 5) != ""
    if field(segment, 2) in ("NM", "NA", "NR"):
        assert all(float(n) is not None for n in field(segment, 5).split("^"))
        unit = field(segment, 6).split("^")
        assert unit[2] == "MDC" and unit[5] == "UCUM" and unit[0].isdigit()


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_golden_message(path):
    message = parse(path.stem)
    names = [str(segment[0]) for segment in message]
    assert names[:4] == ["MSH", "PID", "PV1", "OBR"]
    assert set(names[4:]) <= {"OBR", "OBX", "NTE"}
    msh = message.segment("MSH")
    assert str(msh[9]) == "ORU^R01^ORU_R01" and len(str(msh[10])) <= 20
    if path.stem != "overrides":
        assert str(msh[12]) == "2.6" and field(msh, 21).split("^")[2] == "1.3.6.1.4.1.19376.1.6.1.1.1"
        assert (field(msh, 15), field(msh, 16)) == ("AL", "NE")
    assert str(msh[7])[-5:] == "+0000"
    pid = message.segment("PID")
    assert (field(pid, 5) == UNKNOWN or field(pid, 5).split("^")[6] == "L") and (field(pid, 31) == "Y") == (field(pid, 3) == "")
    assert field(message.segment("PV1"), 2) in "UI"
    assert [int(str(o[1])) for o in message.segments("OBX")] == list(range(1, names.count("OBX") + 1))
    assert [int(str(o[1])) for o in message.segments("OBR")] == list(range(1, names.count("OBR") + 1))
    fillers = [str(o[3]) for o in message.segments("OBR")]
    assert len(set(fillers)) == len(fillers) and all(f.split("^")[0].startswith(f.split("^")[2]) for f in fillers)
    places = []
    for segment in message:
        if str(segment[0]) == "OBR":
            places = []
        if str(segment[0]) == "OBX":
            check_place(segment, places)
            check_obx(segment)


def test_there_are_golden_messages():
    assert len(FILES) >= 18


# ---- Corrections ----

def test_what_goes_again_is_the_same_but_for_whom():
    first, wrong, right = parse("patient-order"), parse("wrong-patient"), parse("right-patient")
    assert [str(s) for s in first[1:3]] == [str(s) for s in wrong[1:3]] != [str(s) for s in right[1:3]]
    assert len({field(m.segment("MSH"), 10) for m in (first, wrong, right)}) == 3
    for other, status in ((wrong, "W"), (right, "R")):
        for n in (3, 4, 7, 8):
            assert [field(o, n) for o in first.segments("OBR")] == [field(o, n) for o in other.segments("OBR")]
        for n in (2, 3, 4, 5, 6, 8, 14, 17, 18):
            assert [field(o, n) for o in first.segments("OBX")] == [field(o, n) for o in other.segments("OBX")]
        assert {field(o, 11) for o in other.segments("OBX") if field(o, 2) == "NM"} == {status}
        assert {field(o, 11) for o in other.segments("OBX") if field(o, 2) == ""} == {"X"}
    assert field(first.segment("OBR"), 2) == "ORD\\F\\88^KIS" and field(right.segment("OBR"), 2) == ""


def test_a_correction_names_what_it_replaces():
    right, corrected = parse("right-patient"), parse("corrected")
    old, new = obx(right, 150021)[0], obx(corrected, 150021)[0]
    assert field(corrected.segment("OBR"), 3) == field(right.segment("OBR"), 3)
    assert [field(old, n) for n in (3, 4, 14)] == [field(new, n) for n in (3, 4, 14)]
    assert (field(old, 5), field(old, 11), field(new, 5), field(new, 11)) == ("120", "R", "121", "C")


# ---- Identifiers, from what adapters/hl7/oru.h says of them ----

T0 = 1795162500000000


def base32(digest):
    number = int.from_bytes(digest, "big")
    return "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[number >> (128 - 5 * (i + 1)) & 31] for i in range(20))


def blake2b(data):
    return hashlib.blake2b(data, digest_size=16).digest()


def identifiers(device, keys, patient=0, status=0, again=0, origin=None):
    data = struct.pack("<Q", 0x1122334455667788) + b"pdms\0" + device + b"\0"
    for time_s, signal, sequence, instance, revision in keys:
        data += struct.pack("<QIIII", T0 + int(time_s * 1e6), signal, sequence, instance, revision)
    own = base32(blake2b(data))
    origin = origin or own
    more = struct.pack("<QII", patient, status, again)
    return base32(blake2b(own.encode() + b"\0" + origin.encode() + b"\0" + more)), origin


def test_identifiers():
    pressure = [(30, 150021, 0, 0, 0), (30, 150022, 0, 0, 0), (30, 150023, 0, 0, 0)]
    revised = [(30, 150021, 0, 0, 1)]
    _, origin = identifiers(b"mon-1", pressure)
    for name, keys, patient, status, again in (("patient-order", pressure, 7, 0, 0), ("wrong-patient", pressure, 7, 1, 0), ("right-patient", pressure, 8, 0, 0),
                                               ("corrected", revised, 8, 2, 0), ("corrected-again", revised, 8, 2, 1)):
        message = parse(name)
        assert field(message.segment("MSH"), 10) == identifiers(b"mon-1", keys, patient, status, again, origin)[0]
        assert field(message.segment("OBR"), 3) == f"0011223344556677{origin}^Vitalgate^0011223344556677^EUI-64"


# ---- Character sets ----

def test_names():
    name = {n: field(parse(f"names-{n}").segment("PID"), 5) for n in ("utf-8", "8859-1", "8859-15", "ascii")}
    assert name["utf-8"] == "Müller-Łukž^Noël \\E\\ Œ^^^^^L"
    assert name["8859-15"] == "Müller-\\XC581\\ukž^Noël \\E\\ Œ^^^^^L"
    assert name["8859-1"] == "Müller-\\XC581\\uk\\XC5BE\\^Noël \\E\\ \\XC592\\^^^^^L"
    assert name["ascii"] == "M\\XC3BC\\ller-\\XC581\\uk\\XC5BE\\^No\\XC3AB\\l \\E\\ \\XC592\\^^^^^L"


# ---- tshark's dissector ----

def tshark(tmp_path, message):
    dump, capture = tmp_path / "frame.txt", tmp_path / "frame.pcap"
    frame = b"\x0b" + message.encode() + b"\x1c\r"
    dump.write_text("".join(f"{i:06x} " + " ".join(f"{b:02x}" for b in frame[i:i + 16]) + "\n" for i in range(0, len(frame), 16)))
    subprocess.run(["text2pcap", "-q", "-T", "40000,2575", str(dump), str(capture)], check=True, capture_output=True)
    return subprocess.run(["tshark", "-r", str(capture), "-V", "-O", "hl7"], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("name", ["interval", "moments", "patient-order", "waveform", "wrong-patient"])
def test_dissector(tmp_path, name):
    text = text_of(name)
    shown = tshark(tmp_path, text.replace("\n", "\r"))
    assert "ORU" in shown and "Malformed" not in shown and "Unknown" not in shown
    for segment in ("MSH", "PID", "PV1", "OBR", "OBX"):
        lines = [line.strip() for line in shown.splitlines()]
        assert sum(line.startswith(f"{segment} ") or line.startswith(f"{segment}:") for line in lines) == \
            sum(line.startswith(f"{segment}|") for line in text.splitlines()), shown[:600]
