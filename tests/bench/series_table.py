# SPDX-License-Identifier: Apache-2.0
"""The series benchmark's figures as tables and pictures. Ratios are taken within a round, between turns that follow each other: what else the machine does weighs on both."""
import html
import math
import statistics

import machine

OURS = "vitalgate"
NAMES = {"vitalgate": "Vitalgate", "vitalgate with journal": "Vitalgate, journal and all", "sqlite": "SQLite", "influxdb": "InfluxDB"}
COLOURS = {"vitalgate": "#0b7285", "vitalgate with journal": "#66a9b8", "sqlite": "#adb5bd", "influxdb": "#c9b79c"}
QUERIES = {"day": "24 hours of one signal, decoded", "latest": "latest of all signals of all beds", "hours": "hourly means of one signal", "export": "full export, CSV",
           "export_all": "the same, all columns*"}
INK, FAINT = "#212529", "#868e96"


# ---- figures ----

def pick(rows, **fields):
    return [row for row in rows if all(row.get(key) == value for key, value in fields.items())]


def asked(rows, what):
    """Beside this store's export of all its columns stand the others' of what they have."""
    return pick(rows, what=what) + ([r for r in pick(rows, what="export") if r["contender"] != OURS] if what == "export_all" and pick(rows, what=what) else [])


def contenders(rows):
    return [name for name in NAMES if pick(rows, contender=name)]


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratios(rows, name, key="seconds"):
    """How many times ours, round by round."""
    ours = {row["round"]: row[key] for row in pick(rows, contender=OURS)}
    return [row[key] / ours[row["round"]] for row in pick(rows, contender=name) if ours.get(row["round"])]


def duration(seconds):
    if seconds < 0.0995:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:.0f} s"


def figure(value):
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def times(values):
    if not values:
        return ""
    s = spread(values)
    return f"**{figure(s['median'])}** ({figure(s['min'])} to {figure(s['max'])})"


