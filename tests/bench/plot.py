# SPDX-License-Identifier: Apache-2.0
"""The results as a picture: CPU seconds per 100,000 acknowledged messages, one group of bars per row. Plain SVG."""
import html

import table

COLOURS = {"vitalgate": "#0b7285", "mosquitto": "#adb5bd", "coap-server": "#c9b79c"}
NAMES = {"vitalgate": "Vitalgate (durable before the answer)", "mosquitto": "Mosquitto (from memory)",
         "coap-server": "libcoap's example server (stores nothing)"}
LEFT, BAR, GAP, WIDTH, RIGHT = 300, 15, 16, 460, 150
INK, FAINT = "#212529", "#868e96"


def text(x, y, words, size=12, colour=INK, anchor="start", weight="normal"):
    return (f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{html.escape(words)}</text>')


def label(row):
    """Two short lines: over what, and how many."""
    if row["active"]:
        kind, sessions, active = row["title"].rsplit(", ", 2)
        return kind, f"{sessions}, {active}"
    kind, count = row["title"].rsplit(", ", 1)
    return kind, (f"{count} in flight" if row["protocol"] == "mqtt" else count)


def bars(report, row, y, scale):
    out, top = [], y
    value = table.any_ratio(report, row)
    for name, c in row["contenders"].items():
        spread = c["cpu_s_per_100k"]
        width = max(1.0, spread["median"] * scale)
        out.append(f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2" fill="{COLOURS[name]}"/>')
        low, high = LEFT + spread["min"] * scale, LEFT + spread["max"] * scale
        out.append(f'<path d="M{low:.1f} {y + BAR / 2}H{high:.1f}" stroke="{INK}" stroke-width="1.2" opacity="0.55"/>')
        words = f"{spread['median']:.2f} s"
        out.append(text(max(high, LEFT + width) + 6, y + BAR - 3, words, 11, FAINT))
        if name == "vitalgate" and value:
            out.append(text(max(high, LEFT + width) + 48, y + BAR - 3, f"{value:.2f}x", 13, COLOURS[name], weight="bold"))
        y += BAR + 2
    first, second = label(row)
    middle = (top + y) / 2
    out.append(text(LEFT - 10, middle - 3, first, 12, INK, "end"))
    out.append(text(LEFT - 10, middle + 11, second, 11, FAINT, "end"))
    return out, y


def legend(report, y):
    out, x = [], 20
    present = {name for row in report["rows"] for name in row["contenders"]}
    for name in ("vitalgate", "mosquitto", "coap-server"):
        if name in present:
            out.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" rx="2" fill="{COLOURS[name]}"/>')
            out.append(text(x + 18, y, NAMES[name]))
            x += 40 + 6.6 * len(NAMES[name])
    return out


def svg(report):
    rows = [row for row in report["rows"] if not row["slow_ms"] and row["contenders"]]
    most = max((c["cpu_s_per_100k"]["max"] for row in rows for c in row["contenders"].values()), default=1) or 1
    scale, y = WIDTH / most, 84
    out = [text(20, 30, "Server CPU seconds per 100,000 acknowledged readings: less is better", 17, weight="bold")]
    out += legend(report, 56)
    for row in rows:
        made, y = bars(report, row, y, scale)
        out += made
        y += GAP if row["protocol"] == "mqtt" or len(row["contenders"]) > 1 else GAP + 8
    m = report["machine"]
    out.append(text(20, y + 14, f"{m['cpu']}, one core for the server; {m['system']}; median of {report['rounds']} rounds, line: "
                                "least to most; 0.50x: half the CPU", 11, FAINT))
    width, height = LEFT + WIDTH + RIGHT, y + 34
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'font-family="system-ui, Helvetica, Arial, sans-serif" role="img" aria-label="CPU per 100,000 acknowledged readings">\n'
            f'<rect width="100%" height="100%" fill="#ffffff"/>\n' + "\n".join(out) + "\n</svg>\n")
