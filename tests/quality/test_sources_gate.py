"""May it come in? Clean weeks pass; one planted defect makes exactly its own check fail, with its count."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from pipeline import settings as settings_module
from pipeline.ingest import ledger
from pipeline.ingest.load import sweep
from pipeline.quality.checks import Check, blocking
from pipeline.quality.sources import check_sources
from pipeline.settings import Settings

LAST = date(2024, 5, 6)
AS_OF = LAST + timedelta(days=1)
HEAD = {
    "orders": "order_id,source_customer_id,ordered_at,paid_at,status\n",
    "order_lines": "order_id,line_no,product_id,qty,list_price,unit_price_paid\n",
    "returns": "return_id,qty,refund_amount,refunded_at,type\n",
}


def content(
    feed: str, day: date, n: int = 20, *, guests: int = 5, at: date | None = None, status: str = "paid"
) -> str:
    """A clean file of `feed`: n orders, lines or returns of one day, of them `guests` without customer."""
    when = at or day
    if feed == "orders":
        rows = [
            f"{day:%m%d}-{i},{'' if i < guests else f'c{i}'},{when} 10:00:00,{when} 10:01:00,{status}"
            for i in range(n)
        ]
    elif feed == "order_lines":
        rows = [f"{day:%m%d}-{i},1,p{i},1,10,9" for i in range(n)]
    else:
        rows = [f"{day:%m%d}-{i},1,5,{when} 11:00:00,refund" for i in range(n)]
    return HEAD[feed] + "".join(f"{row}\n" for row in rows)


def write(settings: Settings, file: str, text: str | bytes) -> None:
    path = settings.landing / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)


@pytest.fixture(scope="module")
def clean_weeks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Eight weeks and a day of a shop that nobody declared, up to the day before LAST."""
    folder = tmp_path_factory.mktemp("clean_weeks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STRATA_TOKEN_KEY", "ab" * 32)
        patch.setenv("STRATA_HOME", str(folder / "home"))
        patch.setenv("STRATA_LANDING", str(folder / "landing"))
        for name in ("STRATA_CURRENCY", "STRATA_TIMEZONE"):
            patch.delenv(name, raising=False)
        settings = settings_module.load()
        for n in range(57, 0, -1):
            day = LAST - timedelta(days=n)
            for feed in HEAD:
                write(settings, f"shop/{feed}/{day}.csv", content(feed, day))
        sweep(settings, LAST, run_id="test", released=None)
        yield settings


@pytest.fixture
def shop(clean_weeks: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The clean weeks as a home of its own."""
    monkeypatch.setenv("STRATA_TOKEN_KEY", "ab" * 32)
    shutil.copytree(clean_weeks.home, tmp_path / "home")
    shutil.copytree(clean_weeks.landing, tmp_path / "landing")
    return replace(clean_weeks, home=tmp_path / "home", landing=tmp_path / "landing")


def judge(
    settings: Settings, last_day: dict[str, str | bytes | None] | None = None, as_of: date = AS_OF
) -> list[Check]:
    """The checks after the last day came, clean in every feed that `last_day` does not replace or leave out."""
    for feed, text in ({feed: content(feed, LAST) for feed in HEAD} | (last_day or {})).items():
        if text is not None:
            write(settings, f"shop/{feed}/{LAST}.csv", text)
    sweep(settings, as_of, run_id="test", released=LAST)
    return check_sources(settings, as_of)


def failed(checks: list[Check]) -> set[tuple[str, str]]:
    return {(c.target, c.check) for c in checks if not c.passed}


def the(checks: list[Check], target: str, name: str) -> Check:
    return next(c for c in checks if (c.target, c.check) == (target, name))


def test_clean_weeks_pass(shop: Settings) -> None:
    checks = judge(shop)
    assert failed(checks) == set()
    assert the(checks, "orders", "volume").observed == 20
    assert the(checks, "orders", "newest_orders_fresh").observed == 0


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
    assert check.examples == (f"shop/orders/{LAST}.csv: 3 of 3 rows rejected",)


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
    assert failed(checks) == {("returns", "rejected_rows")}
    assert the(checks, "returns", "rejected_rows").blocks


def test_an_unknown_column_warns_and_is_named(shop: Settings) -> None:
    lines = content("orders", LAST).splitlines()
    more = "\n".join([lines[0] + ",mood", *(line + ",sunny" for line in lines[1:])]) + "\n"
    checks = judge(shop, {"orders": more})
    assert failed(checks) == {("orders", "no_unknown_columns")}
    check = the(checks, "orders", "no_unknown_columns")
    assert not check.blocks and check.examples == (f"shop/orders/{LAST}.csv: mood",)


@pytest.mark.parametrize(
    ("n", "stops"), [(0, True), (3, True), (4, False), (14, False), (26, False), (200, False), (201, True)]
)
def test_volume_far_from_usual_stops(shop: Settings, n: int, stops: bool) -> None:
    checks = judge(shop, {"orders": content("orders", LAST, n, guests=n // 4)})
    assert failed(checks) == ({("orders", "volume")} if stops else set())
    assert the(checks, "orders", "volume").observed == n
    if stops:
        assert the(checks, "orders", "volume").blocks
        assert the(checks, "orders", "volume").examples[0].startswith("shop/orders: ")
        assert the(checks, "orders", "volume").examples[0].endswith("usually 20")


def test_a_jump_of_guests_stops(shop: Settings) -> None:
    checks = judge(shop, {"orders": content("orders", LAST, guests=20)})
    assert failed(checks) == {("orders", "guest_share_steady")}
    assert the(checks, "orders", "guest_share_steady").blocks


def test_an_old_export_under_a_new_date_stops(shop: Settings) -> None:
    checks = judge(shop, {"orders": content("orders", LAST, at=LAST - timedelta(days=3))})
    assert failed(checks) == {("orders", "newest_orders_fresh")}
    assert the(checks, "orders", "newest_orders_fresh").examples == ("3.0",)


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


def test_another_currency_than_the_home_s_stops(settings: Settings) -> None:
    write(settings, "online_retail/transactions/2011-01-07.csv", retail(date(2011, 1, 7)))
    as_of = date(2011, 1, 8)
    sweep(settings, as_of, run_id="test", released=None)
    checks = check_sources(replace(settings, currency="CNY"), as_of)
    assert {name for _, name in failed(checks)} == {"one_currency"}
    check = the(checks, "order_lines", "one_currency")
    assert (check.blocks, check.limit, check.examples) == (True, "CNY", ("online_retail: GBP",))
    assert failed(check_sources(settings, as_of)) == set(), (
        "the home takes its sources' one currency by default"
    )


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
