"""A year of a company as the ledger and the profiles tell it: ordinary days with their noise, weekdays and seasons.

The seasons are those of the sample company (pipeline.sample.company): weekdays, Spring Festival, 618, 11.11, National Day.
One source is a shop in England that is closed on Saturdays and public holidays. No file is written: a day is what the
loader would have noted of its files, so that 365 days are judged in seconds.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from pipeline.ingest.contracts import source_of
from pipeline.ingest.ledger import Entry
from pipeline.ingest.mapping import targets
from pipeline.quality.checks import Check
from pipeline.quality.history import assemble
from pipeline.quality.sources import check_history
from pipeline.quality.trading import load_calendar
from pipeline.sample.company import APP, STORE, TM, make_calendar

WARM_UP, YEAR = 56, 365
# Orders of a usual day, by source; the share of guests; the channels with their shares.
_SOURCES = {
    "store_pos": (900, 0.62, {"CH-STORE": 1.0}, STORE),
    "app": (640, 0.02, {"CH-APP": 0.55, "CH-MINI": 0.45}, APP),
    "marketplace": (300, 0.0, {"CH-TM": 0.7, "CH-JD": 0.3}, TM),
}
_ENGLISH = "online_retail"
_EMPTY = {"store_pos": "dealer_id", "app": "store_id", "marketplace": "device"}


@dataclass
class Year:
    """Ledger entries and profiles by delivery; `days` are the judged as-of dates."""

    entries: list[Entry] = field(default_factory=list)
    profiles: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    days: list[date] = field(default_factory=list)

    def judge(self, as_of: date) -> list[Check]:
        """The checks of the gates for one as-of date, by the functions that a run calls."""
        # No source is present but by what it delivers: the sample's declare more feeds than this year has.
        known = [e for e in self.entries if e.dt and e.dt < as_of]
        return check_history(assemble(known, as_of, self.profiles, set(), load_calendar(), "CNY"))

    def only(self, source: str) -> "Year":
        """What one source delivered of it."""
        return replace(self, entries=[e for e in self.entries if e.source == source])

    def with_day(self, source: str, feed: str, day: date, **change: Any) -> "Year":
        """The same year in which one delivery is another: `rows` scales it, other keys replace values of its profile.

        `drop` leaves the delivery out.
        """
        name = f"{source}/{feed}/{day}/rev=1"
        if change.pop("drop", False):
            return replace(self, entries=[e for e in self.entries if e.delivery != name])
        scale = change.pop("rows", 1.0)
        profile = scaled(self.profiles[feed][name], scale) | change
        entries = [
            replace(e, rows_read=profile["rows_n"], rows_loaded=profile["rows_n"])
            if e.delivery == name
            else e
            for e in self.entries
        ]
        return replace(
            self, entries=entries, profiles=self.profiles | {feed: self.profiles[feed] | {name: profile}}
        )


def scaled(profile: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """A delivery with more or fewer of the same rows."""
    counts = {k: round(v * scale) for k, v in profile.items() if k == "rows_n" or k.endswith("__nulls")}
    mix = profile.get("mix")
    if mix:
        parts = {c: round(n * scale) for c, n in json.loads(mix).items()}
        counts["mix"] = json.dumps({c: n for c, n in parts.items() if n})
    return dict(profile) | counts | ({"amount": profile["amount"] * scale} if "amount" in profile else {})


def make_year(seed: int = 7, days: int = YEAR, noise: float = 0.045) -> Year:
    """The year before the sample's last day, after eight weeks of warm-up."""
    rng = np.random.default_rng(seed)
    calendar = make_calendar(WARM_UP + days)
    year = Year(days=[day + timedelta(days=1) for day in calendar.dates[WARM_UP:]])
    for k, day in enumerate(calendar.dates):
        for source, (usual, guests, channels, channel) in _SOURCES.items():
            # Weather, a match on television: what a day has beyond chance.
            mood = float(rng.lognormal(0, noise))
            n = int(rng.poisson(usual * calendar.factor[k, channel] * mood))
            _sales(year, rng, source, day, n, guests, channels)
        _visits(
            year, rng, day, int(rng.poisson(2600 * calendar.factor[k, APP] * float(rng.lognormal(0, noise))))
        )
        _answers(year, rng, day, int(rng.poisson(90)))
        _english_day(year, rng, day, int(rng.poisson(110 * float(rng.lognormal(0, 0.1)))))
    return year


