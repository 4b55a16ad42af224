"""Score a file: the order of the steps, and what is told of the result."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb

from pipeline import duck
from pipeline.errors import StrataError
from pipeline.progress import say
from pipeline.score import orders, sql
from pipeline.score.orders import Columns, OrderFile
from pipeline.score.presets import Policy, Preset, policy_on
from pipeline.transform.context import policy_refreshes, refresh_date

OUTPUT = ("customer_id", "recency_days", "frequency", "monetary", "r_score", "f_score", "m_score", "segment")
# Why a customer has no score → how it is told.
REASONS = {
    "bought_before_window": ("最近一次购买早于窗口", "last bought before the window"),
    "all_returned": ("所购订单已全部退回", "every order came back in full"),
    "returns_only": ("只有退货记录", "returns only, no purchase"),
    "future_only": ("全部记录在基准日或之后", "all rows lie on the as-of date or after it"),
}


@dataclass(frozen=True)
class Cuts:
    """Cut points of the three measures in ascending score. Recency is in days, so it falls."""

    mode: str
    effective_from: date
    is_frozen: bool
    buyers: int
    points: Mapping[str, list[float]]


@dataclass(frozen=True)
class Scored:
    """What was found.

    Attributes:
        segments: (segment, customers, frequency in total, money in total), in the order of the labels.
        reasons: (segment, reason, customers) of those without a score.
        cells: (r_score, f_score, segment) → customers.
        rows_later: rows on the as-of date or after it, which do not count.
    """

    preset: Preset
    as_of: date
    policy: Policy
    file: OrderFile
    cuts: Cuts
    segments: list[tuple[str, int, int, Any]]
    reasons: list[tuple[str, str, int]]
    cells: dict[tuple[int, int, str], int]
    rows_later: int

    customers = property(lambda self: sum(n for _, n, _, _ in self.segments))
    buyers = property(lambda self: sum(self.cells.values()))
    window = property(
        lambda self: self.preset.window_days and self.as_of - timedelta(days=self.preset.window_days)
    )


def score(file: Path, columns: Columns, as_of: date | None, preset: Preset, out: Path | None) -> Scored:
    """Score every customer of an order file and write them to `out`, one row a customer, in the order of their ids.

    Without `as_of` the day after the last row is meant.

    Raises StrataError for a file that cannot be read (see orders.read) or an output that cannot be written.
    """
    if out and not out.parent.is_dir():
        raise StrataError(f"{out}: the folder {out.parent} does not exist")
    with tempfile.TemporaryDirectory(prefix="strata-score-") as made:
        scratch = Path(made)
        folders = [scratch, file.parent, *([out.parent] if out else [])]
        con = duck.connect(folders, spill=scratch / "spill")
        try:
            found = orders.read(con, file, columns, scratch)
            say(f"{file.name}: {found.rows:,} rows, {found.first_day} to {found.last_day}")
            if as_of is None:
                as_of = found.last_day + timedelta(days=1)
            policy = policy_on(as_of)
            classify(con, preset, as_of, policy, has_orders=columns.order is not None)
            result = _summed(con, preset, as_of, policy, found)
            if out:
                _write(con, out)
        except duckdb.Error as error:
            raise StrataError(f"{file.name}: {duck.without_values(error)}") from error
        finally:
            con.close()
    say(f"{result.customers:,} customers scored by {preset.name}")
    return result


def classify(
    con: duckdb.DuckDBPyConnection, preset: Preset, as_of: date, policy: Policy, *, has_orders: bool
) -> None:
    """Make the temp tables `policy`, `facts`, `cut_points` and `scored` from `moved`."""
    refresh = refresh_date(as_of, policy_refreshes()) if preset.is_frozen else as_of
    # As text, not as parameters: DuckDB imports pandas to look at one, which costs more than a small file does.
    values = ", ".join(
        f"cast({value} as double) as {duck.quote(key)}"
        for key, value in policy.values.items()
        if key.startswith("rfm_")
    )
    con.execute(
        f"create temp table policy as select {_date(as_of)} as as_of_date, {_date(refresh)} as refresh_date, "
        f"{duck.literal(policy.version)} as policy_version, {values}"
    )
    window = timedelta(days=preset.window_days or 0)
    con.execute(
        sql.render(
            "facts.sql.j2",
            has_orders=has_orders,
            unit=preset.row["frequency_unit"],
            monetary=preset.row["monetary_unit"],
            as_of=_date(as_of),
            refresh=_date(refresh) if refresh < as_of else None,
            window_start=_date(as_of - window) if window else None,
            refresh_window_start=_date(refresh - window) if window else None,
        )
    )
    make_scores(con, preset)


def make_scores(con: duckdb.DuckDBPyConnection, preset: Preset) -> None:
    """Make the temp tables `cut_points` and `scored` from `policy`, `facts` and `at_refresh`."""
    boxes = ", ".join(
        f"({duck.literal(preset.name)}, {i}, {', '.join(map(str, (*box.r, *box.f, *box.m)))}, {duck.literal(box.segment)})"
        for i, box in enumerate(preset.boxes)
    )
    con.execute(
        f"create temp table grid as from (values {boxes}) as boxes "
        "(preset, priority, r_from, r_to, f_from, f_to, m_from, m_to, rfm_segment)"
    )
    con.execute(
        sql.render(
            "scores.sql.j2",
            preset=duck.literal(preset.name),
            scores=preset.scores,
            others=duck.literal(preset.others) if preset.others else "null",
            cuts=preset.cut_parameters,
            ties=preset.score_parameters,
        )
    )


def _date(day: date) -> str:
    return f"cast('{day.isoformat()}' as date)"


def _summed(
    con: duckdb.DuckDBPyConnection, preset: Preset, as_of: date, policy: Policy, found: OrderFile
) -> Scored:
    by_segment = {
        segment: (customers, frequency, money)
        for segment, customers, frequency, money in con.execute(
            "select segment, count(*), cast(sum(frequency) as bigint), sum(monetary) from scored group by segment"
        ).fetchall()
    }
    reasons = con.execute(
        "select segment, reason, count(*) from scored where reason is not null group by all order by all"
    ).fetchall()
    cells = con.execute(
        "select r_score, f_score, segment, count(*) from scored where reason is null group by all"
    ).fetchall()
    drawn = con.execute(
        "select measure, scoring_mode, effective_from, is_frozen, buyers_n, cut_1, cut_2, cut_3, cut_4 from cut_points"
    ).fetchall()
    later = con.execute(
        f"select coalesce(sum(rows_n), 0) from grouped where problem is null and day >= {_date(as_of)}"
    ).fetchone()
    points = {
        measure: [abs(cut) if measure == "recency" else cut for cut in cuts if cut is not None]
        for measure, _, _, _, _, *cuts in drawn
    }
    _, mode, effective_from, is_frozen, buyers, *_ = drawn[0]
    return Scored(
        preset,
        as_of,
        policy,
        found,
        Cuts(mode, effective_from, is_frozen, buyers, points),
        [(name, *by_segment[name]) for name in preset.labels if name in by_segment],
        reasons,
        {(r, f, segment): n for r, f, segment, n in cells},
        int(later[0]) if later else 0,
    )


def _write(con: duckdb.DuckDBPyConnection, out: Path) -> None:
    """Replace `out` in one step: a reader sees the old file or the whole new one."""
    partial = out.with_name(f".{out.name}.{uuid4().hex}")
    try:
        con.execute(
            f"copy (select {', '.join(OUTPUT)} from scored order by customer_id) to {duck.literal(str(partial))} "
            "(format parquet, compression zstd)"
        )
        partial.replace(out)
    except (duckdb.Error, OSError) as error:
        raise StrataError(f"{out}: cannot be written ({str(error).splitlines()[0]})") from None
    finally:
        partial.unlink(missing_ok=True)
