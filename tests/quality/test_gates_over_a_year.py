"""A year of clean days stops nothing, and what is planted into single days of it is caught.

The checks are those of a run, called for each as-of date over what the loader would have noted. Real files go through
the real loader on two days, and with `STRATA_SOAK=1` for a year (about half an hour).
"""

import os
import statistics
from collections import Counter
from datetime import date, timedelta

import pytest

from pipeline.ingest.contracts import source_of
from pipeline.ingest.load import sweep
from pipeline.quality.checks import Check
from pipeline.quality.sources import check_sources
from pipeline.quality.trading import load_calendar
from pipeline.settings import Settings
from tests.quality.year import WARM_UP, YEAR, Year, make_year


@pytest.fixture(scope="module")
def year() -> Year:
    return make_year()


@pytest.fixture(scope="module")
def app(year: Year) -> Year:
    """The source that defects are planted into."""
    return year.only("app")


def _ordinary(year: Year, every: int) -> list[date]:
    """Every n-th ordinary delivery day of the year."""
    days = [as_of - timedelta(days=1) for as_of in year.days]
    return [d for d in days if load_calendar().special(source_of("app"), d) is None][::every]


def _failed(checks: list[Check], target: str, name: str) -> Check | None:
    return next((c for c in checks if (c.target, c.check) == (target, name) and not c.passed), None)


def test_a_year_of_clean_days_stops_nothing(year: Year) -> None:
    """Warnings are counted too: a gate that warns all the time is not read."""
    assert len(year.days) == YEAR
    stopped: list[str] = []
    warned: Counter[str] = Counter()
    judged = 0
    for as_of in year.days:
        for check in year.judge(as_of):
            judged += 1
            if not check.passed:
                warned[check.check] += check.level == "warn"
                stopped += [f"{as_of}: {check}"] if check.level == "block" else []
    print(
        f"clean year: {judged} checks of {len(year.days)} days, {len(stopped)} stopped, warned {dict(warned)}"
    )
    assert stopped == []
    assert sum(warned.values()) < 0.01 * judged


def _usual(year: Year, source: str, day: date) -> float:
    """Orders of the same weekday, by median of the last eight ordinary ones."""
    past = [day - timedelta(weeks=w) for w in range(1, 13)]
    ordinary = [d for d in past if load_calendar().special(source_of(source), d) is None]
    names = [
        f"{source}/orders/{d}/rev=1"
        for d in ordinary
        if f"{source}/orders/{d}/rev=1" in year.profiles["orders"]
    ]
    return statistics.median(year.profiles["orders"][name]["rows_n"] for name in names[:8])


