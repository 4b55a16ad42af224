"""Panels of the page: each function turns release tables into the values that one block of the template prints.

A panel whose table is missing, empty, not enabled or short of a column is {"gap": Text}: it says why it is empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

import pandas as pd

from pipeline.publish.report import charts
from pipeline.publish.report import numbers as fmt
from pipeline.publish.report.labels import Text, display_order, known, say

NPS_READABLE_FROM = 200  # answers; domain.md M-10: ±10 points at 95 % need 173 to 266
LISTED_CHECKS = 40  # keeps the page small when everything fails; the manifest has them all
SCHEMES = ("rfm", "rfm8", "abc", "value", "lifecycle")


@dataclass(frozen=True)
class Release:
    """What a panel may read. `k`: smallest group that is shown."""

    tables: Mapping[str, pd.DataFrame]
    manifest: Mapping
    labels: Mapping[tuple[str, str], Text] = field(default_factory=dict)

    @property
    def currency(self) -> str:
        return str(self.manifest.get("currency") or "CNY")

    @property
    def as_of(self) -> date:
        return pd.Timestamp(self.manifest["as_of_date"]).date()

    @property
    def k(self) -> int:
        return int(self.manifest.get("k_anon_min", 10))

    def gap(self, name: str, *columns: str) -> Text | None:
        """Why this table cannot be shown, or None when it can."""
        entry = self.manifest.get("tables", {}).get(name, {})
        if entry.get("status") == "not_enabled":
            return not_enabled_reason(name, entry)
        frame = self.tables.get(name)
        if frame is None:
            return say("gap.missing", table=name)
        if frame.empty:
            return say("gap.empty", table=name)
        lacking = [column for column in columns if column not in frame.columns]
        return say("gap.columns", table=name, columns=", ".join(lacking)) if lacking else None

    def people(self, n: object) -> str:
        """A number of people in a group: '<k' for a suppressed (null) or small one."""
        number = fmt.exact(n)
        if number is None or 0 < number < self.k:
            return f"<{self.k}"
        return fmt.count(number)

    def class_text(self, scheme: str, code: str) -> Text:
        return self.labels.get((scheme, code)) or Text(code, code)


def not_enabled_reason(name: str, entry: Mapping) -> Text:
    if entry.get("reason"):
        return Text(str(entry["reason"]), str(entry["reason"]))
    return known("not_enabled_table", name) or say("gap.not_enabled", table=name)


def is_null(value: object) -> bool:
    return value is None or value is pd.NA or value != value


def text_of(value: object) -> str:
    return "" if is_null(value) else str(value)


def first_column(frame: pd.DataFrame, *names: str) -> str | None:
    return next((name for name in names if name in frame.columns), None)


def cell(row: Mapping, *names: str) -> object:
    """First of the named columns that the row has; null otherwise."""
    return next((row[name] for name in names if name in row and not is_null(row[name])), None)


def bar(share: object) -> float:
    """Width in percent of the cell, clamped: a negative revenue share has no bar."""
    number = fmt.exact(share)
    return 0.0 if number is None else round(min(max(float(number), 0.0), 1.0) * 100, 1)


def read_labels(summary: pd.DataFrame | None) -> dict[tuple[str, str], Text]:
    """(scheme, class) -> label, from segment_summary: labels are policy rows, the page has none of its own."""
    if summary is None or not {"scheme", "class"} <= set(summary.columns):
        return {}
    labels = {}
    for row in summary.to_dict("records"):
        code = text_of(row["class"])
        zh, en = text_of(cell(row, "class_label_zh")), text_of(cell(row, "class_label_en"))
        labels[text_of(row["scheme"]), code] = Text(zh or en or code, en or zh or code)
    return labels


# --- header, quality, tiles -------------------------------------------------------------------------------------


def ledger_totals(release: Release) -> dict | None:
    if release.gap("operations.ingest_ledger", "status"):
        return None
    ledger = release.tables["operations.ingest_ledger"]
    sums = {
        name: fmt.total(ledger[name]) if name in ledger.columns else None
        for name in ("rows_read", "rows_loaded", "rows_rejected", "rows_duplicate")
    }
    files = ledger["status"].value_counts()
    return sums | {f"files_{status}": int(files.get(status, 0)) for status in ("loaded", "rejected", "duplicate")}


def check_row(check: Mapping) -> dict:
    level = text_of(check.get("level"))
    return {
        "subject": text_of(check.get("feed") or check.get("table")),
        "check": text_of(check.get("check")),
        "level": level,
        "level_text": known("level", level) or Text(level, level),
        "observed": fmt.brief(check.get("observed")),
        "limit": fmt.brief(check.get("limit")),
        "description": text_of(check.get("description")),
    }


def quality(release: Release) -> dict:
    """State fail: a blocking check did not pass · warn: another one did not · none: no checks · ok."""
    checks = list(release.manifest.get("checks") or [])
    broken = [check for check in checks if not check.get("passed")]
    severity = {"block": 0, "warn": 1, "info": 2}
    broken.sort(
        key=lambda c: (severity.get(c.get("level"), 1), text_of(c.get("feed") or c.get("table")), text_of(c["check"]))
    )
    levels = {check.get("level") for check in broken}
    state = "fail" if "block" in levels else "warn" if levels - {"info"} else "ok" if checks else "none"
    by_level = {level: sum(1 for c in checks if c.get("level") == level) for level in severity}
    facts = [
        {
            "label": say("quality.checks"),
            "value": say("quality.checks_count", passed=len(checks) - len(broken), total=len(checks)),
            "note": say("quality.checks_levels", **by_level),
        }
    ]
    sums = ledger_totals(release)
    if sums:
        facts.append(
            {
                "label": say("quality.rejected"),
                "value": fmt.count(sums["rows_rejected"]),
                "note": say(
                    "quality.rejected_note",
                    share=fmt.percent(fmt.ratio(sums["rows_rejected"], sums["rows_read"])),
                    read=fmt.count(sums["rows_read"]),
                    files=sums["files_rejected"],
                ),
            }
        )
        facts.append(
            {
                "label": say("quality.duplicate"),
                "value": fmt.count(sums["rows_duplicate"]),
                "note": say("quality.duplicate_note", files=sums["files_duplicate"]),
            }
        )
    latest = sorted(
        (pd.Timestamp(feed["latest_dt"]).date(), name)
        for name, feed in (release.manifest.get("feeds") or {}).items()
        if feed.get("latest_dt") and feed.get("status") != "not_enabled"
    )
    if latest:
        oldest, name = latest[0]
        days = (release.as_of - oldest).days
        facts.append(
            {
                "label": say("quality.freshness"),
                "value": latest[-1][0].isoformat(),
                "note": say("quality.freshness_note", feed=name, date=oldest.isoformat(), days=days),
            }
        )
    off = [
        {"table": name, "reason": not_enabled_reason(name, entry)}
        for name, entry in sorted((release.manifest.get("tables") or {}).items())
        if entry.get("status") == "not_enabled"
    ]
    return {
        "state": state,
        "headline": say(f"quality.{state}"),
        "facts": facts,
        "failures": [check_row(check) for check in broken[:LISTED_CHECKS]],
        "more": max(len(broken) - LISTED_CHECKS, 0),
        "off": off,
        "subjects": check_subjects(checks),
    }


def check_subjects(checks: Sequence[Mapping]) -> list[dict]:
    """One row per feed or table: passed, warnings, blocked."""
    subjects: dict[str, dict[str, int]] = {}
    for check in checks:
        row = subjects.setdefault(
            text_of(check.get("feed") or check.get("table")) or fmt.DASH, {"passed": 0, "warned": 0, "failed": 0}
        )
        row["passed" if check.get("passed") else "failed" if check.get("level") == "block" else "warned"] += 1
    return [{"subject": name} | counts for name, counts in sorted(subjects.items())]


def buyers_in_window(rfm: pd.DataFrame) -> pd.DataFrame:
    """M-01 population: at least one purchase day in the window."""
    if "frequency_days" in rfm.columns:
        return rfm[pd.to_numeric(rfm["frequency_days"], errors="coerce").fillna(0) > 0]
    return rfm[rfm["r_score"].notna()]


def tiles(release: Release) -> dict:
    gap = release.gap("segments.customer_rfm", "frequency_days", "orders_n", "monetary")
    if gap:
        return {"gap": gap, "tiles": nps_tile(release)}
    rfm = release.tables["segments.customer_rfm"]
    buyers = buyers_in_window(rfm)
    revenue, orders = fmt.total(buyers["monetary"]), fmt.total(buyers["orders_n"])
    repeat = int((buyers["frequency_days"] >= 2).sum())
    share = fmt.percent(fmt.ratio(len(buyers), len(rfm)))
    values = [
        ("customers", fmt.count(len(rfm)), {}),
        ("buyers", fmt.count(len(buyers)), {"share": share}),
        ("revenue", fmt.money(revenue, release.currency, whole=True), {}),
        ("orders", fmt.count(orders), {"n": fmt.count(fmt.ratio(orders, len(buyers)), 1)}),
        ("aov", fmt.money(fmt.ratio(revenue, orders), release.currency), {}),
        ("repeat", fmt.percent(fmt.ratio(repeat, len(buyers))), {}),
    ]
    shown = [
        {"label": say(f"kpi.{key}"), "value": value, "note": say(f"kpi.{key}_note", **facts), "mark": None}
        for key, value, facts in values
    ]
    return {"tiles": shown + nps_tile(release)}


# --- segments ---------------------------------------------------------------------------------------------------


def segments(release: Release) -> dict:
    """One table per scheme of segment_summary; the known schemes first, then any other by name."""
    gap = release.gap("audiences.segment_summary", "scheme", "class", "customers")
    if gap:
        return {"gap": gap}
    summary = release.tables["audiences.segment_summary"]
    names = sorted(summary["scheme"].astype(str).unique(), key=lambda s: (order_of(SCHEMES, s), s))
    blocks = [scheme_block(release, name, summary[summary["scheme"].astype(str) == name]) for name in names]
    return {
        "schemes": blocks,
        "masked": any(row["masked"] for block in blocks for row in block["rows"]),
        "k": release.k,
        "membership": membership_size(release),
    }


def order_of(order: Sequence[str], name: str) -> int:
    return order.index(name) if name in order else len(order)


def scheme_block(release: Release, scheme: str, rows: pd.DataFrame) -> dict:
    places = display_order("rfm" if scheme == "rfm8" else scheme)
    records = sorted(
        rows.to_dict("records"), key=lambda r: (places.get(text_of(r["class"]), len(places)), text_of(r["class"]))
    )
    shown = [segment_row(release, scheme, row) for row in records]
    visible = [row for row in shown if not row["masked"] and row["revenue_share_value"] is not None]
    top = max(visible, key=lambda row: row["revenue_share_value"], default=None)
    lead = None
    if top and top["revenue_share_value"] > 0:
        facts = {"share": top["share"], "revenue_share": top["revenue_share"]}
        lead = say("segments.lead", zh=top["label"].zh, en=top["label"].en, **facts)
    return {
        "scheme": scheme,
        "heading": known("scheme", scheme) or Text(scheme, scheme),
        "note": known("scheme_note", scheme),
        "lead": lead,
        "rows": shown,
    }


def segment_row(release: Release, scheme: str, row: Mapping) -> dict:
    code = text_of(row["class"])
    customers = fmt.exact(cell(row, "customers"))
    masked = bool(cell(row, "is_suppressed")) or customers is None or 0 < customers < release.k
    share, revenue_share = (None, None) if masked else (cell(row, "share"), cell(row, "revenue_share"))
    revenue, repurchase = (None, None) if masked else (cell(row, "revenue"), cell(row, "repurchase_rate"))
    zh = text_of(cell(row, "recommended_action_zh", "action_zh"))
    en = text_of(cell(row, "recommended_action_en", "action_en"))
    return {
        "code": code,
        "label": release.class_text(scheme, code),
        "masked": masked,
        "customers": f"<{release.k}" if masked else fmt.count(customers),
        "share": fmt.percent(share),
        "share_bar": bar(share),
        "revenue": fmt.money(revenue, release.currency, whole=True),
        "revenue_share": fmt.percent(revenue_share),
        "revenue_share_value": fmt.exact(revenue_share),
        "revenue_bar": bar(revenue_share),
        "repurchase": fmt.percent(repurchase),
        "action": Text(zh or en, en or zh) if zh or en else None,
    }


def membership_size(release: Release) -> Text | None:
    name = "audiences.segment_membership"
    if release.gap(name):
        return release.gap(name)
    return say("segments.membership", n=fmt.count(len(release.tables[name])))


# --- recency × frequency ----------------------------------------------------------------------------------------


def heat_map(release: Release) -> dict:
    """25 cells, R 5→1 down, F 1→5 across. Cells of 1..k−1 people are masked, and a second one beside a lone mask."""
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
    for key, n in scored.groupby(keys, dropna=False).size().items():
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
    modes = sorted({text_of(mode) for mode in scored["scoring_mode"].unique()}) if "scoring_mode" in rfm else []
    outside = len(rfm) - len(scored)
    return {
        "rows": rows,
        "total": say("rf.total", n=fmt.count(len(scored))),
        "outside": say("rf.outside", n=fmt.count(outside)) if outside else None,
        "masked": say("rf.masked", k=release.k) if masks else None,
        "scoring": say("rf.scoring", mode=", ".join(modes)) if any(modes) else None,
    }


def mask_cells(
    counts: Mapping[tuple[int, int], int], segment: Mapping[tuple[int, int], str], k: int
) -> dict[tuple[int, int], str]:
    """Cell -> what to print instead of its count.

    The page prints segment totals and the grand total too, so a lone masked cell of either could be worked out
    by subtraction: the smallest open cell of the same group is hidden with it.
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
    # Square root: a few crowded cells would otherwise leave all others in the palest step.
    step = 0 if not n or place in masks else 1 + min(int((n / top) ** 0.5 * 6), 5)
    edges = [side for side, other in (("t", (r + 1, f)), ("l", (r, f - 1))) if segment.get(other, "") != name]
    return {
        "f": f,
        "text": masks.get(place) or fmt.count(n),
        "label": release.class_text("rfm", name) if name else None,
        "step": step,
        "edges": " ".join(edges),
    }


