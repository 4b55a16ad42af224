"""What a run costs before there is any data to speak of (F6): our whole job on 1,000 order lines beside `dbt build` alone.

    python -m benchmarks.floor [--runs 3] [--json OUT] [--work DIR]

Each round makes a fresh home: the job takes in, builds, checks, publishes and writes the page and the audience files;
then the `dbt` command builds the same project on the same home, its parse kept from the round before (warm). The CPU
of a phase is what the process has used between two of its progress lines (/proc, to 0.01 s).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import data
from benchmarks.measure import Sample, measure

ROOT = Path(__file__).resolve().parents[1]
PROJECT = ROOT / "dbt_project"
ROWS = 1_000
GOAL = 2.0
_TICKS = os.sysconf("SC_CLK_TCK")
# The first words of a progress line that begins a phase, and the phase; other lines belong to the phase before them.
PHASES = {
    "strata run for": "loading the definitions (imports, asset graph)",
    "taking in deliveries": "ingest",
    "checking the sources": "source gates (import of Great Expectations)",
    "linking source ids": "identity",
    "building the marts": "dbt, and its events in Dagster",
    "checking the audiences": "audience gate",
    "publishing": "publishing (tables, database, page)",
    "writing the audiences": "audience files, end",
}


@dataclass(frozen=True)
class Phase:
    """Seconds of one phase of one run."""

    name: str
    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Run:
    """One whole run of the job."""

    wall_s: float
    cpu_s: float
    phases: tuple[Phase, ...]


def phase_of(line: str) -> str | None:
    """The phase that a progress line ("[  5.2 s] text") begins, if it begins one."""
    found = re.match(r"\[\s*[\d.]+ s\] (\S.*)", line)
    if not found:
        return None
    return next((name for words, name in PHASES.items() if found[1].startswith(words)), None)


def _cpu_of(pid: int) -> float:
    """User and system seconds of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:15]) / _TICKS


def timed_run(command: list[str], environment: dict[str, str], log: Path) -> Run:
    """Run the job and time its phases by its progress lines. Raises SystemExit with its last lines when it fails."""
    marks = [("starting", 0.0, 0.0)]
    started = time.perf_counter()
    with log.open("w", encoding="utf-8") as kept:
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT
        )
        for line in process.stderr:
            kept.write(line)
            name = phase_of(line)
            if name and name not in (mark[0] for mark in marks):
                marks.append((name, time.perf_counter() - started, _cpu_of(process.pid)))
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(
            f"{' '.join(command)} ended with exit code {process.returncode}:\n{log.read_text()[-2000:]}"
        )
    wall, cpu = time.perf_counter() - started, usage.ru_utime + usage.ru_stime
    ends = [*marks[1:], ("end", wall, cpu)]
    phases = (
        Phase(name, end[1] - at, end[2] - used) for (name, at, used), end in zip(marks, ends, strict=True)
    )
    return Run(wall, cpu, tuple(phases))


def measured(work: Path, runs: int) -> dict:
    """Everything that `runs` rounds give, as JSON: medians of both sides, of each phase, and their ratios."""
    landing, home, target = work / f"landing-{ROWS}", work / "floor-home", work / "floor-dbt"
    data.write(data.Plan(ROWS), landing, lambda done, total: None)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("STRATA_", "DAGSTER_", "DBT_"))}
    clean |= {"STRATA_HOME": str(home), "STRATA_CURRENCY": "CNY", "PYTHONUNBUFFERED": "1"}
    clean["DBT_SEND_ANONYMOUS_USAGE_STATS"] = "false"
    job = [sys.executable, "-m", "pipeline.cli", "run", "--landing", str(landing), "--home", str(home)]
    job += ["--as-of", data.AS_OF.isoformat()]
    dbt = [str(Path(sys.executable).with_name("dbt")), "build", "--exclude-resource-type", "unit_test"]
    dbt += ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)]
    dbt += ["--target-path", str(target), "--log-path", str(target)]
    ours: list[Run] = []
    alone: list[Sample] = []
    for _ in range(runs):
        shutil.rmtree(home, ignore_errors=True)
        ours.append(timed_run(job, clean, work / "floor-job.log"))
        if not alone:
            measure(dbt, work / "floor-dbt", clean, ROOT)
        alone.append(measure(dbt, work / "floor-dbt", clean, ROOT))
    results = json.loads((target / "run_results.json").read_text())["results"]
    names = [phase.name for phase in ours[0].phases]
    phases = [
        {
            "phase": name,
            "wall_s": _median(p.wall_s for run in ours for p in run.phases if p.name == name),
            "cpu_s": _median(p.cpu_s for run in ours for p in run.phases if p.name == name),
        }
        for name in names
    ]
    job_s = {"wall_s": _median(r.wall_s for r in ours), "cpu_s": _median(r.cpu_s for r in ours)}
    dbt_s = {"wall_s": _median(s.wall_s for s in alone), "cpu_s": _median(s.cpu_s for s in alone)}
    return {
        "rows": ROWS,
        "runs": runs,
        "nodes_n": len(results),
        "job": job_s,
        "dbt_build": dbt_s,
        "phases": phases,
        "floor_over_dbt_build": round(job_s["wall_s"] / dbt_s["wall_s"], 3),
        "floor_over_dbt_build_cpu": round(job_s["cpu_s"] / dbt_s["cpu_s"], 3),
        "goal": GOAL,
    }


def _median(values) -> float:
    return round(statistics.median(values), 3)


def markdown(facts: dict) -> str:
    """The breakdown as a table."""
    lines = [
        f"**The floor**: the whole job on {facts['rows']:,} order lines, fresh home, medians of {facts['runs']}",
        "",
        "| phase | wall s | CPU s |",
        "|---|---:|---:|",
    ]
    lines += [f"| {p['phase']} | {p['wall_s']:.2f} | {p['cpu_s']:.2f} |" for p in facts["phases"]]
    for name, side in (("whole job", "job"), (f"`dbt build` alone, {facts['nodes_n']} nodes", "dbt_build")):
        lines.append(f"| **{name}** | {facts[side]['wall_s']:.2f} | {facts[side]['cpu_s']:.2f} |")
    lines += [
        "",
        f"floor_over_dbt_build {facts['floor_over_dbt_build']:.2f} (CPU {facts['floor_over_dbt_build_cpu']:.2f}; "
        f"goal {facts['goal']:.2f})",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument(
        "--work", type=Path, default=Path("var/bench"), help="landing, homes, logs (default var/bench)"
    )
    args = parser.parse_args()
    if args.runs < 1:
        parser.error("--runs must be at least 1")
    work = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    facts = measured(work, args.runs)
    print(markdown(facts), flush=True)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(facts, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
