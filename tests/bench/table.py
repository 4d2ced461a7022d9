# SPDX-License-Identifier: Apache-2.0
"""The results as Markdown for the README."""
import machine


def number(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.0f}"


def fine(value):
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def cpu(spread):
    return f"{spread['median']:.3f} ({spread['min']:.3f}-{spread['max']:.3f})"


def latency(c):
    return f"{fine(c['p50_ms']['median'])} / {fine(c['p99_ms']['median'])}"


def memory(row, c):
    return f"{c['kb_per_connection']['median']:.1f}" if row["connections"] >= 100 else ""


def ratio(row):
    """CPU of ours over the rival's, None without a rival."""
    ours = row["contenders"].get("vitalgate")
    for name, rival in row["contenders"].items():
        if name != "vitalgate" and ours is not None and rival["cpu_s_per_100k"]["median"]:
            return ours["cpu_s_per_100k"]["median"] / rival["cpu_s_per_100k"]["median"]
    return None


def coap_ratio(report, row):
    """CoAP rows all compare with the example server at its own 100 sessions."""
    base = next((r["contenders"]["coap-server"] for r in report["rows"]
                 if r["protocol"] == "coap" and "coap-server" in r["contenders"]), None)
    ours = row["contenders"].get("vitalgate")
    if base is None or ours is None or row["slow_ms"] or not base["cpu_s_per_100k"]["median"]:
        return None
    return ours["cpu_s_per_100k"]["median"] / base["cpu_s_per_100k"]["median"]


def any_ratio(report, row):
    return coap_ratio(report, row) if row["protocol"] == "coap" else ratio(row)


HEAD = ["| | | acknowledged/s | CPU s per 100,000 (spread) | ratio | p50 / p99 ms | kB/connection |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |"]


def lines(report, rows):
    for row in rows:
        title = row["title"]
        for name, c in row["contenders"].items():
            value = any_ratio(report, row) if name == "vitalgate" else None
            yield (f"| {title} | {name} | {number(c['acked_per_s']['median'])} | {cpu(c['cpu_s_per_100k'])} | "
                   f"{f'**{value:.2f}**' if value else ''} | {latency(c)} | {memory(row, c)} |")
            title = ""


def kill_lines(report):
    for name, count in report.get("kill_test", {}).items():
        yield f"| {name} | {count:,} of 1,000 |"


def markdown(report):
    fast = [row for row in report["rows"] if not row["slow_ms"]]
    slow = [row for row in report["rows"] if row["slow_ms"]]
    out = [f"Measured on: {machine.sentence(report['machine'])}.",
           f"{', '.join(report['versions'])}; server pinned to core 0, load generator to core 1; median of {report['rounds']} interleaved "
           f"rounds of {report['seconds']:g} s, each with a fresh server; one reading per message ({report['payload']}).", ""]
    out += HEAD + list(lines(report, fast)) + [""]
    out += ["Ratio: this gateway's CPU time per acknowledged message over the other's (CoAP: over the example server's at 100 sessions). "
            "CPU time is user and system time of all the server's threads; work that the kernel does for it elsewhere (disk, the "
            "receiving half of loopback) is in nobody's figure.", ""]
    if slow:
        out += [f"A slow disk: {slow[0]['slow_ms']} ms added to every sync (two per commit).", ""]
        out += HEAD + list(lines(report, slow)) + [""]
    if report.get("kill_test"):
        out += ["1,000 QoS 1 messages acknowledged, then:", "", "| | still there |", "| --- | ---: |", *kill_lines(report), ""]
    return "\n".join(out)
