"""The SQL of a home's last build again, without dbt and Dagster: what the queries alone cost.

    python -m benchmarks.replay --home HOME --work DIR [--memory 1GB]

On a copy of the warehouse, models and tests in the order of the build, in one process through the product's own
connection. Prints one JSON object: `cpu_s` and `wall_s` of all, `models_cpu_s`, `tests_cpu_s`, `same_cpu_s` and
`same_wall_s` of the models that do what the peers do with all that these need, the ten dearest nodes, `nodes_n`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import time
from pathlib import Path

from benchmarks.ours import same_work
from pipeline import duck

# What profiles.yml sets beside them; TimeZone and folders are the connection's own.
SETTINGS = ("threads = 2", "preserve_insertion_order = false", "force_compression = 'uncompressed'")


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def statements(home: Path) -> list[tuple[str, str, str]]:
    """(kind, name, SQL) of every node of the last build that has SQL, in its order."""
    results = json.loads((home / "dbt" / "target" / "run_results.json").read_text())["results"]
    found = []
    for result in results:
        kind, _, name = result["unique_id"].split(".")[:3]
        sql, relation = result.get("compiled_code"), result["relation_name"]
        if result["status"] not in ("success", "pass", "warn") or not sql:
            continue
        if kind == "model":
            # A view is read by others and costs nothing itself.
            found.append((kind, name, f"create or replace table {relation} as ({sql}\n)"))
        elif kind == "test":
            found.append((kind, name, f"select count(*) from ({sql}\n) as failures"))
    return found


def views(home: Path) -> set[str]:
    """Names of the models that are views."""
    with duck.connect([home], database=home / "warehouse" / "warehouse.duckdb", read_only=True) as con:
        rows = con.execute("select view_name from duckdb_views() where not internal").fetchall()
    return {name for (name,) in rows}


def replay(home: Path, work: Path) -> dict[str, object]:
    """Run all and say what it took. `work` gets the copy, which is removed."""
    copy = work / "warehouse.duckdb"
    skipped = views(home)
    same = {
        name.split(".")[2]
        for name in same_work(json.loads((home / "dbt" / "built.json").read_text())["nodes"])
    }
    shutil.copyfile(home / "warehouse" / "warehouse.duckdb", copy)
    spent: dict[tuple[str, str], float] = {}
    wall = same_wall = 0.0
    try:
        with duck.connect([work, home], database=copy) as con:
            for setting in SETTINGS:
                con.execute(f"set {setting}")
            for kind, name, sql in statements(home):
                if kind == "model" and name in skipped:
                    continue
                before, began = cpu_s(), time.perf_counter()
                con.execute(sql).fetchall()
                spent[kind, name] = spent.get((kind, name), 0.0) + cpu_s() - before
                took = time.perf_counter() - began
                wall += took
                same_wall += took if kind == "model" and name in same else 0.0
    finally:
        copy.unlink()
    if not spent:
        raise SystemExit(f"the last build of {home} left no compiled SQL: nothing was measured")
    dearest = sorted(spent.items(), key=lambda item: -item[1])[:10]
    return {
        "nodes_n": len(spent),
        "cpu_s": round(sum(spent.values()), 3),
        "wall_s": round(wall, 3),
        "models_cpu_s": round(sum(s for (kind, _), s in spent.items() if kind == "model"), 3),
        "tests_cpu_s": round(sum(s for (kind, _), s in spent.items() if kind == "test"), 3),
        "same_cpu_s": round(
            sum(s for (kind, name), s in spent.items() if kind == "model" and name in same), 3
        ),
        "same_wall_s": round(same_wall, 3),
        "dearest_cpu_s": {name: round(seconds, 3) for (_, name), seconds in dearest},
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for the copy and for spilling")
    parser.add_argument("--memory", help="memory limit of DuckDB, for example 1GB")
    args = parser.parse_args()
    if args.memory:
        os.environ["STRATA_MEMORY"] = args.memory
    args.work.mkdir(parents=True, exist_ok=True)
    print(json.dumps(replay(args.home.resolve(), args.work.resolve())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
