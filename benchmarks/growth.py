"""Time against lines: a chart and the page docs/scaling.md, from the JSON of runs of benchmarks.scale.

    python -m benchmarks.growth [JSON …] [--check]

Without files it takes benchmarks/results/growth.json, the one that is committed (`make bench-growth` measures it anew).
It writes benchmarks/growth.svg and the part of docs/scaling.md between the two marks; `--check` only says whether both
are up to date. On a machine that others loaded the figures are CPU seconds instead of wall seconds, and say so.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).with_name("results") / "growth.json"
CHART = Path(__file__).with_name("growth.svg")
PAGE = ROOT / "docs" / "scaling.md"
START, END = "<!-- figures -->", "<!-- end of figures -->"
TARGET = 1_000_000_000
NIGHT_H = 6
# Runnable processes beyond the cores at the start of a round, from which on wall seconds tell of the others' work.
BUSY = 1.5
STAGES = ("ingest", "identity", "build", "publish")
SERIES = {"whole job": "#1d2329", "build": "#17697a", "publish": "#b06f1c", "increment": "#6d6a86", "script": "#a3201f"}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """One size of a report: seconds by name (STAGES, "whole job", "increment" and peers), the same of the floor for ours."""

    rows: int
    seconds: dict[str, float]
    floor: dict[str, float]
    peak_mb: dict[str, float]
    disk_mb: dict[str, float]

    def net(self, name: str) -> float:
        """Seconds beyond those of a run on next to no data."""
        return self.seconds[name] - self.floor[name]


def sizes_of(reports: Sequence[dict]) -> list[dict]:
    """The sizes of all reports, smallest first; of a size that comes twice the later holds."""
    found = {size["rows"]: size for report in reports for size in report.get("sizes", [report])}
    return [found[rows] for rows in sorted(found)]


def unit_of(sizes: Sequence[dict]) -> str:
    """`wall_s`, or `cpu_s` where others loaded the machine."""
    busy = any(max(size["load"]) > size["machine"]["cores"] + BUSY for size in sizes)
    return "cpu_s" if busy else "wall_s"


def size_of(facts: dict, unit: str) -> Size:
    ran = {row["system"]: row for row in facts["results"]}
    stages = facts["stages_s" if unit == "wall_s" else "stages_cpu_s"]
    seconds = {name: row[unit] for name, row in ran.items()}
    floor = {"whole job": seconds["floor"], **{name: stages["floor"][name] for name in STAGES}}
    seconds |= {"whole job": seconds["ours"], **{name: stages["ours"][name] for name in STAGES}}
    peaks = {name: row["peak_mb"] for name, row in ran.items()}
    return Size(facts["rows"], seconds, floor, peaks, facts["disk_mb"])


def exponent(sizes: Sequence[Size], name: str) -> float:
    """b of seconds ~ lines^b between the two largest sizes, net of the floor."""
    one, two = sizes[-2:]
    return math.log(max(two.net(name), 1e-3) / max(one.net(name), 1e-3)) / math.log(two.rows / one.rows)


def projected(sizes: Sequence[Size], name: str, rows: int) -> tuple[float, float]:
    """Seconds at `rows`: in proportion to lines from the largest size on, and with the growth that was seen where that
    was faster. The floor is added to both."""
    last = sizes[-1]
    times = rows / last.rows
    low = last.net(name) * times
    return last.floor[name] + low, last.floor[name] + last.net(name) * times ** max(
        1.0, exponent(sizes, name)
    )


def within(sizes: Sequence[Size], seconds: float) -> int:
    """Lines that the whole job takes in so many seconds, by the slower of both projections; two digits."""
    last, power = sizes[-1], max(1.0, exponent(sizes, "whole job"))
    rows = last.rows * ((seconds - last.floor["whole job"]) / last.net("whole job")) ** (1 / power)
    digits = 10 ** (int(math.log10(rows)) - 1)
    return int(rows // digits * digits)


def _told(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"


def _range(low: float, high: float) -> str:
    return _told(low) if high < 1.05 * low else f"{_told(low)} to {_told(high)}"


def figures(reports: Sequence[dict]) -> str:
    """The part of the page that is measured, as Markdown."""
    if not reports:
        return "No run of `make bench-growth` is committed yet: this part of the page is written by it.\n"
    raw = sizes_of(reports)
    unit = unit_of(raw)
    sizes = [size_of(facts, unit) for facts in raw]
    host, last = raw[-1]["machine"], sizes[-1]
    loads = [load for facts in raw for load in facts["load"]]
    clock = "Wall" if unit == "wall_s" else "CPU"
    lines = [
        f"![Seconds against order lines]({CHART.relative_to(ROOT)})".replace("](", "](../"),
        "",
        f"{clock} seconds on {host['cores']} cores with {host['memory']} GB, load {min(loads)} to {max(loads)} when the "
        "rounds began"
        + (
            "." if unit == "wall_s" else ": others used the machine, so that wall seconds would tell of them."
        ),
        "",
        "| lines | "
        + " | ".join(STAGES)
        + " | whole job | of it fixed | peak MB | landing MB | home MB | script |",
        "|---:|" + "---:|" * (len(STAGES) + 6),
    ]
    for size in sizes:
        cells = [f"{size.seconds[name]:.1f}" for name in (*STAGES, "whole job")]
        cells += [f"{size.floor['whole job']:.1f}", f"{size.peak_mb['ours']:,.0f}"]
        cells += [f"{size.disk_mb[what]:,.0f}" for what in ("landing", "home")]
        cells += [f"{size.seconds['script']:.1f}" if "script" in size.seconds else "–"]
        lines.append(f"| {size.rows:,} | " + " | ".join(cells) + " |")
    held = [(facts["rows"], limit) for facts in raw if (limit := facts.get("memory_limit"))]
    lines += ["", *(f"At {rows:,} lines DuckDB was held to {limit}." for rows, limit in held)] if held else []
    one = sizes[-2]
    powers = {name: exponent(sizes, name) for name in (*STAGES, "whole job")}
    told = ", ".join(f"{name} {power:.2f}" for name, power in powers.items())
    lines += [
        "",
        f"From {one.rows:,} to {last.rows:,} lines seconds beyond the fixed cost grew as lines to the power of: {told}. "
        "1 is in proportion; less is slower growth than that.",
        "",
        "### One billion lines on this machine",
        "",
        "| | from the largest size on in proportion to lines, to as they grew where that was faster |",
        "|---|---:|",
    ]
    lines += [f"| {name} | {_range(*projected(sizes, name, TARGET))} |" for name in (*STAGES, "whole job")]
    times = TARGET / last.rows / 1_000
    landing, home = (last.disk_mb[what] * times for what in ("landing", "home"))
    room = f"this machine has {host['disk']:,.0f} GB in all"
    fits = "which is within it" if landing + home < 0.8 * host["disk"] else "**which is too little**"
    lines += [
        "",
        f"- **Disk** decides first: deliveries of {landing:,.0f} GB and a home of {home:,.0f} GB, without what queries "
        f"spill; {room}, {fits}.",
        f"- **Memory**: the peak at {last.rows:,} lines was {last.peak_mb['ours'] / 1e3:.1f} GB. DuckDB's part ends at its "
        "limit (`STRATA_MEMORY`) and goes on on disk; what Python holds beside it grows with lines.",
        f"- **A night of {NIGHT_H} hours** is enough for a full rebuild of {within(sizes, NIGHT_H * 3_600):,} lines.",
        "- **A day's increment**: " + _increment(sizes),
        "- **Spark on one machine**: " + _spark(sizes),
    ]
    return "\n".join(lines) + "\n"


def _increment(sizes: Sequence[Size]) -> str:
    """What the daily run costs beside a rebuild."""
    measured = [size for size in sizes if "increment" in size.seconds]
    if not measured:
        return "not in these figures, because benchmarks.scale has not measured one; every run here is a full rebuild."
    size = measured[-1]
    part = size.seconds["increment"] / size.seconds["whole job"]
    return f"{_told(size.seconds['increment'])} at {size.rows:,} lines, {part:.2f} of the full rebuild."


def _spark(sizes: Sequence[Size]) -> str:
    """Spark's seconds for the script's work beside the script's, and what a cluster would have to make up."""
    measured = [size for size in sizes if "spark" in size.seconds and "script" in size.seconds]
    if not measured:
        return "not in these figures (`--peers script,spark`)."
    told = ", ".join(
        f"{s.seconds['spark'] / s.seconds['script']:.0f} times at {s.rows:,} lines" for s in measured
    )
    return (
        f"the script's work costs Spark {told} what it costs DuckDB: so many times the cores, before its network, "
        "has a cluster to have before it is as fast."
    )


