"""The mapping of the real shop's export: nothing is lost and nothing is counted twice between its files and raw."""

import csv
import shutil
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipeline import settings as settings_module
from pipeline.ingest import ledger
from pipeline.ingest.load import sweep
from pipeline.settings import Settings

pytestmark = pytest.mark.real_data
DAYS = ("2010-12-01", "2010-12-02", "2011-01-05")


@pytest.fixture(scope="module")
def retail(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    folder = tmp_path_factory.mktemp("retail_mapping")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STRATA_HOME", str(folder / "home"))
        patch.setenv("STRATA_LANDING", str(folder / "landing"))
        patch.setenv("STRATA_TOKEN_KEY", "ab" * 32)
        settings = settings_module.load()
        target = settings.landing / "online_retail" / "transactions"
        target.mkdir(parents=True)
        for day in DAYS:
            shutil.copy(real_data / "online_retail_by_day" / f"{day}.csv", target)
        sweep(settings, date(2011, 12, 10), run_id="test", released=None)
        yield settings


@pytest.fixture(scope="module")
def delivered(real_data: Path) -> list[dict[str, str]]:
    """The records of the three files, read by the csv module."""
    rows: list[dict[str, str]] = []
    for day in DAYS:
        with (real_data / "online_retail_by_day" / f"{day}.csv").open(encoding="utf-8", newline="") as file:
            rows += csv.DictReader(file)
    return rows


def query(settings: Settings, feed: str, what: str) -> list[tuple[Any, ...]]:
    pattern = settings.raw / "online_retail" / feed / "*" / "*" / "*.parquet"
    return duckdb.sql(f"select {what} from read_parquet('{pattern}', union_by_name = true) as r").fetchall()


def total(settings: Settings, feed: str, what: str) -> Decimal:
    return Decimal(query(settings, feed, what)[0][0] or 0)


def value(row: dict[str, str]) -> Decimal:
    return int(row["Quantity"]) * Decimal(row["UnitPrice"])


def test_every_row_is_read_and_loaded(retail: Settings, delivered: list[dict[str, str]]) -> None:
    entries = ledger.read(retail)
    assert sum(e.rows_loaded for e in entries) == sum(e.rows_read for e in entries) == len(delivered)
    for e in entries:
        assert (e.header_bytes or 0) + (e.blank_bytes or 0) + (e.record_bytes or 0) == e.bytes


def test_money_reconciles_with_the_files(retail: Settings, delivered: list[dict[str, str]]) -> None:
    sold = total(retail, "order_lines", "sum(qty * unit_price_paid)")
    refunded = total(retail, "returns", "sum(refund_amount)")
    assert sold - refunded == sum(map(value, delivered))
    assert refunded == -sum(value(r) for r in delivered if r["InvoiceNo"].startswith("C")) > 0


def test_every_row_is_a_line_or_a_return(retail: Settings, delivered: list[dict[str, str]]) -> None:
    lines, returns = (query(retail, feed, "count(*)")[0][0] for feed in ("order_lines", "returns"))
    assert lines + returns == len(delivered)
    assert returns == sum(r["InvoiceNo"].startswith("C") for r in delivered)


def test_customers_have_ids_without_a_decimal_point(
    retail: Settings, delivered: list[dict[str, str]]
) -> None:
    expected = {r["CustomerID"].removesuffix(".0") for r in delivered if r["CustomerID"]}
    found = {row[0] for row in query(retail, "customers", "source_customer_id")}
    assert found == expected
    assert {row[0] for row in query(retail, "orders", "source_customer_id") if row[0]} <= expected


def test_rows_without_customer_stay_guests(retail: Settings, delivered: list[dict[str, str]]) -> None:
    guests = {r["InvoiceNo"] for r in delivered if not r["CustomerID"] and not r["InvoiceNo"].startswith("C")}
    assert {
        row[0] for row in query(retail, "orders", "order_id, source_customer_id") if row[1] is None
    } == guests


def test_a_cancellation_is_a_return_of_no_named_order(retail: Settings) -> None:
    found = query(retail, "returns", "order_id, qty > 0, refund_amount >= 0, type")
    assert set(found) == {(None, True, True, "refund")}
    assert query(retail, "orders", "count(*) filter (where upper(order_id) like 'C%')") == [(0,)]


def test_line_numbers_start_again_in_each_document(retail: Settings) -> None:
    pattern = retail.raw / "online_retail" / "order_lines" / "*" / "*" / "*.parquet"
    found = duckdb.sql(
        f"select min(line_no), max(line_no) = count(*) and count(distinct line_no) = count(*) "
        f"from read_parquet('{pattern}') group by order_id"
    ).fetchall()
    assert set(found) == {(1, True)}


def test_one_order_an_invoice_with_its_earliest_time(
    retail: Settings, delivered: list[dict[str, str]]
) -> None:
    earliest: dict[str, datetime] = {}
    for row in delivered:
        if not row["InvoiceNo"].startswith("C"):
            at = datetime.fromisoformat(row["InvoiceDate"])
            earliest[row["InvoiceNo"]] = min(at, earliest.get(row["InvoiceNo"], at))
    # Winter time in London is UTC, so the written time is the stored one.
    assert dict(query(retail, "orders", "order_id, ordered_at")) == earliest


def test_codes_that_differ_by_case_are_one_product(retail: Settings, delivered: list[dict[str, str]]) -> None:
    assert {r[0] for r in query(retail, "products", "product_id")} == {
        r["StockCode"].upper() for r in delivered
    }


def test_source_facts_are_noted(retail: Settings) -> None:
    assert {(e.zone, e.currency, e.price_includes_tax) for e in ledger.read(retail)} == {
        ("Europe/London", "GBP", False)
    }
