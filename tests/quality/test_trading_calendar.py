"""The policy's calendar: what it knows of a day, whose row comes first, and that its yearly rows are the library's."""

import csv
from datetime import date, timedelta
from pathlib import Path

import pytest

from pipeline.errors import StrataError
from pipeline.ingest.contracts import Source
from pipeline.ingest.load import sweep
from pipeline.quality import trading
from pipeline.quality.history import read_history
from pipeline.quality.trading import Calendar, Special, load_calendar, yearly_rows
from pipeline.settings import Settings
from tests.quality.conftest import AS_OF, LAST, content, write

SHOP = Source(source="shop", country="CN", closed_weekdays=(6,), closed_dates=("2026-03-04",))


@pytest.mark.parametrize(
    ("day", "kind"),
    [
        ("2026-02-17", "holiday"),  # Spring Festival
        ("2026-02-10", "event"),  # the shopping before it
        ("2025-11-11", "event"),
        ("2025-10-03", "holiday"),
        ("2026-03-01", "closed"),  # a Sunday
        ("2026-03-04", "closed"),
        ("2026-03-03", None),
    ],
)
def test_what_the_calendar_knows_of_a_day(day: str, kind: str | None) -> None:
    found = load_calendar().special(SHOP, date.fromisoformat(day))
    assert (found and found.kind) == kind


def test_another_country_has_other_holidays() -> None:
    english = Source(source="shop", country="GB")
    assert load_calendar().special(english, date(2025, 10, 3)) is None
    good_friday = load_calendar().special(english, date(2011, 4, 22))
    assert good_friday is not None and good_friday.kind == "holiday"
    assert load_calendar().special(Source(source="shop", country="FR"), date(2026, 5, 1)) is None


def test_the_source_s_own_row_comes_before_its_country_s() -> None:
    day = date(2026, 2, 17)
    calendar = Calendar({("CN", day): Special("holiday", "x"), ("shop", day): Special("unusual", "typhoon")})
    assert calendar.special(SHOP, day) == Special("unusual", "typhoon")
    assert calendar.extended({("shop", day): Special("event", "y")}).special(SHOP, day).name == "typhoon"


def test_the_last_trading_day_passes_over_closed_days_and_holidays() -> None:
    calendar = load_calendar()
    assert calendar.last_trading_day(SHOP, date(2026, 3, 2)) == date(2026, 2, 28), "Sunday is closed"
    after = date(2026, 2, 24)
    assert calendar.last_trading_day(SHOP, after) == date(2026, 2, 14), (
        "Spring Festival, and a Sunday before it"
    )
    assert calendar.last_trading_day(SHOP, after, holidays=True) == date(2026, 2, 23)


def test_yearly_rows_are_those_of_the_library() -> None:
    """Whoever edits them by hand would lose it with the next writing."""
    with trading.PATH.open(encoding="utf-8") as file:
        kept = [row for row in csv.DictReader(file) if row["reason"].startswith("yearly: ")]
    assert kept == list(yearly_rows())


def test_writing_the_yearly_rows_keeps_every_other_row(tmp_path: Path) -> None:
    path = tmp_path / "calendar.csv"
    head = ",".join(trading.FIELDS)
    own = "2026-08-08,2026-08-08,shop,unusual,typhoon,台风,we looked"
    path.write_text(f"{head}\n{own}\n2026-01-01,2026-01-01,CN,holiday,x,,yearly: public holiday\n")
    assert trading.write_yearly_rows(path) == len(list(yearly_rows())) + 1
    assert path.read_text().splitlines()[1] == own


@pytest.mark.parametrize(
    "row",
    [
        "2026-08-08,2026-08-07,shop,closed,x,,days in the wrong order",
        "2026-08-08,2026-08-08,shop,party,x,,no such kind",
        "2026-08-08,2026-08-08,,closed,x,,no scope",
        "2026-08-08,2026-08-08,shop,closed,x,,",
        "8 August,2026-08-08,shop,closed,x,,no date",
    ],
)
def test_a_row_that_cannot_be_meant_is_named(tmp_path: Path, row: str) -> None:
    path = tmp_path / "calendar.csv"
    path.write_text(",".join(trading.FIELDS) + f"\n{row}\n")
    with pytest.raises(StrataError, match=r"calendar\.csv:2: "):
        load_calendar(path)


def test_a_delivered_calendar_counts_too(settings: Settings) -> None:
    """Feed `calendar` (R50): its holidays and events hold for sources of the country of the one that delivers it."""
    write(
        settings,
        "erp/calendar/2024-05-06.csv",
        "date,weekday,holiday_cn,event,is_workday\n2024-05-10,5,店庆,,false\n2024-05-11,6,,会员日,true\n2024-05-13,1,,,true\n",
    )
    write(settings, "shop/orders/2024-05-06.csv", content("orders", LAST))
    sweep(settings, AS_OF, run_id="test", released=None)
    history = read_history(settings, AS_OF)
    assert [history.special("shop", LAST + timedelta(days=n)) for n in (4, 5, 7)] == [
        Special("holiday", "店庆"),
        Special("event", "会员日"),
        None,
    ]


def test_an_unusual_day_no_longer_stops(shop: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody looked at the day, found its figures right and added a row."""
    from tests.quality.conftest import failed, judge

    short = {"orders": content("orders", LAST, 3, guests=0)}
    assert ("orders", "volume") in failed(judge(shop, short, suites=False))
    looked = load_calendar().extended({("shop", LAST): Special("unusual", "stocktaking")})
    monkeypatch.setattr("pipeline.quality.history.load_calendar", lambda: looked)
    assert failed(judge(shop, short, suites=False)) == set()
