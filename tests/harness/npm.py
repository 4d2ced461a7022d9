# SPDX-License-Identifier: Apache-2.0
"""Packages of npm that the tests use (tests/npm/package.json), installed once below the build folder."""
import fcntl
import shutil
import subprocess

from .hub import ROOT

SOURCE = ROOT / "tests" / "npm"
FOLDER = ROOT / "build" / "npm"


def script(name):
    """The path of a program of tests/npm, beside the packages that it needs."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(FOLDER / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = (SOURCE / "package-lock.json").read_bytes()
        stamp = FOLDER / "installed"
        if not stamp.exists() or stamp.read_bytes() != wanted:
            for part in ("package.json", "package-lock.json"):
                shutil.copy(SOURCE / part, FOLDER / part)
            done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=FOLDER, capture_output=True, text=True, timeout=300)
            if done.returncode != 0:
                raise RuntimeError(f"npm ci failed; the HL7 peers of tests/npm are needed: {done.stderr[-2000:]}")
            stamp.write_bytes(wanted)
        shutil.copy(SOURCE / name, FOLDER / name)
    return FOLDER / name


def run(name, *args, text, seconds=60):
    """Its standard output; fails with its words."""
    done = subprocess.run(["node", str(script(name)), *map(str, args)], input=text, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
