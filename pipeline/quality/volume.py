"""Is a day of its usual size? Q-10: rows, money and channels of the newest days against the same weekday's past."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from pipeline.quality import rules
from pipeline.quality.checks import Check, Level
from pipeline.quality.history import Delivered, Feed, History, mix_of
from pipeline.quality.suites import Expect
from pipeline.quality.trading import Special

_SEARCHED_WEEKS = 12
"""The same weekday is looked for so far back, so that eight are found around holidays too."""
_UNSEEN = 1e-4
"""A day so unlikely by the usual mix of channels is no accident."""
_MAD_TO_SD = 1.4826
"""Standard deviation of normal noise, in median absolute deviations."""


@dataclass(frozen=True)
class Past:
    """What comparable days say of one number of a day.

    Attributes:
        usual: median of the same weekday.
        spread: median absolute deviation of all days from the median of their own weekday's other days, as a fraction.
        rows: rows of the same weekday, by median.
        days: days that the spread was taken from.
        known: whether eight weeks lie behind the day. Until then only an empty day can stop a run.
    """

    usual: float
    spread: float
    rows: float
    days: int
    known: bool

    @property
    def events(self) -> float:
        """Independent events that would make such a spread by chance: five orders of eight lines are five, not forty."""
        return 1 / max(self.spread * _MAD_TO_SD, 1e-6) ** 2


@dataclass(frozen=True)
class Verdict:
    """What the past says of one number of a day: `odd` is None where it is as usual."""

    usual: float | None
    odd: Level | None


def judge(value: float, past: Past, limits: Mapping[str, float], *, event: bool = False) -> Verdict:
    """Judge one number of a day, such as its rows. `event`: more than usual is expected, so only a fall says something."""
    usual = past.usual
    if past.rows < limits["volume_rows_min"] or usual <= 0:
        return Verdict(usual, None)
    if value == 0:
        steady = past.days >= 7 and past.events >= limits["volume_zero_events_min"]
        return Verdict(usual, "block" if steady else "warn" if past.known else None)
    # What could have come may lie above the median, and a fall of 80 % from there is one as well.
    room = limits["volume_room"]
    low = limits["volume_ratio_min"] * usual * (1 + room)
    high = limits["volume_ratio_max"] * usual * (1 - room)
    steady = past.known and past.events >= limits["volume_stop_events_min"]
    if steady and (value <= low or value >= high):
        return Verdict(usual, "warn" if event and value >= high else "block")
    band = max(limits["volume_mad_max"] * past.spread, limits["volume_band_min"])
    if past.events >= limits["volume_band_events_min"]:
        band = min(band, limits["volume_band_max"])
    odd = past.days >= 7 and (value < usual * (1 - band) or (value > usual * (1 + band) and not event))
    return Verdict(usual, "warn" if odd else None)


def volume(feed: Feed, history: History) -> Check:
    """Rows as delivered, rejected ones included, against the weekday's past and the contract's own bounds."""
    return _judged(
        feed, history, rules.VOLUME, "rows", lambda own: float(sum(feed.rows_read(d) for d in own))
    )


def revenue(feed: Feed, history: History) -> Check:
    """Money of the loaded rows, in the delivered currency."""
    return _judged(feed, history, rules.REVENUE, "money", lambda own: sum(d.number("amount") for d in own))


def _judged(
    feed: Feed, history: History, rule: Expect, what: str, number: Callable[[Sequence[Delivered]], float]
) -> Check:
    """The newest days of every source; of those before the newest only what must stop a run."""
    odd: list[str] = []
    levels: set[Level] = set()
    observed = None
    for source, own in feed.recent.items():
        rows = {day: float(sum(d.rows for d in of_day)) for day, of_day in own.items()}
        series = _Series(
            source,
            {day: number(of_day) for day, of_day in own.items()},
            rows,
            min(feed.days[source]),
            history,
        )
        for nth, day in enumerate(history.judged(own)):
            value = series.values[day]
            if nth == 0:
                observed = value if observed is None else observed + value
            special = series.special(day)
            if special and special.kind != "event":
                continue
            verdict = _of_day(feed, series, day, what, event=special is not None, newest=nth == 0)
            if verdict is None or verdict.odd is None:
                continue
            level: Level = verdict.odd if rules.level_of(rule, feed.contract) == "block" else "warn"
            if nth and level == "warn":
                continue
            usual = "" if verdict.usual is None else f", usually {verdict.usual:,.6g}"
            on = f" ({special.name})" if special else ""
            odd.append(f"{source}/{feed.name}: {value:,.6g} {what} on {day}{on}{usual}")
            levels.add(level)
    limits = history.limits
    # Without words: the page shows it in either language.
    allowed = "{:g} MAD; ×{:g}, ×{:g}".format(
        *(limits[name] for name in ("volume_mad_max", "volume_ratio_min", "volume_ratio_max"))
    )
    level = "block" if "block" in levels else "warn" if levels else rules.level_of(rule, feed.contract)
    return rules.result(feed.name, rule, not odd, _plain(observed), allowed, odd, level)


class _Series:
    """One number of one source and feed by business day."""

    def __init__(
        self,
        source: str,
        values: Mapping[date, float],
        rows: Mapping[date, float],
        first: date,
        history: History,
    ) -> None:
        self.source, self.values, self._rows, self._history = source, values, rows, history
        self.limits = history.limits
        self._weeks = int(history.limits["history_weeks"])
        self._first = first

    def special(self, day: date) -> Special | None:
        return self._history.special(self.source, day)

    def _same_days(self, day: date) -> list[date]:
        """The last eight comparable days of the same weekday."""
        days = [day - timedelta(weeks=w) for w in range(1, _SEARCHED_WEEKS + 1)]
        return [d for d in days if d in self.values and self.special(d) is None][: self._weeks]

    def same_weekday(self, day: date) -> list[float]:
        """The number on those days."""
        return [self.values[d] for d in self._same_days(day)]

    def rows_of(self, day: date) -> list[float]:
        """Loaded rows on those days."""
        return [self._rows[d] for d in self._same_days(day)]

    def past(self, day: date, usual: float, same: int) -> Past:
        """What is known of `day`, of whose weekday `same` days have the median `usual`."""
        known = day - self._first >= timedelta(weeks=self._weeks) and 2 * same >= self._weeks
        by_weekday: dict[int, list[float]] = defaultdict(list)
        for n in range(1, 7 * self._weeks + 1):
            d = day - timedelta(days=n)
            if d in self.values and self.special(d) is None:
                by_weekday[d.weekday()].append(self.values[d])
        strays: list[float] = []
        for values in by_weekday.values():
            for i, value in enumerate(values):
                # Against the other days, as the judged one stands against all of them: its own would hide the spread.
                others = values[:i] + values[i + 1 :]
                median = statistics.median(others) if others else 0.0
                strays += [abs(value / median - 1)] if median > 0 else []
        spread = statistics.median(strays) if strays else 0.0
        rows = statistics.median(self.rows_of(day))
        # Counting alone makes so much, however alike the few known days are.
        chance = 1 / (_MAD_TO_SD * max(rows, 1.0) ** 0.5)
        return Past(usual, max(spread, chance), rows, len(strays), known)


def _of_day(
    feed: Feed, series: _Series, day: date, what: str, *, event: bool, newest: bool
) -> Verdict | None:
    """The verdict on one day, or None where nothing can be said."""
    value, limits = series.values[day], series.limits
    same = series.same_weekday(day)
    verdict = None
    if same:
        usual = statistics.median(same)
        near = 2 * limits["volume_ratio_min"] * usual < value < limits["volume_ratio_max"] / 2 * usual
        # The money of a few rows is anything.
        enough = what == "rows" or statistics.median(series.rows_of(day)) >= limits["share_rows_min"]
        if enough and (newest or not near):
            verdict = judge(value, series.past(day, usual, len(same)), limits, event=event)
    elif what == "rows" and value == 0:
        verdict = _without_past(feed, series, day)
    if what == "rows" and (verdict is None or verdict.odd is None):
        return _out_of_contract(feed, value) or verdict
    return verdict


def _without_past(feed: Feed, series: _Series, day: date) -> Verdict | None:
    """An empty day without the same weekday to compare it with."""
    others = [n for d, n in series.values.items() if d != day]
    if not others:
        return Verdict(None, "block") if feed.stops else None
    # It may be a day of rest: said, but no stop.
    odd = statistics.median(others) >= series.limits["volume_rows_min"]
    return Verdict(None, "warn") if odd else None


def _out_of_contract(feed: Feed, rows: float) -> Verdict | None:
    """The contract's bounds on the rows of a day. An empty day is judged by the past, which knows days of rest."""
    bounds = feed.contract.volume
    if bounds is None or bounds.per != "day" or rows == 0:
        return None
    low, high = bounds.min_rows, bounds.max_rows
    return Verdict(float(low), "block") if rows < low or (high is not None and rows > high) else None


