"""What the runs of one size come to: medians, ratios and why one is missing, as JSON and as a table."""

from __future__ import annotations

import os
import shutil
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import data, ours
from benchmarks.measure import Sample

README = Path(__file__).with_name("README.md")
TABLE_START, TABLE_END = "<!-- last table -->", "<!-- end of last table -->"
FLOOR_ROWS = 1_000
INCREMENT = "no --increment was given"
NOT_ASKED = {"increment": INCREMENT, "full": INCREMENT, "limited": "no --memory was given"}
# The systems of each ratio, for the reason why it is null.
SIDES = {
    "ours_over_script": ("ours", "floor", "script"),
    "ours_over_script_gross": ("ours", "script"),
    "build_over_script": ("ours", "floor", "script"),
    "queries_over_script": ("queries", "script"),
    "same_queries_over_script": ("queries", "script"),
    "pandas_over_same_queries": ("pandas", "queries"),
    "script_over_scan": ("script", "scan"),
    "pandas_over_ours": ("pandas", "ours"),
    "polars_over_ours": ("polars", "ours"),
    "chdb_over_ours": ("chdb", "ours"),
    "spark_over_ours": ("spark", "ours"),
    "increment_over_full": ("increment", "full"),
    "increment_over_full_beyond_floor": ("increment", "full", "floor"),
    "increment_over_full_of_build": ("increment", "full", "floor"),
    "increment_over_full_of_core": ("increment", "full"),
    "memory_limited_over_unlimited": ("limited", "ours"),
    "floor_over_dbt_build": ("floor", "dbt build"),
    "publish_over_build": ("ours",),
    "score_over_openretailscience": ("score", "openretailscience"),
}


@dataclass
class Round:
    """Everything one size has given so far."""

    rows: int
    generated: dict[str, int]
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    # Why a system that was asked for did not run.
    skipped: dict[str, str] = field(default_factory=dict)
    # Peers that fell over, and how.
    failed: dict[str, str] = field(default_factory=dict)
    differing: dict[str, list[str]] = field(default_factory=dict)
    breakdown: dict | None = None
    # Load of the machine (runnable processes, mean of a minute) when each round began.
    loads: list[float] = field(default_factory=list)
    # DuckDB's limit in every run of ours, where there was one.
    memory: str | None = None
    # Bytes of the landing folder and of the home after its first run.
    disk: dict[str, int] = field(default_factory=dict)
    # What the SQL of the last build takes without dbt (replay.py).
    queries: dict[str, float] = field(default_factory=dict)
    # What a reader waits for the release that our last run made (opening.py).
    opening: dict[str, float] = field(default_factory=dict)
    # Rows by feed that the next day delivered, and seconds of its two builds' models behind the scores.
    next_rows: dict[str, int] | None = None
    core_s: dict[str, float] = field(default_factory=dict)


