"""Ingest beside the engine's own reader: one large delivery, the same file, runs interleaved, medians.

python -m benchmarks.ingest --rows 5000000 [--runs 3] [--work DIR] [--json FILE]

What is compared: `sweep` (hash, both equations, typing, contract rules, repeats, profile, raw Parquet, ledger) with
DuckDB's `read_csv` → Parquet of the same columns, and for Parquet with a scan and with `read_parquet` → Parquet.
Seconds are those of the work itself, without the start of Python; memory is that of the whole process tree.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import duckdb

from benchmarks.measure import measure

DAY, AS_OF = "2024-05-06", date(2024, 5, 7)
COLUMNS = "order_id, line_no, product_id, qty, list_price, unit_price_paid, is_gift"
LINES = """
select
    'ORD-' || lpad((i // 3)::varchar, 10, '0') as order_id,
    i % 3 + 1 as line_no,
    'SKU-' || lpad((hash(i) % 5000)::varchar, 5, '0') as product_id,
    (hash(i + 1) % 9 + 1)::decimal(18, 3) as qty,
    (hash(i + 2) % 99000 + 1000)::decimal(18, 4) / 100 as list_price,
    (hash(i + 3) % 99000 + 1000)::decimal(18, 4) / 100 as unit_price_paid,
    i % 50 = 0 as is_gift
from range({rows}) as t (i)
"""


def prepare(work: Path, rows: int) -> dict[str, Path]:
    """The delivery as CSV and as Parquet, each in a landing folder of its own."""
    files = {}
    for ext in ("csv", "parquet"):
        path = work / ext / "shop" / "order_lines" / f"{DAY}.{ext}"
        path.parent.mkdir(parents=True, exist_ok=True)
        form = "format csv, header" if ext == "csv" else "format parquet"
        decimals = "* replace (list_price::decimal(18,2) as list_price, unit_price_paid::decimal(18,2) as unit_price_paid, qty::int as qty)"
        chosen = (
            decimals
            if ext == "csv"
            else "* replace (list_price::decimal(18,4) as list_price, unit_price_paid::decimal(18,4) as unit_price_paid)"
        )
        duckdb.sql(f"copy (select {chosen} from ({LINES.format(rows=rows)})) to '{path}' ({form})")
        files[ext] = path
    return files


def work_ingest(file: Path, out: Path) -> int:
    """Our own: rows loaded."""
    _home(file, out)
    from pipeline import settings
    from pipeline.ingest.load import sweep

    (entry,) = sweep(settings.load(), AS_OF, run_id="bench", released=None).entries
    if entry.status != "loaded":
        raise RuntimeError(f"{entry.reject_code}: {entry.reject_detail}")
    return entry.rows_loaded


def _home(file: Path, out: Path) -> None:
    os.environ |= {
        "STRATA_HOME": str(out / "home"),
        "STRATA_LANDING": str(file.parents[2]),
        "STRATA_TOKEN_KEY": "ab" * 32,
    }


def work_read_csv(file: Path, out: Path) -> int:
    """DuckDB guesses dialect and types, reads and writes Parquet."""
    return _copied(f"select {COLUMNS} from read_csv('{file}')", out)


def work_read_parquet(file: Path, out: Path) -> int:
    """DuckDB reads and writes Parquet."""
    return _copied(f"select {COLUMNS} from read_parquet('{file}')", out)


def work_scan(file: Path, out: Path) -> int:
    """Every column read and decoded, nothing written."""
    sums = "sum(strlen(order_id)), sum(line_no), sum(strlen(product_id)), sum(qty), sum(list_price), sum(unit_price_paid)"
    row = duckdb.sql(f"select count(*), {sums}, count_if(is_gift) from read_parquet('{file}')").fetchone()
    return int(row[0]) if row else 0


def _copied(select: str, out: Path) -> int:
    out.mkdir(parents=True, exist_ok=True)
    row = duckdb.execute(f"copy ({select}) to '{out / 'copy.parquet'}' (format parquet)").fetchone()
    return int(row[0]) if row else 0


WORK = {
    "ingest": work_ingest,
    "read_csv": work_read_csv,
    "read_parquet": work_read_parquet,
    "scan": work_scan,
}


def one(name: str, file: Path, out: Path) -> None:
    """Run one piece of work and print its seconds and rows.

    Our imports, contracts and the folders of a new home are there before the clock starts, as they are on any other
    day; DuckDB imports pandas at the first Arrow table that it is given.
    """
    if name == "ingest":
        import pandas  # noqa: F401

        _home(file, out)
        from pipeline import settings
        from pipeline.ingest.writing import prepare_raw

        prepare_raw(settings.load())
    began = time.perf_counter()
    rows = WORK[name](file, out)
    print(json.dumps({"seconds": time.perf_counter() - began, "rows": rows}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=3, metavar=("WORK", "FILE", "OUT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one(given.one[0], Path(given.one[1]), Path(given.one[2]))
        return
    if given.work:
        given.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.work) as made:
        result = compare(Path(made), given.rows, given.runs)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(result, indent=1))


def compare(work: Path, rows: int, runs: int) -> dict[str, object]:
    """Run every piece of work `runs` times, interleaved, and print the medians."""
    files = prepare(work, rows)
    plan = [
        ("ingest", "csv"),
        ("read_csv", "csv"),
        ("ingest", "parquet"),
        ("read_parquet", "parquet"),
        ("scan", "parquet"),
    ]
    seconds: dict[tuple[str, str], list[float]] = {job: [] for job in plan}
    peak: dict[tuple[str, str], float] = dict.fromkeys(plan, 0.0)
    for _ in range(runs):
        for job in plan:
            name, ext = job
            out = work / "out"
            command = [sys.executable, "-m", "benchmarks.ingest", "--one", name, str(files[ext]), str(out)]
            sample = measure(command, work / "log")
            shutil.rmtree(out, ignore_errors=True)
            said = json.loads(sample.output.splitlines()[-1])
            if said["rows"] != rows:
                raise RuntimeError(f"{job} has {said['rows']} of {rows} rows")
            seconds[job].append(said["seconds"])
            peak[job] = max(peak[job], sample.peak_mb)
    median = {job: statistics.median(values) for job, values in seconds.items()}
    print(f"{rows:,} order lines, {runs} runs, {os.cpu_count()} cores")
    print(f"{'work':<14}{'file':<10}{'MB':>8}{'median s':>10}{'MB/s':>8}{'peak MB':>9}")
    for job in plan:
        size = files[job[1]].stat().st_size / 1e6
        print(
            f"{job[0]:<14}{job[1]:<10}{size:>8.0f}{median[job]:>10.2f}{size / median[job]:>8.0f}{peak[job]:>9.0f}"
        )
    ratios = {
        "csv throughput, ours / read_csv": median["read_csv", "csv"] / median["ingest", "csv"],
        "parquet throughput, ours / read and write": median["read_parquet", "parquet"]
        / median["ingest", "parquet"],
        "parquet throughput, ours / scan": median["scan", "parquet"] / median["ingest", "parquet"],
    }
    for name, ratio in ratios.items():
        print(f"{name:<44}{ratio:>6.2f}")
    named = {
        " ".join(job): {"median_s": median[job], "peak_mb": peak[job], "s": seconds[job]} for job in plan
    }
    return {"rows": rows, "runs": runs, "work": named, "ratios": ratios}


if __name__ == "__main__":
    main()
