"""What the source checks judge: everything that was delivered up to one as-of date, as ingest noted it."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq

from pipeline.errors import StrataError
from pipeline.ingest import ledger, profile
from pipeline.ingest.contracts import Contract, Source, load_contracts, source_of
from pipeline.ingest.landing import scan
from pipeline.ingest.ledger import Entry
from pipeline.ingest.mapping import targets
from pipeline.ingest.quarantine import still_stray
from pipeline.privacy import desk
from pipeline.quality.policy import Completeness, completeness, thresholds
from pipeline.quality.trading import Calendar, Special, load_calendar
from pipeline.settings import Settings
from pipeline.transform.context import reporting_currency

Profile = Mapping[str, Any]
_COMPARED = timedelta(weeks=16)
"""Longer than the weeks that any rule looks back from the oldest of the days that it judges."""


@dataclass(slots=True)
class Delivered:
    """One delivery of one feed with its profile, which is empty where nothing was loaded."""

    entry: Entry
    profile: Profile

    @property
    def rows(self) -> int:
        """Rows in raw."""
        return int(self.profile.get("rows_n") or 0)

    def number(self, name: str) -> float:
        """A number of the profile; 0 where it is not known."""
        value = self.profile.get(name)
        return float(value) if value is not None and value == value else 0.0


@dataclass(frozen=True)
class Feed:
    """The deliveries of one feed that are in force, and the sources from which more is expected."""

    contract: Contract
    deliveries: Sequence[Delivered]
    expected: Sequence[Source]

    @property
    def name(self) -> str:
        return self.contract.feed

    @property
    def stops(self) -> bool:
        """Whether today's numbers would be wrong without this feed: sales, by the contract's freshness."""
        return self.contract.freshness is not None and self.contract.freshness.level == "block"

    @cached_property
    def by_source(self) -> dict[str, list[Delivered]]:
        """Deliveries with a day, by source and in the order of their days."""
        found: dict[str, list[Delivered]] = defaultdict(list)
        for d in sorted(self.deliveries, key=lambda d: (d.entry.dt or date.min, d.entry.delivery)):
            if d.entry.source and d.entry.dt:
                found[d.entry.source].append(d)
        return dict(found)

    @cached_property
    def days(self) -> dict[str, dict[date, list[Delivered]]]:
        """Loaded deliveries by source and business day, days in order."""
        found: dict[str, dict[date, list[Delivered]]] = {}
        for source, own in self.by_source.items():
            by_day: dict[date, list[Delivered]] = {}
            for d in own:
                if d.entry.status == "loaded" and d.entry.dt:
                    by_day.setdefault(d.entry.dt, []).append(d)
            if by_day:
                found[source] = by_day
        return found

    @cached_property
    def recent(self) -> dict[str, dict[date, list[Delivered]]]:
        """`days` of the last weeks before each source's newest one: what shares and sizes are compared with."""
        first = {source: max(by_day) - _COMPARED for source, by_day in self.days.items()}
        return {
            source: {day: own for day, own in by_day.items() if day >= first[source]}
            for source, by_day in self.days.items()
        }

    def cadence(self, source: Source) -> str:
        """How often the source delivers the feed: as it declares, else as the contract says."""
        for landed, delivered in source.feeds.items():
            if self.name in (delivered.maps_to or (landed,)) and delivered.cadence:
                return delivered.cadence
        return self.contract.cadence

    def rows_read(self, delivered: Delivered) -> int:
        """Rows of the delivery, rejected and repeated ones included; of a mapped file those that it filled."""
        entry = delivered.entry
        return entry.rows_read if entry.feed == self.name else delivered.rows


@dataclass(frozen=True)
class History:
    """Everything that one judgement needs. `entries` are the whole ledger, `in_force` those that D reads."""

    as_of: date
    entries: Sequence[Entry]
    in_force: Sequence[Entry]
    feeds: Mapping[str, Feed]
    calendar: Calendar
    currency: str
    stray: Sequence[Entry] = ()

    @cached_property
    def limits(self) -> dict[str, float]:
        return thresholds(self.as_of)

    @cached_property
    def completeness(self) -> dict[tuple[str, str], Completeness]:
        return completeness(self.as_of)

    def special(self, source: str, day: date) -> Special | None:
        """Why a day of a source is not like others, or None."""
        if (source, day) not in self._special:
            self._special[source, day] = self.calendar.special(source_of(source), day)
        return self._special[source, day]

    @cached_property
    def _special(self) -> dict[tuple[str, date], Special | None]:
        return {}

    def judged(self, days: Iterable[date]) -> list[date]:
        """The newest days, newest first: what stopped a run yesterday stops today's too, until it is mended."""
        return sorted(days, reverse=True)[: int(self.limits["judged_days"])]


def local_day(moment: Any, zone: str | None) -> date | None:
    """Business day of a profile's date or UTC moment in the source's zone."""
    if moment is None or moment != moment:
        return None
    if isinstance(moment, datetime):
        return moment.replace(tzinfo=ZoneInfo("UTC")).astimezone(ZoneInfo(zone or "UTC")).date()
    return moment