def _moment(day: date, hour: int, zone: str) -> datetime:
    local = datetime.combine(day, time(hour, 30), ZoneInfo(zone))
    return local.astimezone(ZoneInfo("UTC")).replace(tzinfo=None)


def _add(
    year: Year, source: str, feed: str, day: date, profiles: dict[str, dict[str, Any]], rows: int
) -> None:
    """One delivered file with the profile of each contract feed that it fills."""
    declared = source_of(source)
    delivery = f"{source}/{feed}/{day}/rev=1"
    loaded = datetime.combine(day + timedelta(days=1), time(21))
    entry = Entry(
        delivery=delivery,
        source=source,
        feed=feed,
        stem=str(day),
        file=f"{source}/{feed}/{day}.csv",
        dt=day,
        rev=1,
        known_from=day + timedelta(days=1),
        sha256=delivery,
        bytes=60 * rows,
        status="loaded",
        loaded_at=loaded,
        run_id="year",
        file_stat="",
        rows_read=rows,
        rows_loaded=rows,
        zone=declared.zone,
    )
    year.entries.append(entry)
    for target in targets(source, feed):
        year.profiles.setdefault(target, {})[delivery] = {"rows_n": 0} | profiles.get(target, {})


def _sales(
    year: Year,
    rng: np.random.Generator,
    source: str,
    day: date,
    n: int,
    guests: float,
    channels: dict[str, float],
) -> None:
    lines = int(rng.poisson(n * 4.1))
    returned = int(rng.binomial(n, 0.035))
    counts = rng.multinomial(n, list(channels.values()))
    last = _moment(day, 22, "Asia/Shanghai")
    orders = {
        "rows_n": n,
        "source_customer_id__nulls": int(rng.binomial(n, guests)),
        "channel_id__nulls": 0,
        "paid_at__nulls": int(rng.binomial(n, 0.04)),
        f"{_EMPTY[source]}__nulls": n,
        "mix": json.dumps({c: int(k) for c, k in zip(channels, counts, strict=True) if k}),
        "ordered_at__max": last,
        "paid_at__max": last,
        "updated_at__max": last,
    }
    _add(year, source, "orders", day, {"orders": orders}, n)
    amount = float(rng.lognormal(3, 0.9, lines).sum())
    _add(year, source, "order_lines", day, {"order_lines": {"rows_n": lines, "amount": amount}}, lines)
    money = float(rng.lognormal(3, 0.9, returned).sum())
    returns = {"rows_n": returned, "amount": money, "refunded_at__max": last, "requested_at__max": last}
    _add(year, source, "returns", day, {"returns": returns}, returned)


def _visits(year: Year, rng: np.random.Generator, day: date, n: int) -> None:
    visits = {
        "rows_n": n,
        "source_customer_id__nulls": int(rng.binomial(n, 0.4)),
        "started_at__max": _moment(day, 23, "Asia/Shanghai"),
    }
    _add(year, "app", "web_sessions", day, {"web_sessions": visits}, n)


def _answers(year: Year, rng: np.random.Generator, day: date, n: int) -> None:
    answers = {
        "rows_n": n,
        "source_customer_id__nulls": int(rng.binomial(n, 0.1)),
        "answered_at__max": _moment(day, 20, "Asia/Shanghai"),
    }
    _add(year, "crm", "survey_responses", day, {"survey_responses": answers}, n)


def _english_day(year: Year, rng: np.random.Generator, day: date, n: int) -> None:
    """The shop is closed on Saturdays and on public holidays: then nothing is delivered, and nothing is missing."""
    special = load_calendar().special(source_of(_ENGLISH), day)
    if special and special.kind in ("closed", "holiday"):
        return
    factor = 1.9 if special else 1.0
    orders = int(n * factor)
    lines = int(rng.poisson(orders * 12))
    last = _moment(day, 17, "Europe/London")
    profiles = {
        "orders": {
            "rows_n": orders,
            "source_customer_id__nulls": int(rng.binomial(orders, 0.2)),
            "mix": json.dumps({"online": orders}),
            "ordered_at__max": last,
            "paid_at__max": last,
        },
        "order_lines": {"rows_n": lines, "amount": float(rng.lognormal(2, 0.9, lines).sum())},
        "returns": {
            "rows_n": int(rng.poisson(orders * 0.1)),
            "requested_at__max": last,
            "refunded_at__max": last,
        },
        "customers": {"rows_n": orders},
        "products": {"rows_n": lines},
        "channels": {"rows_n": 1},
    }
    _add(year, _ENGLISH, "transactions", day, profiles, lines)
