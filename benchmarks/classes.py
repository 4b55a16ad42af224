"""What each class mart of a built home costs: its SQL once more, on the tables that the build left, one after another.

    python -m benchmarks.scale --rows 100000000 --runs 1 --peers "" --memory 4GB --keep     # 5 M customers: makes the home
    python -m benchmarks.classes --home var/bench/home-100000000 --memory 4GB [--runs 3] [--json OUT]

CPU seconds of one thread, the median of the runs, which are interleaved; the most memory that the process held. What a mart
costs is its query and the tables that of the class marts it alone reads, each written into a database file as a build
writes them. Exit code 1 where a mart costs more than `--limit` times customer_rfm.
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
from collections.abc import Collection, Mapping
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


def own_tables(nodes: dict[str, Any], marts: Collection[str]) -> dict[str, list[str]]:
    """By mart the models, none of them a mart, that of the marts it alone reads, itself or through others of them."""
    readers: dict[str, set[str]] = {}

    def note(unique_id: str, mart: str) -> None:
        for other in nodes[unique_id]["depends_on"]["nodes"]:
            node = nodes.get(other)
            if node is None or node["resource_type"] != "model" or node["name"] in marts:
                continue
            if mart not in readers.setdefault(node["name"], set()):
                readers[node["name"]].add(mart)
                note(other, mart)

    for mart in marts:
        note(f"model.strata.{mart}", mart)
    return {mart: sorted(name for name, by in readers.items() if by == {mart}) for mart in marts}


def costs(own: Mapping[str, list[str]], spent: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """What each mart costs, the dearest first: CPU seconds of its query and of its own tables as far as they were measured,
    their sum, and how many times that of customer_rfm it is."""

    def total(mart: str) -> float:
        return spent[mart] + sum(spent.get(table, 0) for table in own[mart])

    return {
        mart: {
            "times_customer_rfm": round(total(mart) / total(RULER), 2),
            "cpu_s": round(total(mart), 3),
            "query": round(spent[mart], 3),
            "own_tables": {table: round(spent[table], 3) for table in own[mart] if table in spent},
        }
        for mart in sorted(own, key=total, reverse=True)
    }


def dearer(cost: Mapping[str, Mapping[str, Any]], limit: float | None) -> list[str]:
    """The marts that cost more than `limit` times customer_rfm; none where there is no limit."""
    return [mart for mart, of in cost.items() if limit is not None and of["times_customer_rfm"] > limit]


def measured(settings: Settings, models: dict[str, str], runs: int, memory: str | None) -> dict[str, float]:
    """Median CPU seconds by model, each written into a table of a database file. Raises StrataError where the home holds no build."""
    if not settings.warehouse.exists():
        raise StrataError(f"{settings.home} holds no build: make one with benchmarks.scale --keep")
    if memory:
        os.environ["STRATA_MEMORY"] = memory
    spent: dict[str, list[float]] = {name: [] for name in models}
    with tempfile.TemporaryDirectory() as spill, duck.connect([settings.home], spill=Path(spill)) as con:
        con.execute("set threads = 1")
        con.execute(f"attach {literal(str(settings.warehouse))} as warehouse (read_only)")
        con.execute(f"attach {literal(str(Path(spill) / 'written.duckdb'))} as written")
        for _ in range(runs):
            for name, sql in models.items():
                began = time.process_time()
                con.execute(f"create or replace table written.result as {sql}")
                con.execute("checkpoint written")
                spent[name].append(time.process_time() - began)
    return {name: statistics.median(seconds) for name, seconds in spent.items()}


def report(cost: dict[str, dict[str, Any]], inputs: dict[str, float], customers: int) -> dict[str, Any]:
    """The answer: what each mart costs, seconds of the tables behind them, and the most that the process held."""
    return {
        "customers": customers,
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6),
        "marts": cost,
        "inputs_cpu_s": {n: round(s, 3) for n, s in sorted(inputs.items(), key=lambda item: -item[1])},
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--memory", help="that the process may hold, for example 4GB")
    parser.add_argument("--limit", type=float, default=1.1, help="times customer_rfm that a mart may cost")
    parser.add_argument("--json", type=Path, help="write the answer here too")
    args = parser.parse_args()
    settings = replace(settings_module.load(), home=args.home.resolve())
    nodes = compiled(settings)
    marts = class_models(nodes)
    before = models_before(nodes, set(marts))
    own = own_tables(nodes, marts)
    # What is no table is worked out by the query that reads it.
    stored = {
        name: node["compiled_code"]
        for name in {table for tables in own.values() for table in tables}
        if (node := nodes[f"model.strata.{name}"])["config"]["materialized"] == "table"
    }
    spent = measured(settings, before | stored | marts, args.runs, args.memory)
    with duck.connect([settings.home]) as con:
        con.execute(f"attach {literal(str(settings.warehouse))} as warehouse (read_only)")
        customers = con.execute("select count(*) from warehouse.intermediate.int_customer_facts").fetchall()[
            0
        ][0]
    cost = costs(own, spent)
    answer = report(cost, {n: spent[n] for n in before | stored}, customers)
    text = json.dumps(answer, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")
    return 1 if dearer(cost, args.limit) else 0


if __name__ == "__main__":
    sys.exit(main())
