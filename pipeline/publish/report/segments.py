"""How big is each segment, what does it bring, what to do: tiles and the tables per scheme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from pipeline.publish.report import numbers as fmt
from pipeline.publish.report.feedback import nps_tile
from pipeline.publish.report.labels import Text, display_order, group, known, say
from pipeline.publish.report.movement import trends
from pipeline.publish.report.release import Release, bar, cell, size, text_of

# No published table: what the publisher counts for the page over the customers of the release (publish/page_facts.py).
CLASS_FACTS = "page.class_facts"
SCHEMES = ("rfm", "rfm_code", "abc", "value", "lifecycle")


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
    everybody, bought = size(rfm), size(buyers)
    repeat = size(buyers[buyers["frequency_days"] >= 2])
    share = fmt.percent(fmt.ratio(bought, everybody))
    values = [
        ("customers", fmt.count(everybody), {}),
        ("buyers", fmt.count(bought), {"share": share}),
        ("revenue", fmt.money(revenue, release.currency, whole=True), {}),
        ("orders", fmt.count(orders), {"n": fmt.count(fmt.ratio(orders, bought), 1)}),
        ("aov", fmt.money(fmt.ratio(revenue, orders), release.currency), {}),
        ("repeat", fmt.percent(fmt.ratio(repeat, bought)), {}),
    ]
    changes = kpi_changes(
        release,
        {
            "customers": everybody,
            "buyers": bought,
            "revenue": revenue,
            "orders": orders,
            "repeat": repeat,
        },
    )
    window = release.window("rfm_window_days")
    shown = [
        {
            "label": say(f"kpi.{key}", zh=window.zh, en=window.en),
            "value": value,
            "note": say(f"kpi.{key}_note", **facts),
            "mark": None,
            "change": changes.get(key),
        }
        for key, value, facts in values
    ]
    return {"tiles": shown + nps_tile(release)}


def kpi_changes(release: Release, now: Mapping[str, object]) -> dict[str, Text]:
    """Tile -> its change against the release before, as that one's publication noted it; none for the first release."""
    before = release.manifest.get("before") or {}
    old = {key: fmt.exact(before.get(key)) for key in now}
    new = {key: fmt.exact(value) for key, value in now.items()}
    told = {key: fmt.relative(new[key], old[key]) for key in ("customers", "buyers", "revenue", "orders")}
    told["aov"] = fmt.relative(
        fmt.ratio(new["revenue"], new["orders"]), fmt.ratio(old["revenue"], old["orders"])
    )
    share, before_it = fmt.ratio(new["repeat"], new["buyers"]), fmt.ratio(old["repeat"], old["buyers"])
    if share is not None and before_it is not None:
        told["repeat"] = fmt.signed((share - before_it) * 100)
    return {
        key: say("kpi.points" if key == "repeat" else "kpi.change", change=change, release=before["release"])
        for key, change in told.items()
        if change
    }


def segments(release: Release) -> dict:
    """One table per scheme of segment_summary; the known schemes first, then any other by name."""
    gap = release.gap("audiences.segment_summary", "scheme", "class", "customers")
    if gap:
        return {"gap": gap}
    summary = release.tables["audiences.segment_summary"]
    further = tuple(group("scheme"))
    names = sorted(
        summary["scheme"].astype(str).unique(), key=lambda s: (order_of(SCHEMES, s), order_of(further, s), s)
    )
    trend_gap, moved = trends(release)
    facts = class_facts(release)
    blocks = [
        scheme_block(release, name, summary[summary["scheme"].astype(str) == name], moved, facts)
        for name in names
    ]
    return {
        "schemes": blocks,
        "open": sum(name in SCHEMES for name in names),
        "trend_gap": trend_gap,
        "masked": any(row["masked"] for block in blocks for row in block["rows"]),
        "k": release.k,
        "membership": membership_size(release),
        "coverage": coverage(release),
    }


def order_of(order: Sequence[str], name: str) -> int:
    return order.index(name) if name in order else len(order)


def class_facts(release: Release) -> dict[tuple[str, str], Mapping]:
    """(scheme, class) -> what was counted over its customers; none of fewer than k."""
    frame = release.tables.get(CLASS_FACTS)
    if frame is None:
        return {}
    rows = frame[frame["customers"] >= release.k].to_dict("records")
    return {(text_of(row["scheme"]), text_of(row["class"])): row for row in rows}


