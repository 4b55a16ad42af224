"""A shop that nobody declared: eight clean weeks of it, loaded once and copied for each test."""

import shutil
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from pipeline import settings as settings_module
from pipeline.ingest.load import sweep
from pipeline.quality.checks import Check
from pipeline.quality.history import read_history
from pipeline.quality.sources import check_history, check_sources
from pipeline.settings import Settings

LAST = date(2024, 5, 6)
AS_OF = LAST + timedelta(days=1)
HEAD = {
    "orders": "order_id,source_customer_id,channel_id,ordered_at,paid_at,status\n",
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
            f"{day:%m%d}-{i},{'' if i < guests else f'c{i}'},{'AB'[i % 2]},{when} 10:00:00,{when} 10:01:00,{status}"
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


@pytest.fixture(scope="session")
def clean_weeks(tmp_path_factory: pytest.TempPathFactory) -> Settings:
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
        return settings


@pytest.fixture
def shop(clean_weeks: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The clean weeks as a home of its own."""
    monkeypatch.setenv("STRATA_TOKEN_KEY", "ab" * 32)
    shutil.copytree(clean_weeks.home, tmp_path / "home")
    shutil.copytree(clean_weeks.landing, tmp_path / "landing")
    return replace(clean_weeks, home=tmp_path / "home", landing=tmp_path / "landing")


def judge(
    settings: Settings,
    last_day: dict[str, str | bytes | None] | None = None,
    as_of: date = AS_OF,
    *,
    suites: bool = True,
) -> list[Check]:
    """The checks after the last day came, clean in every feed that `last_day` does not replace or leave out.

    `suites` false leaves out Great Expectations, whose every suite costs a quarter of a second.
    """
    for feed, text in ({feed: content(feed, LAST) for feed in HEAD} | (last_day or {})).items():
        if text is not None:
            write(settings, f"shop/{feed}/{LAST}.csv", text)
    sweep(settings, as_of, run_id="test", released=LAST)
    return check_sources(settings, as_of) if suites else check_history(read_history(settings, as_of))


def failed(checks: list[Check]) -> set[tuple[str, str]]:
    return {(c.target, c.check) for c in checks if not c.passed}


def the(checks: list[Check], target: str, name: str) -> Check:
    return next(c for c in checks if (c.target, c.check) == (target, name))
