"""Time our whole job beside its peers and the bare scan, in one run, on generated order lines.

    python -m benchmarks.scale --rows 1000000 [--runs 3] [--memory 4GB] [--peers script,pandas,polars] [--json OUT]

Every system is a process of its own; rounds are interleaved, so that a slow minute of the machine hits all of
them. Each result must equal ours (see compare.py), or the exit code is 1 and the totals that differ are
printed.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import compare, data
from benchmarks.measure import CommandFailed, Sample, measure

ROOT = Path(__file__).resolve().parents[1]
README = Path(__file__).with_name("README.md")
TABLE_START, TABLE_END = "<!-- last table -->", "<!-- end of last table -->"
PEERS = {
    "script": "benchmarks.script",
    "pandas": "benchmarks.pandas_peer",
    "polars": "benchmarks.polars_peer",
}
# Asked for by name they are skipped with the reason, like a peer that is not installed.
WITHOUT_A_PEER = {
    "spark": "the same work in Spark is not written yet",
    "chdb": "the same work in chDB is not written yet",
    "openretailscience": "not part of this comparison yet; benchmarks.score times its query (three ntile)",
}
INCREMENT = "no --increment was given"
# A progress line of `strata run` that begins so begins a stage, which lasts until the next that does.
STAGES = {
    "strata run for": "start",
    "taking in": "ingest",
    "checking the sources": "gates",
    "linking source ids": "identity",
    "building the marts": "build",
    "checking the audiences": "gates",
    "publishing": "publish",
    # What comes once the release is current: on the first day of a month the back-test of the forecasts.
    "release ": "evaluation",
    "writing the audiences": "audiences",
}
# What the peers compute ends in these models; all that they need of ours is the same work, the rest is not.
SAME_WORK = ("customer_rfm", "customer_abc", "customer_lifecycle")
FLOOR_ROWS = 1_000
# Bytes a line needs, measured at 1 M and 10 M with room to spare: a size that would swap or fill the disk
# says nothing.
MEMORY_PER_LINE = {"pandas": 420, "polars": 300, "script": 40, "ours": 60, "limited": 60}
IN_MEMORY = ("pandas", "polars")
SPILLS_ABOVE = 2_000_000_000
DISK_PER_LINE = 500


@dataclass
class Round:
    """Everything one size has given so far."""

    rows: int
    generated: dict[str, int]
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    differing: dict[str, list[str]] = field(default_factory=dict)
    breakdown: dict | None = None
    # Seconds by stage of each run of ours and of the floor.
    stages: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    # Rows by feed that the next day delivered.
    next_rows: dict[str, int] | None = None


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def machine() -> dict:
    """Cores that this process may use and memory in GB (10^9 bytes)."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {"cores": len(os.sched_getaffinity(0)), "memory": round(memory / 1e9, 1)}


def available_bytes() -> int:
    """Memory that can be had without swapping."""
    line = next(x for x in Path("/proc/meminfo").read_text().splitlines() if x.startswith("MemAvailable"))
    return int(line.split()[1]) * 1024


def why_not(system: str, rows: int, available: int) -> str | None:
    """The reason to leave a system out at this size, if there is one. DuckDB spills, so its need is
    bounded."""
    need = MEMORY_PER_LINE.get(system, 0) * rows
    if system not in IN_MEMORY:
        need = min(need, SPILLS_ABOVE)
    if need > 0.8 * available:
        have = f"{available / 1e9:.1f} GB are available"
        return f"{system} at {rows:,} lines needs about {need / 1e9:.1f} GB, {have}"
    return None


