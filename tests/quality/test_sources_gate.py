"""May it come in? Clean weeks pass; one planted defect makes exactly its own check fail, with its count."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import pytest

from pipeline.ingest import ledger
from pipeline.ingest.load import sweep
from pipeline.quality.checks import Check, blocking
from pipeline.quality.sources import check_sources
from pipeline.settings import Settings
from tests.quality.conftest import AS_OF, HEAD, LAST, content, failed, judge, the, write


def test_clean_weeks_pass(shop: Settings) -> None:
    checks = judge(shop)
    assert failed(checks) == set()
    assert the(checks, "orders", "volume").observed == 20
    assert the(checks, "orders", "events_fresh").observed == 0
    assert the(checks, "order_lines", "revenue").observed == 180


def test_a_missing_delivery_of_the_last_trading_day_stops(shop: Settings) -> None:
    checks = judge(shop, {"orders": None})
    assert failed(checks) == {("orders", "delivered")}
    check = the(checks, "orders", "delivered")
    assert check.blocks and check.observed == 1
    assert check.examples == ("shop/orders: due 2024-05-06, newest 2024-05-05",)


def test_a_feed_that_may_lag_only_warns_and_only_when_it_is_later_than_allowed(shop: Settings) -> None:
    assert failed(judge(shop, {"returns": None})) == set(), "two days are allowed"
    shop_later = judge(
        shop, {"returns": None, "orders": None, "order_lines": None}, AS_OF + timedelta(days=1)
    )
    assert ("returns", "delivered") in failed(shop_later)
    assert not the(shop_later, "returns", "delivered").blocks


def test_a_refused_file_stops_and_is_named(shop: Settings) -> None:
    checks = judge(shop, {"orders": b""})
    assert failed(checks) == {("orders", "files_accepted")}
    check = the(checks, "orders", "files_accepted")
    assert check.blocks and check.observed == 1
    assert check.examples[0].startswith(f"shop/orders/{LAST}.csv: empty_file")


def test_a_refused_redelivery_stops_and_the_earlier_file_is_not_used_in_its_place(shop: Settings) -> None:
    yesterday = LAST - timedelta(days=1)
    write(shop, f"shop/orders/{yesterday}.csv", b"")
    checks = judge(shop)
    assert failed(checks) == {("orders", "files_accepted")}
    own = [e for e in ledger.in_force(ledger.read(shop), AS_OF) if e.feed == "orders" and e.dt == yesterday]
    assert [(e.rev, e.status) for e in own] == [(2, "rejected")]


def test_a_file_that_lost_every_row_stops(shop: Settings) -> None:
    checks = judge(shop, {"orders": content("orders", LAST, 3, status="nonsense")})
    assert ("orders", "rejected_rows") in failed(checks)
    check = the(checks, "orders", "rejected_rows")
    assert check.blocks
    assert check.examples == (f"shop/orders/{LAST}.csv: 3 of 3 rows rejected (unknown_value 3)",)


def test_too_many_rejected_rows_stop_and_a_few_do_not(shop: Settings) -> None:
    good = content("orders", LAST, 20)
    few = good + "bad\n" * 5
    assert failed(judge(shop, {"orders": few})) == set()
    checks = judge(shop, {"orders": good + "bad\n" * 6})
    assert failed(checks) == {("orders", "rejected_rows")}
    assert the(checks, "orders", "rejected_rows").observed == pytest.approx(6 / 66, abs=1e-4)


def test_a_small_file_that_lost_most_of_its_rows_stops(shop: Settings) -> None:
    """Three rejected rows of a day stop nothing, but not where they are three of four."""
    lost = HEAD["returns"] + "".join(f"r{i},1,x,{LAST} 11:00:00,refund\n" for i in range(3))
    checks = judge(shop, {"returns": lost + f"r9,1,5,{LAST} 11:00:00,refund\n"})
    assert {c.check for c in blocking(checks)} == {"rejected_rows"}
    assert the(checks, "returns", "rejected_rows").blocks


def test_an_unknown_column_warns_and_is_named(shop: Settings) -> None:
    lines = content("orders", LAST).splitlines()
    more = "\n".join([lines[0] + ",mood", *(line + ",sunny" for line in lines[1:])]) + "\n"
    checks = judge(shop, {"orders": more})
    assert failed(checks) == {("orders", "no_unknown_columns")}
    check = the(checks, "orders", "no_unknown_columns")
    assert not check.blocks and check.examples == (f"shop/orders/{LAST}.csv: mood",)


@pytest.mark.parametrize(
    ("n", "level"),
    [
        (0, "block"),
        (5, "block"),
        (6, "warn"),
        (14, None),
        (26, None),
        (40, "warn"),
        (139, "warn"),
        (140, "block"),
    ],
)
def test_volume_far_from_usual(shop: Settings, n: int, level: str | None) -> None:
    """Twenty is usual, and such a day strays by chance. So a fifth and ten times are measured from where it could be."""
    checks = judge(shop, {"orders": content("orders", LAST, n, guests=n // 4)})
    assert failed(checks) == ({("orders", "volume")} if level else set())
    check = the(checks, "orders", "volume")
    assert check.observed == n
    if level:
        assert (check.level, check.gate) == (level, "Q-10")
        assert check.examples == (f"shop/orders: {n} rows on {LAST}, usually 20",)


def test_a_jump_of_guests_stops(shop: Settings) -> None:
    checks = judge(shop, {"orders": content("orders", LAST, guests=20)})
    assert failed(checks) == {("orders", "guest_share_steady")}
    assert the(checks, "orders", "guest_share_steady").blocks


def test_an_old_export_under_a_new_date_stops(shop: Settings) -> None:
    checks = judge(shop, {"orders": content("orders", LAST, at=LAST - timedelta(days=3))})
    assert failed(checks) == {("orders", "events_fresh")}
    check = the(checks, "orders", "events_fresh")
    assert check.blocks and check.observed == 3
    assert check.examples == ("shop/orders: newest event 2024-05-03, due 2024-05-06",)


def test_a_stray_file_warns(shop: Settings) -> None:
    write(shop, "shop/orders/orders-final.csv", "x")
    checks = judge(shop)
    assert failed(checks) == {("landing", "no_stray_files")}
    assert not blocking(checks)
    (shop.landing / "shop/orders/orders-final.csv").unlink()
    assert failed(check_sources(shop, AS_OF)) == set(), "gone once the file is"


def test_no_orders_at_all_stops(settings: Settings) -> None:
    write(settings, "shop/products/2024-05-06.csv", "product_id\np\n")
    sweep(settings, AS_OF, run_id="test", released=None)
    assert failed(check_sources(settings, AS_OF)) == {("orders", "delivered"), ("order_lines", "delivered")}


RETAIL = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"


def retail(day: date) -> str:
    return RETAIL + "".join(f"{day:%m%d}{i},A,x,1,{day} 10:00:00,2.5,{100 + i}.0,UK\n" for i in range(6))


def test_a_closed_weekday_is_not_missed(settings: Settings) -> None:
    """2011-01-08 is a Saturday, on which the shop is closed; Friday's file is the newest that is due on Sunday."""
    for day in (date(2011, 1, 6), date(2011, 1, 7)):
        write(settings, f"online_retail/transactions/{day}.csv", retail(day))
    sunday = date(2011, 1, 9)
    sweep(settings, sunday, run_id="test", released=None)
    assert failed(check_sources(settings, sunday)) == set()
    monday = sunday + timedelta(days=1)
    found = failed(check_sources(settings, monday))
    assert {("orders", "delivered"), ("order_lines", "delivered")} <= found
    assert {name for _, name in found} == {"delivered"}


