#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Power cuts, from a record of every write and sync to the store while a load ran.

Makes states as a power cut would leave them and has each one opened and checked (verify.c). The rules:
- what was synced is there; a completed O_DSYNC write is durable for itself only, not for buffered writes before it;
- every other write is, at random: there, absent, there in part (torn at sectors of 512 bytes), in any order;
- the file's size follows what is there, or is the later one; bytes never written are zeros;
- names (made, renamed, removed) follow their directory's fsync; those after it are there up to a random point.
"""
import argparse
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile

OPEN, WRITE, WRITTEN, SYNC, SYNCED, SIZE, RENAME, UNLINK, MKDIR, SUBMITTED, ACKNOWLEDGED = range(1, 12)
ENTRY = struct.Struct("=IIQQQ")
SECTOR = 512
SOURCES = 4


def entries(path):
    with open(path, "rb") as log:
        while head := log.read(ENTRY.size):
            kind, length, file, offset, value = ENTRY.unpack(head)
            yield kind, file, offset, value, log.read(length)


class File:
    """One file: what a cut cannot take away, and what it can."""

    def __init__(self):
        self.durable = bytearray()
        self.size = 0          # as the kernel sees it
        self.durable_size = 0
        self.pending = []      # (number, offset, data): written, not synced
        self.open_write = None  # begun, not returned
        self.number = 0
        self.sector_number = {}  # sector -> number of the O_DSYNC write that made it durable out of turn

    def begin(self, offset, dsync, data):
        self.number += 1
        self.open_write = (self.number, offset, data, dsync)

    def end(self):
        number, offset, data, dsync = self.open_write
        self.open_write = None
        self.size = max(self.size, offset + len(data))
        if not dsync:
            self.pending.append((number, offset, data))
            return
        # The sectors go to the disk with all that the page cache holds of them.
        for old_number, old_offset, old_data in self.pending:
            for start, end in pieces(old_offset, old_data):
                sector = start // SECTOR
                if offset // SECTOR <= sector <= (offset + len(data) - 1) // SECTOR and old_number >= self.sector_number.get(sector, 0):
                    put(self.durable, start, old_data[start - old_offset:end - old_offset])
        put(self.durable, offset, data)
        for sector in range(offset // SECTOR, (offset + len(data) - 1) // SECTOR + 1):
            self.sector_number[sector] = number
        self.durable_size = max(self.durable_size, offset + len(data))

    def sync(self):
        for number, offset, data in self.pending:
            if self.sector_number:
                for start, end in pieces(offset, data):
                    if number >= self.sector_number.get(start // SECTOR, 0):
                        put(self.durable, start, data[start - offset:end - offset])
            else:
                put(self.durable, offset, data)
        self.pending.clear()
        self.sector_number.clear()
        self.durable_size = self.size
        del self.durable[self.size:]

    def cut(self, rng):
        """The file as a cut now could leave it."""
        image, size = bytearray(self.durable), self.durable_size
        pending = list(self.pending)
        if self.open_write is not None:
            pending.append(self.open_write[:3])
        mood = rng.random()  # whole states too in which nothing or everything went through
        if mood < 0.5:
            rng.shuffle(pending)
        for number, offset, data in pending:
            fate = rng.random() if mood < 0.8 else 0.0 if mood < 0.9 else 0.4
            if fate < 0.35:
                continue  # absent
            for start, end in pieces(offset, data):
                if fate > 0.7 and rng.random() < 0.5:
                    continue  # torn
                if number < self.sector_number.get(start // SECTOR, 0):
                    continue
                put(image, start, data[start - offset:end - offset])
                size = max(size, end)
        if rng.random() < 0.5:
            size = max(size, self.size)
        return image[:size], size


def pieces(offset, data):
    """The write cut at the disk's sectors."""
    start, end = offset, offset + len(data)
    while start < end:
        stop = min(end, (start // SECTOR + 1) * SECTOR)
        yield start, stop
        start = stop


def put(image, offset, data):
    if len(image) < offset:
        image.extend(bytes(offset - len(image)))
    image[offset:offset + len(data)] = data


class Disk:
    def __init__(self, root):
        self.root = root
        self.files = {}
        self.names = []    # (kind, path, other or file): in order; the first `durable_names` cannot be taken away
        self.durable_names = 0
        self.dirs = {}
        self.acknowledged = [0] * SOURCES
        self.submitted = [0] * SOURCES

    def apply(self, kind, file, offset, value, data):
        if kind == OPEN:
            path = data.decode()
            if os.path.isdir(path) or path in self.dirs.values():
                self.dirs[file] = path
                return
            if value == 1:
                self.files[file] = File()  # an inode's number may come again
                self.names.append((OPEN, path, self.files[file]))
            elif file not in self.files:
                self.dirs[file] = path
        elif kind == WRITE:
            self.files[file].begin(offset, value == 1, data)
        elif kind == WRITTEN:
            self.files[file].end()
        elif kind == SYNCED:
            if file in self.files:
                self.files[file].sync()
            else:
                self.durable_names = len(self.names)
        elif kind == SIZE:
            self.files[file].size = value
        elif kind == RENAME:
            self.names.append((RENAME, *data.decode().split("\0")))
        elif kind in (UNLINK, MKDIR):
            self.names.append((kind, data.decode(), None))
        elif kind == SUBMITTED:
            self.submitted[file] = value + 1
        elif kind == ACKNOWLEDGED:
            self.acknowledged[file] = value + 1

    def cut(self, rng, target):
        here = {}
        for kind, path, other in self.names[:rng.randint(self.durable_names, len(self.names))]:
            if kind == OPEN:
                here[path] = other
            elif kind == MKDIR:
                here[path] = None
            elif kind == UNLINK:
                here.pop(path, None)
            elif kind == RENAME:
                here[other] = here.pop(path)
        for path, file in here.items():
            name = os.path.join(target, os.path.relpath(path, self.root))
            if file is None:
                os.makedirs(name, exist_ok=True)
                continue
            os.makedirs(os.path.dirname(name), exist_ok=True)
            image, size = file.cut(rng)
            with open(name, "wb") as out:
                out.write(image)
                out.truncate(size)


class Progress:
    def __init__(self, total):
        self.total, self.shown = total, -1

    def show(self, done):
        percent = done * 100 // self.total
        if percent != self.shown and (sys.stdout.isatty() or percent % 10 == 0):
            self.shown = percent
            print(f"\r  {done} of {self.total} states" if sys.stdout.isatty() else f"  {done} of {self.total} states", end="" if sys.stdout.isatty() else "\n", flush=True)


def record(options, scratch):
    root, log = os.path.join(scratch, "store"), os.path.join(scratch, "record")
    command = [options.load, root, log, str(options.tickets)] + ([options.unsafe] if options.unsafe else [])
    subprocess.run(command, check=True, timeout=300)
    return root, log


def verify(options, disk, target):
    marks = [str(n) for pair in zip(disk.acknowledged, disk.submitted) for n in pair]
    done = subprocess.run([options.verify, target, *marks], capture_output=True, text=True, timeout=120)
    if done.returncode == 0:
        return None
    return (done.stdout + done.stderr).strip() or f"ended with status {done.returncode}"


def choose(options, log):
    """After which entries to cut: mostly around writes and syncs, with a share for the making of the store."""
    kinds = [entry[0] for entry in entries(log)]
    disk = [i for i, kind in enumerate(kinds) if kind < SUBMITTED]
    rng = random.Random(options.seed)
    ways = [lambda: rng.choice(disk[:100]), lambda: rng.randrange(len(kinds))] + [lambda: rng.choice(disk)] * 6
    return len(disk), sorted(rng.choice(ways)() for _ in range(options.states))


def cut_all(options, root, log, scratch):
    """Makes and checks the states; returns what was wrong with them."""
    total, cuts = choose(options, log)
    disk, bad, done, progress = Disk(root), [], 0, Progress(options.states)
    target = os.path.join(scratch, "state")
    print(f"{total} writes and syncs recorded; {options.states} power cuts, seed {options.seed}", flush=True)
    for number, entry in enumerate(entries(log)):
        disk.apply(*entry)
        while done < len(cuts) and cuts[done] == number:
            seed = f"{options.seed}/{done}"
            shutil.rmtree(target, ignore_errors=True)
            os.mkdir(target)
            disk.cut(random.Random(seed), target)
            if (what := verify(options, disk, target)) is not None:
                bad.append(f"state {done} (after entry {number}, seed {seed}): {what}")
                if options.keep:
                    shutil.copytree(target, f"{options.keep}-{done}", dirs_exist_ok=True)
            done += 1
            progress.show(done)
    if sys.stdout.isatty():
        print()
    return bad


def main():
    parser = argparse.ArgumentParser(description="Checks that no power cut loses what was acknowledged.")
    parser.add_argument("--load", required=True, help="the program powercut_load")
    parser.add_argument("--verify", required=True, help="the program powercut_verify")
    parser.add_argument("--states", type=int, default=400, help="how many power cuts (default: %(default)s)")
    parser.add_argument("--tickets", type=int, default=6000, help="size of the load (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="which cuts (default: %(default)s)")
    parser.add_argument("--keep", metavar="PREFIX", help="keep the states that are wrong")
    parser.add_argument("--unsafe", choices=["nosync", "nometasync"], help="break the promise on purpose: succeeds where that is seen")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="powercut-") as scratch:
        bad = cut_all(options, *record(options, scratch), scratch)
    for line in bad[:10]:
        print(line)
    print(f"{len(bad)} of {options.states} states are wrong")
    if options.unsafe:
        print("as it has to be: the store did not sync" if bad else "the test did not see that the store does not sync")
        return 0 if bad else 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