def environment_of(home: Path) -> dict[str, str]:
    """The environment of a run of ours: nothing of the caller's own home."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("STRATA_", "DAGSTER_", "DBT_"))}
    return environment | {"STRATA_HOME": str(home), "STRATA_CURRENCY": "CNY", "PYTHONUNBUFFERED": "1"}


def run_dbt(home: Path, log: Path) -> Sample:
    """`dbt build` alone, of the whole project, on a home that our job has built: what F6 sets the floor beside."""
    command = [str(Path(sys.executable).with_name("dbt")), "build", "--exclude-resource-type", "unit_test"]
    command += ["--project-dir", str(ROOT / "dbt_project"), "--profiles-dir", str(ROOT / "dbt_project")]
    command += ["--target-path", str(home / "dbt" / "alone"), "--log-path", str(home / "dbt" / "alone")]
    return measure(command, log, environment_of(home), ROOT)


def run_ours(landing: Path, home: Path, log: Path, memory: str | None = None) -> tuple[Sample, Path]:
    """`strata run` in a fresh home; returns the sample and the folder of its release. Raises CommandFailed
    with the checks that failed when a gate stops it."""
    shutil.rmtree(home, ignore_errors=True)
    return run_day(landing, home, log, data.AS_OF, memory=memory)


def run_day(
    landing: Path, home: Path, log: Path, as_of: dt.date, *options: str, memory: str | None = None
) -> tuple[Sample, Path]:
    """The same in the home as it is."""
    # The module and not the script `strata`: the checkout that is measured is this one.
    command = [sys.executable, "-m", "pipeline.cli", "run", "--landing", str(landing), "--home", str(home)]
    command += ["--as-of", as_of.isoformat(), "--json", *options]
    environment = environment_of(home) | ({"STRATA_MEMORY": memory} if memory else {})
    try:
        sample = measure(command, log, environment, ROOT)
    except CommandFailed as failure:
        failed = [c for c in _json_of(failure.output).get("checks", []) if not c.get("passed")]
        for check in failed:
            # What stood behind the first failure was skipped and tells nothing.
            if check.get("observed") != "skipped":
                say(f"  failed check: {json.dumps(check, ensure_ascii=False)}")
        raise
    release = _json_of(sample.output).get("release")
    if not release:
        raise SystemExit(f"strata run named no release: {sample.output[-500:]}")
    return sample, home / "releases" / release


@dataclass(frozen=True)
class Next:
    """The day after the history, taken in twice: by an increment and, in a copy of the home, by a full build."""

    increment: Sample
    full: Sample
    rows: dict[str, int]
    increment_stages: dict[str, float]
    full_stages: dict[str, float]
    differing: list[str]


def run_next_day(landing: Path, home: Path, work: Path, rows: int) -> Next:
    """Raises CommandFailed when a gate stops one of the two, SystemExit when the build did not go the way it should."""
    day = data.AS_OF + dt.timedelta(days=1)
    next_landing, twin = work / f"landing-{rows}-next", work / f"home-{rows}-full"
    for folder in (next_landing, twin):
        shutil.rmtree(folder, ignore_errors=True)
    # A link is no delivery: files are linked hard, or copied to another disk.
    shutil.copytree(landing, next_landing, copy_function=_link)
    delivered = data.write_increment(data.Plan(rows), next_landing)
    shutil.copytree(home, twin)
    samples, spent = [], []
    for name, folder, options, way in (
        ("increment", home, (), "increment"),
        ("full", twin, ("--full",), "full build"),
    ):
        log = work / f"log-{name}-{rows}"
        sample, _ = run_day(next_landing, folder, log, day, *options)
        went = (_json_of(sample.output).get("build") or {}).get("way")
        if went != way:
            raise SystemExit(f"the run of {day} went as {went!r} and not as {way!r}: {sample.output[-500:]}")
        samples.append(sample)
        spent.append(stages(log.with_suffix(".err").read_text(), sample.wall_s) | {"core": core_s(folder)})
        say(f"next day {name:<9} {sample.wall_s:8.2f} s  {sample.cpu_s:8.2f} CPU-s  {sample.peak_mb:8.0f} MB")
    found = compare.warehouses(
        home / "warehouse" / "warehouse.duckdb", twin / "warehouse" / "warehouse.duckdb"
    )
    shutil.rmtree(twin, ignore_errors=True)
    shutil.rmtree(next_landing, ignore_errors=True)
    return Next(samples[0], samples[1], delivered, spent[0], spent[1], found)


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target


def _json_of(output: str) -> dict:
    """The JSON object in a command's output, {} when there is none."""
    start = output.find("{")
    try:
        return json.JSONDecoder().raw_decode(output[start:])[0] if start >= 0 else {}
    except json.JSONDecodeError:
        return {}


def phases(progress: str, wall_s: float) -> dict[str, float]:
    """Seconds from each progress line of `strata run` ("[  5.2 s] text") to the next, and of the last to the
    end; what comes before the first is the start of the command. Indented lines belong to the one above them.
    A text that comes again adds up."""
    seconds: dict[str, float] = {}
    for text, spent in _marks(progress, wall_s):
        seconds[text] = round(seconds.get(text, 0.0) + spent, 1)
    return seconds