# --- Pareto, lifecycle ------------------------------------------------------------------------------------------


def pareto(release: Release) -> dict:
    """Curve from customer_abc, or its three corners from pareto_check; table and finding from pareto_check."""
    check = pareto_table(release)
    gap = release.gap("segments.customer_abc", "profit_365", "abc_class")
    curve: list[tuple[float, float]] = []
    estimated = None
    if gap is None:
        abc = release.tables["segments.customer_abc"]
        ranked = abc[abc["abc_class"].isin(["A", "B", "C"])]
        curve = charts.cumulative_curve(ranked["profit_365"], release.k)
        gap = None if curve else say("gap.profit")
        if "profit_is_estimated" in abc.columns and len(ranked):
            share = ranked["profit_is_estimated"].fillna(False).astype(bool).mean()
            estimated = say("pareto.estimated", share=fmt.percent(share)) if share else None
    elif check.get("corners"):
        curve, gap = check["corners"], None
    if gap:
        return check | {"gap": gap}
    low = min(0.0, *(y for _, y in curve))
    low = -(-low // -0.2) * -0.2 if low < 0 else 0.0  # down to the next gridline
    borders = [x for x, _ in check.get("corners", [])[1:-1]]
    return check | {
        "estimated": estimated,
        "points": charts.polyline(curve, 400, 240, low),
        "zero": round(240 / (1 - low), 1),
        "gridlines": [
            {"y": round((1 - y) / (1 - low) * 240, 1), "text": fmt.percent(y).replace(".0%", "%")}
            for y in [step / 5 for step in range(round(low * 5), 6)]
        ],
        "borders": [
            {"x": round(x * 400, 1), "y": round((1 - charts.at(curve, x)) / (1 - low) * 240, 1), "text": fmt.percent(x)}
            for x in borders
        ],
        "bands": [
            {"name": name, "x": round(x0 * 400, 1), "width": round((x1 - x0) * 400, 1)}
            for name, (x0, x1) in zip(
                "ABC", zip([0.0, *borders], [*borders, 1.0], strict=True), strict=False
            )
        ],
    }


def pareto_table(release: Release) -> dict:
    name = "segments.pareto_check"
    if release.gap(name, "class", "n"):
        return {"rows": [], "table_gap": release.gap(name, "class", "n")}
    places = display_order("abc")
    records = sorted(
        release.tables[name].to_dict("records"),
        key=lambda r: (places.get(text_of(r["class"]), len(places)), text_of(r["class"])),
    )
    rows = []
    for row in records:
        masked = 0 < (fmt.exact(row["n"]) or 0) < release.k
        rows.append(
            {
                "class": text_of(row["class"]),
                "customers": release.people(row["n"]),
                "customer_share": fmt.percent(None if masked else cell(row, "customer_share")),
                "profit_share": fmt.percent(None if masked else cell(row, "profit_share")),
            }
        )
    corners, x, y = [(0.0, 0.0)], 0.0, 0.0
    for row in records:
        if text_of(row["class"]) in ("A", "B", "C"):
            x += float(fmt.exact(cell(row, "customer_share")) or 0)
            y += float(fmt.exact(cell(row, "positive_profit_share", "profit_share")) or 0)
            corners.append((round(min(x, 1.0), 6), round(y, 6)))
    finding = None
    best = next((row for row in records if text_of(row["class"]) == "A"), None)
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
        "gini": fmt.count(gini, 2) if gini is not None else None,
    }