def _plain(number: float | None) -> float | int | None:
    return int(number) if number is not None and number == int(number) else number


def several_channels(feed: Feed, history: History) -> Check:
    """All rows of a day in one value of the feed's mix column, where the source usually has several."""
    bad: list[str] = []
    for source, by_day in feed.recent.items():
        mixes = {day: _mix(own) for day, own in by_day.items()}
        if max(len(mix) for mix in mixes.values()) < 2:
            continue
        for day in history.judged(by_day):
            mix = mixes[day]
            n = sum(mix.values())
            if len(mix) != 1 or n < history.limits["share_rows_min"]:
                continue
            first = day - timedelta(weeks=history.limits["history_weeks"])
            past = [m for d, m in mixes.items() if m and first <= d < day]
            if len(past) < 7:
                continue
            (only,) = mix
            usual = statistics.median(len(m) for m in past)
            share = sum(m.get(only, 0) for m in past) / sum(sum(m.values()) for m in past)
            if usual >= 2 and share**n < _UNSEEN:
                bad.append(
                    f"{source}/{feed.name}: all {n} rows on {day} in {only}, usually {usual:g} channels"
                )
    return rules.result(feed.name, rules.SEVERAL_CHANNELS, not bad, len(bad), 0, bad)


def _mix(deliveries: Sequence[Delivered]) -> Mapping[str, int]:
    """Rows of a day by value of the feed's mix column."""
    parts = [mix_of(d.profile) for d in deliveries]
    return parts[0] if len(parts) == 1 else sum(map(Counter, parts), Counter())