def stages(progress: str, wall_s: float) -> dict[str, float]:
    """Seconds by stage (the values of STAGES) from the same progress lines."""
    found = dict.fromkeys(("start", *STAGES.values()), 0.0)
    stage = "start"
    for text, seconds in _marks(progress, wall_s):
        stage = next((name for begin, name in STAGES.items() if text.startswith(begin)), stage)
        found[stage] += seconds
    return {name: round(seconds, 1) for name, seconds in found.items()}


def _marks(progress: str, wall_s: float) -> list[tuple[str, float]]:
    """Each progress line with the seconds until the next."""
    lines = re.findall(r"^\[\s*([\d.]+) s\] (\S.*)$", progress, re.MULTILINE)
    marks = [(0.0, "starting"), *((float(at), text) for at, text in lines), (wall_s, "end")]
    return [(text, until - at) for (at, text), (until, _) in pairwise(marks)]


def breakdown(home: Path, progress: str, wall_s: float) -> dict:
    """Where our last run spent its seconds: its own phases; of dbt the whole, by resource type and the ten
    slowest nodes (sums over threads)."""
    found: dict = {"phases_s": phases(progress, wall_s)}
    path = home / "dbt" / "target" / "run_results.json"
    if path.exists():
        nodes = json.loads(path.read_text())
        by_type: dict[str, float] = {}
        for node in nodes["results"]:
            kind = node["unique_id"].split(".")[0]
            by_type[kind] = by_type.get(kind, 0.0) + node["execution_time"]
        slowest = sorted(nodes["results"], key=lambda node: -node["execution_time"])[:10]
        found |= {
            "dbt_s": round(nodes["elapsed_time"], 3),
            "nodes_n": len(nodes["results"]),
            "by_type_s": {kind: round(seconds, 3) for kind, seconds in by_type.items()},
            "by_work_s": by_work(
                json.loads((home / "dbt" / "built.json").read_text())["nodes"],
                {node["unique_id"]: node["execution_time"] for node in nodes["results"]},
            ),
            "slowest_s": {n["unique_id"].split(".")[2]: round(n["execution_time"], 3) for n in slowest},
        }
    return found


def core_s(home: Path) -> float:
    """Seconds of the last build's models behind the scores, ABC classes and stages, these included: what the script does."""
    nodes = json.loads((home / "dbt" / "built.json").read_text())["nodes"]
    results = json.loads((home / "dbt" / "target" / "run_results.json").read_text())["results"]
    return by_work(nodes, {r["unique_id"]: r["execution_time"] for r in results})["same"]