def lifecycle(release: Release) -> dict:
    """One stacked bar; masked stages take no width."""
    gap = release.gap("segments.customer_lifecycle", "stage")
    if gap:
        return {"gap": gap}
    stages = release.tables["segments.customer_lifecycle"]["stage"]
    places = display_order("lifecycle")
    counts = {text_of(stage): int(n) for stage, n in stages.value_counts(dropna=False).items()}
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


# --- channels, feedback -----------------------------------------------------------------------------------------


def channels(release: Release) -> dict:
    name = "marts.channel_performance"
    gap = release.gap(name)
    if gap:
        return {"gap": gap}
    frame = release.tables[name]
    who = first_column(frame, "channel_name", "channel", "channel_key", "channel_id")
    day = first_column(frame, "date", "date_day", "day", "business_date", "performance_date")
    revenue = first_column(frame, "net_revenue", "revenue")
    if not (who and day and revenue):
        lacking = [label for label, column in (("channel", who), ("date", day), ("revenue", revenue)) if not column]
        return {"gap": say("gap.columns", table=name, columns=", ".join(lacking))}
    age = (pd.Timestamp(release.as_of) - pd.to_datetime(frame[day])).dt.days
    frame = frame.assign(_age=age)[(age >= 1) & (age <= 365)]
    if frame.empty:
        return {"gap": say("gap.window")}
    measures = {
        key: column
        for key, names in (
            ("sessions", ("sessions",)),
            ("orders", ("orders", "orders_n")),
            ("revenue", (revenue,)),
            ("profit", ("profit",)),
            ("cost", ("cost", "spend")),
        )
        if (column := first_column(frame, *names)) and frame[column].notna().any()
    }
    keyed = frame.assign(_channel=frame[who].map(text_of))
    found = [
        (channel, part, {key: fmt.total(part[column]) for key, column in measures.items()})
        for channel, part in keyed.groupby("_channel", sort=True)
    ]
    found.sort(key=lambda entry: (-(entry[2]["revenue"] or Decimal(0)), entry[0]))
    overall = {key: fmt.add(sums[key] for _, _, sums in found) for key in measures}
    return {
        "columns": list(measures),
        "rows": [
            channel_row(release, channel, sums, overall["revenue"]) | {"trend": weekly(part, revenue)}
            for channel, part, sums in found
        ],
        "total": channel_row(release, "", overall, overall["revenue"]),
    }


