"""The work of script.py in Polars: lazy scans, the streaming engine, no Python per row, one Parquet file out.

    python -m benchmarks.polars_peer --landing DIR --as-of 2026-01-01 --out FILE

Money is float64, rounded to four decimals, as in pandas_peer.py. Lines delivered twice are found as in script.py: one
aggregate over all orders, and only the orders so caught, or named by a return, are settled line by line.
"""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path

import polars as pl

from benchmarks.peer_command import main

VALID = ("paid", "shipped", "completed")
GRID = (
    ("hibernating", "hibernating", "at_risk", "at_risk", "cant_lose"),
    ("hibernating", "hibernating", "at_risk", "at_risk", "cant_lose"),
    ("about_to_sleep", "about_to_sleep", "need_attention", "loyal", "loyal"),
    ("promising", "potential_loyalist", "potential_loyalist", "loyal", "loyal"),
    ("new", "potential_loyalist", "potential_loyalist", "champions", "champions"),
)
FLOAT = pl.Float64


def local_day(instant: str) -> pl.Expr:
    """Days since 1970-01-01 in Asia/Shanghai (UTC+8 without summer time since 1991)."""
    return ((pl.col(instant).dt.epoch("us") + 28_800_000_000) // 86_400_000_000).cast(pl.Int32)


def order_amounts(landing: Path, back: pl.LazyFrame) -> pl.LazyFrame:
    """order_id, amount, all_back (every line came back; null where no return names the order)."""
    lines = (
        pl.scan_parquet(landing / "order_lines" / "*.parquet")
        .select("order_id", "line_no", pl.col("qty").cast(FLOAT), pl.col("unit_price_paid").cast(FLOAT))
        .filter(pl.col("qty") > 0, pl.col("unit_price_paid") >= 0, pl.col("line_no") >= 0)
        .with_columns(amount=(pl.col("qty") * pl.col("unit_price_paid")).round(4))
    )
    bit = pl.lit(2, pl.Int64).pow(pl.col("line_no") % 62).cast(pl.Int64)
    totals = (
        lines.group_by("order_id")
        .agg(pl.col("amount").sum(), n=pl.len(), bits=bit.bitwise_or())
        .collect(engine="streaming")
        .lazy()
    )
    twice = totals.filter(pl.col("n") != pl.col("bits").bitwise_count_ones()).select("order_id")
    settled = (
        lines.join(pl.concat([twice, back.select("order_id")]).unique(), on="order_id", how="semi")
        .unique(["order_id", "line_no"], keep="any")
        .join(back, on=["order_id", "line_no"], how="left")
        .group_by("order_id")
        .agg(
            settled=pl.col("amount").sum(),
            all_back=(pl.col("qty_back").fill_null(0) >= pl.col("qty")).all(),
        )
        .collect(engine="streaming")
        .lazy()
    )
    return totals.join(settled, on="order_id", how="left").select(
        "order_id", "all_back", amount=pl.coalesce("settled", "amount")
    )


def newest_orders(landing: Path) -> pl.LazyFrame:
    """Orders of customers, each in its newest state; `day` is null for those that do not count."""
    columns = (
        "order_id",
        "source_customer_id",
        "paid_at",
        "order_discount",
        "status",
        "is_test",
        "updated_at",
    )
    orders = pl.scan_parquet(landing / "orders" / "*.parquet").select(columns)
    twice = orders.group_by("order_id").len().filter(pl.col("len") > 1).collect(engine="streaming").lazy()
    newest = orders.join(twice, on="order_id", how="semi").sort("updated_at")
    once = orders.join(twice, on="order_id", how="anti")
    counts = pl.col("status").is_in(VALID) & ~pl.col("is_test").fill_null(False)
    return (
        pl.concat([once, newest.unique("order_id", keep="last", maintain_order=True)])
        .filter(pl.col("source_customer_id").is_not_null())
        .select(
            "order_id",
            customer="source_customer_id",
            day=pl.when(counts).then(local_day("paid_at")),
            discount=pl.col("order_discount").cast(FLOAT).fill_null(0),
        )
    )


def customer_facts(landing: Path, d: int) -> pl.DataFrame:
    """One row per customer: days, counts and money of the windows, own median gap."""
    returned = (
        pl.scan_parquet(landing / "returns" / "*.parquet")
        .with_columns(day=local_day("refunded_at"), qty_back=pl.col("qty").cast(FLOAT))
        .filter(pl.col("type") == "refund", pl.col("day") < d)
    )
    back = (
        returned.filter(pl.col("order_id").is_not_null())
        .group_by("order_id", "line_no")
        .agg(pl.col("qty_back").sum())
        .collect(engine="streaming")
        .lazy()
    )
    orders = (
        newest_orders(landing)
        .join(order_amounts(landing, back), on="order_id", how="left")
        .select(
            "customer",
            "day",
            net=pl.col("amount") - pl.col("discount"),
            is_purchase=(pl.col("day") < d)
            & pl.col("amount").is_not_null()
            & ~pl.col("all_back").fill_null(False),
        )
        .collect(engine="streaming")
        .lazy()
    )
    refunds = returned.filter(pl.col("source_customer_id").is_not_null()).select(
        customer="source_customer_id", day="day", net=-pl.col("refund_amount").cast(FLOAT)
    )

    def window(low: int, high: int) -> pl.Expr:
        return (pl.col("day") >= low) & (pl.col("day") < high)

    money = (
        pl.concat([orders.select("customer", "day", "net"), refunds])
        .group_by("customer")
        .agg(
            m365=pl.col("net").filter(window(d - 365, d)).sum().round(4),
            m180=pl.col("net").filter(window(d - 180, d)).sum().round(4),
            m_prev180=pl.col("net").filter(window(d - 360, d - 180)).sum().round(4),
        )
    )
    days = (
        orders.filter(pl.col("is_purchase"))
        .select("customer", "day")
        .unique()
        .sort("customer", "day")
        .with_columns(gap=pl.col("day").diff().over("customer"))
        .group_by("customer")
        .agg(
            n=pl.len(),
            r=d - pl.col("day").max(),
            tenure=d - pl.col("day").min(),
            own_gap=pl.col("gap").median(),
            f365=window(d - 365, d).sum(),
            f180=window(d - 180, d).sum(),
            f_prev180=window(d - 360, d - 180).sum(),
        )
    )
    counts = ("n", "f365", "f180", "f_prev180")
    facts = money.join(days, on="customer", how="left").with_columns(
        pl.col(counts).fill_null(0).cast(pl.Int64)
    )
    return facts.collect(engine="streaming")


def score(value: pl.Expr, values: pl.Series) -> pl.Expr:
    """1 + number of the type-7 quantiles 20, 40, 60, 80 % below the value (M-01)."""
    cuts = [values.quantile(q, interpolation="linear") for q in (0.2, 0.4, 0.6, 0.8)]
    return 1 + sum((value > cut).cast(pl.Int32) for cut in cuts)


def classes(facts: pl.DataFrame) -> pl.DataFrame:
    """The result table of script.py."""
    buyers = facts.filter(pl.col("f365") > 0)
    profit = (buyers["m365"] * 0.30).round(6)
    ranked = profit.sort(descending=True)

    def below(share: float) -> float | None:
        """The largest profit that is no longer in the class of the first `share` of buyers."""
        k = -int(-(share * len(ranked)) // 1)
        return ranked[k] if k < len(ranked) else None

    cut_a, cut_b = below(0.2), below(0.5)
    in_window = pl.col("f365") > 0
    scored = facts.with_columns(
        r_score=score(-pl.col("r").cast(FLOAT), -buyers["r"].cast(FLOAT)),
        f_score=score(pl.col("f365").cast(FLOAT), buyers["f365"].cast(FLOAT)),
        m_score=pl.when(pl.col("m365") <= 0).then(1).otherwise(score(pl.col("m365"), buyers["m365"])),
        profit=(pl.col("m365") * 0.30).round(6),
    )
    names = pl.Series([name for row in GRID for name in row])
    cell = (pl.col("r_score") - 1) * 5 + pl.col("f_score") - 1
    segment = cell.replace_strict(list(range(25)), names, return_dtype=pl.String)
    all_gap = facts["own_gap"].median()
    n, r = pl.col("n"), pl.col("r")
    gap = (
        pl.when(n > 1)
        .then(((n - 1) * pl.col("own_gap") + 3 * all_gap) / (n - 1 + 3))
        .otherwise(pl.lit(all_gap))
    )
    decline = (1.5 * gap).clip(45, 270)
    fading = (
        (pl.col("f_prev180") >= 2)
        & (pl.col("f180") <= 0.5 * pl.col("f_prev180"))
        & (pl.col("m180") <= (0.7 * pl.col("m_prev180")).round(6))
    )
    stage = (
        pl.when(n == 0)
        .then(pl.lit("prospect"))
        .when(r > (3 * gap).clip(90, 365))
        .then(pl.lit("churned"))
        .when((n == 1) & (r <= pl.max_horizontal(decline, pl.lit(30))))
        .then(pl.lit("new"))
        .when((r > decline) | fading)
        .then(pl.lit("declining"))
        .when((pl.col("tenure") >= 180) & (pl.col("f365") >= 4) & (pl.col("f180") >= 1))
        .then(pl.lit("mature"))
        .otherwise(pl.lit("growing"))
    )
    abc = (
        pl.when(pl.col("profit") <= 0)
        .then(pl.lit("C"))
        .when(pl.col("profit") > cut_a if cut_a is not None else pl.lit(True))
        .then(pl.lit("A"))
        .when(pl.col("profit") > cut_b if cut_b is not None else pl.lit(True))
        .then(pl.lit("B"))
        .otherwise(pl.lit("C"))
    )

    def within(value: pl.Expr) -> pl.Expr:
        return pl.when(in_window).then(value)

    return scored.select(
        "customer",
        rfm_segment=pl.when(n == 0)
        .then(pl.lit("prospects"))
        .when(~in_window)
        .then(pl.lit("lapsed"))
        .otherwise(segment),
        abc_class=within(abc),
        stage=stage,
        recency=within(r).cast(pl.Int32),
        frequency=within(pl.col("f365")).cast(pl.Int32),
        monetary=within(pl.col("m365")).cast(pl.Decimal(25, 4)),
        **{name: within(pl.col(name)).cast(pl.Int32) for name in ("r_score", "f_score", "m_score")},
    )


def run(landing: Path, as_of: dt.date, out: Path) -> dict[str, float]:
    """Write the result to `out`; seconds per step."""
    started = time.perf_counter()
    facts = customer_facts(landing / "bench", (as_of - dt.date(1970, 1, 1)).days)
    counted = time.perf_counter()
    classes(facts).write_parquet(out)
    return {"customer facts": counted - started, "classes": time.perf_counter() - counted}


if __name__ == "__main__":
    main(__doc__, run)
