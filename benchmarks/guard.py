"""A guard, not a race: fails where a ratio of CPU seconds or of memory is far beyond what it is known to be.

    python -m benchmarks.guard --home HOME --lines N       # the SQL of a home's last build beside the script (make test)
    python -m benchmarks.guard --report JSON               # what benchmarks.scale has measured (make bench-guard)

Clocks tell of the machine, ratios taken in the same minutes tell of the code. Limits are LIMITS; each stands at least
three times the spread of repeated measurements above their median (benchmarks/README.md), that of the increment below 1, where
it saves nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

from benchmarks import data
from benchmarks.measure import measure
from benchmarks.ours import ROOT

RUNS = 3
# Of the replay: what the queries may hold, and what the interpreter holds without them.
MEMORY_MB = 512
LIMITS = {
    "sql_over_script": 36.0,
    "memory_over_limit": 1.3,
    "run_over_script": 300.0,
    # Of a report, by CPU seconds.
    "ours_over_script": 40.0,
    "increment_over_full_of_build": 0.95,
    "memory_limited_over_unlimited": 1.5,
}
EMPTY = "import pipeline.duck, duckdb; duckdb.connect().execute('select 42').fetchall()"


def of_home(home: Path, lines: int, work: Path, run_cpu_s: float | None = None) -> dict[str, float]:
    """`sql_over_script`: CPU seconds of the queries of the home's last build, under a memory limit, over those of
    script.py on as many generated lines; `memory_over_limit`: peak of these queries over that limit; `run_over_script`:
    CPU seconds of a whole run, where they are given, over the same."""
    landing = work / "guard-landing"
    data.write(data.Plan(lines), landing)
    python, log = [sys.executable, "-m"], work / "guard"
    script = [*python, "benchmarks.script", "--landing", str(landing), "--as-of", data.AS_OF.isoformat()]
    script += ["--out", str(work / "guard-script.parquet")]
    replay = [*python, "benchmarks.replay", "--home", str(home), "--work", str(work)]
    replay += ["--memory", f"{MEMORY_MB}MB"]
    empty = measure([sys.executable, "-c", EMPTY], log, cwd=ROOT)
    before = [measure(script, log, cwd=ROOT).cpu_s for _ in range(RUNS)]
    ours = measure(replay, log, cwd=ROOT)
    after = [measure(script, log, cwd=ROOT).cpu_s for _ in range(RUNS)]
    beside = statistics.median([*before, *after]) - empty.cpu_s
    found = {
        "sql_over_script": round(json.loads(ours.output)["cpu_s"] / beside, 2),
        "memory_over_limit": round((ours.peak_mb - empty.peak_mb) / MEMORY_MB, 2),
    }
    return found | ({"run_over_script": round(run_cpu_s / beside, 2)} if run_cpu_s is not None else {})


def of_report(report: dict) -> dict[str, float]:
    """The guarded ratios that a report of benchmarks.scale has."""
    return {name: value for name, value in report["cpu_ratios"].items() if name in LIMITS}


def broken(found: dict[str, float]) -> list[str]:
    """The ratios beyond their limits, in words."""
    return [
        f"{name} is {value:.2f}, more than {LIMITS[name]:.2f}"
        for name, value in found.items()
        if value > LIMITS[name]
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path)
    parser.add_argument("--lines", type=int, help="order lines that the home holds")
    parser.add_argument("--work", type=Path, default=Path("var/bench"))
    parser.add_argument("--report", type=Path)
    args = parser.parse_args()
    if bool(args.home) == bool(args.report) or bool(args.home) != bool(args.lines):
        parser.error("give --home with --lines, or --report")
    if args.home:
        args.work.mkdir(parents=True, exist_ok=True)
        found = of_home(args.home.resolve(), args.lines, args.work.resolve())
    else:
        found = of_report(json.loads(args.report.read_text()))
    for name, value in found.items():
        print(f"{name:<32}{value:8.2f}   limit {LIMITS[name]:.2f}")
    for text in (wrong := broken(found)):
        print(f"TOO DEAR: {text}", file=sys.stderr)
    # Nothing measured is no success either.
    return int(bool(wrong) or not found)


if __name__ == "__main__":
    sys.exit(main())