def channel_row(release: Release, channel: str, sums: Mapping, everything: Decimal | None) -> dict:
    share = fmt.ratio(sums["revenue"], everything)
    plain = {"sessions", "orders"}
    cells = {
        key: fmt.count(value) if key in plain else fmt.money(value, release.currency, whole=True)
        for key, value in sums.items()
    }
    return {
        "channel": channel or fmt.DASH,
        "cells": cells,
        "share": fmt.percent(share),
        "share_bar": bar(share),
        "aov": fmt.money(fmt.ratio(sums["revenue"], sums.get("orders")), release.currency),
    }


def weekly(part: pd.DataFrame, revenue: str) -> str:
    """Sparkline of 52 full weeks, the oldest first; the 365th day has no full week and is left out."""
    week = (part["_age"] - 1) // 7
    sums = part.assign(_week=week, _value=pd.to_numeric(part[revenue]).astype(float)).groupby("_week")["_value"].sum()
    return charts.sparkline([float(sums.get(age, 0.0)) for age in range(51, -1, -1)], 96, 20)


SCOPE_COLUMNS = ("scope", "survey_id", "survey", "wave", "segment", "channel", "channel_id", "period", "month")


def scope_of(row: Mapping) -> Text:
    parts = [text_of(row[column]) for column in SCOPE_COLUMNS if column in row and not is_null(row[column])]
    parts = [part for part in parts if part not in ("all", "overall", "total")]
    return Text(" · ".join(parts), " · ".join(parts)) if parts else say("feedback.all")


