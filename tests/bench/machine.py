# SPDX-License-Identifier: Apache-2.0
"""The machine that a table was measured on, in one dictionary and one sentence."""
import os
import pathlib
import platform
import re
import statistics
import subprocess
import time


def _first(pattern, path, default="unknown"):
    try:
        found = re.search(pattern, pathlib.Path(path).read_text(), re.M)
    except OSError:
        return default
    return found.group(1).strip().strip('"') if found else default


def sync_ms(folder, count=200):
    """What the disk takes: an appended 4 KB block with fdatasync, in milliseconds (median, p99)."""
    path = pathlib.Path(folder) / "sync-probe"
    times = []
    with open(path, "wb", buffering=0) as f:
        for _ in range(count):
            f.write(b"\0" * 4096)
            start = time.perf_counter()
            os.fdatasync(f.fileno())
            times.append((time.perf_counter() - start) * 1000)
    path.unlink()
    times.sort()
    return round(statistics.median(times), 3), round(times[int(count * 0.99) - 1], 3)


def file_system(folder):
    done = subprocess.run(["findmnt", "-n", "-o", "FSTYPE", "-T", str(folder)], capture_output=True, text=True)
    return done.stdout.strip() or "unknown file system"


def describe(folder):
    median, p99 = sync_ms(folder)
    return {
        "cpu": _first(r"^model name\s*: (.*)$", "/proc/cpuinfo"),
        "mhz": float(_first(r"^cpu MHz\s*: (.*)$", "/proc/cpuinfo", "0")),
        "cores": os.cpu_count(),
        "memory_gib": round(int(_first(r"^MemTotal:\s*(\d+)", "/proc/meminfo", "0")) / 1048576, 1),
        "system": _first(r'^PRETTY_NAME=(.*)$', "/etc/os-release"),
        "kernel": platform.release(),
        "file_system": file_system(folder),
        "fdatasync_ms_p50": median,
        "fdatasync_ms_p99": p99,
        "load_average": round(os.getloadavg()[0], 2),
    }


def sentence(m):
    return (f"{m['cpu']}, {m['cores']} cores at {m['mhz'] / 1000:.1f} GHz, {m['memory_gib']} GiB, {m['system']}, kernel {m['kernel']}, "
            f"{m['file_system']}; fdatasync of a 4 KB block {m['fdatasync_ms_p50']} ms (p99 {m['fdatasync_ms_p99']} ms); "
            f"load average before the run {m['load_average']}")