def machine() -> dict:
    """Cores that this process may use, memory and the disk of the working folder in GB (10^9 bytes)."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory": round(memory / 1e9, 1),
        "disk": round(shutil.disk_usage(Path.cwd()).total / 1e9, 1),
    }


def bytes_below(folder: Path) -> int:
    """Bytes of the files below a folder; a file under two names counts once."""
    stats = (path.stat() for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum({(s.st_dev, s.st_ino): s.st_size for s in stats}.values())


def median(state: Round, system: str, what: str = "wall_s") -> float | None:
    samples = state.samples.get(system)
    return statistics.median(getattr(s, what) for s in samples) if samples else None


def ratio(above: float | None, below: float | None) -> float | None:
    return round(above / below, 3) if above is not None and below else None


def stage_median(state: Round, system: str, stage: str, what: str = "wall_s") -> float | None:
    """Seconds of one stage of a run of our job."""
    samples = [sample for sample in state.samples.get(system, ()) if sample.marks]
    return statistics.median(ours.stages(sample, what)[stage] for sample in samples) if samples else None


def minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def ratios(state: Round, what: str = "wall_s") -> dict[str, float | None]:
    """Of medians of wall (`cpu_s`: of CPU) seconds. Gross, but for the two that leave out the fixed cost of a run, the
    same on 1,000 lines: `ours_over_script`, the whole job, and `build_over_script`, of it only the stage that does
    what the script does."""

    def of(system: str) -> float | None:
        return median(state, system, what)

    def stage(system: str, name: str) -> float | None:
        return stage_median(state, system, name, what)

    # As the process says: it has also copied the warehouse.
    queries, same = state.queries.get(what), state.queries.get(f"same_{what}")
    return {
        "ours_over_script": ratio(minus(of("ours"), of("floor")), of("script")),
        "ours_over_script_gross": ratio(of("ours"), of("script")),
        "build_over_script": ratio(minus(stage("ours", "build"), stage("floor", "build")), of("script")),
        "queries_over_script": ratio(queries, of("script")),
        "same_queries_over_script": ratio(same, of("script")),
        "pandas_over_same_queries": ratio(of("pandas"), same),
        "script_over_scan": ratio(of("script"), of("scan")),
        "pandas_over_ours": ratio(of("pandas"), of("ours")),
        "polars_over_ours": ratio(of("polars"), of("ours")),
        "chdb_over_ours": ratio(of("chdb"), of("ours")),
        "spark_over_ours": ratio(of("spark"), of("ours")),
        "increment_over_full": ratio(of("increment"), of("full")),
        "increment_over_full_beyond_floor": ratio(
            minus(of("increment"), of("floor")), minus(of("full"), of("floor"))
        ),
        "increment_over_full_of_build": ratio(
            minus(stage("increment", "build"), stage("floor", "build")),
            minus(stage("full", "build"), stage("floor", "build")),
        ),
        "increment_over_full_of_core": ratio(
            state.core_s.get("increment"), state.core_s.get("full") if what == "wall_s" else None
        ),
        "memory_limited_over_unlimited": ratio(of("limited"), of("ours")),
        "floor_over_dbt_build": ratio(of("floor"), of("dbt build")),
        "publish_over_build": ratio(stage("ours", "publish"), stage("ours", "build")),
        "score_over_openretailscience": ratio(of("score"), of("openretailscience")),
    }


def reasons(state: Round, found: dict[str, float | None]) -> dict[str, str]:
    """Why a ratio is null: what kept each of its systems from running."""

    def why(system: str) -> str:
        return (
            state.failed.get(system)
            or state.skipped.get(system)
            or NOT_ASKED.get(system, f"{system} was not asked for")
        )

    def of(name: str) -> str:
        absent = [why(system) for system in SIDES[name] if system not in state.samples]
        return "; ".join(dict.fromkeys(absent)) or "its divisor is 0"

    return {name: of(name) for name, value in found.items() if value is None}


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

    def stages(what: str) -> dict[str, dict[str, float]]:
        names = dict.fromkeys(("start", *ours.STAGES.values()))
        ran = [system for system, samples in state.samples.items() if any(s.marks for s in samples)]
        return {s: {name: round(stage_median(state, s, name, what), 2) for name in names} for s in ran}

    return {
        "rows": state.rows,
        "generated": state.generated,
        "next_day": state.next_rows,
        "as_of": data.AS_OF.isoformat(),
        "machine": machine(),
        "load": state.loads,
        "memory_limit": state.memory,
        "disk_mb": {what: round(n / 1e6, 1) for what, n in state.disk.items()},
        "opening": state.opening,
        "results": results,
        "ratios": found,
        "ratios_null_because": reasons(state, found),
        "cpu_ratios": {name: value for name, value in ratios(state, "cpu_s").items() if value is not None},
        "stages_s": stages("wall_s"),
        "stages_cpu_s": stages("cpu_s"),
        "floor_s": round(floor, 3) if floor is not None else None,
        "equal": not state.differing,
        "differences": state.differing,
        "failed": list(state.failed.values()),
        "skipped": list(state.skipped.values()),
        "ours_breakdown": state.breakdown,
        "queries": state.queries,
    }


def markdown(facts: dict) -> str:
    """One size as a table with its ratios below."""
    host = facts["machine"]
    lines = [
        f"**{facts['rows']:,} order lines**, as of {facts['as_of']} "
        f"({host['cores']} cores, {host['memory']} GB, load {', '.join(f'{load:.1f}' for load in facts['load'])})",
        "",
        "| system | wall s | CPU s | peak MB | runs |",
        "|---|---:|---:|---:|---:|",
    ]
    named = {
        "floor": f"ours on {FLOOR_ROWS:,} lines (floor)",
        "scan": "bare scan",
        "limited": "ours, memory limited",
        "dbt build": f"`dbt build` alone on {FLOOR_ROWS:,} lines",
        "score": "`strata score` of the lines as an order file",
        "openretailscience": "openretailscience on that file",
        "queries": "queries of ours alone, on a copy of the warehouse",
        "increment": "ours, the next day (1/1000)",
        "full": "ours, the next day with --full",
    }
    if limit := facts["memory_limit"]:
        named["ours"] = f"ours, DuckDB held to {limit}"
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
        cpu = facts["stages_cpu_s"][system]
        told = [f"{name} {seconds:.1f} ({cpu[name]:.1f})" for name, seconds in spent.items()]
        lines += ["", f"Seconds (CPU) of {named.get(system, system)} by stage: " + " · ".join(told)]
    if facts.get("opening"):
        found = facts["opening"]
        lines += [
            "",
            f"A reader waits {found['open_ms']:.0f} ms for the release (F7: less than 100; {found['open_cpu_ms']:.0f} of CPU), "
            f"{found['open_verified_ms']:.0f} ms where its {found['database_mb']:,.0f} MB are held against their hash first",
        ]
    lines += [f"FAILED: {reason}" for reason in facts["failed"]]
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
    if facts["queries"]:
        spent = facts["queries"]
        lines += [
            "",
            f"CPU seconds of the queries alone, without dbt: {spent['cpu_s']:.1f}, of which for the peers' result, with all "
            f"that it needs, {spent['same_cpu_s']:.1f} ({spent['same_wall_s']:.1f} s) and tests {spent['tests_cpu_s']:.1f}",
        ]
    return "\n".join(lines) + "\n"


def write_readme(tables: str) -> None:
    """Put the tables between the two marks of README.md."""
    text = README.read_text()
    head, rest = text.split(TABLE_START)
    README.write_text(f"{head}{TABLE_START}\n{tables}{TABLE_END}{rest.split(TABLE_END)[1]}")