def scheme_block(
    release: Release,
    scheme: str,
    rows: pd.DataFrame,
    moved: Mapping[tuple, dict],
    facts: Mapping[tuple, Mapping],
) -> dict:
    places = display_order(scheme)

    def place(row: Mapping) -> tuple:
        code = text_of(row["class"])
        return cell(row, "sort") or places.get(code, len(places)), code

    records = sorted(rows.to_dict("records"), key=place)
    hidden = hidden_classes(release, records)
    shown = [segment_row(release, scheme, row, hidden.get(text_of(row["class"]))) for row in records]
    for row in shown:
        key = (scheme, row["code"])
        fact, trend = ({}, {}) if row["masked"] else (facts.get(key, {}), moved.get(key, {}))
        row["change"], row["trend"] = trend.get("change", fmt.DASH), trend.get("line", "")
        row["recency"] = fmt.count(cell(fact, "median_recency"))
        row["reachable"] = fmt.percent(cell(fact, "reachable"))
    # One scale for both bars of a scheme, so that a segment's size and revenue can be compared by eye.
    widest = max((value for row in shown for value in row["bars"].values()), default=0.0) or 1.0
    for row in shown:
        row["bars"] = {key: round(value / widest * 100, 1) for key, value in row["bars"].items()}
    visible = [row for row in shown if not row["masked"] and row["revenue_share_value"] is not None]
    top = max(visible, key=lambda row: row["revenue_share_value"], default=None)
    lead = None
    if top and top["revenue_share_value"] > 0:
        lead = say(
            "segments.lead",
            zh=top["label"].zh,
            en=top["label"].en,
            share=top["share"],
            revenue_share=top["revenue_share"],
        )
    return {
        "scheme": scheme,
        "heading": release.scheme_text(scheme),
        "note": scheme_note(release, scheme),
        "lead": lead,
        "rows": shown,
    }


def scheme_note(release: Release, scheme: str) -> Text | None:
    window = release.window("abc_window_days")
    return say(f"scheme_note.{scheme}", zh=window.zh, en=window.en) if known("scheme_note", scheme) else None


def hidden_classes(release: Release, records: Sequence[Mapping]) -> dict[str, str]:
    """Class -> what to print instead of its count; a lone one takes the smallest open class with it, because
    the number of all customers stands on the page too."""
    hidden, shown = {}, {}
    for row in records:
        customers = fmt.exact(cell(row, "customers"))
        if cell(row, "is_suppressed") or customers is None or 0 < customers < release.k:
            hidden[text_of(row["class"])] = f"<{release.k}"
        elif customers:
            shown[text_of(row["class"])] = customers
    if len(hidden) == 1 and shown:
        hidden[min(shown, key=lambda code: (shown[code], code))] = f"≥{release.k}"
    return hidden


def segment_row(release: Release, scheme: str, row: Mapping, mask: str | None) -> dict:
    code = text_of(row["class"])
    masked = mask is not None
    share, revenue_share = (None, None) if masked else (cell(row, "share"), cell(row, "revenue_share"))
    revenue, repurchase = (None, None) if masked else (cell(row, "revenue"), cell(row, "repurchase_rate"))
    zh = text_of(cell(row, "recommended_action_zh", "action_zh"))
    en = text_of(cell(row, "recommended_action_en", "action_en"))
    return {
        "code": code,
        "label": release.class_text(scheme, code),
        "masked": masked,
        "customers": mask or fmt.count(cell(row, "customers")),
        "share": fmt.percent(share),
        "bars": {"share": bar(share), "revenue_share": bar(revenue_share)},
        "revenue": fmt.money(revenue, release.currency, whole=True),
        "revenue_share": fmt.percent(revenue_share),
        "revenue_share_value": fmt.exact(revenue_share),
        "repurchase": fmt.percent(repurchase),
        "action": Text(zh or en, en or zh) if zh or en else None,
    }


def coverage(release: Release) -> dict:
    """Whom the classes hold and who was left out, by reason; groups of nobody are passed over."""
    name = "audiences.segment_coverage"
    gap = release.gap(name, "population_group", "is_suppressed", "customers", "orders_n", "revenue")
    if gap:
        return {"gap": gap}
    rows = release.tables[name].sort_values(["sort", "population_group"]).to_dict("records")
    shown = [
        {
            "label": Text(text_of(row["label_zh"]), text_of(row["label_en"])),
            "customers": f"<{release.k}" if row["is_suppressed"] else fmt.count(cell(row, "customers")),
            "orders": fmt.count(cell(row, "orders_n")),
            "revenue": fmt.money(cell(row, "revenue"), release.currency, whole=True),
        }
        for row in rows
        if row["is_suppressed"] or cell(row, "customers") or cell(row, "orders_n")
    ]
    return {"rows": shown}


def membership_size(release: Release) -> Text | None:
    name = "audiences.segment_membership"
    if release.gap(name):
        return release.gap(name)
    return say("segments.membership", n=fmt.count(size(release.tables[name])))