def _series(sizes: Sequence[Size], name: str) -> list[tuple[int, float]]:
    return [(s.rows, s.seconds[name]) for s in sizes if s.seconds.get(name, 0) > 0]


def chart(reports: Sequence[dict]) -> str:
    """Seconds against lines, both logarithmic, as SVG. Labels stand at the right ends, apart from each other."""
    raw = sizes_of(reports)
    unit = unit_of(raw)
    sizes = [size_of(facts, unit) for facts in raw]
    drawn = {name: points for name in SERIES if (points := _series(sizes, name))}
    values = [seconds for points in drawn.values() for _, seconds in points]
    x0, x1 = math.floor(math.log10(sizes[0].rows)), math.ceil(math.log10(sizes[-1].rows))
    y0, y1 = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
    left, top, wide, high = 70, 48, 520, 320

    def at(rows: float, seconds: float) -> tuple[float, float]:
        x = left + (math.log10(rows) - x0) / (x1 - x0) * wide
        return round(x, 1), round(top + (y1 - math.log10(seconds)) / (y1 - y0) * high, 1)

    clock = "Wall" if unit == "wall_s" else "CPU"
    missing = [name for name in SERIES if name not in drawn]
    note = f"not measured: {', '.join(missing)}" if missing else ""
    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + wide + 130} {top + high + 64}" role="img" '
        'font-family="sans-serif" font-size="12">',
        f"<title>{clock} seconds against order lines</title>",
        "<style>svg{background:#fff}.g{stroke:#ddd}.t{fill:#444}.p{stroke:#bbb;stroke-dasharray:3 4}</style>",
        f'<text x="{left}" y="20" class="t" font-size="14">{clock} seconds of a full run against order lines</text>',
        f'<text x="{left}" y="37" class="t">both axes logarithmic; dashed: in proportion to lines</text>',
    ]
    for power in range(x0, x1 + 1):
        x, y = at(10**power, 10**y0)
        svg.append(f'<line class="g" x1="{x}" x2="{x}" y1="{top}" y2="{y}"/>')
        svg.append(f'<text class="t" x="{x}" y="{y + 18}" text-anchor="middle">{10**power:,}</text>')
    for power in range(y0, y1 + 1):
        _, y = at(10**x0, 10**power)
        svg.append(f'<line class="g" x1="{left}" x2="{left + wide}" y1="{y}" y2="{y}"/>')
        svg.append(f'<text class="t" x="{left - 8}" y="{y + 4}" text-anchor="end">{10.0**power:g}</text>')
    svg.append(_proportional(at, drawn["whole job"], (x0, x1), (y0, y1)))
    ends = []
    for name, points in drawn.items():
        places = [at(*point) for point in points]
        joined = " ".join(f"{x},{y}" for x, y in places)
        svg.append(f'<polyline points="{joined}" fill="none" stroke="{SERIES[name]}" stroke-width="2"/>')
        svg += [f'<circle cx="{x}" cy="{y}" r="3.5" fill="{SERIES[name]}"/>' for x, y in places]
        ends.append((places[-1][1], places[-1][0], f"{name} {_told(points[-1][1])}", SERIES[name]))
    below = -math.inf
    for y, x, text, colour in sorted(ends):
        below = max(y + 4, below + 15)
        svg.append(f'<text x="{x + 9}" y="{below:.1f}" fill="{colour}">{text}</text>')
    svg.append(f'<text class="t" x="{left}" y="{top + high + 48}">{note}</text></svg>')
    return "\n".join(svg) + "\n"


