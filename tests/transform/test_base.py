"""A build goes on from the one before only where that is proven; every doubt means a full build, and says which."""

import json
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.ingest import ledger
from pipeline.settings import Settings
from pipeline.transform import base

DAY = date(2026, 3, 2)


@pytest.fixture
def built(settings: Settings) -> Settings:
    """A home as a complete build leaves it, with one raw file of order lines."""
    for path in (settings.warehouse, settings.raw / "app/order_lines/dt=2026-03-01/rev=1/2026-03-01.parquet"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"as it was")
    settings.build.mkdir(parents=True)
    base.write(settings, base.look(settings, DAY))
    return settings


def way(settings: Settings, day: date = DAY) -> base.Way:
    return base.choose(settings, base.look(settings, day))


def test_nothing_but_new_files_and_a_later_day_is_an_increment(built: Settings) -> None:
    new = built.raw / "app/order_lines/dt=2026-03-02/rev=1/2026-03-02.parquet"
    new.parent.mkdir(parents=True)
    new.write_bytes(b"new")
    assert str(way(built, date(2026, 3, 9))) == "increment: only what changed since the build for 2026-03-02"


def _lines(settings: Settings) -> Path:
    return settings.raw / "app/order_lines/dt=2026-03-01/rev=1/2026-03-01.parquet"


def _edit(**changes: object) -> Callable[[Settings], None]:
    def edit(settings: Settings) -> None:
        path = settings.build / "base.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


@pytest.mark.parametrize(
    ("happened", "why"),
    [
        (base.invalidate, "the warehouse holds no complete build"),
        (lambda s: s.warehouse.unlink(), "the warehouse was changed or removed"),
        (lambda s: s.warehouse.write_bytes(b"by hand"), "the warehouse was changed or removed"),
        (lambda s: _lines(s).unlink(), "2026-03-01.parquet is no longer there"),
        (lambda s: _lines(s).write_bytes(b"without a person"), "2026-03-01.parquet is another"),
        (lambda s: (s.build / "base.json").write_text("{"), "cannot be read"),
        (lambda s: (s.build / "base.json").write_text("{}"), "cannot be read"),
        (_edit(made_by={}), "SQL and policy changed"),
        (_edit(as_of_date="2026-03-03"), "for 2026-03-03, a later day"),
        (
            _edit(raw={}, deliveries=["app/order_lines/2026-03-01/rev=1"]),
            "has come back: its delivery was known",
        ),
    ],
)
def test_what_is_not_proven_is_built_in_full(
    built: Settings, happened: Callable[[Settings], None], why: str
) -> None:
    assert way(built).increments
    happened(built)
    chosen = way(built)
    assert not chosen.increments and why in chosen.why


def test_much_that_changed_is_built_in_full(built: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the first of a month the refresh date moves; where most of history is of one month, that is most rows."""

    def entry(day: int, rows: int) -> ledger.Entry:
        dt = date(2026, 3, day)
        return ledger.Entry(
            f"app/order_lines/{dt}/rev=1", "app", "order_lines", str(dt), "", dt, 1, dt + timedelta(days=1), "", 0,
            "loaded", datetime(2026, 3, 1), "", "", rows_read=rows, rows_loaded=rows,
        )  # fmt: skip

    entries = [entry(1, 90), entry(2, 10)]
    monkeypatch.setattr(ledger, "read", lambda _: entries)
    base.write(built, base.look(built, DAY))
    assert str(way(built, date(2026, 3, 3))).startswith("increment")
    assert way(built, date(2026, 4, 1)).why == "100% of the rows changed since the build for 2026-03-02"


def test_another_currency_or_engine_is_another_build(
    built: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "version", lambda package: "9.9")
    assert way(built).why == "engine changed since the build before"
    monkeypatch.setattr(base, "reporting_currency", lambda *_: "EUR")
    assert way(built).why == "reporting currency changed since the build before"
