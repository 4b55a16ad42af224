"""A source that is delivered in its own form: what its mapping must not let through, and what it must not lose."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.ingest import ledger
from pipeline.ingest.load import sweep
from pipeline.settings import Settings

Land = Callable[[str, bytes | str], Path]
HEAD = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
AS_OF = date(2011, 1, 5)


def raw(settings: Settings, feed: str) -> list[dict[str, object]]:
    files = sorted((settings.raw / "online_retail" / feed).rglob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def land_rows(land: Land, *rows: str) -> None:
    lines = "".join(f"{row.format(at='2011-01-04 10:00:00')}\n" for row in rows)
    land("online_retail/transactions/2011-01-04.csv", HEAD + lines)


def test_each_kind_of_row_goes_to_its_feed(settings: Settings, land: Land) -> None:
    land_rows(
        land,
        "1,a1,mug,2,{at},2.5,17850.0,UK",
        "1,A1,mug,2,{at},2.5,17850.0,UK",
        "C2,A1,mug,-1,{at},2.5,17850.0,UK",
        "3,A1,damaged,-9,{at},0,,UK",
        "A4,B,Adjust bad debt,1,{at},-11062.06,,UK",
    )
    sweep(settings, AS_OF, run_id="test", released=None)
    lines = [
        (r["order_id"], r["line_no"], r["product_id"], int(str(r["qty"]).split(".")[0]))
        for r in raw(settings, "order_lines")
    ]
    assert lines == [("1", 1, "A1", 2), ("1", 2, "A1", 2), ("3", 1, "A1", -9), ("A4", 1, "B", 1)]
    (refund,) = raw(settings, "returns")
    assert (refund["return_id"], refund["order_id"], refund["source_customer_id"]) == ("C2-1", None, "17850")
    assert [r["source_customer_id"] for r in raw(settings, "orders")] == ["17850", None, None]
    assert [r["name"] for r in raw(settings, "products") if r["product_id"] == "A1"] == ["mug"], (
        "notes name no product"
    )


def test_equal_lines_of_one_invoice_both_count(settings: Settings, land: Land) -> None:
    land_rows(land, *["1,a1,mug,2,{at},2.5,1.0,UK"] * 3)
    sweep(settings, AS_OF, run_id="test", released=None)
    (entry,) = ledger.read(settings)
    assert (entry.rows_loaded, entry.rows_duplicate) == (3, 0)
    assert [r["line_no"] for r in raw(settings, "order_lines")] == [1, 2, 3]


def test_a_rejected_row_reaches_no_feed(settings: Settings, land: Land) -> None:
    land_rows(land, "1,a1,mug,two,{at},2.5,1.0,UK", "2,a2,mug,1,{at},2.5,1.0,UK")
    sweep(settings, AS_OF, run_id="test", released=None)
    assert {str(r["order_id"]) for r in raw(settings, "orders") + raw(settings, "order_lines")} == {"2"}


def test_a_feed_beside_the_mapped_one_is_not_overwritten(settings: Settings, land: Land) -> None:
    land_rows(land, "1,a1,mug,2,{at},2.5,1.0,UK")
    land("online_retail/orders/2011-01-04.csv", "order_id,ordered_at,status\nown,2011-01-04,paid\n")
    sweep(settings, AS_OF, run_id="test", released=None)
    assert sorted(str(r["order_id"]) for r in raw(settings, "orders")) == ["1", "own"]


def test_a_mapped_row_obeys_the_rules_of_its_feed(settings: Settings, land: Land) -> None:
    """Goods taken back at a price without a C: the contract of order_lines rejects it when any other source sends it."""
    land_rows(land, "1,a1,mug,-2,{at},2.5,1.0,UK", "2,a2,mug,0,{at},2.5,1.0,UK", "3,a3,mug,1,{at},2.5,1.0,UK")
    sweep(settings, AS_OF, run_id="test", released=None)
    assert [r["order_id"] for r in raw(settings, "order_lines")] == ["3"]
    assert [e.rows_rejected for e in ledger.read(settings)] == [2]
