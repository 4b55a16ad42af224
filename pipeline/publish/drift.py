"""Q-15: people are classed as the day before, but for what a day can explain.

A class mart can be total, exclusive and wrong: half the customers in another class because a column came in another
unit. So the classes of the files that are about to leave are held against those of the release before. Moves that
follow from new cut points or another policy are meant; they are told and stop nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from math import log
from pathlib import Path
from typing import Any

import duckdb

from pipeline import duck
from pipeline.duck import literal, parquet, quote
from pipeline.ingest import ledger
from pipeline.publish.tables import PublishedTable
from pipeline.quality.checks import Check, Level
from pipeline.quality.policy import thresholds
from pipeline.settings import Settings

GATE = "Q-15"
_CUT_POINTS = "segments.rfm_breakpoints"
_FORECASTS = "segments.customer_clv"
_CUSTOM = "segments.custom_segment"
_MEMBERS = "audiences.segment_membership"
# Schemes that are read from the scores, so that a refresh of the cut points moves people in them.
_SCORED = frozenset({"rfm", "frequency", "power"})
_SHARES = (
    "The shares of the classes are not those of the release before (Q-15): rather a feed or a rule changed than the "
    "customers.\n\nLook at `strata releases diff`; is it right, `strata gate approve` lets it pass once."
)
_MOVED = (
    "More people changed their class than days explain (Q-15): audiences would be turned over at once.\n\n"
    "Look at `strata releases diff`; is it right, `strata gate approve` lets it pass once."
)


@dataclass(frozen=True)
class _Shift:
    """One scheme over two releases. `moved` counts people of both who changed class."""

    before: Mapping[str, int]
    after: Mapping[str, int]
    both: int
    moved: int


def check(
    settings: Settings,
    folder: Path,
    as_of: date,
    before: Mapping[str, Any] | None,
    tables: Sequence[PublishedTable],
) -> list[Check]:
    """Two checks per scheme, `<scheme>_shares_steady` and `<scheme>_few_moved`; none before the second release.

    Args:
        folder: the candidate, with its `tables/`.
        before: manifest of the current release.
        tables: what the candidate holds, with the columns that hold classes.
    """
    if before is None:
        return []
    limits = thresholds(as_of)
    earlier = settings.releases / before["release"]
    con = duck.connect([folder, earlier], spill=settings.build / ".spill")
    try:
        moved_on = _policy(con, folder, tables) != before["policy_version"]
        refreshed = _CUT_POINTS in before["tables"] and _effective(con, folder) != _effective(con, earlier)
        foretold = _both(folder, earlier, _FORECASTS) and _forecast(con, folder) != _forecast(con, earlier)
        days = max(1, (as_of - date.fromisoformat(before["as_of_date"])).days)
        young = _days_known(settings, as_of) < 7 * limits["history_weeks"]
        pairs: dict[tuple[str, str], str] = {}
        for table in tables:
            known = before["tables"].get(table.key, {}).get("schemes", {})
            for scheme, column in sorted(table.schemes.items()):
                if scheme in known:
                    new, old = _file(folder, table.key), _file(earlier, table.key)
                    pairs[table.key, scheme] = _pairs(new, column, old, known[scheme])
        for scheme in _custom_schemes(con, folder, earlier):
            of = f"(select customer_key, class from {{}} where scheme = {literal(scheme)})"
            new, old = (of.format(_file(where, _MEMBERS)) for where in (folder, earlier))
            pairs[_MEMBERS, scheme] = _pairs(new, "class", old, "class")
        shifts: dict[tuple[str, str], _Shift] = {}

        def look(cursor: duckdb.DuckDBPyConnection, of: tuple[str, str]) -> None:
            shifts[of] = _shift(cursor, pairs[of])

        duck.share_out(con, pairs, look)
        checks = []
        for (table_key, scheme), both_files in pairs.items():
            shift = shifts[table_key, scheme]
            meant = moved_on or (refreshed and scheme in _SCORED) or (foretold and scheme == "clv")
            may_stop = (
                not (meant or young)
                and days <= limits["drift_gap_days_max"]
                and shift.both >= limits["drift_customers_min"]
            )
            few_moved = _moves(table_key, scheme, shift, limits, may_stop, meant, days)
            if not few_moved.passed:
                few_moved = replace(few_moved, examples=_tokens(con, both_files))
            checks += [_shares(table_key, scheme, shift, limits, may_stop), few_moved]
        return checks
    finally:
        con.close()


def psi(before: Mapping[str, int], after: Mapping[str, int]) -> float:
    """Population stability index Σ (a − b)·ln(a / b) over the shares of the classes (Lewis 1994, P-23).

    Half a person is added to each class, so that one that is empty on one day does not make it infinite.
    """
    names = before.keys() | after.keys()
    sums = [sum(side.values()) + len(names) / 2 for side in (before, after)]
    total = 0.0
    for name in names:
        b, a = ((side.get(name, 0) + 0.5) / n for side, n in zip((before, after), sums, strict=True))
        total += (a - b) * log(a / b)
    return total


def _shares(table: str, scheme: str, shift: _Shift, limits: Mapping[str, float], may_stop: bool) -> Check:
    observed = round(psi(shift.before, shift.after), 4)
    stop = may_stop and observed > limits["drift_psi_max"]
    level: Level = "block" if stop or observed <= limits["drift_psi_warn"] else "warn"
    limit = limits["drift_psi_max" if stop else "drift_psi_warn"]
    names = sorted(
        shift.before.keys() | shift.after.keys(),
        key=lambda c: (-abs(shift.after.get(c, 0) - shift.before.get(c, 0)), c),
    )
    examples = tuple(f"{c} {shift.before.get(c, 0):,} → {shift.after.get(c, 0):,}" for c in names[:3])
    passed = observed <= limits["drift_psi_warn"]
    return _check(table, f"{scheme}_shares_steady", level, passed, observed, limit, _SHARES, examples)


def _moves(
    table: str,
    scheme: str,
    shift: _Shift,
    limits: Mapping[str, float],
    may_stop: bool,
    meant: bool,
    days: int,
) -> Check:
    observed = round(shift.moved / shift.both, 4) if shift.both else 0.0
    limit = (
        limits["drift_refresh_moved_share_max"] if meant else min(1.0, days * limits["drift_moved_share_max"])
    )
    passed = observed <= limit
    level: Level = "block" if may_stop or passed else "warn"
    return _check(table, f"{scheme}_few_moved", level, passed, observed, limit, _MOVED, ())


def _check(
    table: str,
    name: str,
    level: Level,
    passed: bool,
    observed: float,
    limit: float,
    description: str,
    examples: tuple[str, ...],
) -> Check:
    return Check(
        "table", table, name, level, passed, observed, limit, description, () if passed else examples, GATE
    )


def _file(folder: Path, table: str) -> str:
    schema, name = table.split(".")
    path = folder / "tables" / schema / f"{name}.parquet"
    return parquet(path)


def _pairs(new: str, column: str, old: str, old_column: str) -> str:
    """SQL of everybody in either file: the class that she has now and had then, null where she is not in it."""
    return (
        f"(select customer_key, coalesce({quote(column)}, '') as is_in from {new}) as a full join "
        f"(select customer_key, coalesce({quote(old_column)}, '') as was_in from {old}) as b using (customer_key)"
    )


def _shift(con: duckdb.DuckDBPyConnection, pairs: str) -> _Shift:
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    both = moved = 0
    for was, now, n in con.execute(f"select was_in, is_in, count(*) from {pairs} group by all").fetchall():
        if was is not None:
            before[was] += n
        if now is not None:
            after[now] += n
        if was is not None and now is not None:
            both += n
            moved += n if was != now else 0
    return _Shift(before, after, both, moved)


def _tokens(con: duckdb.DuckDBPyConnection, pairs: str) -> tuple[str, ...]:
    """A few who moved."""
    found = con.execute(f"select customer_key from {pairs} where is_in <> was_in order by 1 limit 5")
    return tuple(row[0] for row in found.fetchall())


def _both(folder: Path, earlier: Path, table: str) -> bool:
    """Whether both releases hold the table: one of a feed that is not delivered is not there."""
    schema, name = table.split(".")
    return all((where / "tables" / schema / f"{name}.parquet").is_file() for where in (folder, earlier))


def _custom_schemes(con: duckdb.DuckDBPyConnection, folder: Path, earlier: Path) -> list[str]:
    """Custom segments of both releases with one rule: under another rule people are meant to move."""
    if not (_both(folder, earlier, _CUSTOM) and _both(folder, earlier, _MEMBERS)):
        return []
    rules = " intersect ".join(f"select segment, rule from {_file(w, _CUSTOM)}" for w in (folder, earlier))
    return [f"custom:{name}" for name, _ in con.execute(f"{rules} order by 1").fetchall()]


def _forecast(con: duckdb.DuckDBPyConnection, folder: Path) -> date | None:
    """Day of the forecast that stands for the formula; a new one moves tiers as new cut points do."""
    found = con.execute(f"select max(model_as_of) from {_file(folder, _FORECASTS)}").fetchone()
    return found[0] if found else None


def _effective(con: duckdb.DuckDBPyConnection, folder: Path) -> date | None:
    found = con.execute(f"select max(effective_from) from {_file(folder, _CUT_POINTS)}").fetchone()
    return found[0] if found else None


def _policy(con: duckdb.DuckDBPyConnection, folder: Path, tables: Sequence[PublishedTable]) -> str | None:
    for table in tables:
        if "policy_version" in table.columns:
            found = con.execute(f"select max(policy_version) from {_file(folder, table.key)}").fetchone()
            return found[0] if found else None
    return None


def _days_known(settings: Settings, as_of: date) -> int:
    days = [e.dt for e in ledger.read(settings) if e.dt and e.dt < as_of and e.status == "loaded"]
    return (as_of - min(days)).days if days else 0
