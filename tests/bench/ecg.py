#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the recorded electrocardiogram of Debian's python3-scipy (MIT-BIH record 208, five minutes, 360 Hz, 11 bits) as little-endian int32 samples, for recorded_ecg and
series_chunk_bench. Where the package is not installed it is fetched with apt and only the recording is taken out of it: the package itself would bring 300 MB of others along.
Debian 12's has it; Debian 13's (scipy 1.15) has none.
Usage: ecg.py FILE"""
import importlib.util
import io
import pathlib
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile

MEMBER = "misc/ecg.dat"


def installed():
    """The recording's file as bytes; None: it is not there."""
    found = importlib.util.find_spec("scipy")
    for folder in found.submodule_search_locations if found else ():
        path = pathlib.Path(folder) / MEMBER
        if path.exists():
            return path.read_bytes()
    return None


def fetched():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["apt-get", "-q", "download", "python3-scipy"], cwd=folder, check=True, capture_output=True)
        package = next(pathlib.Path(folder).glob("*.deb"))
        files = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(files)) as archive:
        for member in archive:
            if member.name.endswith("/scipy/" + MEMBER):
                return archive.extractfile(member).read()
    return None


def samples(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        array = archive.read("ecg.npy")  # NumPy's format 1: magic, version, u16 length of the header, header, numbers
    header = struct.unpack("<H", array[8:10])[0]
    assert b"'<u2'" in array[10:10 + header]
    return [value for value, in struct.iter_unpack("<H", array[10 + header:])]


def main():
    out = pathlib.Path(sys.argv[1])
    if out.exists():
        return
    try:
        data = installed() or fetched()
    except (OSError, subprocess.CalledProcessError, StopIteration) as failure:
        sys.exit(f"ecg.py: no recorded ECG: apt-get download python3-scipy: {failure}")
    if data is None:
        sys.exit("ecg.py: no recorded ECG: this Debian's python3-scipy carries none")
    out.write_bytes(b"".join(struct.pack("<i", value) for value in samples(data)))


if __name__ == "__main__":
    main()
