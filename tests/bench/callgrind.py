# SPDX-License-Identifier: Apache-2.0
"""Instructions per acknowledged message under callgrind: they hardly differ from run to run, unlike seconds. Only the messages are
counted, not the start, the handshakes or the end."""
import pathlib
import re
import subprocess

from contenders import payload

SHAPES = [("mqtt", "cert13", 100, 10), ("mqtt", "cert13", 100, 1), ("coap", "dtls", 100, 1)]


def control(pid, *args):
    subprocess.run(["callgrind_control", *args, str(pid)], check=True, capture_output=True, text=True)


def totals(folder):
    """Instructions and the five costliest functions of each thread's dump."""
    for path in sorted(pathlib.Path(folder).glob("callgrind.out.*")):
        found = re.search(r"^totals: (\d+)", path.read_text(errors="replace"), re.M)
        if found and int(found.group(1)) > 0:
            yield path, int(found.group(1))


def costliest(path, count=6):
    done = subprocess.run(["callgrind_annotate", "--threshold=100", str(path)], capture_output=True, text=True)
    found = re.findall(r"^\s*([\d,]+) \(\s*[\d.]+%\)\s+\S*?:(\S+)(?: \[(\S+)\])?$", done.stdout, re.M)
    return [(f"{pathlib.Path(where).name}:{name}" if name.startswith("0x") else name, int(n.replace(",", "")))
            for n, name, where in found[:count]]


def one(bench, contender, protocol, auth, connections, window, folder):
    count = bench.args.callgrind
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("callgrind.out.*"):
        old.unlink()
    pid = contender.start(auth, wrap=["valgrind", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes",
                                      f"--callgrind-out-file={folder}/callgrind.out.%p"])
    load = subprocess.Popen(bench.load.command(*contender.load(protocol, auth), "--payload", payload(bench.args.payload),
                                               "--connections", connections, "--window", window, "--active", 64 if protocol == "coap" else 0,
                                               "--count", count, "--wait"),
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for line in load.stderr:
            if line.strip() == "ready":
                break
        control(pid, "--instr=on")
        load.stdin.write("go\n")
        load.stdin.close()
        load.stdout.readline()
        control(pid, "--instr=off")
        control(pid, "--dump")
        load.wait(60)
        return [{"thread": path.name.rsplit("-", 1)[-1], "instructions_per_message": n / count,
                 "costliest": [(name, round(cost / count, 1)) for name, cost in costliest(path)]} for path, n in totals(folder)]
    finally:
        if load.poll() is None:
            load.kill()
            load.wait()
        contender.stop()


def run(bench, say):
    out = []
    for protocol, auth, connections, window in SHAPES:
        for name, contender in bench.contenders.items():
            if (name == "mosquitto" and protocol != "mqtt") or (name == "coap-server" and protocol != "coap"):
                continue
            folder = pathlib.Path(bench.args.out) / "callgrind" / f"{name}-{protocol}-{auth}-{connections}x{window}"
            threads = one(bench, contender, protocol, auth, connections, window, folder)
            total = sum(t["instructions_per_message"] for t in threads)
            say(f"{name} {protocol} {auth} {connections}x{window}: {total:,.0f} instructions per acknowledged message")
            for t in threads:
                worst = ", ".join(f"{n} {c:,.0f}" for n, c in t["costliest"])
                say(f"    thread {t['thread']}: {t['instructions_per_message']:,.0f}   {worst}")
            out.append({"contender": name, "protocol": protocol, "auth": auth, "connections": connections, "window": window,
                        "instructions_per_message": total, "threads": threads})
    return out