def nps_headline(release: Release) -> Mapping | None:
    """The row that stands for the company: the one about all answers, else the one with the most."""
    if release.gap("marts.nps", "n", "nps"):
        return None
    rows = [row for row in release.tables["marts.nps"].to_dict("records") if fmt.exact(row["n"])]
    whole = say("feedback.all")
    return max(rows, key=lambda row: (scope_of(row) == whole, fmt.exact(row["n"])), default=None)


def nps_tile(release: Release) -> list[dict]:
    row = nps_headline(release)
    if row is None:
        return []
    n = fmt.exact(row["n"])
    if n < release.k:
        return []
    low = bool(cell(row, "is_low_n"))
    mark = say("kpi.low_n") if low else say("kpi.few") if n < NPS_READABLE_FROM else None
    interval = {"lo": fmt.signed(cell(row, "lo")), "hi": fmt.signed(cell(row, "hi")), "n": fmt.count(n)}
    return [
        {
            "label": say("kpi.nps"),
            "value": fmt.signed(row["nps"]),
            "note": say("kpi.nps_note", **interval),
            "mark": mark,
        }
    ]


def feedback(release: Release) -> dict:
    gap = release.gap("marts.nps", "n", "nps")
    rows = [] if gap else [nps_row(release, row) for row in release.tables["marts.nps"].to_dict("records")]
    csat_gap = release.gap("marts.csat", "n")
    csat = [] if csat_gap else [csat_row(release, row) for row in release.tables["marts.csat"].to_dict("records")]
    by_scope = lambda row: (row["scope"] != say("feedback.all"), row["scope"])  # noqa: E731
    return {
        "nps_gap": gap,
        "nps": sorted(rows, key=by_scope),
        "csat_gap": csat_gap,
        "csat": sorted(csat, key=by_scope),
    }


