"""How customers are spread: R × F heat map, Pareto curve, lifecycle bar."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pipeline.publish.report import charts
from pipeline.publish.report import numbers as fmt
from pipeline.publish.report.labels import Text, display_order, join, known, say
from pipeline.publish.report.release import Release, cell, size, text_of, weights

# No published table: the curve's steps, which the publisher counts over the customers (publish/page_facts.py).
PROFIT_STEPS = "page.profit_steps"


def heat_map(release: Release) -> dict:
    """25 cells, R 5→1 down, F 1→5 across; small ones masked (`mask_cells`)."""
    gap = release.gap("segments.customer_rfm", "r_score", "f_score")
    if gap:
        return {"gap": gap}
    rfm = release.tables["segments.customer_rfm"]
    scored = rfm.loc[rfm["r_score"].notna() & rfm["f_score"].notna()]
    if scored.empty:
        return {"gap": say("gap.scored")}
    keys = ["r_score", "f_score"] + (["rfm_segment"] if "rfm_segment" in rfm.columns else [])
    counts: dict[tuple[int, int], int] = {}
    names: dict[tuple[int, int], tuple[int, str]] = {}
    for key, n in weights(scored).groupby([scored[key] for key in keys], dropna=False).sum().items():
        place = int(key[0]), int(key[1])
        counts[place] = counts.get(place, 0) + int(n)
        # A scheme that is not a function of R and F puts several segments in a cell: name the largest.
        if len(key) == 3 and (int(n), text_of(key[2])) > names.get(place, (0, "")):
            names[place] = int(n), text_of(key[2])
    segment = {place: name for place, (_, name) in names.items()}
    masks = mask_cells(counts, segment, release.k)
    top = max(counts.values())
    rows = [
        {"r": r, "cells": [heat_cell(release, counts, segment, masks, top, r, f) for f in range(1, 6)]}
        for r in range(5, 0, -1)
    ]
    modes = (
        sorted({text_of(mode) for mode in scored["scoring_mode"].unique()}) if "scoring_mode" in rfm else []
    )
    outside = size(rfm) - size(scored)
    return {
        "rows": rows,
        "note": join(
            say("rf.total", n=fmt.count(size(scored))),
            say("rf.outside", n=fmt.count(outside)) if outside else None,
            say("rf.masked", k=release.k) if masks else None,
            scoring(modes) if any(modes) else None,
        ),
    }


def scoring(modes: Sequence[str]) -> Text:
    told = [known("scoring_mode", mode) or Text(mode, mode) for mode in modes if mode]
    said = say("rf.scoring")
    zh, en = "、".join(text.zh for text in told), ", ".join(text.en for text in told)
    return Text(said.zh.format(mode=zh), said.en.format(mode=en))


def mask_cells(
    counts: Mapping[tuple[int, int], int], segment: Mapping[tuple[int, int], str], k: int
) -> dict[tuple[int, int], str]:
    """Cell -> what to print instead of its count.

    Cells of 1..k−1 people are masked. The page prints segment totals and the grand total too, so a lone
    masked cell could be worked out by subtraction: the smallest open cell of its group is hidden with it.
    """
    masks = {place: f"<{k}" for place, n in counts.items() if 0 < n < k}
    groups = [[p for p in counts if segment.get(p) == name] for name in sorted(set(segment.values()))]
    for group in [*groups, list(counts)]:
        hidden = [place for place in group if place in masks]
        still_open = [place for place in group if place not in masks and counts[place]]
        if len(hidden) == 1 and still_open:
            masks[min(still_open, key=lambda place: (counts[place], place))] = f"≥{k}"
    return masks


def heat_cell(
    release: Release,
    counts: Mapping[tuple[int, int], int],
    segment: Mapping[tuple[int, int], str],
    masks: Mapping[tuple[int, int], str],
    top: int,
    r: int,
    f: int,
) -> dict:
    place, n = (r, f), counts.get((r, f), 0)
    name = segment.get(place, "")
    # Less than linear: one crowded cell would otherwise leave all others in the palest step.
    step = 0 if not n or place in masks else 1 + min(int((n / top) ** 0.75 * 6), 5)
    edges = [side for side, other in (("t", (r + 1, f)), ("l", (r, f - 1))) if segment.get(other, "") != name]
    return {
        "f": f,
        "text": masks.get(place) or fmt.count(n),
        "label": release.class_text("rfm", name) if name else None,
        "step": step,
        "edges": " ".join(edges),
    }


def pareto(release: Release) -> dict:
    """Curve from the profits of customers (else the corners of pareto_check); table and finding from pareto_check."""
    check = pareto_table(release)
    gap = release.gap("segments.customer_abc", "profit_365", "abc_class")
    curve: list[tuple[float, float]] = []
    estimated = basis = None
    if gap is None:
        abc = release.tables["segments.customer_abc"]
        ranked = abc[abc["abc_class"].isin(["A", "B", "C"])]
        steps = release.tables.get(PROFIT_STEPS)
        curve = [] if steps is None else charts.cumulative_curve(steps)
        gap = None if curve else say("gap.profit")
        if "profit_is_estimated" in abc.columns and len(ranked):
            is_estimated = ranked["profit_is_estimated"].fillna(False).astype(bool)
            share = size(ranked[is_estimated]) / size(ranked)
            estimated = say("pareto.estimated", share=fmt.percent(share)) if share else None
        if "abc_basis" in abc.columns and (abc["abc_basis"] == "revenue").any():
            basis = say("pareto.by_revenue")
    elif check.get("corners"):
        curve, check, gap = check["corners"], check | {"coarse": gap}, None
    if gap:
        return check | {"gap": gap}
    low = min(0.0, *(y for _, y in curve))
    low = math.floor(low * 5) / 5  # down to the next gridline
    borders = [x for x, _ in check.get("corners", [])[1:-1]]
    return check | {
        "estimated": estimated,
        "basis": basis,
        "axes": say("pareto.axes"),
        "points": charts.polyline(curve, 400, 240, low),
        "zero": round(240 / (1 - low), 1),
        "gridlines": [
            {"y": round((1 - y) / (1 - low) * 240, 1), "text": fmt.percent(y).replace(".0%", "%")}
            for y in [step / 5 for step in range(round(low * 5), 6)]
        ],
        "borders": [
            {
                "x": round(x * 400, 1),
                "y": round((1 - charts.at(curve, x)) / (1 - low) * 240, 1),
                "text": fmt.percent(x),
            }
            for x in borders
        ],
        "bands": [
            {"name": name, "x": round(x0 * 400, 1), "width": round((x1 - x0) * 400, 1)}
            for name, (x0, x1) in zip("ABC", zip([0.0, *borders], [*borders, 1.0], strict=True), strict=False)
        ],
    }


def pareto_table(release: Release) -> dict:
    name = "segments.pareto_check"
    if release.gap(name, "abc_class", "customers"):
        return {"rows": [], "table_gap": release.gap(name, "abc_class", "customers")}
    places = display_order("abc")
    records = sorted(
        release.tables[name].to_dict("records"),
        key=lambda r: (places.get(text_of(r["abc_class"]), len(places)), text_of(r["abc_class"])),
    )
    rows = []
    hidden = False
    for row in records:
        masked = 0 < (fmt.exact(row["customers"]) or 0) < release.k
        hidden |= masked
        rows.append(
            {
                "class": text_of(row["abc_class"]),
                "customers": release.people(row["customers"]),
                "customer_share": fmt.percent(None if masked else cell(row, "customer_share")),
                "profit_share": fmt.percent(None if masked else cell(row, "profit_share")),
            }
        )
    if hidden:
        # Sentence, Gini and curve would give the share of one person back.
        return {"rows": rows, "corners": [], "finding": None, "gini": None}
    corners, x, y = [(0.0, 0.0)], 0.0, 0.0
    for row in records:
        if text_of(row["abc_class"]) in ("A", "B", "C"):
            x += float(fmt.exact(cell(row, "customer_share")) or 0)
            y += float(fmt.exact(cell(row, "positive_profit_share", "profit_share")) or 0)
            corners.append((round(min(x, 1.0), 6), round(y, 6)))
    finding = None
    best = next((row for row in records if text_of(row["abc_class"]) == "A"), None)
    if best:
        finding = say(
            "pareto.finding",
            customers=fmt.percent(cell(best, "customer_share")),
            profit=fmt.percent(cell(best, "positive_profit_share", "profit_share")),
        )
    gini = next((cell(row, "gini") for row in records if cell(row, "gini") is not None), None)
    return {
        "rows": rows,
        "corners": corners if len(corners) == 4 else [],
        "finding": finding,
        "gini": say("pareto.gini", value=fmt.count(gini, 2)) if gini is not None else None,
    }


def lifecycle(release: Release) -> dict:
    """One stacked bar; masked stages take no width."""
    gap = release.gap("segments.customer_lifecycle", "stage")
    if gap:
        return {"gap": gap}
    frame = release.tables["segments.customer_lifecycle"]
    places = display_order("lifecycle")
    by_stage = weights(frame).groupby(frame["stage"], dropna=False).sum()
    counts = {text_of(stage): int(n) for stage, n in by_stage.items()}
    names = sorted(counts, key=lambda stage: (places.get(stage, len(places)), stage))
    everyone = sum(counts.values())
    small = {name for name in names if counts[name] < release.k}
    if len(small) == 1 and len(names) > 1:
        small.add(min((n for n in names if n not in small), key=lambda n: (counts[n], n)))
    shares = [0.0 if name in small else counts[name] / everyone for name in names]
    parts = []
    for name, share, (x, width) in zip(names, shares, charts.stack(shares, 1000), strict=True):
        hidden = f"<{release.k}" if counts[name] < release.k else f"≥{release.k}"
        parts.append(
            {
                "tone": places.get(name, len(places)) % 7,
                "label": release.class_text("lifecycle", name),
                "customers": hidden if name in small else fmt.count(counts[name]),
                "share": fmt.percent(None if name in small else share),
                "x": x,
                "width": width,
            }
        )
    return {"parts": parts}
