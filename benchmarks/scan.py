"""The floor under any query: read and decode the columns that the work needs, and nothing else.

python -m benchmarks.scan --landing DIR
"""

from __future__ import annotations

import argparse
from pathlib import Path

import duckdb

# Sums, because DuckDB answers counts and may answer extremes from the file's own statistics.
COLUMNS = {
    "order_lines": "sum(strlen(order_id)), sum(line_no), sum(qty), sum(unit_price_paid)",
    "orders": "sum(strlen(order_id)), sum(strlen(source_customer_id)), sum(epoch_us(paid_at)), "
    "sum(strlen(status)), sum(order_discount), sum(is_test::int), sum(epoch_us(updated_at))",
    "returns": "sum(strlen(order_id)), sum(line_no), sum(strlen(source_customer_id)), sum(qty), "
    "sum(refund_amount), sum(epoch_us(refunded_at)), sum(strlen(type))",
}


def run(landing: Path) -> None:
    with duckdb.connect() as connection:
        for feed, columns in COLUMNS.items():
            # A literal: binding a parameter makes the duckdb module import pandas, which costs more than the
            # scan.
            glob = str(landing / "bench" / feed / "*.parquet").replace("'", "''")
            connection.execute(f"select {columns} from read_parquet('{glob}')").fetchall()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--landing", type=Path, required=True)
    run(parser.parse_args().landing)


if __name__ == "__main__":
    main()
