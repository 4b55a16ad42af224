"""Who moved: between classes since the release before, and between lifecycle stages this month."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

import pandas as pd

from pipeline.publish.report import charts
from pipeline.publish.report import numbers as fmt
from pipeline.publish.report.labels import Text, display_order, known
from pipeline.publish.report.release import Release, mask_small, text_of

SCHEMES = ("rfm", "value", "lifecycle")
WEEK = timedelta(days=7)
TREND_DAYS = 90
_ENDS = ("entered", "left")


def movement(release: Release) -> dict:
    """One matrix per scheme of SCHEMES that somebody moved in, with the causes; the days are those since the release
    before, the as-of day alone where that is of the same day or unknown."""
    name = "segments.class_transition"
    gap = release.gap(name, "as_of_date", "scheme", "from_class", "to_class", "cause", "customers")
    if gap:
        return {"gap": gap}
    frame = release.tables[name]
    days = pd.to_datetime(frame["as_of_date"]).dt.date
    after = since(release)
    frame = frame[(days > after) & (days <= release.as_of)]
    blocks = [
        {"heading": release.scheme_text(scheme)} | matrix(release, scheme, part)
        for scheme in SCHEMES
        if not (part := frame[frame["scheme"] == scheme]).empty
    ]
    return {"after": after.isoformat(), "blocks": blocks, "k": release.k}


def since(release: Release) -> date:
    """Last day whose classes the release before had; the day before the as-of day where it was made for the same day."""
    before = (release.manifest.get("before") or {}).get("as_of_date")
    day = pd.Timestamp(before).date() if before else release.as_of
    return min(day, release.as_of - timedelta(days=1))


def flow(release: Release) -> dict:
    """The moves between stages in the month of the last day before the as-of date."""
    name = "segments.lifecycle_transition"
    gap = release.gap(name, "month", "from_stage", "to_stage", "cause", "customers")
    if gap:
        return {"gap": gap}
    frame = release.tables[name]
    months = pd.to_datetime(frame["month"]).dt.date
    part = frame[months == months.max()].rename(columns={"from_stage": "from_class", "to_stage": "to_class"})
    return {"month": f"{months.max():%Y-%m}", "k": release.k} | matrix(release, "lifecycle", part)


def matrix(release: Release, scheme: str, moves: pd.DataFrame) -> dict:
    """Rows are where customers came from; small cells are masked, and a lone masked one takes the next with it."""
    customers = moves.groupby([moves["from_class"].map(text_of), moves["to_class"].map(text_of)])[
        "customers"
    ].sum()
    counts = {(str(a), str(b)): int(n) for (a, b), n in customers.items()}
    order = class_order(release, scheme)

    def place(code: str) -> tuple:
        return order.get(code, len(order) + (code in _ENDS)), code

    masks = mask_small(counts, release.k)
    top = max((n for key, n in counts.items() if key not in masks), default=0)
    sources = sorted({a for a, _ in counts}, key=place)
    targets = sorted({b for _, b in counts}, key=place)
    causes = {
        str(c): int(n) for c, n in moves.groupby(moves["cause"].map(text_of))["customers"].sum().items()
    }
    hidden = mask_small(causes, release.k)
    return {
        "targets": [class_text(release, scheme, code) for code in targets],
        "rows": [
            {
                "label": class_text(release, scheme, a),
                "cells": [
                    {
                        "text": masks.get((a, b)) or (fmt.count(n) if (n := counts.get((a, b))) else ""),
                        "step": step(0 if (a, b) in masks else counts.get((a, b), 0), top),
                    }
                    for b in targets
                ],
            }
            for a in sources
        ],
        "causes": [
            {"label": known("cause", c) or Text(c, c), "customers": hidden.get(c) or fmt.count(causes[c])}
            for c in sorted(causes, key=lambda c: (-causes[c] if c not in hidden else 0, c))
        ],
        "masked": bool(masks or hidden),
    }


def step(n: int, top: int) -> int:
    return 0 if not n or not top else 1 + min(int(n / top * 3), 2)


def class_order(release: Release, scheme: str) -> dict[str, int]:
    """Display place of each class: the policy's `sort`, else the order that the page knows."""
    summary = release.tables.get("audiences.segment_summary")
    if summary is None or not {"scheme", "class", "sort"} <= set(summary.columns):
        return display_order(scheme)
    rows = summary[summary["scheme"] == scheme]
    return {text_of(c): int(s) for c, s in zip(rows["class"], rows["sort"], strict=True) if not pd.isna(s)}


def class_text(release: Release, scheme: str, code: str) -> Text:
    return (known("move", code) if code in _ENDS else None) or release.class_text(scheme, code)


def trends(release: Release) -> tuple[Text | None, Mapping[tuple[str, str], dict]]:
    """(gap, (scheme, class) -> change against the last built day a week ago or earlier, and a line of the last 90 days).

    A day with fewer than k people counts as none in the line, and gives no change.
    """
    name = "segments.class_stability"
    gap = release.gap(name, "as_of_date", "scheme", "class", "customers")
    if gap:
        return gap, {}
    frame = release.tables[name]
    frame = frame.assign(_day=pd.to_datetime(frame["as_of_date"]).dt.date).sort_values("_day")
    frame = frame[
        (frame["_day"] <= release.as_of) & (frame["_day"] > release.as_of - timedelta(days=TREND_DAYS))
    ]
    found = {}
    for (scheme, code), part in frame.groupby(["scheme", "class"], sort=True):
        days = {day: int(n) for day, n in zip(part["_day"], part["customers"], strict=True)}
        week_ago = max((day for day in days if day <= release.as_of - WEEK), default=None)
        now, then = days.get(release.as_of, 0), days.get(week_ago, 0) if week_ago else 0
        known_both = min(now, then) >= release.k
        found[text_of(scheme), text_of(code)] = {
            "change": fmt.signed(now - then, 0) if known_both else fmt.DASH,
            "line": charts.sparkline([n if n >= release.k else 0.0 for n in days.values()], 96, 20),
        }
    return None, found
