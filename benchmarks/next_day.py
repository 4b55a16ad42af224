"""The day after the history, taken in twice: by an increment and, in a copy of the home, by a full build (F3)."""

from __future__ import annotations

import datetime as dt
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmarks import compare, data
from benchmarks.measure import Sample, say
from benchmarks.ours import answer, by_work, run_day


@dataclass(frozen=True)
class Next:
    """What the two cost, and the tables in which they differ.

    Attributes:
        rows: rows by feed that the day delivered.
        core_s: seconds of the models that do what the peers do (ours.by_work), of `increment` and `full`.
    """

    samples: dict[str, Sample]
    rows: dict[str, int]
    core_s: dict[str, float]
    differing: list[str]


def run(landing: Path, home: Path, work: Path, rows: int) -> Next:
    """Raises CommandFailed when a gate stops one of the two, SystemExit when the build did not go the way it should."""
    day = data.AS_OF + dt.timedelta(days=1)
    next_landing, twin = work / f"landing-{rows}-next", work / f"home-{rows}-full"
    for folder in (next_landing, twin):
        shutil.rmtree(folder, ignore_errors=True)
    # A link is no delivery: files are linked hard, or copied to another disk.
    shutil.copytree(landing, next_landing, copy_function=_link)
    delivered = data.write_increment(data.Plan(rows), next_landing)
    shutil.copytree(home, twin)
    samples, core = {}, {}
    for name, folder, options, way in (
        ("increment", home, (), "increment"),
        ("full", twin, ("--full",), "full build"),
    ):
        sample, _ = run_day(next_landing, folder, work / f"log-{name}-{rows}", day, *options)
        went = (answer(sample.output).get("build") or {}).get("way")
        if went != way:
            raise SystemExit(f"the run of {day} went as {went!r} and not as {way!r}: {sample.output[-500:]}")
        samples[name], core[name] = sample, by_work(folder)["same"]
        say(f"next day {name:<9} {sample.wall_s:8.2f} s  {sample.cpu_s:8.2f} CPU-s  {sample.peak_mb:8.0f} MB")
    found = compare.warehouses(
        home / "warehouse" / "warehouse.duckdb", twin / "warehouse" / "warehouse.duckdb"
    )
    for folder in (next_landing, twin):
        shutil.rmtree(folder, ignore_errors=True)
    return Next(samples, delivered, core, found)


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target