def by_work(nodes: Mapping[str, Mapping[str, Any]], seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds of dbt by what they were spent on: `same` is everything that the models of SAME_WORK need, themselves
    included, `other` the models that no peer has, `tests` and `seeds` the rest.

    Args:
        nodes: of the manifest that was built.
        seconds: node → execution time.
    """
    waiting = [name for name, node in nodes.items() if node["name"] in SAME_WORK]
    same: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in nodes and name not in same:
            same.add(name)
            waiting += nodes[name]["depends_on"].get("nodes", [])
    found = dict.fromkeys(("same", "other", "tests", "seeds"), 0.0)
    for name, spent in seconds.items():
        kind = name.split(".")[0]
        work = "same" if name in same else "other"
        found[{"test": "tests", "seed": "seeds"}.get(kind, work)] += spent
    return {work: round(spent, 3) for work, spent in found.items()}


def bench(
    rows: int,
    runs: int,
    peers: list[str],
    with_ours: bool,
    work: Path,
    keep: bool,
    *,
    memory: str | None = None,
    peer_python: str = sys.executable,
    increment: bool = False,
) -> Round | None:
    """Generate, run and compare one size. None when the disk is too small for it.

    Args:
        memory: DuckDB's limit of one more run of ours, `limited`, beside the unlimited one.
        peer_python: interpreter of the peers that our own environment does not have.
        increment: take in one more day after the last run of ours, as an increment and in full.
    """
    work.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(work).free
    if rows * DISK_PER_LINE > 0.9 * free:
        need = rows * DISK_PER_LINE / 1e9
        say(
            f"SKIPPED: {rows:,} lines need about {need:.1f} GB of disk, "
            f"{free / 1e9:.1f} GB are free in {work}"
        )
        return None

    def generate(n: int) -> tuple[Path, dict[str, int]]:
        landing = work / f"landing-{n}"
        say(f"generating {n:,} order lines in {landing}")
        shown = [0]

        def progress(done: int, total: int) -> None:
            if total > 500_000 and (done * 10 // total) > shown[0]:
                shown[0] = done * 10 // total
                say(f"  {done:,} of {total:,} orders")

        return landing, data.write(data.Plan(n), landing, progress)

    landing, generated = generate(rows)
    floor_landing = generate(FLOOR_ROWS)[0] if with_ours else None
    state = Round(rows, generated)

    mine = ["ours", *(["limited"] if memory else []), "floor", "dbt build"] if with_ours else []
    systems = ["scan", *peers, *mine]
    available = available_bytes()
    for system in list(systems):
        reason = WITHOUT_A_PEER.get(system)
        if system == "polars" and not _has_polars(peer_python):
            reason = f"{peer_python} has no polars: --peer-python names an interpreter that has"
        if reason := (f"{system}: {reason}" if reason else why_not(system, rows, available)):
            say(f"SKIPPED: {reason}")
            state.skipped.append(reason)
            systems.remove(system)

    def result(peer: str) -> Path:
        return work / f"result-{peer}-{rows}.parquet"

    home, floor_home, release = work / f"home-{rows}", work / f"home-{FLOOR_ROWS}", None
    python = [sys.executable, "-m"]
    for number in range(1, runs + 1):
        # A fixed order would always give the same system the file cache that the one before it has filled.
        shift = (number - 1) % len(systems)
        for system in systems[shift:] + systems[:shift]:
            log = work / f"log-{system}-{rows}"
            if system == "ours":
                sample, release = run_ours(landing, home, log)
            elif system == "limited":
                sample, _ = run_ours(landing, work / f"home-{rows}-limited", log, memory)
                shutil.rmtree(work / f"home-{rows}-limited", ignore_errors=True)
            elif system == "floor":
                sample, _ = run_ours(floor_landing, floor_home, log)
            elif system == "dbt build":
                if not (floor_home / "warehouse").exists():
                    run_ours(floor_landing, floor_home, log)
                sample = run_dbt(floor_home, log)
            elif system == "scan":
                sample = measure([*python, "benchmarks.scan", "--landing", str(landing)], log, cwd=ROOT)
            else:
                options = [
                    "--landing",
                    str(landing),
                    "--as-of",
                    data.AS_OF.isoformat(),
                    "--out",
                    str(result(system)),
                ]
                interpreter = peer_python if system == "polars" else sys.executable
                sample = measure([interpreter, "-m", PEERS[system], *options], log, cwd=ROOT)
            if system in ("ours", "floor"):
                progress = log.with_suffix(".err").read_text()
                state.stages.setdefault(system, []).append(stages(progress, sample.wall_s))
            state.samples.setdefault(system, []).append(sample)
            say(f"run {number}/{runs} {system:<9} {sample.wall_s:8.2f} s  {sample.cpu_s:8.2f} CPU-s  "
                f"{sample.peak_mb:8.0f} MB")  # fmt: skip

    ran = [p for p in peers if p in state.samples]
    reference = compare.our_rows(release) if release else compare.peer_rows(result(ran[0])) if ran else None
    for peer in ran:
        if lines := compare.differences(peer, compare.peer_rows(result(peer)), reference):
            state.differing[peer] = lines
    if release:
        state.breakdown = breakdown(
            home, (work / f"log-ours-{rows}.err").read_text(), state.samples["ours"][-1].wall_s
        )
        if increment:
            after = run_next_day(landing, home, work, rows)
            state.next_rows = after.rows
            for name, sample, spent in (
                ("increment", after.increment, after.increment_stages),
                ("full", after.full, after.full_stages),
            ):
                state.samples[name], state.stages[name] = [sample], [spent]
            if after.differing:
                state.differing["increment"] = after.differing
    if not keep:
        for path in (home, floor_home):
            shutil.rmtree(path, ignore_errors=True)
    return state


def median(state: Round, system: str, what: str = "wall_s") -> float | None:
    samples = state.samples.get(system)
    return statistics.median(getattr(s, what) for s in samples) if samples else None


def ratio(above: float | None, below: float | None) -> float | None:
    return round(above / below, 3) if above is not None and below else None


def _has_polars(python: str) -> bool:
    return subprocess.run([python, "-c", "import polars"], capture_output=True, check=False).returncode == 0


def stage_median(state: Round, system: str, stage: str) -> float | None:
    """Wall seconds of one stage of ours or of the floor."""
    found = state.stages.get(system)
    return statistics.median(run[stage] for run in found) if found else None


def minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def ratios(state: Round, what: str = "wall_s") -> dict[str, float | None]:
    """Of medians of wall (`cpu_s`: of CPU) seconds. Gross, but for the two that leave out the fixed cost of a run, the
    same on 1,000 lines: `ours_over_script`, the whole job, and `build_over_script`, of it only the stage that does
    what the script does. A ratio of stages is known for wall seconds alone."""

    def of(system: str) -> float | None:
        return median(state, system, what)

    def stage(system: str, name: str) -> float | None:
        return stage_median(state, system, name) if what == "wall_s" else None

    return {
        "ours_over_script": ratio(minus(of("ours"), of("floor")), of("script")),
        "ours_over_script_gross": ratio(of("ours"), of("script")),
        "build_over_script": ratio(minus(stage("ours", "build"), stage("floor", "build")), of("script")),
        "script_over_scan": ratio(of("script"), of("scan")),
        "pandas_over_ours": ratio(of("pandas"), of("ours")),
        "polars_over_ours": ratio(of("polars"), of("ours")),
        "spark_over_ours": ratio(of("spark"), of("ours")),
        "increment_over_full": ratio(of("increment"), of("full")),
        "increment_over_full_beyond_floor": ratio(
            minus(of("increment"), of("floor")), minus(of("full"), of("floor"))
        ),
        "increment_over_full_of_core": ratio(stage("increment", "core"), stage("full", "core")),
        "increment_over_full_of_build": ratio(
            minus(stage("increment", "build"), stage("floor", "build")),
            minus(stage("full", "build"), stage("floor", "build")),
        ),
        "memory_limited_over_unlimited": ratio(of("limited"), of("ours")),
        "floor_over_dbt_build": ratio(of("floor"), of("dbt build")),
        "publish_over_build": ratio(stage("ours", "publish"), stage("ours", "build")),
        "score_over_openretailscience": ratio(of("score"), of("openretailscience")),
    }


def reasons(state: Round, found: dict[str, float | None]) -> dict[str, str]:
    """Why a ratio is null."""
    said = {
        "spark_over_ours": WITHOUT_A_PEER["spark"],
        **dict.fromkeys((name for name in found if name.startswith("increment_")), INCREMENT),
        "score_over_openretailscience": WITHOUT_A_PEER["openretailscience"],
        "memory_limited_over_unlimited": "no --memory was given",
    }
    skipped = "; ".join(state.skipped) or "one of its sides was not asked for"
    return {name: said.get(name, skipped) for name, value in found.items() if value is None}


def report(state: Round) -> dict:
    """The JSON of one size."""
    results = [
        {
            "system": system,
            "wall_s": round(median(state, system), 3),
            "cpu_s": round(median(state, system, "cpu_s"), 3),
            "peak_mb": round(median(state, system, "peak_mb"), 1),
            "runs": len(samples),
        }
        for system, samples in state.samples.items()
    ]
    floor, found = median(state, "floor"), ratios(state)
    return {
        "rows": state.rows,
        "generated": state.generated,
        "next_day": state.next_rows,
        "as_of": data.AS_OF.isoformat(),
        "machine": machine(),
        "results": results,
        "ratios": found,
        "ratios_null_because": reasons(state, found),
        "cpu_ratios": {name: value for name, value in ratios(state, "cpu_s").items() if value is not None},
        "stages_s": {
            system: {name: round(stage_median(state, system, name), 1) for name in state.stages[system][0]}
            for system in state.stages
        },
        "floor_s": round(floor, 3) if floor is not None else None,
        "equal": not state.differing,
        "differences": state.differing,
        "skipped": state.skipped,
        "ours_breakdown": state.breakdown,
    }


def markdown(facts: dict) -> str:
    """One size as a table with its ratios below."""
    host = facts["machine"]
    lines = [
        f"**{facts['rows']:,} order lines**, as of {facts['as_of']} "
        f"({host['cores']} cores, {host['memory']} GB)",
        "",
        "| system | wall s | CPU s | peak MB | runs |",
        "|---|---:|---:|---:|---:|",
    ]
    named = {
        "floor": f"ours on {FLOOR_ROWS:,} lines (floor)",
        "scan": "bare scan",
        "limited": "ours, memory limited",
        "dbt build": f"`dbt build` alone on {FLOOR_ROWS:,} lines",
        "increment": "ours, the next day (1/1000)",
        "full": "ours, the next day with --full",
    }
    for row in facts["results"]:
        name = named.get(row["system"], row["system"])
        lines.append(
            f"| {name} | {row['wall_s']:.2f} | {row['cpu_s']:.2f} | {row['peak_mb']:.0f} | {row['runs']} |"
        )
    told = [f"{name} {value:.2f}" for name, value in facts["ratios"].items() if value is not None]
    lines += ["", "Ratios: " + " · ".join(told) if told else ""]
    told = [f"{name} {value:.2f}" for name, value in facts["cpu_ratios"].items()]
    lines += ["", "Of CPU seconds: " + " · ".join(told) if told else ""]
    for system, spent in facts["stages_s"].items():
        told = [f"{name} {seconds:.1f}" for name, seconds in spent.items()]
        lines += ["", f"Seconds of {named.get(system, system)} by stage: " + " · ".join(told)]
    lines += [f"SKIPPED: {reason}" for reason in facts["skipped"]]
    if facts["ours_breakdown"]:
        spent = facts["ours_breakdown"]
        told = [f"{text} {seconds:.1f}" for text, seconds in spent["phases_s"].items() if seconds >= 0.5]
        lines += ["", "Seconds of our last run: " + " · ".join(told)]
        if "dbt_s" in spent:
            slowest = " · ".join(f"{name} {seconds:.2f}" for name, seconds in spent["slowest_s"].items())
            lines += ["", f"dbt: {spent['dbt_s']:.1f} s over {spent['nodes_n']} nodes; slowest: {slowest}"]
            work = spent["by_work_s"]
            lines += [
                "",
                f"Of dbt's seconds: what the peers compute too, and all that it needs, {work['same']:.1f} · models that "
                f"no peer has {work['other']:.1f} · tests {work['tests']:.1f} · seeds {work['seeds']:.1f}",
            ]
    return "\n".join(lines) + "\n"


def write_readme(tables: str) -> None:
    """Put the tables between the two marks of README.md."""
    text = README.read_text()
    head, rest = text.split(TABLE_START)
    README.write_text(f"{head}{TABLE_START}\n{tables}{TABLE_END}{rest.split(TABLE_END)[1]}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[1_000_000], help="order lines, one or several sizes"
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--peers",
        default="script,pandas,polars",
        help="comma-separated: " + ",".join([*PEERS, *WITHOUT_A_PEER]),
    )
    parser.add_argument("--memory", help="once more with this memory limit of DuckDB, for example 4GB")
    parser.add_argument(
        "--increment", action="store_true", help="also the next day, as an increment and with --full"
    )
    parser.add_argument(
        "--peer-python", default=sys.executable, help="interpreter with polars, where ours has none"
    )
    parser.add_argument(
        "--without-ours", action="store_true", help="peers only; they are compared with one another"
    )
    parser.add_argument(
        "--json",
        type=Path,
        help="write the figures there: the largest size, all under `sizes`",
    )
    parser.add_argument(
        "--work", type=Path, default=Path("var/bench"), help="landing, homes, logs (default var/bench)"
    )
    parser.add_argument("--keep", action="store_true", help="keep the homes of our runs for a look")
    parser.add_argument("--readme", action="store_true", help="put the tables into benchmarks/README.md")
    args = parser.parse_args()
    peers = [p for p in args.peers.split(",") if p]
    if unknown := [p for p in peers if p not in PEERS and p not in WITHOUT_A_PEER]:
        parser.error(f"unknown peers {', '.join(unknown)}; there are {', '.join([*PEERS, *WITHOUT_A_PEER])}")
    if args.runs < 1 or min(args.rows) < 1:
        parser.error("--rows and --runs must be at least 1")

    reports = []
    for rows in args.rows:
        try:
            state = bench(
                rows,
                args.runs,
                peers,
                not args.without_ours,
                args.work.resolve(),
                args.keep,
                memory=args.memory,
                peer_python=args.peer_python,
                increment=args.increment,
            )
        except CommandFailed as failure:
            say(str(failure))
            return 1
        if state:
            reports.append(report(state))
            print(markdown(reports[-1]), flush=True)
    if args.json and reports:
        largest = max(reports, key=lambda r: r["rows"])
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(
            json.dumps(largest | ({"sizes": reports} if len(reports) > 1 else {}), indent=1) + "\n"
        )
    if args.readme and reports:
        write_readme("\n".join(markdown(r) for r in reports))
    for facts in reports:
        for peer, lines in facts["differences"].items():
            say(f"DIFFERENT RESULTS at {facts['rows']:,} lines: {peer}")
            for line in lines:
                say(f"  {line}")
    # Nothing measured is no success either.
    return 0 if reports and all(r["equal"] for r in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
