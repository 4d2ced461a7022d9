# SPDX-License-Identifier: Apache-2.0
"""The golden messages through a parser that nobody here wrote: structure, running numbers, containment, codes."""
import pathlib

import hl7
import pytest

FILES = sorted((pathlib.Path(__file__).resolve().parents[1] / "golden" / "hl7").glob("*.hl7"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_golden_message(path):
    message = hl7.parse(path.read_text(encoding="utf-8").replace("\n", "\r"))
    names = [str(segment[0]) for segment in message]
    assert names[:4] == ["MSH", "PID", "PV1", "OBR"]
    assert set(names[4:]) <= {"OBR", "OBX", "NTE"}
    msh = message.segment("MSH")
    assert str(msh[9]) == "ORU^R01^ORU_R01" and str(msh[12]) == "2.6" and len(str(msh[10])) <= 20
    assert str(msh[21]).split("^")[2] == "1.3.6.1.4.1.19376.1.6.1.1.1"
    assert str(msh[7])[-5:] == "+0000"
    assert str(message.segment("PID")[5]) == "^^^^^^U" and str(message.segment("PID")[31]) == "Y"
    assert [int(str(o[1])) for o in message.segments("OBX")] == list(range(1, names.count("OBX") + 1))
    assert [int(str(o[1])) for o in message.segments("OBR")] == list(range(1, names.count("OBR") + 1))
    fillers = [str(o[3]) for o in message.segments("OBR")]
    assert len(set(fillers)) == len(fillers) and all(f.split("^")[0].startswith(f.split("^")[2]) for f in fillers)

    places = []
    for segment in message:
        if str(segment[0]) == "OBR":
            places = []
        if str(segment[0]) != "OBX":
            continue
        place = [int(n) for n in str(segment[4]).split(".")]
        assert len(place) == 4 and place not in places and (not places or places[-1] < place)
        # Every level that has a name stands above what it contains.
        assert place[0] == 1 and (place[1] == 0 or place[2:] == [0, 0] or [1, place[1], 0, 0] in places)
        places.append(place)
        code, refid, system = str(segment[3]).split("^")
        assert code.isdigit() and refid.startswith("MDC_") and system == "MDC"
        if str(segment[11]) == "X":
            assert str(segment[5]) == ""
        if str(segment[2]) == "NM":
            float(str(segment[5]))
            unit = str(segment[6]).split("^")
            assert unit[2] == "MDC" and unit[5] == "UCUM"


def test_there_are_golden_messages():
    assert len(FILES) >= 3