def row(*cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |\n"


def head(*cells):
    return row(*cells) + row("---", *("---:" for _ in cells[1:]))


# ---- tables ----

def query_table(rows, title):
    names = contenders(rows)
    peers = [name for name in names if name != OURS]
    text = head(title, *(NAMES[name] for name in names), *(f"{NAMES[name]} / Vitalgate (spread)" for name in peers))
    for what, words in QUERIES.items():
        some = asked(rows, what)
        if some:
            text += row(words, *(duration(statistics.median(r["seconds"] for r in pick(some, contender=name))) if pick(some, contender=name) else "" for name in names),
                        *(times(ratios(some, name)) for name in peers))
    return text + "\n" + export_words(rows)


def export_words(rows):
    """What an export's row takes: time follows its bytes."""
    parts = []
    for what, words in (("export", "of the columns that the others have"), ("export_all", "of all columns")):
        for r in pick(rows, what=what, contender=OURS)[:1]:
            took = statistics.median(x["seconds"] for x in pick(rows, what=what, contender=OURS))
            parts.append(f"{r['bytes'] / r['rows']:.0f} bytes and {took / r['rows'] * 1e9:.0f} ns {words}")
    return ("\\* A row of Vitalgate's export: " + ", ".join(parts) + ". The others' are those of the line above.\n\n") if parts else ""


def ingest_table(rows):
    readings = max(r["readings"] for r in rows)
    text = head(f"Ingest of {readings:,} readings", "readings/s", "CPU us/reading", "seconds / Vitalgate's", "CPU / Vitalgate's")
    for name in contenders(rows):
        some = pick(rows, contender=name)
        text += row(NAMES[name], f"{statistics.median(r['readings'] / r['seconds'] for r in some):,.0f}", f"{statistics.median(r['cpu'] / r['readings'] * 1e6 for r in some):.2f}",
                    "" if name == OURS else times(ratios(some + pick(rows, contender=OURS), name)), "" if name == OURS else times(ratios(some + pick(rows, contender=OURS), name, "cpu")))
    return text + "\n"


def bytes_table(lines):
    month = [r for r in pick(lines, kind="ingest") if r["days"] > 0]
    text = head("On disk, all included", *(NAMES[name] for name in contenders(month)))
    text += row(f"bytes per reading ({month[0]['readings']:,} readings)", *(f"{r['bytes'] / r['readings']:.2f}" for name in contenders(month) for r in pick(month, contender=name)))
    text += "\n" + head("Vitalgate's, by the device's clock", "whole seconds", "milliseconds that jitter", "none")
    text += row("bytes per reading at 1 Hz", *(f"{r['bytes'] / r['readings']:.2f}" for clock in ("seconds", "milliseconds", "none") for r in pick(lines, kind="clock", clock=clock)))
    for r in pick(lines, kind="hold"):
        text += f"\nA reading a minute for {r['days']} days, held for {r['hold_min'] // 60} h at most (`series.hold_min`): {r['cpu'] / r['readings'] * 1e6:.2f} us of CPU a reading; {r['bytes'] / r['readings']:.2f} bytes.\n"
    return text + "\n"


def comparison(report):
    lines, commands = report["lines"], report["commands"]
    ingest = [r for r in pick(lines, kind="ingest") if r["days"] == 0]
    queries = pick(lines, kind="query")
    text = "Measured on: " + machine.sentence(report["machine"]) + ". " + ", ".join(report["versions"]) + ".\n\n"
    text += query_table(queries, "As called by a program") + query_table(commands, "As a command of the shell") + ingest_table(ingest) + bytes_table(lines)
    return text, bars(report, queries, commands)


def growth_rows(lines):
    """{days: {contender: {"bytes", "rate", "cpu", query...}}}"""
    table = {}
    for r in pick(lines, kind="ingest"):
        table.setdefault(r["days"], {})[r["contender"]] = {"readings": r["readings"], "bytes": r["bytes"] / r["readings"], "size": r["bytes"], "rate": r["readings"] / r["seconds"]}
    for r in pick(lines, kind="query"):
        table[r["days"]][r["contender"]].setdefault(r["what"], []).append(r["seconds"])
    return table


def growth(report):
    lines = report["lines"]
    table = growth_rows(lines)
    text = "Measured on: " + machine.sentence(report["machine"]) + ". " + ", ".join(report["versions"]) + ".\n\n"
    text += head("100 beds, a reading a minute", "", "readings", "MB on disk", "bytes each", "readings/s so far", "24 hours", "latest of 500", "hourly means of up to 30 days")
    for days, by in sorted(table.items()):
        for name in contenders([{"contender": n} for n in by]):
            r = by[name]
            text += row(f"{days} day{'s' if days > 1 else ''}", NAMES[name], f"{r['readings']:,}", f"{r['size'] / 1e6:,.1f}", f"{r['bytes']:.2f}", f"{r['rate']:,.0f}",
                        *(duration(statistics.median(r[what])) for what in ("day", "latest", "hours")))
    for r in pick(lines, kind="stopped"):
        text += f"\n{NAMES[r['contender']]} was stopped after day {r['days']}: it had had {r['seconds']:.0f} s of ingest.\n"
    return text, curves(report, table)


# ---- pictures: plain SVG ----

def words(x, y, text, size=12, colour=INK, anchor="start", weight="normal"):
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" font-weight="{weight}">{html.escape(text)}</text>'


def picture(width, height, title, out):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" '
            f'font-family="system-ui, Helvetica, Arial, sans-serif" role="img" aria-label="{html.escape(title)}">\n'
            '<rect width="100%" height="100%" fill="#ffffff"/>\n' + "\n".join(out) + "\n</svg>\n")


def legend(names, y):
    out, x = [], 20
    for name in names:
        out += [f'<rect x="{x}" y="{y - 10}" width="12" height="12" rx="2" fill="{COLOURS[name]}"/>', words(x + 18, y, NAMES[name])]
        x += 50 + 7 * len(NAMES[name])
    return out


