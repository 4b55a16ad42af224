"""Who came back: months of first purchase down, months after it across."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import pandas as pd

from pipeline.publish.report import numbers as fmt
from pipeline.publish.report.labels import join, say
from pipeline.publish.report.release import Release, cell, is_null

NAME = "marts.retention_cohort"
COLUMNS = (
    "cohort_month", "months_since", "is_first_month_of_data", "is_complete", "is_suppressed", "customers", "buyers",
    "active", "period_repurchase_num", "churn_num",
)  # fmt: skip
HIDDEN = "∗"
_STEPS = 6


def retention(release: Release) -> dict:
    """The share of each cohort that bought in each month, shaded; M-08's repurchase and retention in a second table."""
    gap = release.gap(NAME, *COLUMNS)
    if gap:
        return {"gap": gap}
    records = release.tables[NAME].to_dict("records")
    # What a month that is not over would show is null, and so is what is hidden: the former leaves its place empty.
    told = [row for row in records if row["is_complete"] or row["is_suppressed"]]
    if not told:
        return {"gap": say("retention.too_early")}
    months = range(1, max(int(row["months_since"]) for row in told if row["is_complete"]) + 1)
    cohorts: dict[str, dict[int, Mapping]] = {}
    for row in records:
        cohorts.setdefault(month(row["cohort_month"]), {})[int(row["months_since"])] = row
    shares = [share for row in told if (share := fmt.ratio(row["buyers"], row["customers"])) is not None]
    top = max(shares, default=Decimal(0))
    lines = [line(release, name, cohorts[name], months, top) for name in sorted(cohorts)]
    hidden = any(c["text"] == HIDDEN or c["text"].startswith("<") for row in lines for c in row["cells"])
    return {
        "months": list(months),
        "rows": lines,
        "overall": overall(records, months),
        "note": join(
            say("retention.note"),
            say("retention.hidden", k=release.k, mark=HIDDEN) if hidden else None,
            say("retention.first_month") if any(row["is_first"] for row in lines) else None,
        ),
    }


def month(day: object) -> str:
    return f"{pd.Timestamp(day):%Y-%m}"


def line(release: Release, name: str, row: Mapping[int, Mapping], months: range, top: Decimal) -> dict:
    anyone = next(iter(row.values()))
    size = next((n for one in row.values() if (n := cell(one, "customers")) is not None), None)
    return {
        "month": name,
        "is_first": bool(anyone["is_first_month_of_data"]),
        "customers": HIDDEN if size is None else fmt.count(size),
        "cells": [one(release, row.get(k), top) for k in months],
    }


def one(release: Release, row: Mapping | None, top: Decimal) -> dict:
    """One month of a cohort: empty where it is not over, a mark where it is hidden."""
    nothing = {"text": "", "n": "", "step": 0, "rates": ""}
    if row is None or not row["is_complete"]:
        return nothing
    if row["is_suppressed"]:
        return nothing | {"text": HIDDEN if is_null(row["customers"]) else f"<{release.k}"}
    share = fmt.ratio(row["buyers"], row["customers"])
    again = fmt.ratio(row["period_repurchase_num"], row["active"])
    churn = fmt.ratio(row["churn_num"], row["active"])
    return {
        "text": fmt.percent(share),
        "n": fmt.count(row["buyers"]),
        "step": step(share, top),
        "rates": fmt.DASH if churn is None else f"{fmt.percent(again)} · {fmt.percent(1 - churn)}",
    }


def step(share: Decimal | None, top: Decimal) -> int:
    return 1 + min(int(share / top * _STEPS), _STEPS - 1) if share and top else 0


def overall(records: Sequence[Mapping], months: range) -> list[str]:
    """Share over the cohorts whose cell is shown, by month: what they add up to tells nothing of the hidden ones."""
    found = []
    for k in months:
        shown = [
            r for r in records if int(r["months_since"]) == k and r["is_complete"] and not r["is_suppressed"]
        ]
        people = [fmt.add(fmt.exact(r[name]) for r in shown) for name in ("buyers", "customers")]
        found.append(fmt.percent(fmt.ratio(*people)))
    return found
