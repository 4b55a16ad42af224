"""Has come what is due, readable, and with events of its days? Q-01 and Q-06 over the ledger and the profiles."""

import json
from datetime import date, timedelta

from pipeline.ingest.contracts import source_of
from pipeline.ingest.ledger import Entry
from pipeline.ingest.reject_codes import load_codes
from pipeline.quality import rules
from pipeline.quality.checks import Check
from pipeline.quality.history import Feed, History, local_day

_TYPE_CODES = frozenset(
    ("bad_integer", "bad_number", "bad_date", "bad_timestamp", "bad_boolean", "scientific_id")
    + ("unknown_value", "unknown_currency")
)
MINIMUM = ("orders", "order_lines")
"""Feeds without which there is nothing to publish."""


def reject_counts(entry: Entry) -> dict[str, int]:
    """Rejected rows of a delivery by code."""
    return json.loads(entry.reject_codes) if entry.reject_codes else {}


def counted_rejects(entry: Entry) -> int:
    """Rejected rows that count against a limit: an older state of a row that came again is none."""
    codes = load_codes()
    told = sum(
        n for code, n in reject_counts(entry).items() if code in codes and codes[code].severity == "info"
    )
    return entry.rows_rejected - told


def files_accepted(feed: Feed, history: History) -> Check:
    refused = [d.entry for d in feed.deliveries if d.entry.status == "rejected"]
    examples = [f"{e.file}: {e.reject_code} ({e.reject_detail})" for e in refused]
    return rules.result(feed.name, rules.FILES_ACCEPTED, not refused, len(refused), 0, examples)


def columns_typed(feed: Feed, history: History) -> Check:
    """Rows that a column's type or list of values refused, per delivery."""
    limit, floor = history.limits["quarantine_share_max"], history.limits["quarantine_rows_min"]
    bad: list[str] = []
    worst = 0.0
    for d in feed.deliveries:
        entry = d.entry
        if entry.rows_rejected <= floor:
            continue
        codes = {code: n for code, n in reject_counts(entry).items() if code in _TYPE_CODES}
        share = sum(codes.values()) / entry.rows_read
        worst = max(worst, share)
        if sum(codes.values()) > floor and share > limit:
            named = ", ".join(f"{code} {n}" for code, n in sorted(codes.items(), key=lambda c: -c[1]))
            bad.append(f"{entry.file}: {named} of {entry.rows_read} rows")
    return rules.result(feed.name, rules.COLUMNS_TYPED, not bad, round(worst, 4), limit, bad)


def no_unknown_columns(feed: Feed, history: History) -> Check:
    drifted = []
    for own in feed.by_source.values():
        newest = own[-1].entry.dt
        drifted += [d.entry for d in own if d.entry.dt == newest and d.entry.extra_columns]
    examples = [f"{e.file}: {e.extra_columns}" for e in drifted]
    return rules.result(feed.name, rules.UNKNOWN_COLUMNS, not drifted, len(drifted), 0, examples)


def delivered(feed: Feed, history: History) -> Check:
    """Late or missing deliveries. A feed that no present source delivers is not enabled and passes.

    A public holiday may lack its delivery: that stops nothing, and is said of a source that has delivered on another.
    """
    level = rules.level_of(rules.DELIVERED, feed.contract)
    late: list[str] = []
    missing: list[str] = []
    for source in feed.expected:
        own = [d.entry for d in feed.by_source.get(source.source, [])]
        if feed.cadence(source) == "occasional":
            if all(e.status == "rejected" for e in own):
                late.append(f"{source.source}/{feed.name}: never delivered")
            continue
        # A refused file is named by files_accepted; here it counts as having come. The bytes of an earlier day are no
        # delivery of sales; a snapshot in which nothing changed is one.
        came = [e.dt for e in own if e.dt and not (feed.stops and e.status == "duplicate")]
        newest = max(came, default=None)
        due = _due(feed, history, source.source, holidays=False)
        if newest is None or newest < due:
            late.append(f"{source.source}/{feed.name}: due {due}, newest {newest or 'none'}")
        elif newest < (day := _due(feed, history, source.source, holidays=True)) and any(
            special.kind == "holiday" for d in came if (special := history.special(source.source, d))
        ):
            missing.append(f"{source.source}/{feed.name}: no delivery for the holiday {day}, newest {newest}")
    if feed.name in MINIMUM and not feed.expected:
        late.append(f"no source delivers {feed.name}")
    if missing and not late:
        return rules.result(feed.name, rules.DELIVERED, False, len(missing), 0, missing, "warn")
    return rules.result(feed.name, rules.DELIVERED, not late, len(late), 0, late, level)


def _due(feed: Feed, history: History, source: str, *, holidays: bool) -> date:
    """The trading day that the newest delivery may not be older than."""
    day = history.as_of
    for _ in range(feed.contract.freshness.days if feed.contract.freshness else 1):
        day = history.calendar.last_trading_day(source_of(source), day, holidays=holidays)
    return day


def events_fresh(feed: Feed, history: History) -> Check:
    """Newest event of each source against the day that is due, where enough rows have come since that day."""
    level = rules.level_of(rules.EVENTS_FRESH, feed.contract)
    # A state is news of its day, whatever it is about: an order of last week that was paid today.
    columns = [n for n, c in feed.contract.columns.items() if c.event or n == feed.contract.latest_by]
    stale: list[str] = []
    oldest = 0
    for source, own in feed.by_source.items():
        due = _due(feed, history, source, holidays=False)
        since = [d for d in own if d.entry.status == "loaded" and d.entry.dt and d.entry.dt >= due]
        if sum(d.rows for d in since) < history.limits["fresh_rows_min"]:
            continue
        moments = [local_day(d.profile.get(f"{c}__max"), d.entry.zone) for d in since for c in columns]
        newest = max((m for m in moments if m), default=None)
        if newest is not None:
            oldest = max(oldest, (due - newest).days)
        if newest is not None and newest < due:
            stale.append(f"{source}/{feed.name}: newest event {newest}, due {due}")
    return rules.result(feed.name, rules.EVENTS_FRESH, not stale, oldest, "0 days", stale, level)


def no_missing_days(feed: Feed, history: History) -> Check:
    missing: list[str] = []
    for source in feed.expected:
        own = feed.by_source.get(source.source, [])
        if not source.declared or feed.cadence(source) == "occasional" or not own:
            continue
        days = {d.entry.dt for d in own if d.entry.dt}
        first, last = min(days), max(days)
        holes = [first + timedelta(days=n) for n in range(1, (last - first).days)]
        for day in sorted({*holes} - days, reverse=True):
            if history.calendar.is_trading_day(source, day):
                missing.append(f"{source.source}/{feed.name}: {day}")
    return rules.result(feed.name, rules.NO_MISSING_DAYS, not missing, len(missing), 0, missing)


def no_future_events(feed: Feed, history: History) -> Check:
    """Newest event of each delivery against the moment at which it was loaded (Q-12)."""
    grace = timedelta(minutes=history.limits["late_grace_minutes"])
    columns = [n for n, c in feed.contract.columns.items() if c.event and c.type == "ts"]
    late: list[str] = []
    for d in feed.deliveries:
        for column in columns:
            newest = d.profile.get(f"{column}__max")
            if newest is not None and newest == newest and newest > d.entry.loaded_at + grace:
                late.append(
                    f"{d.entry.file}: {column} {newest:%Y-%m-%d %H:%M} UTC, loaded {d.entry.loaded_at:%Y-%m-%d %H:%M}"
                )
    return rules.result(feed.name, rules.NO_FUTURE_EVENTS, not late, len(late), 0, late)
