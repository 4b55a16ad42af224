"""How long a reader waits for a release (F7): the opening alone, and with the whole database held against its hash.

    python -m benchmarks.opening --home HOME [--runs 5] [--json]

`open_ms` is what a reader of the versioned path pays: pointer, manifest with its hash, attaching `marts.duckdb`, and the
first row of a small table. `open_verified_ms` is `open_current()`, which reads every byte of the database before. Medians
in one process with the libraries loaded and the file in the cache of the machine, milliseconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

from pipeline.publish.client import current, open_current

RUNS = 5
FIRST = "select customers from audiences.segment_summary limit 1"


def _by_path(home: Path) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(":memory:")
    path = str(current(home).path / "marts.duckdb").replace("'", "''")
    con.execute(f"attach '{path}' as strata (read_only)")
    con.execute("use strata")
    return con


def _median_ms(
    opened: Callable[[Path], duckdb.DuckDBPyConnection],
    home: Path,
    runs: int,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    taken = []
    for _ in range(runs):
        began = clock()
        with opened(home) as con:
            con.execute(FIRST).fetchall()
            taken.append((clock() - began) * 1000)
    return round(statistics.median(taken), 1)


def measured(home: Path, runs: int = RUNS) -> dict[str, float]:
    """`open_ms`, also of CPU, `open_verified_ms` and the size of the database in MB. Raises ReleaseError where there is none."""
    size = (current(home).path / "marts.duckdb").stat().st_size
    return {
        "open_ms": _median_ms(_by_path, home, runs),
        # What stands where others load the machine.
        "open_cpu_ms": _median_ms(_by_path, home, runs, time.process_time),
        "open_verified_ms": _median_ms(open_current, home, runs),
        "database_mb": round(size / 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = measured(args.home, args.runs)
    print(json.dumps(found) if args.json else " · ".join(f"{name} {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
