"""`strata trace` on a home without a warehouse: what the files alone tell of an order and of a record."""

import fcntl
import gzip
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.errors import StrataError
from pipeline.ingest import quarantine
from pipeline.ingest.load import sweep
from pipeline.settings import Settings
from pipeline.trace import told, trace_order, trace_record

Land = Callable[[str, bytes | str], Path]
AS_OF = date(2024, 5, 10)
ORDERS = "order_id,ordered_at,status,updated_at\n"
FIRST = ORDERS + "a,2024-05-06 10:00:00,created,2024-05-06 10:00:00\nb,2024-05-06 10:00:00,nonsense,\n"
LATER = ORDERS + "a,2024-05-06 10:00:00,paid,2024-05-07 09:00:00\n"
FIRST_FILE, LATER_FILE = "shop/orders/2024-05-06.csv", "shop/orders/2024-05-07.csv"


def take_in(settings: Settings) -> None:
    sweep(settings, AS_OF, run_id="test", released=None)


def ends(settings: Settings, order_id: str) -> list[tuple[str, int, str]]:
    """(file and revision, record, state) of every delivered row of an order, as delivered."""
    (source,) = trace_order(settings, order_id)["sources"]
    return [
        (i["delivery"].split("/", 1)[1], i["record_no"], i["state"])
        for i in sorted(
            source["delivered"], key=lambda i: (i["feed"], str(i["dt"]), i["rev"], i["record_no"])
        )
    ]


@pytest.fixture
def shop(settings: Settings, land: Land) -> Settings:
    land(FIRST_FILE, FIRST)
    land(LATER_FILE, LATER)
    land(
        "shop/order_lines/2024-05-06.csv",
        "order_id,line_no,product_id,qty,unit_price_paid\na,1,P,2,5\na,1,P,2,5\na,2,P,x,5\naa,1,P,1,5\n",
    )
    take_in(settings)
    return settings


def test_each_delivered_row_of_an_order_ends_once(shop: Settings) -> None:
    assert ends(shop, "a") == [
        ("order_lines/2024-05-06/rev=1", 1, "in_fact"),
        ("order_lines/2024-05-06/rev=1", 2, "duplicate"),
        ("order_lines/2024-05-06/rev=1", 3, "rejected"),
        ("orders/2024-05-06/rev=1", 1, "merged"),
        ("orders/2024-05-07/rev=1", 1, "in_fact"),
    ]
    first = next(i for i in trace_order(shop, "a")["sources"][0]["delivered"] if i["state"] == "merged")
    assert first["by"] == {"delivery": "shop/orders/2024-05-07/rev=1", "file": LATER_FILE, "record_no": 1}
    assert FIRST.encode()[first["byte_start"] : first["byte_end"]].startswith(b"a,2024-05-06")
    assert first["line"] == 2


def test_an_order_that_is_only_rejected_says_why(shop: Settings) -> None:
    assert ends(shop, "b") == [("orders/2024-05-06/rev=1", 2, "rejected")]
    text = told(trace_order(shop, "b"))
    for part in ("REJECTED: unknown_value", "in status (nonsense)", "To do:", "line 3"):
        assert part in text


def test_a_corrected_file_puts_its_rows_out_of_force(shop: Settings, land: Land) -> None:
    land(FIRST_FILE, FIRST.replace("nonsense", "paid"))
    take_in(shop)
    assert [e for e in ends(shop, "b") if e[0].startswith("orders")] == [
        ("orders/2024-05-06/rev=2", 2, "in_fact")
    ]
    assert ("orders/2024-05-06/rev=1", 1, "superseded") in ends(shop, "a")


def test_a_file_that_came_twice_is_told_with_its_first(shop: Settings, land: Land) -> None:
    land("shop/order_lines/2024-05-08.csv", (shop.landing / "shop/order_lines/2024-05-06.csv").read_bytes())
    take_in(shop)
    assert ("order_lines/2024-05-08/rev=1", 1, "duplicate") in ends(shop, "a")


def test_a_mapped_order_shows_the_records_that_it_was_made_of(settings: Settings, land: Land) -> None:
    head = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
    rows = ["7,a1,mug,2,{at},2.5,1.0,UK", "7,a2,cup,1,{at},2.5,1.0,UK", "7,a3,cup,many,{at},2.5,1.0,UK"]
    rows += ["C8,a1,mug,-1,{at},2.5,1.0,UK"]
    land("online_retail/transactions/2011-01-04.csv", head + "\n".join(rows).format(at="2011-01-04 10:00:00"))
    take_in(settings)
    (source,) = trace_order(settings, "7")["sources"]
    found = {(i["feed"], i["record_no"]): i["state"] for i in source["delivered"]}
    assert found == {
        ("orders", 1): "in_fact",
        ("order_lines", 1): "in_fact",
        ("order_lines", 2): "in_fact",
        ("transactions", 3): "rejected",
    }
    assert {i["delivered_feed"] for i in source["delivered"]} == {"transactions"}
    (returned,) = trace_order(settings, "C8")["sources"][0]["delivered"]
    assert (returned["feed"], returned["record_no"], returned["values"]["return_id"]) == (
        "returns",
        4,
        "C8-1",
    )


