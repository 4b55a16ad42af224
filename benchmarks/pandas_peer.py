"""The same work as script.py, as a good pandas user writes it: only the needed columns, no row loops, no
`apply` per group, floats for money and rounded to four digits where equality matters (after each sum that is
ranked or cut).

    python -m benchmarks.pandas_peer --landing DIR --as-of 2026-01-01 --out FILE
"""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from benchmarks.peer_command import main

VALID = ("paid", "shipped", "completed")
ORDER_COLUMNS = [
    "order_id",
    "source_customer_id",
    "paid_at",
    "status",
    "order_discount",
    "is_test",
    "updated_at",
]
LINE_COLUMNS = ["order_id", "line_no", "qty", "unit_price_paid"]
RETURN_COLUMNS = ["order_id", "line_no", "source_customer_id", "qty", "refund_amount", "refunded_at", "type"]
# The RF25 grid of M-02b: rows R = 1 … 5, columns F = 1 … 5.
GRID = np.array(
    [
        ["hibernating", "hibernating", "at_risk", "at_risk", "cant_lose"],
        ["hibernating", "hibernating", "at_risk", "at_risk", "cant_lose"],
        ["about_to_sleep", "about_to_sleep", "need_attention", "loyal", "loyal"],
        ["promising", "potential_loyalist", "potential_loyalist", "loyal", "loyal"],
        ["new", "potential_loyalist", "potential_loyalist", "champions", "champions"],
    ],
    dtype=object,
)


def read(folder: Path, columns: list[str]) -> pd.DataFrame:
    """Columns of all files below `folder`, decimals as float64."""
    table = ds.dataset(folder, format="parquet").to_table(columns=columns)
    fields = [pa.field(f.name, pa.float64()) if pa.types.is_decimal(f.type) else f for f in table.schema]
    return table.cast(pa.schema(fields)).to_pandas()


