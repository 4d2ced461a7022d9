#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the recorded electrocardiogram of Debian's python3-scipy (MIT-BIH record 208, 360 Hz, 11 bits) as little-endian int32 samples, for series_chunk_bench.
Usage: ecg.py FILE"""
import importlib.util
import pathlib
import struct
import sys
import zipfile


def samples():
    folder = pathlib.Path(importlib.util.find_spec("scipy").submodule_search_locations[0])
    with zipfile.ZipFile(folder / "misc" / "ecg.dat") as archive:
        array = archive.read("ecg.npy")  # NumPy's format 1: magic, version, u16 length of the header, header, numbers
    header = struct.unpack("<H", array[8:10])[0]
    assert b"'<u2'" in array[10:10 + header]
    return [value for value, in struct.iter_unpack("<H", array[10 + header:])]


if __name__ == "__main__":
    pathlib.Path(sys.argv[1]).write_bytes(b"".join(struct.pack("<i", value) for value in samples()))
