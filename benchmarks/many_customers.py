"""The class marts of millions of customers, made from a small home of which everything is known: brands, channels, answers.

    strata sample --out landing --customers 1000 --days 300 && strata run       # the home to multiply, see the README
    python -m benchmarks.many_customers --home var --out var/bench/many --customers 5000000 --lines 20 --memory 4GB

Every customer of the home is there many times, each time with other purchase days: of a day the order lines are kept or
not by a hash, so that there are as many `--lines` a customer as asked and few profits are alike. What the models read that
work by customer is multiplied; those models are built from it by the SQL of the home's last build, in a process of its own
that may hold `--memory`, with all cores; then the SQL of every mart and of its own tables is run again, as benchmarks.classes
does it. Neither ingest nor the pass over orders, lines and events is measured here: that is benchmarks.scale. With `--limit` the exit
code is 1 where a mart costs more than so many times customer_rfm. Rows of a customer lie nearer together than a build
leaves them, which takes less disk.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.classes import class_models, costs, dearer, measured, own_tables
from benchmarks.measure import memory_bytes, say
from pipeline import duck
from pipeline import settings as settings_module
from pipeline.duck import literal, quote
from pipeline.errors import StrataError
from pipeline.settings import Settings, memory
from pipeline.transform.replay import compiled

# Tables of a row per customer and more that the class models begin from, and the day of each row, where it has one: rows
# of a day are kept or left together.
BEGIN = {
    "core.dim_customers": None,
    "core.fct_survey_responses": None,
    "intermediate.int_persons_excluded": None,
    "intermediate.int_customer_days": "day",
    "intermediate.int_customer_returns": "day",
    "intermediate.int_customer_orders": "paid_date",
    "intermediate.int_customer_purchases": "day",
    "intermediate.int_customer_forecasts": None,
    "intermediate.int_customer_baskets": None,
    "intermediate.int_customer_signals": None,
    "intermediate.int_buyers_at_refresh": None,
    "intermediate.int_prospect_steps": None,
    "intermediate.int_returns": "return_date",
}
# Of a thousand: finer than a day's purchases.
PARTS = 1000
# Copies that are written at once, in the order of their customers.
BATCH = 100


def needed(nodes: dict[str, Any]) -> tuple[list[str], list[str]]:
    """(models that are built, in order; relations that are taken as they are) of the class marts, by unique id."""
    built: list[str] = []
    taken: list[str] = []

    def add(unique_id: str) -> bool:
        """Whether the relation is multiplied or built from what is."""
        node = nodes.get(unique_id)
        if node is None:
            return False
        if f"{node['schema']}.{node['name']}" in BEGIN or unique_id in built:
            return True
        if unique_id in taken:
            return False
        reads = (
            [add(other) for other in node["depends_on"]["nodes"]] if node["resource_type"] == "model" else []
        )
        (built if any(reads) else taken).append(unique_id)
        return any(reads)

    for name in class_models(nodes):
        add(f"model.strata.{name}")
    return built, taken


def multiplied(con: Any, table: str, day: str | None, times: int, parts: int) -> None:
    """`many.<table>` from `warehouse.<table>`: each row `times` times, of the rows with a day `parts` of PARTS."""
    columns = [row[0] for row in con.execute(f"describe warehouse.{table}").fetchall()]
    picked = [
        "md5(rows.customer_key || copies.n) as customer_key" if c == "customer_key" else f"rows.{quote(c)}"
        for c in columns
    ]
    some = f"where hash(rows.customer_key, copies.n, rows.{day}) % {PARTS} < {parts}" if day else ""
    sql = (
        f"select {', '.join(picked)} from warehouse.{table} as rows "
        f"cross join range($first, $last) as copies (n) {some}"
    )
    if table == "intermediate.int_customer_days":
        # Days were taken out between others.
        sql = (
            "select * replace (case when is_purchase_day then day - lag(day) over by_customer end as gap_days, "
            f"lead(day) over by_customer is null as is_last) from ({sql}) "
            "window by_customer as (partition by customer_key, is_purchase_day order by day)"
        )
    sql += " order by customer_key"
    for first in range(0, times, BATCH):
        bounds = {"first": first, "last": min(first + BATCH, times)}
        if first == 0:
            con.execute(f"create table many.{table} as from warehouse.{table} limit 0")
        con.execute(f"insert into many.{table} {sql}", bounds)


def make(settings: Settings, out: Path, customers: int, lines: int) -> dict[str, Any]:
    """A folder like a home, with the tables that the class models begin from. Returns how many rows each has."""
    nodes = compiled(settings)
    _, taken = needed(nodes)
    if out.exists():
        raise StrataError(f"{out} is there already")
    (out / "warehouse").mkdir(parents=True)
    for part in ("dbt", "build/history"):
        shutil.copytree(settings.home / part, out / part)
    rows: dict[str, Any] = {}
    with duck.connect([settings.home, out]) as con:
        con.execute(f"attach {literal(str(settings.warehouse))} as warehouse (read_only)")
        con.execute(f"attach {literal(str(out / 'warehouse' / 'warehouse.duckdb'))} as many")
        for schema in ("core", "intermediate", "segments"):
            con.execute(f"create schema many.{schema}")
        people, sold = con.execute(
            "select (select count(*) from warehouse.core.dim_customers), "
            "(select sum(sale_n) from warehouse.intermediate.int_customer_orders)"
        ).fetchall()[0]
        times = max(1, round(customers / people))
        parts = min(PARTS, round(PARTS * lines * people / sold))
        for table, day in BEGIN.items():
            multiplied(con, table, day, times, parts)
            rows[table] = con.execute(f"select count(*) from many.{table}").fetchall()[0][0]
            say(f"{table}: {rows[table]:,} rows")
        for unique_id in taken:
            node = nodes[unique_id]
            name = f"{quote(node['schema'])}.{quote(node.get('alias') or node['name'])}"
            con.execute(f"create schema if not exists many.{quote(node['schema'])}")
            con.execute(f"create table many.{name} as from warehouse.{name}")
        rows["order lines"] = con.execute(
            "select cast(sum(sale_n) as bigint) from many.intermediate.int_customer_orders"
        ).fetchall()[0][0]
    return rows


def build(home: Path, of: Path, runs: int) -> dict[str, Any]:
    """Build every model behind the class marts in the folder, by SQL that was compiled for the home `of`.

    Returns CPU seconds by model in the order of the build, the most memory (MB) that the process held by then, and what each
    mart costs alone (classes.costs): one thread, the median of `runs`.
    """
    settings = replace(settings_module.load(), home=home)
    nodes = compiled(settings)
    for node in nodes.values():
        if "compiled_code" in node:
            node["compiled_code"] = node["compiled_code"].replace(str(of), str(home))
    spent: dict[str, float] = {}
    with duck.connect([home], spill=home / "build" / ".spill") as con:
        con.execute(f"attach {literal(str(settings.warehouse))} as warehouse")
        con.execute("use warehouse")
        for unique_id in needed(nodes)[0]:
            node = nodes[unique_id]
            began = time.process_time()
            kind = "view" if node["config"]["materialized"] == "view" else "table"
            con.execute(
                f"create or replace {kind} {node['schema']}.{node['name']} as {node['compiled_code']}"
            )
            spent[node["name"]] = round(time.process_time() - began, 2)
    # Of this process alone: ru_maxrss starts with what the one that made the tables had held.
    _, peak = memory_bytes(os.getpid())
    marts = class_models(nodes)
    own = own_tables(nodes, marts)
    # What is no table is worked out by the query that reads it.
    theirs = {
        name
        for name in spent
        if any(name in tables for tables in own.values())
        and nodes[f"model.strata.{name}"]["config"]["materialized"] == "table"
    }
    models = {name: nodes[f"model.strata.{name}"]["compiled_code"] for name in sorted(theirs)} | marts
    again = costs(own, measured(settings, models, runs, memory()))
    return {"cpu_s": spent, "peak_mb": round(peak / 1e6), "alone": again}


def report(built: dict[str, Any], rows: dict[str, int], marts: set[str]) -> dict[str, Any]:
    """The answer: what went in, what the marts and the tables behind them cost together and alone, and the memory."""
    cpu = built["cpu_s"]
    return {
        "customers": rows["core.dim_customers"],
        "order_lines": rows["order lines"],
        "rows": rows,
        "peak_mb": built["peak_mb"],
        "marts_cpu_s": round(sum(s for name, s in cpu.items() if name in marts), 1),
        "inputs_cpu_s": round(sum(s for name, s in cpu.items() if name not in marts), 1),
        "cpu_s": dict(sorted(cpu.items(), key=lambda item: -item[1])),
        "alone": built["alone"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, required=True, help="a built home, best of the sample company")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--customers", type=int, default=5_000_000)
    parser.add_argument("--lines", type=int, default=20, help="order lines a customer")
    parser.add_argument("--memory", default="4GB", help="of the process while the models are built")
    parser.add_argument("--runs", type=int, default=3, help="of each mart alone")
    parser.add_argument(
        "--limit", type=float, help="times customer_rfm that a mart may cost; else no mart fails"
    )
    parser.add_argument("--json", type=Path, help="write the answer here too")
    parser.add_argument("--build-only", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    home, out = args.home.resolve(), args.out.resolve()
    if args.build_only:
        print(json.dumps(build(out, home, args.runs)))
        return 0
    settings = replace(settings_module.load(), home=home)
    rows = make(settings, out, args.customers, args.lines)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.many_customers", "--build-only", "--runs", str(args.runs)),
            *("--home", str(home), "--out", str(out)),
        ],
        env={**os.environ, "STRATA_MEMORY": args.memory},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        return 1
    answer = report(json.loads(done.stdout), rows, set(class_models(compiled(settings))))
    text = json.dumps(answer, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")
    return 1 if dearer(answer["alone"], args.limit) else 0


if __name__ == "__main__":
    sys.exit(main())
