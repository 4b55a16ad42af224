"""Can the rows be trusted? Q-02, Q-03, Q-04 and Q-07 over what ingest noted of each delivery."""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from datetime import date, timedelta

from pipeline.ingest.profile import MALFORMED, MALFORMED_TWICE, measures_of
from pipeline.interval import wilson
from pipeline.quality import rules
from pipeline.quality.arrival import counted_rejects, reject_counts
from pipeline.quality.checks import Check, Level
from pipeline.quality.history import Delivered, Feed, History
from pipeline.quality.policy import Completeness
from pipeline.quality.suites import Expect

_RANGE_CODES = frozenset(
    ("out_of_range", "future_date", "before_2000", "ends_before_start", "negative_quantity", "zero_quantity")
)
_GUESTS = ("orders", "source_customer_id")


def _days_with(feed: Feed, note: str) -> list[tuple[str, date]]:
    """Sources and days of which ingest has noted something, in order."""
    noted = [d.entry for d in feed.deliveries if d.profile.get(note) and d.number(note)]
    return sorted({(e.source, e.dt) for e in noted if e.source and e.dt})


def keys_unique(feed: Feed, history: History) -> Check:
    """Rows with the key of another row of their delivery and other content, per source and day."""
    limit, floor = history.limits["key_conflict_share_max"], history.limits["key_conflict_rows_min"]
    bad: list[str] = []
    worst = 0.0
    for source, day in _days_with(feed, "key_conflicts"):
        own = feed.days[source][day]
        conflicts, rows = sum(d.number("key_conflicts") for d in own), sum(d.rows for d in own)
        worst = max(worst, conflicts / rows)
        if conflicts > floor and conflicts / rows > limit:
            key = ", ".join(feed.contract.key)
            bad.append(f"{source}/{feed.name}/{day}: {conflicts:g} of {rows} rows repeat a key ({key})")
    return rules.result(feed.name, rules.KEYS_UNIQUE, not bad, round(worst, 4), limit, bad)


def columns_complete(feed: Feed, history: History) -> list[Check]:
    """Three rules over the shares of nulls: those that the numbers need, the rest, and the share of guests."""
    limits = history.completeness
    columns = [
        name
        for name in feed.contract.raw_schema()
        if not name.startswith("_") and not name.endswith("_offset_minutes")
    ]
    groups: dict[str, list[tuple[str, Completeness]]] = defaultdict(list)
    for column in columns:
        limit = limits.get((feed.name, column)) or limits["*", "*"]
        if limit.level == "info" or limit.shift_max is None:
            continue
        guests = (feed.name, column) == _GUESTS
        rule = rules.GUESTS_STEADY if guests else rules.COLUMNS_COMPLETE
        groups[rule.check if limit.level == "block" else rules.COLUMNS_STEADY.check].append((column, limit))
    by_name = {
        rule.check: rule for rule in (rules.COLUMNS_COMPLETE, rules.COLUMNS_STEADY, rules.GUESTS_STEADY)
    }
    return [_shifts(feed, history, by_name[name], own) for name, own in groups.items()]


def _shifts(feed: Feed, history: History, rule: Expect, columns: Sequence[tuple[str, Completeness]]) -> Check:
    """How far the shares of nulls of some columns stand from the source's own median, beyond their usual scatter."""
    bad: list[str] = []
    worst = 0.0
    level: Level = "warn"
    for source, by_day in feed.recent.items():
        shares = _Shares(by_day, history.limits)
        first = min(feed.days[source])
        for nth, day in enumerate(history.judged(by_day)):
            special = history.special(source, day)
            if special and special.kind == "unusual":
                continue
            past = shares.before(day)
            if not past or shares.rows[day] < history.limits["share_rows_min"]:
                continue
            known = day - first >= timedelta(weeks=history.limits["history_weeks"])
            if nth and not (known and rule.level == "block"):
                continue
            for column, limit in columns:
                share = shares.of(column, day)
                if not share and not limit.both_ways:
                    continue
                known_shares = [shares.of(column, d) for d in past]
                usual = statistics.median(known_shares)
                # What chance makes of so few rows, and what this source makes of its days anyway.
                error = max(
                    abs(share - _surely(share, shares.rows[day], towards=usual)),
                    history.limits["volume_mad_max"]
                    * statistics.median(abs(s - usual) for s in known_shares),
                )
                shift = abs(share - usual) if limit.both_ways else share - usual
                if nth == 0:
                    worst = max(worst, shift - error)
                if shift - error > (limit.shift_max or 0):
                    bad.append(
                        f"{source}/{feed.name}/{day}: {column} is empty in {share:.1%} of {shares.rows[day]} rows, "
                        f"usually {usual:.1%}"
                    )
                    level = rule.level if known else level
    limit_text = max((limit.shift_max or 0 for _, limit in columns), default=0)
    return rules.result(
        feed.name, rule, not bad, round(worst, 4), limit_text, bad, level if bad else rule.level
    )


def _surely(share: float, rows: int, towards: float) -> float:
    """The share nearest to `towards` that the observed one is still compatible with, three sigma.

    Three sigma of a normal distribution are too few for a few dozen rows: 8 guests in 25 orders, usually 6 %, are
    beyond them on a clean day of the year.
    """
    low, high = wilson(share, rows, 3)
    return min(high, towards) if share < towards else max(low, towards)