def waiting(settings: Settings, land: Land) -> str:
    land("shop/orders/2024-05-08.csv", ORDERS + "late,2024-05-08 10:00:00,paid,\n")
    return "is only in shop/orders/2024-05-08.csv, which is not taken in yet"


def waiting_zipped(settings: Settings, land: Land) -> str:
    land("shop/orders/2024-05-08.csv.gz", gzip.compress(f"{ORDERS}late,2024-05-08 10:00:00,paid,\n".encode()))
    return "is only in shop/orders/2024-05-08.csv.gz, which is not taken in yet"


def refused(settings: Settings, land: Land) -> str:
    land("shop/orders/2024-05-08.csv", "order_id,ordered_at\nlate,2024-05-08 10:00:00\n")
    take_in(settings)
    return "is only in a refused file: shop/orders/2024-05-08.csv .missing_column"


def nowhere(settings: Settings, land: Land) -> str:
    return r"is unknown in .*looked in 3 loaded files .*orders.* 2 rejected records"


def part_of_another_id(settings: Settings, land: Land) -> str:
    land("shop/orders/2024-05-08.csv", ORDERS + "late-2,2024-05-08 10:00:00,paid,\n")
    return "is unknown in"


def rejects_not_in_landing(settings: Settings, land: Land) -> str:
    (settings.landing / FIRST_FILE).unlink()
    return "is unknown in .*; the rejects of 1 file could not be searched: no longer in landing"


@pytest.mark.parametrize(
    "case", [waiting, waiting_zipped, refused, nowhere, part_of_another_id, rejects_not_in_landing]
)
def test_an_order_that_is_not_in_raw_is_looked_for_where_it_may_be(
    shop: Settings, land: Land, case: Callable[[Settings, Land], str]
) -> None:
    expected = case(shop, land)
    with pytest.raises(StrataError, match=f"order late {expected}"):
        trace_order(shop, "late")


@pytest.mark.parametrize(
    ("name", "number", "state"),
    [
        (FIRST_FILE, 1, "loaded"),
        (FIRST_FILE, 2, "rejected"),
        ("shop/orders/2024-05-06/rev=1", 2, "rejected"),
        ("shop/order_lines/2024-05-06.csv", 2, "duplicate"),
        ("shop/order_lines/2024-05-06.csv", 3, "rejected"),
    ],
)
def test_a_record_is_found_by_file_or_delivery_and_number(
    shop: Settings, name: str, number: int, state: str
) -> None:
    found = trace_record(shop, name, str(number))
    assert found["record"]["state"] == state
    assert found["record"]["record_no"] == number
    assert told(found)
    by_path = trace_record(shop, str(shop.landing / found["record"]["file"]), str(number))
    assert by_path["record"] == found["record"]


def test_a_record_of_a_refused_file_tells_the_reason_of_the_file(settings: Settings, land: Land) -> None:
    land(FIRST_FILE, "order_id\na\n")
    take_in(settings)
    found = trace_record(settings, FIRST_FILE, "1")
    assert (found["record"]["state"], found["record"]["code"]) == ("refused", "missing_column")
    assert "To do:" in told(found)


@pytest.mark.parametrize(
    ("name", "number", "message"),
    [
        (FIRST_FILE, "3", "has 2 records, so no record 3"),
        (FIRST_FILE, "0", "is no record number"),
        (FIRST_FILE, "two", "is no record number"),
        ("shop/orders/2020-01-01.csv", "1", "is no delivered file"),
        ("shop/orders/2024-05-08.csv", "1", "lies in .* and is not taken in yet"),
    ],
)
def test_a_record_that_is_not_there_is_an_error(
    shop: Settings, land: Land, name: str, number: str, message: str
) -> None:
    land("shop/orders/2024-05-08.csv", LATER)
    with pytest.raises(StrataError, match=message):
        trace_record(shop, name, number)


