"""What publishing costs at least (F7): DuckDB alone writes the published tables of a home in both forms.

    python -m benchmarks.publication --home HOME --work DIR

From the warehouse of the last build to sorted Parquet and to one database in the storage format of DuckDB 1.0, as a
release has them, statement after statement with the engine's own threads: no check, no hash, no page. Prints one JSON
object: `parquet_cpu_s`, `database_cpu_s`, `wall_s`, `tables_n`, `rows_n`. Set beside the stage `publish` of
`benchmarks.scale` on the same home.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

from benchmarks.replay import cpu_s
from pipeline import duck
from pipeline.duck import literal, quote
from pipeline.publish.tables import PARQUET, published_tables


def bare(warehouse: Path, manifest: Path, work: Path) -> dict[str, float | int]:
    """Write every published table twice below `work`, which is emptied afterwards; seconds of this process.

    Args:
        manifest: of the dbt project that the warehouse was built from.
    """
    tables = published_tables(json.loads(manifest.read_text()))
    folder = work / "published"
    folder.mkdir(parents=True)
    spent = {"parquet_cpu_s": 0.0, "database_cpu_s": 0.0}
    rows, began = 0, time.perf_counter()
    try:
        with duck.connect([work, warehouse.parent]) as con:
            con.execute(f"attach {literal(str(warehouse))} as warehouse (read_only)")
            con.execute(f"attach {literal(str(folder / 'marts.duckdb'))} as marts (storage_version 'v1.0.0')")
            for table in tables:
                name = f"{quote(table.schema)}.{quote(table.name)}"
                select = f"select {', '.join(map(quote, table.columns))} from warehouse.{name}"
                order = ", ".join(f"{quote(c)} nulls first" for c in table.grain or table.columns)
                before = cpu_s()
                (written,) = con.execute(
                    f"copy ({select} order by {order}) to {literal(str(folder / f'{table.key}.parquet'))} {PARQUET}"
                ).fetchall()
                between = cpu_s()
                con.execute(f"create schema if not exists marts.{quote(table.schema)}")
                con.execute(f"create table marts.{name} as {select}")
                rows += written[0]
                spent["parquet_cpu_s"] += between - before
                spent["database_cpu_s"] += cpu_s() - between
            before = cpu_s()
            con.execute("checkpoint marts")
            spent["database_cpu_s"] += cpu_s() - before
    finally:
        shutil.rmtree(folder)
    seconds = {name: round(value, 2) for name, value in spent.items()}
    return seconds | {
        "wall_s": round(time.perf_counter() - began, 2),
        "tables_n": len(tables),
        "rows_n": rows,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for what is written")
    args = parser.parse_args()
    home, work = args.home.resolve(), args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    print(json.dumps(bare(home / "warehouse" / "warehouse.duckdb", home / "dbt" / "built.json", work)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
