"""A source that is delivered in its own form: what its mapping must not let through, and what it must not lose."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.errors import StrataError
from pipeline.ingest import ledger, quarantine, rows
from pipeline.ingest.load import sweep
from pipeline.settings import Settings
from tests import postgres

declare_fixture = postgres.declare_fixture
Declare = Callable[[dict[str, str]], None]
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


# A mapping must say of each record where it went

SALES = "receipt,sku,qty,state\n1,A,2,done\n1,B,1,done\n2,A,1,done\n3,C,1,void\n"
LINES = (
    "select _delivery, _row, receipt as order_id, row_number() over (partition by _delivery, receipt order by _row) "
    "as line_no, sku as product_id, qty, 1 as unit_price_paid from delivered"
)
LEFT_OUT = """
    left_out:
      - {when: "state = 'void'", why: voided receipts are no sales}"""


def take_in_till(
    settings: Settings, land: Land, declare: Declare, lines: str, more: str = "", rows: str = SALES
) -> ledger.Entry:
    """Take in a file of a till that maps to order_lines alone; its ledger row."""
    declared = f"""
source: till
zone: Asia/Shanghai
feeds:
  sales:
    maps_to: [order_lines]
    columns:
      receipt: {{type: s, required: true}}
      sku: {{type: s, required: true}}
      qty: {{type: q, required: true}}
      state: {{type: s}}{more}
"""
    declare({"till/source.yml": declared, "till/order_lines.sql": lines})
    land("till/sales/2024-05-06.csv", rows)
    (entry,) = sweep(settings, date(2024, 5, 7), run_id="test", released=None).entries
    return entry


@pytest.mark.parametrize(
    ("lines", "more", "told"),
    [
        (
            LINES + " where state <> 'void'",
            "",
            r"a record is in no row that order_lines.sql make of till/sales, such as record 4",
        ),
        (
            LINES + " where sku = 'A'",
            "",
            r"2 records are in no row .* such as record 2 of till/sales/2024-05-06/rev=1",
        ),
        (
            LINES + ", (values (1), (2))",
            "",
            r"order_lines.sql: 2 rows are made of record 1 .* one_to_many: \[order_lines\]",
        ),
        (
            LINES.replace("_delivery, _row,", "null as _delivery, _row,"),
            "",
            r"order_lines.sql: 4 rows without `_delivery`",
        ),
        (
            LINES.replace("_delivery, _row,", "_delivery, null as _row,"),
            "",
            r"order_lines.sql: 4 rows without",
        ),
        (
            LINES.replace("_delivery, _row,", "_delivery, 9 as _row, [delivered._row] as _rows,"),
            "",
            r"order_lines.sql: 4 rows without .* another `_row` than `_rows` has",
        ),
        (
            LINES.replace("_delivery, _row,", "_delivery, [_row, null] as _rows,"),
            "",
            r"order_lines.sql: 4 rows without",
        ),
        (
            LINES.replace("_delivery, _row,", "_delivery, _row + 1 as _row,"),
            "",
            r"makes a row of record 5 .* was not delivered",
        ),
        (
            LINES.replace("_delivery, _row,", "'x' as _delivery, _row,"),
            "",
            r"makes a row of record 1 of x, which is left out",
        ),
        (
            LINES.replace("_delivery, _row,", "_delivery, 4 as _row,"),
            LEFT_OUT,
            r"makes a row of record 4 .* which is left out",
        ),
    ],
)
def test_a_mapping_that_loses_or_doubles_a_record_is_an_error_that_names_it(
    settings: Settings, land: Land, declare: Declare, lines: str, more: str, told: str
) -> None:
    with pytest.raises(StrataError, match=told):
        take_in_till(settings, land, declare, lines, more)
    assert ledger.read(settings) == [], "nothing of it is taken in"


def test_records_that_are_declared_left_out_are_counted(
    settings: Settings, land: Land, declare: Declare
) -> None:
    entry = take_in_till(settings, land, declare, LINES, LEFT_OUT)
    assert (entry.rows_read, entry.rows_loaded, entry.rows_rejected) == (4, 3, 1)
    assert [(r.record_no, r.code) for r in quarantine.read(settings, entry.delivery)] == [(4, "left_out")]
    assert json.loads(entry.feed_rows or "") == {"order_lines": 3}


def test_a_group_names_its_records_and_one_record_may_make_several_rows_where_that_is_said(
    settings: Settings, land: Land, declare: Declare
) -> None:
    grouped = (
        "select _delivery, list(_row) as _rows, receipt as order_id, n as line_no, min(sku) as product_id, sum(qty) as qty, "
        "1 as unit_price_paid from delivered, (values (1), (2)) as lines (n) group by _delivery, receipt, n"
    )
    entry = take_in_till(settings, land, declare, grouped, "\n    one_to_many: [order_lines]")
    assert (entry.rows_loaded, json.loads(entry.feed_rows or "")) == (4, {"order_lines": 6})
    (file,) = (settings.raw / "till" / "order_lines").rglob("*.parquet")
    assert sorted(pq.read_table(file)["_row"].to_pylist()) == [1, 1, 3, 3, 4, 4]


BAD_GROUP = "select _delivery, {named}, receipt as order_id, 1 as line_no, null as product_id, sum(qty) as qty, 1 as unit_price_paid from delivered group by _delivery, receipt"


def test_a_group_that_breaks_a_rule_is_rejected_with_every_record_that_it_names(
    settings: Settings, land: Land, declare: Declare
) -> None:
    entry = take_in_till(settings, land, declare, BAD_GROUP.format(named="list(_row) as _rows"))
    assert (entry.rows_loaded, entry.rows_rejected) == (0, 4)
    rejects = [(r.record_no, r.code, r.column) for r in quarantine.read(settings, entry.delivery)]
    assert rejects == [(n, "missing_value", "order_lines.product_id") for n in (1, 2, 3, 4)]


def test_a_large_group_that_breaks_a_rule_ends_in_an_error_and_not_in_a_thousand_rounds(
    settings: Settings, land: Land, declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_MAPPING_ROUNDS", 5)
    records = "receipt,sku,qty,state\n" + "1,A,2,done\n" * 1_000
    with pytest.raises(
        StrataError, match=r"till/sales makes a row that is missing_value in order_lines.product_id"
    ):
        take_in_till(settings, land, declare, BAD_GROUP.format(named="min(_row) as _row"), rows=records)
