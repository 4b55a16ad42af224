"""Small figures of the page that need a look at every customer: asked of the written tables by DuckDB, not as frames."""

from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import duck
from pipeline.duck import literal, quote
from pipeline.publish.report import CLASS_FACTS

_RFM = Path("tables") / "segments" / "customer_rfm.parquet"
_360 = Path("tables") / "segments" / "customer_360.parquet"


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


def of(folder: Path) -> dict[str, pd.DataFrame]:
    """The facts as further tables of the page."""
    return {CLASS_FACTS: class_facts(folder)}
