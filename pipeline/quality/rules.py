"""The rules of the source gates in words: name, gate, level, and what a failure means."""

from collections.abc import Iterable
from typing import Any

from pipeline.ingest.contracts import Contract
from pipeline.quality.checks import Check, Level
from pipeline.quality.suites import Expect


def _rule(check: str, gate: str, description: str, level: Level = "block") -> Expect:
    return Expect(check, "", {}, description, level, gate)


FILES_ACCEPTED = _rule(
    "files_accepted",
    "Q-01",
    "A delivered file was refused as a whole, so its rows are missing.\n\nDeliver a corrected file under the same name; "
    "an older version is not used in its place.",
)
COLUMNS_TYPED = _rule(
    "columns_typed",
    "Q-01",
    "A column came in another type or with values that the contract does not list.\n\nMend the export and deliver the "
    "file again; a value with a meaning belongs into the contract.",
)
UNKNOWN_COLUMNS = _rule(
    "no_unknown_columns",
    "Q-01",
    "The newest delivery has columns that the contract does not know; they were left out.\n\n"
    "Add them to the contract, or to its aliases where a known column has a new name.",
    "warn",
)
KEYS_UNIQUE = _rule(
    "keys_unique",
    "Q-02",
    "Rows of one delivery have the same key and other content, so that one of them is lost.\n\nFind out which is right "
    "and deliver the file again; where rows are states the contract needs latest_by.",
)
COLUMNS_COMPLETE = _rule(
    "columns_complete",
    "Q-03",
    "A column that the numbers need is empty far more often than this source usually leaves it.\n\nAsk the source why "
    "and deliver the file again; if it is meant, change the row in seeds/policy/completeness.csv.",
)
COLUMNS_STEADY = _rule(
    "columns_steady",
    "Q-03",
    "A column is empty far more often than this source usually leaves it.",
    "warn",
)
GUESTS_STEADY = _rule(
    "guest_share_steady",
    "Q-03",
    "Far more or fewer orders than usual have no customer: the customer column moved or the log-in broke.\n\n"
    "Compared with the source's own median of eight weeks, beyond the usual scatter of its days.",
)
VALUES_ACCURATE = _rule(
    "values_accurate",
    "Q-04",
    "Too many rows of one source and day hold values that cannot be true.\n\nThe examples name the rule; mend the "
    "export and deliver the file again.",
)
DELIVERED = _rule(
    "delivered",
    "Q-06",
    "A feed that is due did not come.\n\nDeliver it and run again; for a day on which the source is closed add it to "
    "closed_dates of its source.yml.",
)
EVENTS_FRESH = _rule(
    "events_fresh",
    "Q-06",
    "The newest deliveries hold nothing of the days that they are for: an earlier export came again under a new date."
    "\n\nAsk the source for the day's own export.",
)
NO_MISSING_DAYS = _rule(
    "no_missing_days",
    "Q-06",
    "Trading days between the first and the last delivery have no delivery.",
    "warn",
)
REJECTED_ROWS = _rule(
    "rejected_rows",
    "Q-07",
    "Too many rows of one source and day were rejected.\n\nSee the reject codes in the quarantine, mend the export and "
    "deliver the file again.",
)
REJECTED_VALUE = _rule(
    "rejected_value",
    "Q-07",
    "The rejected rows of one source and day hold too much money, however few they are.\n\nSee the reject codes in the "
    "quarantine, mend the export and deliver the file again.",
)
ONE_CURRENCY = _rule(
    "one_currency",
    "Q-07",
    "Amounts are not in the reporting currency, and those of this feed are not converted: orders, returns and ad_spend are."
    "\n\nDeliver them in the reporting currency, or set STRATA_CURRENCY to the currency of the source.",
)
VOLUME = _rule(
    "volume",
    "Q-10",
    "A day is far from its usual size.\n\nA large drop means a partial export, a large rise a doubled one. Deliver the "
    "file again; if the figures are right, add the day to seeds/policy/trading_calendar.csv as `unusual`.",
)
REVENUE = _rule(
    "revenue",
    "Q-10",
    "The money of a day is far from the usual.\n\nRows as usual and money not: a price column in another unit, or "
    "without its large orders. If the figures are right, add the day to seeds/policy/trading_calendar.csv as `unusual`.",
)
SEVERAL_CHANNELS = _rule(
    "several_channels",
    "Q-10",
    "All rows of a day name one channel, and this source usually has several: the others are missing or mislabelled.",
)
NO_FUTURE_EVENTS = _rule(
    "no_future_events",
    "Q-12",
    "An event lies after the moment at which it was loaded: the clock or the time zone of the source is wrong.\n\n"
    "Mend the zone in source.yml or the export, and deliver the file again.",
)
NO_STRAY_FILES = _rule(
    "no_stray_files",
    "Q-01",
    "Files lie in landing where no delivery stands; they were not read.",
    "warn",
)

RULES = tuple(rule for rule in globals().values() if isinstance(rule, Expect))
"""Every rule over ledger and profiles."""

CONVERTED = ("orders", "order_lines", "returns", "ad_spend")
"""Feeds whose money comes to the reporting currency at the rate of its day; what has none is judged in the warehouse."""

_SALES_ONLY = (VOLUME, REVENUE, DELIVERED, EVENTS_FRESH)


def applies(rule: Expect, contract: Contract, *, amount: bool, mix: bool, doubts: bool) -> bool:
    """Whether a rule can fail for a feed. `amount`, `mix`, `doubts`: what `expectations/sources` declares of it."""
    columns = contract.columns.values()
    daily = contract.cadence == "daily"
    events = any(c.event for c in columns)
    wanted = {
        "keys_unique": bool(contract.key),
        "columns_complete": daily,
        "columns_steady": daily,
        "guest_share_steady": contract.feed == "orders",
        "values_accurate": doubts or any(c.min is not None or c.max is not None for c in columns) or events,
        "events_fresh": daily and events,
        "no_missing_days": daily,
        "rejected_value": amount,
        "one_currency": contract.feed not in CONVERTED and any(c.type == "m" for c in columns),
        "volume": daily,
        "revenue": daily and amount,
        "several_channels": mix,
        "no_future_events": events,
        "no_stray_files": False,
    }
    return wanted.get(rule.check, True)


def level_of(rule: Expect, contract: Contract) -> Level:
    """The strongest level that a rule has for a feed: what today's numbers need blocks, the rest warns."""
    if rule not in _SALES_ONLY:
        return rule.level
    if rule is DELIVERED or contract.freshness:
        return contract.freshness.level if contract.freshness else "warn"
    return "warn"


def result(
    feed: str,
    rule: Expect,
    passed: bool,
    observed: Any,
    limit: Any,
    examples: Iterable[str] = (),
    level: Level | None = None,
) -> Check:
    """The check of a rule on a feed, with at most five examples."""
    return Check(
        "feed",
        feed,
        rule.check,
        level or rule.level,
        passed,
        observed,
        limit,
        rule.description,
        tuple(examples)[:5],
        rule.gate,
    )