def test_the_command_answers_while_a_run_holds_the_home(shop: Settings) -> None:
    shop.warehouse.parent.mkdir(parents=True)
    shop.warehouse.write_bytes(b"somebody is writing this")
    with shop.lock.open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = CliRunner().invoke(main, ["trace", "a", "--json"])
    assert done.exit_code == 0, done.output
    answer: dict[str, Any] = json.loads(done.stdout)
    assert "a run is at work" in answer["facts_from"]
    assert len(answer["sources"][0]["delivered"]) == 5
    after = json.loads(CliRunner().invoke(main, ["trace", "a", "--json"]).stdout)
    assert "cannot be read" in after["facts_from"]


@pytest.mark.parametrize("args", [[], ["a", "--record", FIRST_FILE, "1"], ["unheard"]])
def test_a_wrong_call_is_one_line_and_exit_code_1(shop: Settings, args: list[str]) -> None:
    done = CliRunner().invoke(main, ["trace", *args])
    assert done.exit_code == 1
    assert done.stderr.startswith("strata: ") and done.stderr.count("\n") == 1


def build(settings: Settings, deliveries: list[str]) -> None:
    """A warehouse as a run that knew these deliveries would have left it: order a with one line."""
    settings.warehouse.parent.mkdir(parents=True)
    with duckdb.connect(str(settings.warehouse)) as con:
        for schema in ("intermediate", "core", "operations"):
            con.execute(f"create schema {schema}")
        con.execute(
            "create table intermediate.int_run_policy as select date '2024-05-10' as as_of_date, "
            "date '2023-05-11' as rfm_window_start, 'CNY' as reporting_currency"
        )
        con.execute(
            "create table core.fct_orders as select 'shop' as source, 'a' as order_id, 'paid' as status, "
            "date '2024-05-06' as ordered_date, date '2024-05-06' as paid_date, 10 as sale_amount, 10 as net_revenue, "
            "1 as profit, false as is_test, true as is_paid, null as customer_key, true as is_valid, "
            "false as is_fully_returned, true as makes_purchase_day"
        )
        con.execute(
            "create table core.fct_order_lines as select 'shop' as source, 'a' as order_id, 1 as line_no, "
            "'P' as product_id, 'sale' as kind, 2 as qty, 5 as unit_price_paid, 10 as line_amount"
        )
        con.execute(
            "create table core.fct_returns (source varchar, order_id varchar, return_id varchar, customer_key varchar)"
        )
        con.execute("create table operations.ingest_ledger (delivery varchar, is_in_force boolean)")
        con.executemany("insert into operations.ingest_ledger values (?, true)", [[d] for d in deliveries])


def test_an_order_that_is_set_aside_says_which_rate_is_missing_and_what_to_do(shop: Settings) -> None:
    build(shop, [f"shop/{f}/rev=1" for f in ("orders/2024-05-06", "order_lines/2024-05-06")])
    assert "no rate" not in told(trace_order(shop, "a"))
    with duckdb.connect(str(shop.warehouse)) as con:
        con.execute(
            "create or replace table core.fct_orders as select * replace (false as is_paid, null as net_revenue), "
            "'USD' as currency, cast(null as decimal(18, 8)) as exchange_rate from core.fct_orders"
        )
    now = told(trace_order(shop, "a"))
    assert "lines 10 USD · net unknown" in now
    assert "does not count: no rate of USD on 2024-05-06, so it is set aside" in now
    assert "seeds/policy/exchange_rates.csv" in now


def test_between_a_replay_and_the_next_run_a_trace_says_what_is_not_built_yet(
    shop: Settings, land: Land
) -> None:
    build(
        shop,
        [f"shop/{f}/rev=1" for f in ("orders/2024-05-06", "orders/2024-05-07", "order_lines/2024-05-06")],
    )
    now = told(trace_order(shop, "a"))
    assert "in fct_orders" in now and "not built yet" not in now and "taken in since" not in now
    assert "fct_order_lines · 1 line\n" in now, "one line is no lines"
    land(FIRST_FILE, FIRST.replace("nonsense", "paid"))
    take_in(shop)
    assert ("orders/2024-05-06/rev=2", 2, "next_run") in ends(shop, "b")
    text = told(trace_order(shop, "b"))
    assert (
        "not built yet: taken in since the warehouse was built, goes to fct_orders with the next run" in text
    )
    assert "warehouse as of 2024-05-10, built before what was taken in since: `strata run`" in text
    assert "none of this order" in text


def test_a_rejected_value_that_is_empty_is_not_told_as_brackets(settings: Settings, land: Land) -> None:
    land("shop/order_lines/2024-05-06.csv", 'order_id,line_no,product_id,qty,unit_price_paid\ne,1,,1,"  "\n')
    take_in(settings)
    said = told(trace_record(settings, "shop/order_lines/2024-05-06.csv", "1"))
    listed = quarantine.told(quarantine.groups(settings))
    assert "missing_value" in said and "()" not in said + listed and "(  )" not in said + listed
