"""What each channel brought in the days of the policy's window before the as-of date."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import pandas as pd

from pipeline.publish.report import charts
from pipeline.publish.report import numbers as fmt
from pipeline.publish.report.labels import Text, known, say
from pipeline.publish.report.release import Release, bar, first_column, text_of


def channels(release: Release) -> dict:
    name = "marts.channel_performance"
    gap = release.gap(name)
    if gap:
        return {"gap": gap}
    frame = release.tables[name]
    who = first_column(frame, "channel_name", "name", "channel", "channel_id")
    day = first_column(frame, "date", "date_day", "day", "business_date", "performance_date")
    revenue = first_column(frame, "net_revenue", "revenue")
    if not (who and day and revenue):
        lacking = [
            label for label, column in (("channel", who), ("date", day), ("revenue", revenue)) if not column
        ]
        return {"gap": say("gap.columns", table=name, columns=", ".join(lacking))}
    age = (pd.Timestamp(release.as_of) - pd.to_datetime(frame[day])).dt.days
    days = release.channel_days
    frame = frame.assign(_age=age)[(age >= 1) & (age <= days)]
    if frame.empty:
        return {"gap": say("gap.window", n=days)}
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
    ids = frame["channel_id"] if "channel_id" in frame.columns else frame[who]
    keyed = frame.assign(_channel=ids.map(text_of))
    found = [
        (
            channel_label(part.iloc[0], who),
            part,
            {key: fmt.total(part[column]) for key, column in measures.items()},
        )
        for _, part in keyed.groupby("_channel", sort=True)
    ]
    found.sort(key=lambda entry: (-(entry[2]["revenue"] or Decimal(0)), entry[0]))
    overall = {key: fmt.add(sums[key] for _, _, sums in found) for key in measures}
    return {
        "note": say("channels.note", n=days),
        "columns": list(measures),
        "rows": [
            channel_row(release, channel, sums, overall["revenue"])
            | {"trend": weekly(part, revenue, days // 7)}
            for channel, part, sums in found
        ],
        "total": channel_row(release, Text("", ""), overall, overall["revenue"]),
    }


def channel_label(row: Mapping, who: str) -> Text:
    """The name as the source gives it; in English the kind of channel with its id, as names come in one language."""
    code = text_of(row.get("channel_id"))
    name = text_of(row[who]) or code or fmt.DASH
    kind = known("channel_group", text_of(row.get("channel_group")))
    if not kind:
        return known("channel_group", code) or Text(name, name)
    return Text(name, f"{kind.en} ({code})" if code else kind.en)


def channel_row(release: Release, channel: Text, sums: Mapping, everything: Decimal | None) -> dict:
    share = fmt.ratio(sums["revenue"], everything)
    plain = {"sessions", "orders"}
    cells = {
        key: fmt.count(value) if key in plain else fmt.money(value, release.currency, whole=True)
        for key, value in sums.items()
    }
    return {
        "channel": channel,
        "cells": cells,
        "share": fmt.percent(share),
        "share_bar": bar(share),
        "aov": fmt.money(fmt.ratio(sums["revenue"], sums.get("orders")), release.currency),
    }


def weekly(part: pd.DataFrame, revenue: str, weeks: int) -> str:
    """Sparkline of so many full weeks, the oldest first; days that make no full week are left out."""
    week = (part["_age"] - 1) // 7
    sums = (
        part.assign(_week=week, _value=pd.to_numeric(part[revenue]).astype(float))
        .groupby("_week")["_value"]
        .sum()
    )
    return charts.sparkline([float(sums.get(age, 0.0)) for age in range(weeks - 1, -1, -1)], 96, 20)
