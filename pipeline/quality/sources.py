"""May this data come in? The checks on what was delivered for one as-of date.

Two kinds: rules over the ledger (was everything that is due delivered, accepted, complete and of the usual size?),
and the suites of `expectations/sources` over delivery profiles. Both read what ingest noted about each delivery,
so their cost does not grow with the rows.
"""

import csv
import statistics
from collections import defaultdict
from collections.abc import Iterable
from datetime import date, timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from pipeline.ingest import ledger
from pipeline.ingest.contracts import Contract, Source, load_contracts, load_sources, source_of
from pipeline.ingest.landing import scan
from pipeline.ingest.ledger import Entry
from pipeline.ingest.mapping import targets
from pipeline.quality.checks import Check
from pipeline.quality.suites import Expect, Suite, load_suites, run_suite
from pipeline.settings import Settings
from pipeline.transform.context import POLICY_DIR, reporting_currency

_WEEKS = 8
_SHARE_ROWS_MIN = 20
_STALE_ROWS_MIN = 3


def thresholds(as_of: date) -> dict[str, float]:
    """The policy thresholds in force on `as_of`, by key."""
    found: dict[str, float] = {}
    with (POLICY_DIR / "thresholds.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            starts = date.fromisoformat(row["valid_from"]) if row["valid_from"] else date.min
            ends = date.fromisoformat(row["valid_to"]) if row["valid_to"] else date.max
            if starts <= as_of < ends:
                found[row["key"]] = float(row["value"])
    return found


LEDGER_CHECKS: tuple[Expect, ...] = (
    Expect(
        "files_accepted",
        "",
        {},
        "A delivered file was refused as a whole, so its rows are missing.\n\nDeliver a "
        "corrected file under the same name; an older version is not used in its place.",
    ),
    Expect(
        "delivered",
        "",
        {},
        "A feed that is due did not come.\n\nDeliver it and run again; for a day on which the "
        "source is closed add it to closed_dates of its source.yml.",
    ),
    Expect(
        "rejected_rows",
        "",
        {},
        "Too many rows of one source and day were rejected.\n\nSee the reject codes in the "
        "quarantine, mend the export and deliver the file again.",
    ),
    Expect(
        "volume",
        "",
        {},
        "The newest delivery is far from its usual size.\n\nA large drop means a partial export, a "
        "large rise a doubled one.",
    ),
    Expect(
        "one_currency",
        "",
        {},
        "Amounts are not in the reporting currency, and there is no rate to convert them."
        "\n\nSet STRATA_CURRENCY to the currency of the source.",
    ),
)
"""Rules over the ledger, for every feed. `delivered` only warns where the contract says so."""

GAPS = Expect(
    "no_missing_days",
    "",
    {},
    "Trading days between the first and the last delivery have no delivery.",
    "warn",
)
DRIFT = Expect(
    "no_unknown_columns",
    "",
    {},
    "The newest delivery has columns that the contract does not know; they were left out.\n\n"
    "Add them to the contract, or to its aliases where a known column has a new name.",
    "warn",
)
STRAY = Expect(
    "no_stray_files", "", {}, "Files lie in landing where no delivery stands; they were not read.", "warn"
)


def check_level(contract: Contract, expect: Expect) -> str:
    """`delivered` blocks only for feeds without which today's numbers would be wrong."""
    if expect.check == "delivered":
        return contract.freshness.level if contract.freshness else "warn"
    return expect.level


def check_sources(settings: Settings, as_of: date) -> list[Check]:
    """Every source check for one as-of date, by feed."""
    entries = ledger.read(settings)
    in_force = ledger.in_force(entries, as_of)
    by_feed: dict[str, list[Entry]] = defaultdict(list)
    for entry in in_force:
        for feed in targets(entry.source or "", entry.feed or ""):
            by_feed[feed].append(entry)
    limits = thresholds(as_of)
    currency = reporting_currency(settings, in_force)
    present = {entry.source for entry in entries if entry.source} | _landed_sources(settings)
    checks: list[Check] = []
    for feed, contract in load_contracts().items():
        own = by_feed[feed]
        expected = _expected_sources(feed, present, entries)
        checks += [
            _files_accepted(feed, own),
            _delivered(feed, contract, own, expected, as_of),
            _rejected_rows(feed, own, in_force, limits),
            _volume(feed, contract, own, as_of, limits),
            _one_currency(feed, contract, own, currency),
            _gaps(feed, contract, own, as_of),
            _drift(feed, own),
        ]
    stray = [e for e in entries if e.dt is None and (settings.landing / e.file).exists()]
    checks.append(
        _result("landing", STRAY, not stray, len(stray), 0, [f"{e.file}: {e.reject_detail}" for e in stray])
    )
    suites = load_suites("expectations.sources")
    for feed, suite in suites.items():
        checks += _suite_checks(settings, suite, by_feed[feed])
    return checks


def _landed_sources(settings: Settings) -> set[str]:
    deliveries, _ = scan(settings.landing) if settings.landing.is_dir() else ([], [])
    return {d.source for d in deliveries}


def _expected_sources(feed: str, present: set[str], entries: Iterable[Entry]) -> list[Source]:
    """Present sources that declare the feed, or that have delivered it before."""
    delivered = {e.source for e in entries if e.source and feed in targets(e.source, e.feed or "")}
    declared = {
        name
        for name, source in load_sources().items()
        if name in present and any(feed in (d.maps_to or (f,)) for f, d in source.feeds.items())
    }
    return [source_of(name) for name in sorted(delivered | declared)]


def _result(
    feed: str,
    expect: Expect,
    passed: bool,
    observed: object,
    limit: object,
    examples: Iterable[str] = (),
    level: str = "",
) -> Check:
    return Check(
        "feed",
        feed,
        expect.check,
        level or expect.level,
        passed,
        observed,
        limit,
        expect.description,  # type: ignore[arg-type]
        tuple(examples)[:5],
    )


def _files_accepted(feed: str, own: list[Entry]) -> Check:
    refused = [e for e in own if e.status == "rejected"]
    examples = [f"{e.file}: {e.reject_code} ({e.reject_detail})" for e in refused]
    return _result(feed, LEDGER_CHECKS[0], not refused, len(refused), 0, examples)


def last_trading_day(source: Source, before: date) -> date:
    """The newest day before `before` on which the source is open."""
    day = before - timedelta(days=1)
    for _ in range(400):
        if day.weekday() not in source.closed_weekdays and day.isoformat() not in source.closed_dates:
            break
        day -= timedelta(days=1)
    return day


def _cadence(source: Source, feed: str, contract: Contract) -> str:
    for landed, delivered in source.feeds.items():
        if feed in (delivered.maps_to or (landed,)) and delivered.cadence:
            return delivered.cadence
    return contract.cadence


def _delivered(feed: str, contract: Contract, own: list[Entry], expected: list[Source], as_of: date) -> Check:
    """Late or missing deliveries. A feed that no present source delivers is not enabled and passes."""
    expect = LEDGER_CHECKS[1]
    late: list[str] = []
    for source in expected:
        days = [e.dt for e in own if e.source == source.source and e.status != "rejected" and e.dt]
        if _cadence(source, feed, contract) == "occasional":
            if not days:
                late.append(f"{source.source}/{feed}: never delivered")
            continue
        due = last_trading_day(source, as_of)
        for _ in range((contract.freshness.days if contract.freshness else 1) - 1):
            due = last_trading_day(source, due)
        # A refused file is named by files_accepted; here it counts as having come. The bytes of an earlier day are no
        # delivery of sales; a snapshot in which nothing changed is one.
        sales = contract.freshness is not None and contract.freshness.level == "block"
        came = [
            e.dt
            for e in own
            if e.source == source.source and e.dt and not (sales and e.status == "duplicate")
        ]
        newest = max(came, default=None)
        if newest is None or newest < due:
            late.append(f"{source.source}/{feed}: due {due}, newest {newest or 'none'}")
    level = check_level(contract, expect)
    if feed in ("orders", "order_lines") and not expected:
        late.append(f"no source delivers {feed}")
    return _result(feed, expect, not late, len(late), 0, late, level)


def _rejected_rows(feed: str, own: list[Entry], in_force: list[Entry], limits: dict[str, float]) -> Check:
    """Per source and day over all its feeds, and per file, of which a part may not be lost however small it is."""
    limit, floor = limits["quarantine_share_max"], limits["quarantine_rows_min"]
    totals: dict[tuple[str | None, date | None], list[int]] = defaultdict(lambda: [0, 0])
    for e in in_force:
        totals[e.source, e.dt][0] += e.rows_rejected
        totals[e.source, e.dt][1] += e.rows_read
    bad, worst = [], 0.0
    for e in own:
        rejected, read = totals[e.source, e.dt]
        share = rejected / read if read else 0.0
        if e.rows_rejected:
            worst = max(worst, share)
        of_file = e.rows_rejected / e.rows_read if e.rows_read else 0.0
        emptied = of_file == 1 or (e.rows_rejected > 1 and of_file > limits["quarantine_file_share_max"])
        if e.rows_rejected and (emptied or (rejected > floor and share > limit)):
            bad.append(f"{e.file}: {e.rows_rejected} of {e.rows_read} rows rejected")
    return _result(feed, LEDGER_CHECKS[2], not bad, round(worst, 4), limit, bad)


def _volume(feed: str, contract: Contract, own: list[Entry], as_of: date, limits: dict[str, float]) -> Check:
    """Rows of the newest day against the same weekday of the last eight weeks, per source (Q-10)."""
    expect = LEDGER_CHECKS[3]
    level = "block" if contract.freshness and contract.freshness.level == "block" else "warn"
    rows: dict[str, dict[date, int]] = defaultdict(lambda: defaultdict(int))
    for e in own:
        if e.status == "loaded" and e.source and e.dt:
            rows[e.source][e.dt] += e.rows_read
    odd: list[str] = []
    observed = None
    if contract.cadence == "daily":
        for source, by_day in rows.items():
            day = max(by_day)
            n = by_day[day]
            past = [by_day[d] for w in range(1, _WEEKS + 1) if (d := day - timedelta(weeks=w)) in by_day]
            usual = statistics.median(past) if past else None
            observed = n if observed is None else observed + n
            if usual is None:
                others = [rows_n for other, rows_n in by_day.items() if other != day]
                if n == 0 and (not others or statistics.median(others) >= limits["volume_rows_min"]):
                    # Without the same weekday to compare with it may be a day of rest: said, but no stop.
                    odd.append(f"{source}/{feed}: no row on {day}, the first {day:%A}")
                    level = "warn" if others else level
            elif n == 0 and usual >= limits["volume_rows_min"]:
                odd.append(f"{source}/{feed}: no row on {day}, usually {usual:g}")
            elif len(past) == _WEEKS and usual >= 4 * limits["volume_rows_min"]:
                ratio = n / usual
                if ratio < limits["volume_ratio_min"] or ratio > limits["volume_ratio_max"]:
                    odd.append(f"{source}/{feed}: {n} rows on {day}, usually {usual:g}")
    return _result(feed, expect, not odd, observed, "0.2 to 10 times the usual", odd, level)


def _one_currency(feed: str, contract: Contract, own: list[Entry], currency: str) -> Check:
    money = any(c.type == "m" for c in contract.columns.values())
    other = (
        sorted({f"{e.source}: {e.currency}" for e in own if e.currency and e.currency != currency})
        if money
        else []
    )
    return _result(feed, LEDGER_CHECKS[4], not other, len(other), currency, other)


def _drift(feed: str, own: list[Entry]) -> Check:
    newest = {
        source: max(e.dt for e in own if e.source == source and e.dt) for source in {e.source for e in own}
    }
    drifted = [e for e in own if e.dt == newest[e.source] and e.extra_columns]
    return _result(
        feed, DRIFT, not drifted, len(drifted), 0, [f"{e.file}: {e.extra_columns}" for e in drifted]
    )


def _gaps(feed: str, contract: Contract, own: list[Entry], as_of: date) -> Check:
    missing: list[str] = []
    for name in sorted({e.source for e in own if e.source}):
        source = source_of(name)
        if not source.declared or _cadence(source, feed, contract) == "occasional":
            continue
        days = {e.dt for e in own if e.source == name and e.dt}
        day = last_trading_day(source, max(days))
        while day > min(days):
            if day not in days:
                missing.append(f"{name}/{feed}: {day}")
            day = last_trading_day(source, day)
    return _result(feed, GAPS, not missing, len(missing), 0, missing)


# Share of rows with a value, per feed: (name of the share, column).
_SHARES = {
    "orders": (("paid_share", "paid_at"),),
    "order_lines": (("list_price_share", "list_price"),),
    "returns": (("refunded_share", "refunded_at"),),
    "survey_responses": (("person_share", "source_customer_id"),),
}


def profiles(settings: Settings, feed: str, deliveries: Iterable[Entry]) -> pd.DataFrame:
    """One row per loaded delivery with rows: rows_n, per column nulls, min and max, and the shares of `_SHARES`.

    A share is null where the delivery has fewer than 20 rows.
    """
    loaded = {e.delivery: e for e in deliveries if e.status == "loaded"}
    folder = settings.raw / "_profile" / feed
    files = sorted(str(path) for path in folder.glob("*.parquet")) if folder.exists() else []
    if not files:
        return pd.DataFrame()
    schema = pa.unify_schemas([pq.read_schema(file) for file in files], promote_options="permissive")
    frame = ds.dataset(files, schema=schema).to_table().to_pandas()
    frame = frame[frame["delivery"].isin(loaded) & (frame["rows_n"] > 0)].drop_duplicates("delivery")
    frame = frame.sort_values("delivery").reset_index(drop=True)
    for share, column in _SHARES.get(feed, ()):
        # A share of a handful of rows says nothing.
        frame[share] = (1 - frame[f"{column}__nulls"] / frame["rows_n"]).where(
            frame["rows_n"] >= _SHARE_ROWS_MIN
        )
    # A source that never gives list prices has nothing to lose.
    if feed == "order_lines" and len(frame):
        source = frame["delivery"].map(lambda d: loaded[d].source)
        usual = frame.groupby(source)["list_price_share"].transform("median")
        frame.loc[usual < 0.5, "list_price_share"] = None
    if feed == "orders" and len(frame):
        _add_order_signals(frame, loaded)
    return frame


def _newest_event(frame: pd.DataFrame) -> pd.Series:
    """Newest moment of each delivery of orders: an order of last week may come again because it was paid today."""
    columns = [c for c in ("ordered_at__max", "paid_at__max", "updated_at__max") if c in frame]
    return frame[columns].apply(pd.to_datetime).max(axis=1)


def _add_order_signals(frame: pd.DataFrame, loaded: dict[str, Entry]) -> None:
    """`stale_days` and `guest_share_shift`, both on the newest day of each source and null elsewhere.

    A few rows may well all be news of older orders, so they are not judged by their age.
    """
    frame["source"] = frame["delivery"].map(lambda d: loaded[d].source)
    frame["dt"] = pd.to_datetime(frame["delivery"].map(lambda d: loaded[d].dt))
    offset = frame["delivery"].map(lambda d: loaded[d].zone)
    newest_local = [
        stamp.tz_localize("UTC").tz_convert(zone).tz_localize(None).normalize() if pd.notna(stamp) else pd.NaT
        for stamp, zone in zip(_newest_event(frame), offset, strict=True)
    ]
    frame["newest_order"] = newest_local
    frame["stale_days"] = float("nan")
    frame["guest_share_shift"] = float("nan")
    for _, own in frame.groupby("source"):
        last = own[own["dt"] == own["dt"].max()]
        if last["rows_n"].sum() >= _STALE_ROWS_MIN:
            frame.loc[last.index[0], "stale_days"] = (last["dt"].iloc[0] - last["newest_order"].max()).days
        past = own[
            (own["dt"] < last["dt"].iloc[0]) & (own["dt"] >= last["dt"].iloc[0] - pd.Timedelta(weeks=_WEEKS))
        ]
        if len(own) and own["dt"].min() <= last["dt"].iloc[0] - pd.Timedelta(weeks=_WEEKS):
            usual = (past["source_customer_id__nulls"] / past["rows_n"]).median()
            rows = last["rows_n"].sum()
            share = last["source_customer_id__nulls"].sum() / rows
            error = 3 * (max(usual * (1 - usual), 0.01) / rows) ** 0.5
            frame.loc[last.index[0], "guest_share_shift"] = max(abs(share - usual) - error, 0.0)


def _suite_checks(settings: Settings, suite: Suite, deliveries: list[Entry]) -> list[Check]:
    frame = profiles(settings, suite.target, deliveries)
    if frame.empty:
        return [
            Check("feed", suite.target, e.check, e.level, True, "no rows delivered", None, e.description)
            for e in suite.expectations
        ]
    return run_suite(suite, frame)
