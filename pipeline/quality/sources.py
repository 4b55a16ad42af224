"""May this data come in? Every source check for one as-of date.

Two kinds: the rules of the gates Q-01 … Q-12 over the ledger and the delivery profiles, and the suites of
`expectations/sources` over the same profiles. Both read what ingest noted about each delivery, so their cost does not
grow with the rows. A feed that no present source declares or delivers is not judged, unless nothing can be published
without it.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date

import pandas as pd

from pipeline.ingest.contracts import Contract
from pipeline.ingest.profile import measures_of
from pipeline.quality import arrival, content, rules, volume
from pipeline.quality.checks import Check
from pipeline.quality.contract_suite import source_suites
from pipeline.quality.history import Delivered, Feed, History, read_history
from pipeline.quality.suites import Expect, Suite, run_suite
from pipeline.settings import Settings

_JUDGES: Mapping[str, Callable[[Feed, History], Check]] = {
    rules.FILES_ACCEPTED.check: arrival.files_accepted,
    rules.COLUMNS_TYPED.check: arrival.columns_typed,
    rules.UNKNOWN_COLUMNS.check: arrival.no_unknown_columns,
    rules.KEYS_UNIQUE.check: content.keys_unique,
    rules.VALUES_ACCURATE.check: content.values_accurate,
    rules.DELIVERED.check: arrival.delivered,
    rules.EVENTS_FRESH.check: arrival.events_fresh,
    rules.NO_MISSING_DAYS.check: arrival.no_missing_days,
    rules.REJECTED_ROWS.check: content.rejected_rows,
    rules.REJECTED_VALUE.check: content.rejected_value,
    rules.ONE_CURRENCY.check: content.one_currency,
    rules.VOLUME.check: volume.volume,
    rules.REVENUE.check: volume.revenue,
    rules.SEVERAL_CHANNELS.check: volume.several_channels,
    rules.NO_FUTURE_EVENTS.check: arrival.no_future_events,
}


def rules_of(contract: Contract) -> list[Expect]:
    """The rules that can fail for a feed."""
    measures = measures_of(contract.feed)
    noted = {"amount": bool(measures.amount), "mix": bool(measures.mix)}
    doubts = bool(measures.doubts) or any(c.pii in ("phone", "email") for c in contract.columns.values())
    return [rule for rule in rules.RULES if rules.applies(rule, contract, **noted, doubts=doubts)]


def check_sources(settings: Settings, as_of: date) -> list[Check]:
    """Every source check for one as-of date, by feed."""
    history = read_history(settings, as_of)
    checks = check_history(history)
    for feed, suite in source_suites().items():
        if feed in history.feeds and is_judged(history.feeds[feed]) and suite.expectations:
            checks += _suite_checks(suite, history.feeds[feed].deliveries)
    return checks


def is_judged(feed: Feed) -> bool:
    """Whether the feed is in use, or there is nothing to publish without it."""
    return bool(feed.expected) or feed.name in arrival.MINIMUM


def check_history(history: History) -> list[Check]:
    """The checks of the rules, without the suites."""
    checks: list[Check] = []
    for feed in history.feeds.values():
        if is_judged(feed):
            wanted = {rule.check for rule in rules_of(feed.contract)}
            checks += [judge(feed, history) for rule, judge in _JUDGES.items() if rule in wanted]
            # One function looks at all shares of nulls and answers for three rules.
            checks += (
                content.columns_complete(feed, history) if rules.COLUMNS_COMPLETE.check in wanted else []
            )
    stray = [f"{e.file}: {e.reject_detail}" for e in history.stray]
    checks.append(rules.result("landing", rules.NO_STRAY_FILES, not stray, len(stray), 0, stray))
    return checks


# Share of rows with a value, per feed: (name of the share, column).
_SHARES = {
    "orders": (("paid_share", "paid_at"),),
    "order_lines": (("list_price_share", "list_price"),),
    "returns": (("refunded_share", "refunded_at"),),
    "survey_responses": (("person_share", "source_customer_id"),),
}
_SHARE_ROWS_MIN = 20


def profile_frame(feed: str, deliveries: Iterable[Delivered]) -> pd.DataFrame:
    """One row per loaded delivery with rows: its profile, and the shares of `_SHARES`.

    A share is null where the delivery has fewer than 20 rows.
    """
    loaded = [d for d in deliveries if d.entry.status == "loaded" and d.rows]
    frame = pd.DataFrame([dict(d.profile) for d in loaded])
    if frame.empty:
        return frame
    for share, column in _SHARES.get(feed, ()):
        # A share of a handful of rows says nothing.
        frame[share] = (1 - frame[f"{column}__nulls"] / frame["rows_n"]).where(
            frame["rows_n"] >= _SHARE_ROWS_MIN
        )
    # A source that never gives list prices has nothing to lose.
    if feed == "order_lines":
        source = pd.Series([d.entry.source for d in loaded])
        usual = frame.groupby(source)["list_price_share"].transform("median")
        frame.loc[usual < 0.5, "list_price_share"] = None
    return frame


def _suite_checks(suite: Suite, deliveries: Iterable[Delivered]) -> list[Check]:
    frame = profile_frame(suite.target, deliveries)
    if frame.empty:
        return [
            Check(
                "feed",
                suite.target,
                e.check,
                e.level,
                True,
                "no rows delivered",
                None,
                e.description,
                (),
                e.gates,
            )
            for e in suite.expectations
        ]
    # Deliveries that came before a column had a place in the profile say nothing about it.
    named = {
        c for e in suite.expectations for c in (*e.args.get("column_list", ()), e.args.get("column")) if c
    }
    return run_suite(suite, frame.reindex(columns=[*frame, *sorted(named - set(frame))]))