def nps_row(release: Release, row: Mapping) -> dict:
    n = fmt.exact(row["n"])
    masked = n is None or 0 < n < release.k or bool(cell(row, "is_suppressed"))
    shown = {"scope": scope_of(row), "n": f"<{release.k}" if masked else fmt.count(n), "bars": [], "nps": fmt.DASH}
    if masked or not n:
        return shown
    shares = [float(fmt.ratio(cell(row, key), n) or 0) for key in ("detractors", "passives", "promoters")]
    lo, hi = cell(row, "lo"), cell(row, "hi")
    x = lambda value: round((float(value) + 100) / 2, 1)  # noqa: E731
    return shown | {
        "bars": [
            {"tone": tone, "x": left, "width": width, "share": fmt.percent(share), "label": say(f"feedback.{tone}")}
            for tone, share, (left, width) in zip(
                ("detractors", "passives", "promoters"), shares, charts.stack(shares, 200), strict=True
            )
        ],
        "nps": fmt.signed(row["nps"]),
        "interval": f"{fmt.signed(lo)} … {fmt.signed(hi)}" if lo is not None and hi is not None else "",
        "whisker": (x(lo), x(hi), x(row["nps"])) if lo is not None and hi is not None else None,
        "low_n": bool(cell(row, "is_low_n")),
    }


def csat_row(release: Release, row: Mapping) -> dict:
    n = fmt.exact(row["n"])
    masked = n is None or 0 < n < release.k or bool(cell(row, "is_suppressed"))
    top = cell(row, "csat", "top2_share", "csat_share", "csat_rate")
    mean = cell(row, "mean", "mean_score", "csat_mean", "score_mean")
    return {
        "scope": scope_of(row),
        "n": f"<{release.k}" if masked else fmt.count(n),
        "top": fmt.percent(None if masked else top),
        "mean": fmt.count(None if masked else mean, 2),
        "low_n": not masked and bool(cell(row, "is_low_n")),
    }