def test_a_hole_in_the_past_of_a_known_calendar_warns(settings: Settings) -> None:
    days = [date(2011, 1, n) for n in (9, 10, 12, 13)]
    for day in days:
        write(settings, f"online_retail/transactions/{day}.csv", retail(day))
    as_of = date(2011, 1, 14)
    sweep(settings, as_of, run_id="test", released=None)
    checks = check_sources(settings, as_of)
    assert {name for _, name in failed(checks)} == {"no_missing_days"}
    assert not blocking(checks)
    assert the(checks, "orders", "no_missing_days").examples == ("online_retail/orders: 2011-01-11",)


def test_another_currency_than_the_home_s_stops_where_nothing_converts_it(settings: Settings) -> None:
    """Orders, their lines and returns come at the rate of their day; a unit cost of the wrong money would go unseen."""
    write(settings, "online_retail/transactions/2011-01-07.csv", retail(date(2011, 1, 7)))
    as_of = date(2011, 1, 8)
    sweep(settings, as_of, run_id="test", released=None)
    assert failed(check_sources(replace(settings, currency="CNY"), as_of)) == set()
    write(settings, "erp/product_costs/2011-01-07.csv", "product_id,unit_cost,valid_from\np,3,2010-01-01\n")
    sweep(settings, as_of, run_id="test", released=None)
    check = the(check_sources(replace(settings, currency="GBP"), as_of), "product_costs", "one_currency")
    assert (check.blocks, check.limit, check.examples) == (True, "GBP", ("erp: CNY",))
    assert the(
        check_sources(replace(settings, currency="CNY"), as_of), "product_costs", "one_currency"
    ).passed


def test_yesterday_s_file_under_today_s_name_stops(shop: Settings) -> None:
    """The bytes came before, so nothing of today has come: today's orders would be missing."""
    checks = judge(shop, {"orders": content("orders", LAST - timedelta(days=1))})
    assert blocking(checks), "a duplicate is no delivery of its day"


def test_yesterday_s_export_saved_again_stops(shop: Settings) -> None:
    """One newline more, so the bytes differ; every order in it was known."""
    checks = judge(shop, {"orders": content("orders", LAST - timedelta(days=1)) + "\n"})
    assert blocking(checks), "a day without one new order is no delivery of its day"


def test_an_empty_day_in_the_first_week_does_not_pass_unseen(settings: Settings) -> None:
    for n in (1, 0):
        day = LAST - timedelta(days=n)
        for feed in HEAD:
            write(settings, f"shop/{feed}/{day}.csv", content(feed, day))
    write(settings, f"shop/orders/{LAST}.csv", HEAD["orders"])
    sweep(settings, AS_OF, run_id="test", released=None)
    assert ("orders", "volume") in failed(check_sources(settings, AS_OF))


def test_great_expectations_is_not_imported_until_a_suite_runs() -> None:
    """Its import costs seconds, which every command and every start of the UI would pay."""
    code = "import sys, pipeline.quality.suites, pipeline.quality.sources; print('great_expectations' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("make", [lambda c: replace(c, examples=("a", "b")), lambda c: c])
def test_a_check_survives_its_own_json(make: Callable[[Check], Check]) -> None:
    check = make(Check("feed", "orders", "volume", "block", False, 3, "0.2 to 10", "text"))
    assert Check.from_dict(check.as_dict()) == check