DEFECTS = {
    "30 % of the rows are missing": ({"rows": 0.7}, "volume", "warn"),
    "30 % more rows": ({"rows": 1.3}, "volume", "warn"),
    "80 % of the rows are missing": ({"rows": 0.2}, "volume", "block"),
    "ten times the rows": ({"rows": 10.0}, "volume", "block"),
    "no rows": ({"rows": 0.0}, "volume", "block"),
    "the file did not come": ({"drop": True}, "delivered", "block"),
    "one channel": ({"mix": '{"CH-APP": 400}'}, "several_channels", "block"),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_of_a_day_is_caught(app: Year, name: str) -> None:
    """Planted into a day of usual size; how often it is seen in whatever the day was is printed beside it."""
    change, check, level = DEFECTS[name]
    days = _ordinary(app, 17)
    missed, as_it_was = [], 0
    for day in days:
        as_of = day + timedelta(days=1)
        rows = app.profiles["orders"][f"app/orders/{day}/rev=1"]["rows_n"]
        if "rows" in change:
            found = _failed(app.with_day("app", "orders", day, **change).judge(as_of), "orders", check)
            as_it_was += found is not None and found.level == level
        usual = {"rows": change["rows"] * _usual(app, "app", day) / rows} if "rows" in change else {}
        found = _failed(app.with_day("app", "orders", day, **change | usual).judge(as_of), "orders", check)
        if found is None or found.level != level:
            missed.append((day, found and found.level))
    of_any_size = f", of whatever size it was on {as_it_was}" if "rows" in change else ""
    print(f"{name}: caught on {len(days) - len(missed)} of {len(days)} days{of_any_size}")
    assert len(days) >= 12 and missed == []
    if "rows" in change:
        assert as_it_was >= (0.8 if level == "warn" else 1) * len(days)


def test_conflicting_keys_are_caught(app: Year) -> None:
    for day in _ordinary(app, 40):
        checks = app.with_day("app", "orders", day, key_conflicts=12.0).judge(day + timedelta(days=1))
        found = _failed(checks, "orders", "keys_unique")
        assert found is not None and found.blocks, day


def test_a_spike_of_nulls_is_caught(app: Year) -> None:
    for day in _ordinary(app, 40):
        n = app.profiles["orders"][f"app/orders/{day}/rev=1"]["rows_n"]
        for column, name in (
            ("source_customer_id", "guest_share_steady"),
            ("channel_id", "columns_complete"),
        ):
            changed = app.with_day("app", "orders", day, **{f"{column}__nulls": n // 3})
            found = _failed(changed.judge(day + timedelta(days=1)), "orders", name)
            assert found is not None and found.blocks, (day, column)


def test_a_stale_source_is_caught(app: Year) -> None:
    for day in _ordinary(app, 40):
        old = app.profiles["orders"][f"app/orders/{day - timedelta(days=2)}/rev=1"]
        moments = {k: v for k, v in old.items() if k.endswith("__max")}
        checks = app.with_day("app", "orders", day, **moments).judge(day + timedelta(days=1))
        found = _failed(checks, "orders", "events_fresh")
        assert found is not None and found.blocks, day


def test_missing_money_is_caught(app: Year) -> None:
    """Rows as usual, amounts in another unit."""
    for day in _ordinary(app, 40):
        amount = app.profiles["order_lines"][f"app/order_lines/{day}/rev=1"]["amount"]
        for scale, level in ((0.01, "block"), (100, "block"), (0.6, "warn")):
            changed = app.with_day("app", "order_lines", day, amount=amount * scale)
            found = _failed(changed.judge(day + timedelta(days=1)), "order_lines", "revenue")
            assert found is not None and found.level == level, (day, scale)


def test_a_fall_during_a_sales_event_is_caught_and_its_rise_is_not(app: Year) -> None:
    eleventh = date(2025, 11, 11)
    assert _failed(app.judge(date(2025, 11, 12)), "orders", "volume") is None
    found = _failed(
        app.with_day("app", "orders", eleventh, rows=0.1).judge(date(2025, 11, 12)), "orders", "volume"
    )
    assert found is not None and found.blocks and "11.11" in found.examples[0]


def test_a_missing_holiday_only_warns(app: Year) -> None:
    """National Day: whether the tills are open is the shop's business."""
    day = date(2025, 10, 1)
    found = _failed(
        app.with_day("app", "orders", day, drop=True).judge(date(2025, 10, 2)), "orders", "delivered"
    )
    assert found is not None and found.level == "warn"
    assert "holiday 2025-10-01" in found.examples[0]


@pytest.mark.soak
def test_days_of_real_files_stop_nothing(settings: Settings) -> None:
    """The sample company with its planted dirt, day by day through the loader: two days, or a year of them."""
    from pipeline.sample import generate

    soak = os.environ.get("STRATA_SOAK") == "1"
    judged, customers = (YEAR, 1500) if soak else (2, 150)
    generate(settings.landing, customers, WARM_UP + judged, 7)
    last = date(2026, 7, 1)
    stopped: list[str] = []
    warned: Counter[str] = Counter()
    for n in range(judged - 1, -1, -1):
        as_of = last - timedelta(days=n)
        sweep(settings, as_of, run_id=str(as_of), released=as_of - timedelta(days=1))
        for check in check_sources(settings, as_of):
            if not check.passed:
                warned[check.check] += check.level == "warn"
                stopped += [f"{as_of}: {check}"] if check.level == "block" else []
    print(f"{judged} days of files: {len(stopped)} stopped, warned {dict(warned)}")
    assert stopped == []