def log_bars(rows, y, left, width, low, high):
    out = []
    for what, title in QUERIES.items():
        some, top = asked(rows, what), y
        for name in contenders(some):
            s = spread([r["seconds"] for r in pick(some, contender=name)])
            x = [left + width * (math.log10(s[key]) - low) / (high - low) for key in ("median", "min", "max")]
            out += [f'<rect x="{left}" y="{y}" width="{x[0] - left:.1f}" height="14" rx="2" fill="{COLOURS[name]}"/>',
                    f'<path d="M{x[1]:.1f} {y + 7}H{x[2]:.1f}" stroke="{INK}" stroke-width="1.2" opacity="0.55"/>']
            factor = statistics.median(ratios(some, name)) if name != OURS else None
            out.append(words(x[2] + 6, y + 11, duration(s["median"]) + (f", {figure(factor)} times" if factor else ""), 11, FAINT if factor else COLOURS[OURS]))
            y += 16
        if some:
            out.append(words(left - 10, (top + y) / 2 + 3, title, 12, INK, "end"))
            y += 14
    return out, y


def bars(report, queries, commands):
    everything = [r["seconds"] for r in queries + commands]
    low, high = math.floor(math.log10(min(everything))), math.ceil(math.log10(max(everything)))
    left, width, y = 270, 520, 84
    title = "Answers from the series store: time, less is better (each line of the grid: ten times as long)"
    out = [words(20, 30, title, 17, weight="bold")] + legend(contenders(queries), 56)
    grid = len(out)
    for rows, words_of in ((queries, "As called by a program"), (commands, "As a command of the shell")):
        if rows:
            out.append(words(20, y + 10, words_of, 13, weight="bold"))
            made, y = log_bars(rows, y + 22, left, width, low, high)
            out += made
    lines = [f'<path d="M{left + width * (e - low) / (high - low):.0f} 84V{y}" stroke="#dee2e6"/>' +
             words(left + width * (e - low) / (high - low), y + 12, duration(10.0 ** e), 10, FAINT, "middle") for e in range(low, high + 1)]
    out[grid:grid] = lines
    m = report["machine"]
    out.append(words(20, y + 34, f"{m['cpu']}, {m['system']}; median of the rounds, line: least to most; times: as long as Vitalgate's", 11, FAINT))
    return picture(left + width + 170, y + 50, title, out)


def curve(table, key, x0, y0, title, unit):
    """One panel: days and the figure, both by powers of ten."""
    width, height = 330, 200
    points = {}
    for days, by in sorted(table.items()):
        for name, r in by.items():
            if r.get(key):
                points.setdefault(name, []).append((days, statistics.median(r[key]) if isinstance(r[key], list) else r[key]))
    values = [v for some in points.values() for _, v in some]
    low, high = math.floor(math.log10(min(values))), max(math.ceil(math.log10(max(values))), math.floor(math.log10(min(values))) + 1)
    last = max(table)

    def at(days, value):
        return x0 + width * math.log(days) / max(math.log(last), 1), y0 + height - height * (math.log10(value) - low) / (high - low)
    out = [words(x0, y0 - 10, title, 13, weight="bold")]
    for e in range(low, high + 1):
        y = at(1, 10.0 ** e)[1]
        out += [f'<path d="M{x0} {y:.0f}H{x0 + width}" stroke="#dee2e6"/>', words(x0 - 6, y + 4, unit(10.0 ** e), 10, FAINT, "end")]
    for days in sorted(table):
        out.append(words(at(days, 10.0 ** low)[0], y0 + height + 14, str(days), 10, FAINT, "middle"))
    for name, some in points.items():
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*p) for p in some))
        out.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[name]}" stroke-width="2.5"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{COLOURS[name]}"/>' for x, y in (at(*p) for p in some)]
    return out


def curves(report, table):
    title = "100 beds with a reading a minute, from a day to a year (across: days)"
    names = [name for name in NAMES if any(name in by for by in table.values())]
    out = [words(20, 30, title, 17, weight="bold")] + legend(names, 56)
    panels = (("day", "24 hours of one signal", duration), ("latest", "latest of 500 signals", duration), ("hours", "hourly means, up to 30 days", duration),
              ("bytes", "bytes per reading", lambda v: f"{v:g}"), ("rate", "readings taken a second", lambda v: f"{v:,.0f}"), ("size", "bytes on disk", lambda v: f"{v:,.0f}"))
    for i, (key, words_of, unit) in enumerate(panels):
        out += curve(table, key, 90 + i % 3 * 440, 110 + i // 3 * 270, words_of, unit)
    m = report["machine"]
    out.append(words(20, 640, f"{m['cpu']}, {m['system']}", 11, FAINT))
    return picture(1400, 656, title, out)
