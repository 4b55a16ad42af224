"""Runs of our own job as the benchmarks make them, and where such a run spent its seconds."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import sys
from itertools import pairwise
from pathlib import Path

from benchmarks import data
from benchmarks.measure import CommandFailed, Mark, Sample, measure, say

ROOT = Path(__file__).resolve().parents[1]
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
        failed = [c for c in answer(failure.output).get("checks", []) if not c.get("passed")]
        for check in failed:
            # What stood behind the first failure was skipped and tells nothing.
            if check.get("observed") != "skipped":
                say(f"  failed check: {json.dumps(check, ensure_ascii=False)}")
        for message in answer(failure.output).get("messages", []):
            say(f"  {str(message)[:500]}")
        raise
    release = answer(sample.output).get("release")
    if not release:
        raise SystemExit(f"strata run named no release: {sample.output[-500:]}")
    return sample, home / "releases" / release


def answer(output: str) -> dict:
    """The JSON object in a command's output, {} when there is none."""
    start = output.find("{")
    try:
        return json.JSONDecoder().raw_decode(output[start:])[0] if start >= 0 else {}
    except json.JSONDecodeError:
        return {}


def _spans(sample: Sample) -> list[tuple[str, float, float]]:
    """(text, wall, CPU seconds) from each progress line to the next; what comes before the first is "starting"."""
    marks = [Mark("starting", 0.0, 0.0), *sample.marks, Mark("end", sample.wall_s, sample.cpu_s)]
    return [(one.text, two.wall_s - one.wall_s, two.cpu_s - one.cpu_s) for one, two in pairwise(marks)]


def phases(sample: Sample) -> dict[str, float]:
    """Wall seconds by progress line of `strata run`. A text that comes again adds up."""
    seconds: dict[str, float] = {}
    for text, wall, _ in _spans(sample):
        seconds[text] = round(seconds.get(text, 0.0) + wall, 1)
    return seconds


def stages(sample: Sample, what: str = "wall_s") -> dict[str, float]:
    """Wall (`cpu_s`: CPU) seconds by stage (the values of STAGES)."""
    found = dict.fromkeys(("start", *STAGES.values()), 0.0)
    stage = "start"
    for text, wall, cpu in _spans(sample):
        stage = next((name for begin, name in STAGES.items() if text.startswith(begin)), stage)
        found[stage] += cpu if what == "cpu_s" else wall
    return found


def breakdown(home: Path, sample: Sample) -> dict:
    """Where our last run spent its seconds: its own phases; of dbt the whole, by resource type and the ten
    slowest nodes (sums over threads)."""
    # The report is committed: no path of the machine that it was made on.
    found: dict = {
        "phases_s": {text.replace(f"{home.resolve()}/", ""): s for text, s in phases(sample).items()}
    }
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
            "by_work_s": by_work(home),
            "slowest_s": {n["unique_id"].split(".")[2]: round(n["execution_time"], 3) for n in slowest},
        }
    return found


def same_work(nodes: dict[str, dict]) -> set[str]:
    """Of the nodes of a dbt manifest everything that the models of SAME_WORK need, themselves included."""
    waiting = [name for name in nodes if name.split(".")[-1] in SAME_WORK]
    same: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in nodes and name not in same:
            same.add(name)
            waiting += nodes[name]["depends_on"].get("nodes", [])
    return same


def by_work(home: Path) -> dict[str, float]:
    """Seconds of the last build by dbt's own clock: `same` is everything that the models of SAME_WORK need, themselves
    included, `other` the models that no peer has, `tests` and `seeds` the rest."""
    same = same_work(json.loads((home / "dbt" / "built.json").read_text())["nodes"])
    results = json.loads((home / "dbt" / "target" / "run_results.json").read_text())["results"]
    found = dict.fromkeys(("same", "other", "tests", "seeds"), 0.0)
    for result in results:
        kind = result["unique_id"].split(".")[0]
        work = "same" if result["unique_id"] in same else "other"
        found[{"test": "tests", "seed": "seeds"}.get(kind, work)] += result["execution_time"]
    return {work: round(spent, 3) for work, spent in found.items()}
