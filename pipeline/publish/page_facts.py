"""What the page says of all customers, counted in the written tables by DuckDB: no frame has a row per customer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from pipeline import duck
from pipeline.duck import literal, parquet, quote
from pipeline.publish.report import CLASS_FACTS, PEOPLE, PROFIT_STEPS
from pipeline.publish.report.charts import step_of

_RFM = Path("tables") / "segments" / "customer_rfm.parquet"
_360 = Path("tables") / "segments" / "customer_360.parquet"
# Tables with a row per customer: what the page tells people apart by, and what it adds up over them.
_GROUPS: Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]] = {
    "segments.customer_rfm": (
        {name: name for name in ("r_score", "f_score", "rfm_segment", "scoring_mode")}
        # Whether somebody bought, and more than once.
        | {"frequency_days": "least(frequency_days, 2)"},
        {"orders_n": "cast(sum(orders_n) as bigint)", "monetary": "sum(monetary)"},
    ),
    "segments.customer_abc": (
        {name: name for name in ("abc_class", "profit_is_estimated", "abc_basis")},
        {"profit_365": "sum(profit_365)"},
    ),
    "segments.customer_lifecycle": ({"stage": "stage"}, {}),
    "audiences.segment_membership": ({"scheme": "scheme"}, {}),
    "audiences.segment_delta": ({"scheme": "scheme", "change": "change"}, {}),
}


def class_facts(folder: Path) -> pd.DataFrame:
    """(scheme, class, customers, median_recency in days, reachable: share with live consent) of the classes shown.

    No rows where the release is of a version that has not all that is asked.
    """
    nobody = pd.DataFrame(columns=["scheme", "class", "customers", "median_recency", "reachable"])
    path = folder / _360
    if not path.is_file():
        return nobody
    with duck.connect([folder]) as con:
        rows = f"read_parquet({literal(str(path))}, hive_partitioning = false)"
        names = [row[0] for row in con.execute(f"describe select * from {rows}").fetchall()]
        classes = [name for name in names if name.endswith("_class") and name != "action_class"]
        if not classes or not {"behaviour_recency_days", "has_marketing", "has_profiling"} <= set(names):
            return nobody
        parts = [
            f"select {literal(name.removesuffix('_class'))} as scheme, {quote(name)} as class, count(*) as customers, "
            "median(behaviour_recency_days) as median_recency, "
            "avg(case when has_marketing and has_profiling then 1.0 else 0.0 end) as reachable "
            f"from {rows} where {quote(name)} is not null group by {quote(name)}"
            for name in classes
        ]
        return con.execute(" union all ".join(parts) + " order by 1, 2").df()


def headline(folder: Path) -> dict[str, Any]:
    """The figures of the tiles, of a release that is no longer current; {} where it has no scores."""
    if not (folder / _RFM).is_file():
        return {}
    with duck.connect([folder]) as con:
        rows = f"read_parquet({literal(str(folder / _RFM))}, hive_partitioning = false)"
        names = {row[0] for row in con.execute(f"describe select * from {rows}").fetchall()}
        if not {"frequency_days", "orders_n", "monetary"} <= names:
            return {}
        row = con.execute(
            "select count(*), count(*) filter (where frequency_days > 0), "
            "sum(monetary) filter (where frequency_days > 0), sum(orders_n) filter (where frequency_days > 0), "
            f"count(*) filter (where frequency_days >= 2) from {rows}"
        ).fetchone()
    told = ("customers", "buyers", "revenue", "orders", "repeat")
    return {name: None if value is None else str(value) for name, value in zip(told, row or (), strict=True)}


def profit_steps(con: duckdb.DuckDBPyConnection, rows: str, k: int) -> pd.DataFrame:
    """(customers, profit, positive_profit) of the ranked customers in steps, the most profitable first; each of at least k
    people, and none where all are fewer.

    Args:
        rows: SQL of `customer_abc`.
    """
    none = pd.DataFrame(columns=["customers", "profit", "positive_profit"])
    if not {"abc_class", "profit_365"} <= _columns(con, rows):
        return none
    ranked = f"from {rows} where abc_class in ('A', 'B', 'C') and profit_365 is not null"
    found = con.execute(f"select count(*) {ranked}").fetchone()
    n = found[0] if found else 0
    if n < k:
        return none
    step = step_of(n, k)
    # What is left over goes with the last whole step: alone it might be one person.
    return con.execute(
        "select count(*) as customers, cast(sum(profit_365) as double) as profit, "
        "cast(sum(greatest(profit_365, 0)) as double) as positive_profit "
        f"from (select profit_365, row_number() over (order by profit_365 desc) - 1 as place {ranked}) "
        "group by least(place // $step, $last) order by least(place // $step, $last)",
        {"step": step, "last": max(n // step - 1, 0)},
    ).df()


def grouped(con: duckdb.DuckDBPyConnection, rows: str, key: str) -> pd.DataFrame:
    """A table with a row per customer as one with a row per group: the columns that the page reads, and PEOPLE.

    Args:
        rows: SQL of the table.
        key: its name.
    """
    keys, sums = _GROUPS[key]
    there = _columns(con, rows)
    told = [f"{sql} as {quote(name)}" for name, sql in {**keys, **sums}.items() if name in there]
    by = [sql for name, sql in keys.items() if name in there]
    counted = ", ".join([*told, f"count(*) as {PEOPLE}"])
    sql = f"select {counted} from {rows} {'group by ' + ', '.join(by) if by else ''} having count(*) > 0 order by all"
    # Not as a frame at once: sums of money would become doubles.
    return con.execute(sql).to_arrow_table().to_pandas()


def _columns(con: duckdb.DuckDBPyConnection, rows: str) -> set[str]:
    return {row[0] for row in con.execute(f"describe select * from {rows}").fetchall()}


def of(folder: Path, k: int) -> dict[str, pd.DataFrame]:
    """Tables of the page that are counted from those with a row per customer, by their names.

    Args:
        folder: the candidate, with its `tables/`.
        k: smallest group that the page shows.
    """
    found = {CLASS_FACTS: class_facts(folder)}
    with duck.connect([folder]) as con:
        for key in _GROUPS:
            path = folder / "tables" / f"{key.replace('.', '/')}.parquet"
            if path.is_file():
                found[key] = grouped(con, parquet(path), key)
                if key == "segments.customer_abc":
                    found[PROFIT_STEPS] = profit_steps(con, parquet(path), k)
    return found