def assemble(
    entries: Sequence[Entry],
    as_of: date,
    profiles: Mapping[str, Mapping[str, Profile]],
    present: set[str],
    calendar: Calendar,
    currency: str,
    stray: Sequence[Entry] = (),
) -> History:
    """The history of one as-of date.

    Args:
        profiles: feed → delivery → profile.
        present: sources that have delivered or have files in landing.
    """
    in_force = ledger.in_force(entries, as_of)
    own: dict[str, list[Delivered]] = defaultdict(list)
    pairs = {(e.source or "", e.feed or "") for e in entries}
    fills = {pair: targets(*pair) for pair in pairs}
    for entry in in_force:
        for feed in fills[entry.source or "", entry.feed or ""]:
            profile = profiles.get(feed, {}).get(entry.delivery, {}) if entry.status == "loaded" else {}
            own[feed].append(Delivered(entry, profile))
    came: dict[str, set[str]] = defaultdict(set)
    for (source, _), feeds_of_pair in fills.items():
        for target in feeds_of_pair if source else ():
            came[target].add(source)
    for name in present:
        for landed, declared in source_of(name).feeds.items():
            for target in declared.maps_to or (landed,):
                came[target].add(name)
    feeds = {
        feed: Feed(contract, own[feed], [source_of(name) for name in sorted(came[feed])])
        for feed, contract in load_contracts().items()
    }
    return History(as_of, entries, in_force, feeds, calendar, currency, stray)


def read_history(settings: Settings, as_of: date) -> History:
    """The history of one as-of date as the home has it."""
    # Nobody expects a number of words at the desk, and they must not pass for a source's own delivery.
    entries = [entry for entry in ledger.read(settings) if not desk.is_of_desk(entry.file)]
    in_force = ledger.in_force(entries, as_of)
    landed = {d.source for d in scan(settings.landing)[0]} if settings.landing.is_dir() else set()
    present = {entry.source for entry in entries if entry.source} | landed
    loaded: dict[str, dict[str, Entry]] = defaultdict(dict)
    for entry in in_force:
        for feed in targets(entry.source or "", entry.feed or "") if entry.status == "loaded" else ():
            loaded[feed][entry.delivery] = entry
    profiles = {feed: read_profiles(settings, feed, own) for feed, own in loaded.items()}
    calendar = load_calendar().extended(_delivered_calendar(settings, in_force))
    stray = still_stray(settings, entries)
    currency = reporting_currency(settings, in_force)
    return assemble(entries, as_of, profiles, present, calendar, currency, stray)


def read_profiles(settings: Settings, feed: str, loaded: Mapping[str, Entry]) -> dict[str, Profile]:
    """Profile of every delivery of a feed that is in force, by delivery.

    Args:
        loaded: by delivery, those in force that fill the feed.

    A sweep that died may have left one of other bytes. Raises StrataError where rows were loaded and no profile is theirs.
    """
    folder = settings.raw / "_profile" / feed
    found: dict[str, Profile] = {}
    table = profile.table_of(folder)
    if table is not None:
        for row in table.to_pylist():
            entry = loaded.get(row["delivery"])
            if entry and _is_of(row, entry, feed):
                found[row["delivery"]] = row
    lost = sorted(d for d, entry in loaded.items() if d not in found and _rows_of(entry, feed))
    if lost:
        raise StrataError(
            f"{folder} has no profile of {lost[0]} as it was loaded: restore raw/_profile from a backup"
        )
    return found


def _rows_of(entry: Entry, feed: str) -> int | None:
    """Rows of a feed that a delivery brought to raw; None where the ledger is of a version that did not count them."""
    return json.loads(entry.feed_rows).get(feed) if entry.feed_rows else None


def _is_of(row: Profile, entry: Entry, feed: str) -> bool:
    """Whether a profile was noted when the delivery was loaded. One of an earlier version says no bytes and no run."""
    rows = _rows_of(entry, feed)
    same = row.get("sha256") in (None, entry.sha256) and row.get("run_id") in (None, entry.run_id)
    return same and rows in (None, row["rows_n"])


def _delivered_calendar(settings: Settings, in_force: Sequence[Entry]) -> dict[tuple[str, date], Special]:
    """Special days of the feed `calendar` (R50), for the sources of the country of the one that delivers it."""
    days: dict[tuple[str, date], Special] = {}
    for entry in in_force:
        if entry.status != "loaded" or "calendar" not in targets(entry.source or "", entry.feed or ""):
            continue
        country = source_of(entry.source or "").country
        folder = settings.raw / str(entry.source) / "calendar" / f"dt={entry.dt}" / f"rev={entry.rev}"
        for row in _calendar_rows(folder, entry.delivery):
            if row.get("holiday_cn") or row.get("is_workday") is False and row["date"].weekday() < 5:
                days[country, row["date"]] = Special("holiday", row.get("holiday_cn") or "no workday")
            elif row.get("event"):
                days[country, row["date"]] = Special("event", row["event"])
    return days


def _calendar_rows(folder: Any, delivery: str) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.parquet")):
        yield from (row for row in pq.read_table(path).to_pylist() if row["_delivery"] == delivery)


def mix_of(profile: Profile) -> dict[str, int]:
    """Rows by value of the feed's mix column."""
    return json.loads(profile["mix"]) if profile.get("mix") else {}
