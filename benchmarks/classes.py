"""What each class mart of a built home costs: its SQL once more, on the tables that the build left, one after another.

    python -m benchmarks.scale --rows 100000000 --runs 1 --peers "" --memory 4GB --keep     # 5 M customers: makes the home
    python -m benchmarks.classes --home var/bench/home-100000000 --memory 4GB [--runs 3] [--json OUT]

CPU seconds of one thread, the median of the runs, which are interleaved; the most memory that the process held. Exit code 1
where a class mart costs more than customer_rfm by more than a tenth.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline import duck
from pipeline import settings as settings_module
from pipeline.duck import literal
from pipeline.errors import StrataError
from pipeline.settings import Settings
from pipeline.transform.replay import compiled

RULER = "customer_rfm"
# A class mart has one class and its inputs by customer (domain §5.2); customer_360 is all of them beside each other.
NO_MARTS = ("customer_360",)
NOISE = 1.1


def class_models(nodes: dict[str, Any]) -> dict[str, str]:
    """SQL by name of the class marts."""
    return {
        node["name"]: node["compiled_code"]
        for node in nodes.values()
        if node["resource_type"] == "model"
        and node["schema"] == "segments"
        and node["name"].startswith("customer_")
        and node["name"] not in NO_MARTS
    }


def models_before(nodes: dict[str, Any], names: set[str]) -> dict[str, str]:
    """SQL by name of the tables about customers that the named models read, directly or not."""
    found: dict[str, str] = {}

    def add(unique_id: str) -> None:
        node = nodes.get(unique_id)
        if node is None or node["resource_type"] != "model":
            return
        for other in node["depends_on"]["nodes"]:
            add(other)
        name = node["name"]
        if (
            name.startswith("int_customer_")
            and node["config"]["materialized"] == "table"
            and name not in names
        ):
            found[name] = node["compiled_code"]

    for node in list(nodes.values()):
        if node["name"] in names:
            add(node["unique_id"])
    return found


def measured(settings: Settings, models: dict[str, str], runs: int, memory: str | None) -> dict[str, float]:
    """Median CPU seconds by model. Raises StrataError where the home holds no build."""
    if not settings.warehouse.exists():
        raise StrataError(f"{settings.home} holds no build: make one with benchmarks.scale --keep")
    if memory:
        os.environ["STRATA_MEMORY"] = memory
    spent: dict[str, list[float]] = {name: [] for name in models}
    with tempfile.TemporaryDirectory() as spill, duck.connect([settings.home], spill=Path(spill)) as con:
        con.execute("set threads = 1")
        con.execute(f"attach {literal(str(settings.warehouse))} as warehouse (read_only)")
        for _ in range(runs):
            for name, sql in models.items():
                began = time.process_time()
                con.execute(f"create or replace temp table result as {sql}")
                spent[name].append(time.process_time() - began)
    return {name: statistics.median(seconds) for name, seconds in spent.items()}


def report(marts: dict[str, float], inputs: dict[str, float], customers: int) -> dict[str, Any]:
    """The answer: seconds by model, the most that the process held, and the marts that cost more than the ruler."""
    ruler = marts[RULER]
    return {
        "customers": customers,
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6),
        "marts_cpu_s": {n: round(s, 3) for n, s in sorted(marts.items(), key=lambda item: -item[1])},
        "inputs_cpu_s": {n: round(s, 3) for n, s in sorted(inputs.items(), key=lambda item: -item[1])},
        "over_customer_rfm": {n: round(s / ruler, 2) for n, s in marts.items() if s > NOISE * ruler},
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--memory", help="that the process may hold, for example 4GB")
    parser.add_argument("--json", type=Path, help="write the answer here too")
    args = parser.parse_args()
    settings = replace(settings_module.load(), home=args.home.resolve())
    nodes = compiled(settings)
    marts = class_models(nodes)
    before = models_before(nodes, set(marts))
    spent = measured(settings, before | marts, args.runs, args.memory)
    with duck.connect([settings.home]) as con:
        con.execute(f"attach {literal(str(settings.warehouse))} as warehouse (read_only)")
        customers = con.execute("select count(*) from warehouse.intermediate.int_customer_facts").fetchall()[
            0
        ][0]
    answer = report({n: spent[n] for n in marts}, {n: spent[n] for n in before}, customers)
    text = json.dumps(answer, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")
    return 1 if answer["over_customer_rfm"] else 0


if __name__ == "__main__":
    sys.exit(main())
