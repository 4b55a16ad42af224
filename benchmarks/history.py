"""What each change did to the ratios: a line of results/history.csv for every table that was put into the README.

`benchmarks.scale --readme` adds the lines. Ratios are of CPU seconds where the report has them, because those of
different days can be set beside each other; wall seconds of a machine that others use cannot.
"""

from __future__ import annotations

import csv
import datetime as dt
import subprocess
from collections.abc import Iterable
from pathlib import Path

HISTORY = Path(__file__).with_name("results") / "history.csv"
RATIOS = (
    "ours_over_script",
    "build_over_script",
    "script_over_scan",
    "pandas_over_ours",
    "increment_over_full",
    "floor_over_dbt_build",
    "publish_over_build",
    "same_queries_over_script",
)
COLUMNS = ("measured_at", "commit", "rows", "load", *RATIOS)


def line_of(facts: dict, commit: str, at: dt.datetime) -> dict[str, object]:
    """The line of one size of a report of benchmarks.scale. A ratio that was not measured is empty.

    Args:
        commit: short name, with a "+" where files were changed since.
        at: when it was measured; written as UTC to the minute.
    """
    ratios = {name: facts["cpu_ratios"].get(name) for name in RATIOS}
    rounded = {name: "" if value is None else f"{value:.2f}" for name, value in ratios.items()}
    when = at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%MZ")
    return {
        "measured_at": when,
        "commit": commit,
        "rows": facts["rows"],
        "load": max(facts["load"]),
    } | rounded


def append(reports: Iterable[dict], path: Path = HISTORY) -> None:
    """Add a line for each size. The file is made with its header where it is not there."""
    commit, at = _commit(), dt.datetime.now(dt.UTC)
    is_new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows(line_of(facts, commit, at) for facts in reports)


def _commit() -> str:
    """HEAD of the checkout that is measured, "unknown" outside of one."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--exclude=*", "--dirty=+"]
    described = subprocess.run(command, capture_output=True, text=True, check=False)
    return described.stdout.strip() or "unknown"