class _Shares:
    """Shares of nulls of one source by day, over the days with enough rows."""

    def __init__(self, by_day: dict[date, list[Delivered]], limits: dict[str, float]) -> None:
        self._by_day, self._limits = by_day, limits
        self.rows = {day: sum(d.rows for d in own) for day, own in by_day.items()}

    def before(self, day: date) -> list[date]:
        """Days of the weeks before `day` that have enough rows."""
        first = day - timedelta(weeks=self._limits["history_weeks"])
        return [d for d in self.rows if first <= d < day and self.rows[d] >= self._limits["share_rows_min"]]

    def of(self, column: str, day: date) -> float:
        return sum(d.number(f"{column}__nulls") for d in self._by_day[day]) / self.rows[day]


def values_accurate(feed: Feed, history: History) -> Check:
    """Doubtful and rejected values per source and day, over the newest days of each source."""
    limit, floor = history.limits["doubtful_share_max"], history.limits["doubtful_rows_min"]
    words = {doubt.name: doubt.description for doubt in measures_of(feed.name).doubts}
    words |= {
        name.removeprefix("doubt__"): f"the {kind} can be read by nobody" for kind, name in MALFORMED.items()
    }
    bad: list[str] = []
    worst = 0.0
    for source, by_day in feed.days.items():
        for day in history.judged(by_day):
            found: dict[str, float] = defaultdict(float)
            for d in by_day[day]:
                for name, said in words.items():
                    found[said] += d.number(f"doubt__{name}")
                for code, rejected in reject_counts(d.entry).items():
                    if code in _RANGE_CODES:
                        found[f"rejected as {code}"] += rejected
            rows = sum(feed.rows_read(d) for d in by_day[day])
            n = sum(found.values()) - sum(d.number(MALFORMED_TWICE) for d in by_day[day])
            if not n or not rows:
                continue
            worst = max(worst, n / rows)
            if n > floor and n / rows > limit:
                said = "; ".join(
                    f"{what} ({k:g})" for what, k in sorted(found.items(), key=lambda f: -f[1]) if k
                )
                bad.append(f"{source}/{feed.name}/{day}: {n:g} of {rows} rows: {said}")
    return rules.result(feed.name, rules.VALUES_ACCURATE, not bad, round(worst, 4), limit, bad)


def rejected_rows(feed: Feed, history: History) -> Check:
    """Per source and day over all its feeds, and per file, of which a part may not be lost however small it is."""
    limits = history.limits
    limit, floor = limits["quarantine_share_max"], limits["quarantine_rows_min"]
    totals: dict[tuple[str | None, date | None], list[int]] = defaultdict(lambda: [0, 0])
    suspects = [d.entry for d in feed.deliveries if d.entry.rows_rejected and counted_rejects(d.entry)]
    wanted = {(e.source, e.dt) for e in suspects}
    for e in history.in_force if wanted else ():
        if (e.source, e.dt) in wanted:
            totals[e.source, e.dt][0] += counted_rejects(e)
            totals[e.source, e.dt][1] += e.rows_read
    bad, worst = [], 0.0
    for e in suspects:
        rejected, read = totals[e.source, e.dt]
        own = counted_rejects(e)
        worst = max(worst, rejected / read)
        of_file = own / e.rows_read
        emptied = of_file == 1 or (own > 1 and of_file > limits["quarantine_file_share_max"])
        if emptied or (rejected > floor and rejected / read > limit):
            codes = ", ".join(
                f"{code} {n}" for code, n in sorted(reject_counts(e).items(), key=lambda c: -c[1])
            )
            said = f" ({codes})" if codes else ""
            bad.append(f"{e.file}: {own} of {e.rows_read} rows rejected{said}")
    return rules.result(feed.name, rules.REJECTED_ROWS, not bad, round(worst, 4), limit, bad)


def rejected_value(feed: Feed, history: History) -> Check:
    """Money in rejected rows against all money of the source's day, where the amounts could be read."""
    limits = history.limits
    limit, alone = limits["quarantine_value_share_max"], limits["quarantine_value_alone_max"]
    bad, worst = [], 0.0
    for source, day in _days_with(feed, "rejected_amount"):
        own = feed.days[source][day]
        rejected = sum(d.number("rejected_amount") for d in own)
        rows, read = sum(counted_rejects(d.entry) for d in own), sum(d.entry.rows_read for d in own)
        share = rejected / (rejected + sum(d.number("amount") for d in own))
        worst = max(worst, share)
        few = rows <= limits["quarantine_rows_min"]
        if read >= limits["share_rows_min"] and share > (alone if few else limit):
            said = f"{rejected:,.2f} in {rows} rejected of {read} rows is {share:.1%} of the day"
            bad.append(f"{source}/{feed.name}/{day}: {said}")
    return rules.result(feed.name, rules.REJECTED_VALUE, not bad, round(worst, 4), limit, bad)


def one_currency(feed: Feed, history: History) -> Check:
    """Sources whose amounts, where they state any, are of another currency than the home's."""
    money = [name for name, column in feed.contract.columns.items() if column.type == "m"]
    other = sorted(
        {
            f"{d.entry.source}: {d.entry.currency}"
            for d in feed.deliveries
            if d.entry.currency
            and d.entry.currency != history.currency
            and (not d.profile or any(d.number(f"{name}__nulls") < d.rows for name in money))
        }
    )
    return rules.result(feed.name, rules.ONE_CURRENCY, not other, len(other), history.currency, other)
