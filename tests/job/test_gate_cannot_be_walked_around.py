"""Bad input ends in a named outcome, and nothing that was published before moves."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from tests.job import forks
from tests.job.conftest import Line, failed


def _newest(line: Line, feed: str, source: str = "*") -> Path:
    return max(line.landing.glob(f"{source}/{feed}/*"), key=lambda p: p.name)


def _materialize(line: Line, asset: str, partition: str) -> subprocess.CompletedProcess[str]:
    """One asset alone, as somebody would click it in the UI."""
    script = (
        "import sys; from dagster import AssetKey, DagsterInstance, materialize, AssetSelection\n"
        "from pipeline.definitions import defs\n"
        "job = defs.resolve_implicit_global_asset_job_def().get_subset(\n"
        "    asset_selection={AssetKey(sys.argv[1].split('/'))}, asset_check_selection=set())\n"
        "with DagsterInstance.get() as instance:\n"
        "    result = job.execute_in_process(instance=instance, partition_key=sys.argv[2], raise_on_error=False)\n"
        "for event in result.all_node_events:\n"
        "    if event.is_step_failure: print(event.step_failure_data.error.to_string())\n"
        "sys.exit(0 if result.success else 3)\n"
    )
    environment = line.environment() | {"DAGSTER_HOME": str(line.home / "dagster")}
    return forks.call([asset, partition], environment, forks.ROOT, script)


def test_publish_alone_republishes_a_good_build_but_changes_nothing(company_copy: Line) -> None:
    """The clean case: the same call that the next tests see refused goes through here."""
    before = company_copy.pointer
    day = json.loads(before)["release"]
    key = duckdb.sql(f"select cast(cast('{day}' as date) - 1 as varchar)").fetchone()[0]
    done = _materialize(company_copy, "releases/current", key)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert company_copy.pointer == before


def test_an_empty_orders_file_stops_the_run_and_publish_alone_too(company_copy: Line) -> None:
    before = company_copy.pointer
    day = json.loads(before)["release"]
    broken = _newest(company_copy, "orders", "app")
    broken.write_bytes(b"")
    code, answer, _ = company_copy.run()
    assert (code, answer["status"], answer["release"]) == (2, "stopped", None)
    (stopped,) = failed(answer)
    assert (stopped["feed"], stopped["check"], stopped["observed"]) == ("orders", "files_accepted", 1)
    assert "empty_file" in stopped["examples"][0] and broken.name in stopped["examples"][0]
    assert company_copy.pointer == before
    key = duckdb.sql(f"select cast(cast('{day}' as date) - 1 as varchar)").fetchone()[0]
    done = _materialize(company_copy, "releases/current", key)
    assert done.returncode == 3
    assert "nothing was published" in done.stdout
    assert company_copy.pointer == before


def test_a_missing_orders_file_stops_the_run(company_copy: Line, tmp_path: Path) -> None:
    """A fresh home, so that the file was never there: a day without its sales is no day without sales."""
    fresh = Line(company_copy.landing, tmp_path / "fresh")
    missing = _newest(fresh, "orders", "store_pos")
    missing.unlink()
    code, answer, _ = fresh.run()
    assert code == 2
    assert {(c["feed"], c["check"]) for c in failed(answer)} == {("orders", "delivered")}
    assert any("store_pos/orders" in e and missing.stem in e for e in failed(answer)[0]["examples"])
    assert fresh.pointer == ""


def test_a_column_of_the_wrong_type_stops_the_run(company_copy: Line) -> None:
    before = company_copy.pointer
    broken = _newest(company_copy, "order_lines", "marketplace")
    text = broken.read_text(encoding="utf-8-sig").splitlines()
    header = text[0].split(",")
    at = header.index("qty")
    rows = [line.split(",") for line in text[1:]]
    for row in rows:
        row[at] = "many"
    broken.write_text("\n".join([text[0], *(",".join(row) for row in rows)]) + "\n", encoding="utf-8")
    code, answer, _ = company_copy.run()
    assert code == 2
    stopped = {(c["feed"], c["check"]) for c in failed(answer)}
    assert ("order_lines", "rejected_rows") in stopped
    assert company_copy.pointer == before


def test_small_faults_are_counted_and_do_not_stop_the_run(company_copy: Line) -> None:
    """An unknown column, a future time, one wrong value, a file sent twice: each has its own outcome."""
    sent_twice = _newest(company_copy, "order_lines", "store_pos")
    (sent_twice.parent / f"{sent_twice.stem}.again{sent_twice.suffix}").write_bytes(sent_twice.read_bytes())
    orders = _newest(company_copy, "orders", "app")
    records = [json.loads(line) for line in orders.read_text(encoding="utf-8").splitlines()]
    extra = [r | {"mood": "sunny"} for r in records]
    future = records[0] | {"order_id": "from-the-future", "ordered_at": "2031-01-01T10:00:00+08:00"}
    wrong = records[0] | {"order_id": "wrong", "status": "perhaps"}
    orders.write_text("".join(json.dumps(r) + "\n" for r in [*extra, future, wrong]), encoding="utf-8")
    before = company_copy.query("select sum(amount) from operations.row_balance")
    first = company_copy.manifest()["release"]
    code, answer, errors = company_copy.run()
    assert (code, answer["status"]) == (0, "published"), (failed(answer), errors[-2000:])
    assert answer["build"]["way"] == "increment", answer["build"]
    # A corrected file makes the next revision of the day, and the one before stays as it was.
    assert answer["release"] == company_copy.manifest()["release"] == f"{first}-r2"
    assert company_copy.strata("releases", "verify", first)[1]["ok"]
    revisions = company_copy.query(
        f"select rev, rows_read from operations.ingest_ledger where file = 'app/orders/{orders.name}' order by rev"
    )
    assert revisions == [(1, len(records)), (2, len(records) + 2)]
    assert company_copy.query(
        "select status, rows_read = rows_duplicate, rows_loaded from operations.ingest_ledger "
        "where file like '%.again.%'"
    ) == [("duplicate", True, 0)]
    (row,) = company_copy.query(
        "select rows_read - rows_loaded - rows_duplicate, rows_rejected, extra_columns "
        f"from operations.ingest_ledger where file = 'app/orders/{orders.name}' and rev = 2"
    )
    assert row[0] == row[1] >= 2
    assert "mood" in row[2]
    drift = [c for c in answer["checks"] if c["check"] == "no_unknown_columns" and not c["passed"]]
    assert [(c["feed"], c["level"]) for c in drift] == [("orders", "warn")]
    codes = duckdb.sql(
        f"select code, value from read_parquet('{company_copy.home}/quarantine/app/orders/{orders.stem}/*.parquet') "
        "where value in ('perhaps', '2031-01-01T10:00:00+08:00') order by code"
    ).fetchall()
    assert [code for code, _ in codes] == ["future_date", "unknown_value"]
    assert company_copy.query("select sum(amount) from operations.row_balance") == before


def test_a_redelivery_that_is_refused_never_falls_back_to_the_earlier_file(company_copy: Line) -> None:
    before = company_copy.pointer
    again = _newest(company_copy, "order_lines", "app")
    again.write_text('{"order_id": "x", "line_no": \n', encoding="utf-8")
    code, answer, _ = company_copy.run()
    assert code == 2
    assert ("order_lines") in {c["feed"] for c in failed(answer)}
    assert company_copy.pointer == before


def test_a_failed_dbt_test_stops_the_run_and_publish_alone_too(
    company_copy: Line, checkout: Callable[[str], Path]
) -> None:
    """Planted: one box of the RFM grid is missing, so the grid is not total any more."""
    root = checkout("broken_grid")
    grid = root / "dbt_project" / "seeds" / "policy" / "rfm_grids.csv"
    lines = grid.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith("rf25,6,")]
    assert len(kept) == len(lines) - 1
    grid.write_text("".join(kept), encoding="utf-8")
    before = company_copy.pointer
    day = json.loads(before)["release"]
    code, answer, errors = company_copy.run(root=root)
    assert code == 2, errors[-3000:]
    assert any("grid" in c["check"] for c in failed(answer)), failed(answer)
    # Tables behind the failed test are of the build before: nothing may go on from this warehouse.
    assert answer["build"] == {"way": "full build", "why": "SQL and policy changed since the build before"}
    assert not (company_copy.home / "build" / "base.json").exists()
    assert company_copy.pointer == before
    # A build that broke off elsewhere would have skipped it, and that is a failure too.
    (found,) = [c for c in answer["checks"] if c["check"] == "rfm_grids_are_total_and_disjoint"]
    assert found["observed"] != "skipped" and int(found["observed"]) > 0
    key = duckdb.sql(f"select cast(cast('{day}' as date) - 1 as varchar)").fetchone()[0]
    done = _materialize(company_copy, "releases/current", key)
    assert done.returncode == 3
    assert "no receipt of a complete build" in done.stdout
    assert company_copy.pointer == before


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("orders.csv", "<source>/<feed>/<YYYY-MM-DD>"),
        ("app/orders/yesterday.csv", "app/orders/<YYYY-MM-DD>"),
        ("app/odrers/2026-06-30.jsonl", "feed of: customers"),
    ],
)
def test_a_file_elsewhere_is_named_with_the_path_that_was_expected(
    company_copy: Line, file: str, expected: str
) -> None:
    stray = company_copy.landing / file
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_text("a,b\n1,2\n")
    from pipeline.ingest.landing import scan

    _, misplaced = scan(company_copy.landing)
    (found,) = [m for m in misplaced if m.file == file]
    assert expected in found.expected