def local_day(instants: pd.Series) -> pd.Series:
    """Days since 1970-01-01 in Asia/Shanghai (UTC+8 without summer time since 1991); missing stays NaN."""
    seconds = instants.astype("int64") // 1_000_000
    return ((seconds + 28_800) // 86_400).where(instants.notna())


def score(values: pd.Series) -> pd.Series:
    """1 + number of the type-7 quantiles 20, 40, 60, 80 % below the value (M-01)."""
    cuts = np.quantile(values.to_numpy(dtype=float), [0.2, 0.4, 0.6, 0.8])
    return pd.Series(1 + np.searchsorted(cuts, values.to_numpy(dtype=float), side="left"), values.index)


def order_facts(landing: Path, d: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(orders: customer, day, net, is_purchase; refunds: customer, day, net). Orders that do not count keep
    their customer and have no day."""
    lines = read(landing / "order_lines", LINE_COLUMNS)
    lines = lines[(lines["qty"] > 0) & (lines["unit_price_paid"] >= 0) & (lines["line_no"] >= 0)]
    lines = lines.drop_duplicates(["order_id", "line_no"])
    lines = lines.assign(amount=(lines["qty"] * lines["unit_price_paid"]).round(4))

    returns = read(landing / "returns", RETURN_COLUMNS)
    returns = returns.assign(day=local_day(returns["refunded_at"]))
    returns = returns[(returns["type"] == "refund") & (returns["day"] < d)]
    back = returns.dropna(subset=["order_id"]).groupby(["order_id", "line_no"], as_index=False)["qty"].sum()
    back = lines[lines["order_id"].isin(back["order_id"])].merge(
        back, on=["order_id", "line_no"], how="left", suffixes=("", "_back")
    )
    all_back = (back["qty_back"] >= back["qty"]).groupby(back["order_id"]).all()
    del back
    amounts = lines.groupby("order_id", sort=False)["amount"].sum().rename("amount").reset_index()
    del lines

    orders = read(landing / "orders", ORDER_COLUMNS)
    orders = orders.sort_values("updated_at").drop_duplicates("order_id", keep="last")
    orders = orders[orders["source_customer_id"].notna()]
    counts = orders["status"].isin(VALID) & ~orders["is_test"].fillna(False).astype(bool)
    orders = orders.assign(day=local_day(orders["paid_at"]).where(counts))
    orders = orders.merge(amounts, on="order_id", how="left")
    orders["net"] = orders["amount"] - orders["order_discount"].fillna(0)
    orders["is_purchase"] = (
        (orders["day"] < d) & orders["amount"].notna() & ~orders["order_id"].isin(all_back.index[all_back])
    )
    orders = orders.rename(columns={"source_customer_id": "customer"})[
        ["customer", "day", "net", "is_purchase"]
    ]

    refunds = returns[returns["source_customer_id"].notna()]
    refunds = pd.DataFrame(
        {"customer": refunds["source_customer_id"], "day": refunds["day"], "net": -refunds["refund_amount"]}
    )
    return orders, refunds


def customer_facts(orders: pd.DataFrame, refunds: pd.DataFrame, d: int) -> pd.DataFrame:
    """One row per customer: days, counts and money of the windows, own median gap."""
    moves = pd.concat([orders[["customer", "day", "net"]], refunds], ignore_index=True)
    facts = pd.DataFrame(index=pd.Index(moves["customer"].unique(), name="customer"))
    for name, low, high in (("m365", d - 365, d), ("m180", d - 180, d), ("m_prev180", d - 360, d - 180)):
        inside = moves[(moves["day"] >= low) & (moves["day"] < high)]
        facts[name] = inside.groupby("customer", sort=False)["net"].sum().round(4)

    days = orders.loc[orders["is_purchase"], ["customer", "day"]].drop_duplicates()
    days = days.sort_values(["customer", "day"])
    by_customer = days.groupby("customer", sort=False)["day"]
    facts["n"] = by_customer.size()
    facts["r"] = d - by_customer.last()
    facts["tenure"] = d - by_customer.first()
    facts["own_gap"] = by_customer.diff().groupby(days["customer"], sort=False).median()
    for name, low, high in (("f365", d - 365, d), ("f180", d - 180, d), ("f_prev180", d - 360, d - 180)):
        inside = days[(days["day"] >= low) & (days["day"] < high)]
        facts[name] = inside.groupby("customer", sort=False).size()
    counts = ["n", "f365", "f180", "f_prev180"]
    facts[counts] = facts[counts].fillna(0).astype("int64")
    return facts


def classes(facts: pd.DataFrame) -> pd.DataFrame:
    """The result table of script.py."""
    buyers = facts[facts["f365"] > 0]
    scores = pd.DataFrame(
        {
            "r_score": score(-buyers["r"]),
            "f_score": score(buyers["f365"]),
            "m_score": score(buyers["m365"]).where(buyers["m365"] > 0, 1),
        }
    )
    grid = GRID[scores["r_score"].to_numpy() - 1, scores["f_score"].to_numpy() - 1]
    segment = pd.Series(np.where(facts["n"] == 0, "prospects", "lapsed"), facts.index, dtype=object)
    segment[buyers.index] = grid

    profit = (buyers["m365"] * 0.30).round(6)
    worst = profit.rank(method="max", ascending=False)
    size = len(buyers)
    abc = np.select(
        [profit <= 0, worst <= np.ceil(0.2 * size), worst <= np.ceil(0.5 * size)],
        ["C", "A", "B"],
        default="C",
    )

    n, r = facts["n"], facts["r"]
    all_gap = facts["own_gap"].median()
    gap = (((n - 1) * facts["own_gap"] + 3 * all_gap) / (n - 1 + 3)).where(n > 1, all_gap)
    churn, decline = (3 * gap).clip(90, 365), (1.5 * gap).clip(45, 270)
    fading = (
        (facts["f_prev180"] >= 2)
        & (facts["f180"] <= 0.5 * facts["f_prev180"])
        & (facts["m180"].fillna(0) <= (0.7 * facts["m_prev180"].fillna(0)).round(6))
    )
    stage = np.select(
        [
            n == 0,
            r > churn,
            (n == 1) & (r <= np.maximum(30, decline)),
            (r > decline) | fading,
            (facts["tenure"] >= 180) & (facts["f365"] >= 4) & (facts["f180"] >= 1),
        ],
        ["prospect", "churned", "new", "declining", "mature"],
        default="growing",
    )
    result = pd.DataFrame({"rfm_segment": segment, "abc_class": None, "stage": stage}, facts.index)
    result["abc_class"] = pd.Series(abc, buyers.index, dtype=object)
    result["recency"] = buyers["r"].astype("Int32")
    result["frequency"] = buyers["f365"].astype("Int32")
    result["monetary"] = buyers["m365"]
    for name in scores:
        result[name] = scores[name].astype("Int32")
    return result


def run(landing: Path, as_of: dt.date, out: Path) -> dict[str, float]:
    """Write the result to `out`; seconds per step."""
    d = (as_of - dt.date(1970, 1, 1)).days
    started = time.perf_counter()
    orders, refunds = order_facts(landing / "bench", d)
    ordered = time.perf_counter()
    facts = customer_facts(orders, refunds, d)
    counted = time.perf_counter()
    table = pa.Table.from_pandas(classes(facts).reset_index(), preserve_index=False)
    at = table.schema.get_field_index("monetary")
    money = table.column(at).cast(pa.decimal128(25, 4))
    pq.write_table(table.set_column(at, "monetary", money), out)
    done = time.perf_counter()
    return {"order facts": ordered - started, "customer facts": counted - ordered, "classes": done - counted}


if __name__ == "__main__":
    main(__doc__, run)