# --- trust ------------------------------------------------------------------------------------------------------


def row_balance(release: Release) -> dict:
    name = "operations.row_balance"
    gap = release.gap(name, "source", "kind", "rows_n", "amount")
    if gap:
        return {"gap": gap}
    frame = release.tables[name]
    places = display_order("kind")
    sources = []
    for source, part in frame.groupby("source", sort=True):
        records = sorted(part.to_dict("records"), key=lambda r: (places.get(r["kind"], 9), text_of(r["kind"])))
        kinds = [
            {
                "kind": known("kind", text_of(r["kind"])) or Text(text_of(r["kind"]), text_of(r["kind"])),
                "rows": fmt.count(r["rows_n"]),
                "amount": fmt.money_exact(r["amount"], release.currency),
            }
            for r in records
        ]
        sources.append({"source": text_of(source), "kinds": kinds} | balance_total(release, part))
    return {"sources": sources, "overall": balance_total(release, frame) if len(sources) > 1 else None}


def balance_total(release: Release, frame: pd.DataFrame) -> dict:
    return {
        "rows": fmt.count(fmt.total(frame["rows_n"])),
        "amount": fmt.money_exact(fmt.total(frame["amount"]), release.currency),
    }


def ledger(release: Release) -> dict:
    """One row per source/feed, from the manifest's feeds and the ledger's counts."""
    feeds = dict(release.manifest.get("feeds") or {})
    off = sorted(name for name, feed in feeds.items() if feed.get("status") == "not_enabled")
    parts: dict[str, pd.DataFrame] = {}
    gap = release.gap("operations.ingest_ledger", "source", "feed", "status")
    if gap is None:
        frame = release.tables["operations.ingest_ledger"]
        names = frame["source"].map(text_of) + "/" + frame["feed"].map(text_of)
        parts = {str(name): part for name, part in frame.groupby(names, sort=True)}
    shown = sorted((set(feeds) | set(parts)) - set(off))
    if not shown:
        return {"gap": gap or say("gap.feeds"), "off": off}
    rows = [ledger_row(release, name, feeds.get(name, {}), parts.get(name)) for name in shown]
    return {"rows": rows, "off": off, "table_gap": gap}


def ledger_row(release: Release, name: str, feed: Mapping, part: pd.DataFrame | None) -> dict:
    latest = feed.get("latest_dt")
    if part is not None and not latest and "dt" in part.columns:
        loaded = part.loc[part["status"] == "loaded", "dt"].dropna()
        latest = None if loaded.empty else loaded.max()
    latest_day = pd.Timestamp(latest).date() if latest else None
    files = {} if part is None else part["status"].value_counts()
    codes = ""
    if part is not None and "reject_code" in part.columns:
        found = part["reject_code"].dropna().value_counts()
        codes = ", ".join(f"{code} ×{found[code]}" for code in sorted(found.index))
    sums = {
        key: fmt.total(part[f"rows_{key}"]) if part is not None and f"rows_{key}" in part.columns else None
        for key in ("read", "loaded", "rejected", "duplicate")
    }
    return {
        "feed": name,
        "latest": latest_day.isoformat() if latest_day else fmt.DASH,
        "behind": (release.as_of - latest_day).days if latest_day else None,
        "files": fmt.count(feed.get("files") if part is None else len(part)),
        "files_rejected": int(files.get("rejected", 0)),
        "files_duplicate": int(files.get("duplicate", 0)),
        "codes": codes,
        "sums": {key: fmt.count(value) for key, value in sums.items()},
        "any_rejected": bool(sums["rejected"]),
    }


def published(release: Release) -> list[dict]:
    return [
        {
            "table": name,
            "rows": fmt.count(entry.get("rows")),
            "bytes": fmt.count(entry.get("bytes")),
            "sha256": text_of(entry.get("sha256"))[:12] or fmt.DASH,
            "status": say("trust.not_enabled" if entry.get("status") == "not_enabled" else "trust.published"),
        }
        for name, entry in sorted((release.manifest.get("tables") or {}).items())
    ]