def _proportional(at, points: list[tuple[int, float]], xs: tuple[int, int], ys: tuple[int, int]) -> str:
    """The line through the last point on which seconds grow as lines do, cut at the frame (powers of ten)."""
    rows, seconds = points[-1]
    per_line = seconds / rows
    low = max(10.0 ** xs[0], 10.0 ** ys[0] / per_line)
    high = min(10.0 ** xs[1], 10.0 ** ys[1] / per_line)
    (x1, y1), (x2, y2) = at(low, low * per_line), at(high, high * per_line)
    return f'<line class="p" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def page(text: str, reports: Sequence[dict]) -> str:
    """The page with its measured part renewed."""
    head, rest = text.split(START)
    return f"{head}{START}\n{figures(reports)}{END}{rest.split(END)[1]}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    committed = [RESULTS] if RESULTS.exists() else []
    parser.add_argument("files", type=Path, nargs="*", default=committed, metavar="JSON")
    parser.add_argument(
        "--check", action="store_true", help="exit code 1 when chart or page are not of these files"
    )
    args = parser.parse_args()
    reports = [json.loads(path.read_text()) for path in args.files]
    sizes = sizes_of(reports)
    if (
        reports
        and len(sizes) < 2
        or not all({"ours", "floor"} <= {r["system"] for r in s["results"]} for s in sizes)
    ):
        print(
            "growth needs two sizes, each with our job and its floor: benchmarks.scale --rows A B",
            file=sys.stderr,
        )
        return 1
    written = {PAGE: page(PAGE.read_text(), reports)} | ({CHART: chart(reports)} if reports else {})
    stale = [path for path, text in written.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        print(f"{'stale' if args.check else 'written'}: {path.relative_to(ROOT)}", file=sys.stderr)
        if not args.check:
            path.write_text(written[path])
    return int(args.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
