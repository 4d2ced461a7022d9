# SPDX-License-Identifier: Apache-2.0
"""Scenarios run the real daemon against real clients on loopback. One hub a module, unless a test makes its own.

VITALGATE=path tells which program to test (default: build/dev/vitalgate, with sanitizers: any report fails the test).
"""
import os
import pathlib
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness.hub import ROOT, Hub  # noqa: E402

SANITIZER = (b"AddressSanitizer", b"LeakSanitizer", b"runtime error:", b"ThreadSanitizer")


@pytest.fixture(scope="session")
def program():
    return pathlib.Path(os.environ.get("VITALGATE", ROOT / "build" / "dev" / "vitalgate"))


class Hubs:
    """Makes hubs and looks at what they leave behind."""

    def __init__(self, program):
        self.program, self.made = program, []

    def __call__(self, **kwargs):
        folder = tempfile.TemporaryDirectory(prefix="vg-")
        hub = Hub(folder.name, self.program, **kwargs)
        self.made.append((hub, folder))
        return hub.prepare()

    def close(self):
        problems = []
        for hub, folder in self.made:
            try:
                hub.stop()
            except AssertionError as failure:
                problems.append(str(failure))
            log = hub.state / "vitalgate.log"
            text = log.read_bytes() if log.exists() else b""
            if any(mark in text for mark in SANITIZER):
                problems.append("sanitizer report:\n" + text[-6000:].decode(errors="replace"))
            folder.cleanup()
        assert not problems, "\n".join(problems)


@pytest.fixture
def hubs(program):
    made = Hubs(program)
    yield made
    made.close()


@pytest.fixture(scope="module")
def module_hubs(program):
    made = Hubs(program)
    yield made
    made.close()
