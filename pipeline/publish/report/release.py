"""What every panel reads from: the tables, the manifest, and how codes, nulls and small groups print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import pandas as pd

from pipeline.publish.report import numbers as fmt
from pipeline.publish.report.labels import Text, join, known, say

# Column of a table whose rows stand for so many customers each (publish/page_facts.py); without it a row is one.
PEOPLE = "people"


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

    @property
    def channel_days(self) -> int:
        """Days that the channels are told of; releases of earlier versions do not say and were told of a year."""
        return int(self.manifest.get("channel_window_days", 365))

    def gap(self, name: str, *columns: str) -> Text | None:
        """Why this table cannot be shown, or None when it can."""
        entry = self.manifest.get("tables", {}).get(name, {})
        if entry.get("status") == "not_enabled":
            return not_enabled_reason(name, entry)
        frame = self.tables.get(name)
        if frame is None:
            return say("gap.missing", table=name)
        if frame.empty:
            return join(say("gap.empty", table=name), known("empty_table", name))
        lacking = [column for column in columns if column not in frame.columns]
        return say("gap.columns", table=name, columns=", ".join(lacking)) if lacking else None

    def people(self, n: object) -> str:
        """A number of people in a group: '<k' for a suppressed (null) or small one."""
        number = fmt.exact(n)
        if number is None or 0 < number < self.k:
            return f"<{self.k}"
        return fmt.count(number)

    def window(self, threshold: str) -> Text:
        """How far back the named window of this release's policy goes; just "in the window" where nothing tells."""
        bounds = self.tables.get("segments.class_bounds")
        if bounds is not None and {threshold, "as_of_date"} <= set(bounds.columns):
            today = bounds[pd.to_datetime(bounds["as_of_date"]).dt.date == self.as_of]
            if len(today):
                return say("kpi.days", n=int(today[threshold].iloc[0]))
        return say("kpi.no_days")

    def scheme_text(self, scheme: str) -> Text:
        """A scheme's name; a custom one is called as its members are."""
        found = known("scheme", scheme) if scheme != "custom" else None
        custom = self.labels.get((scheme, "member")) if scheme.startswith("custom:") else None
        return found or (say("scheme.custom", zh=custom.zh, en=custom.en) if custom else Text(scheme, scheme))

    def class_text(self, scheme: str, code: str) -> Text:
        return self.labels.get((scheme, code)) or Text(code, code)


def not_enabled_reason(name: str, entry: Mapping, *, named: bool = False) -> Text:
    """Why a table is empty on purpose. `named`: its name stands beside."""
    if entry.get("reason"):
        return Text(str(entry["reason"]), str(entry["reason"]))
    general = say("gap.feed_missing") if named else say("gap.not_enabled", table=name)
    return known("not_enabled_table", name) or general


def weights(frame: pd.DataFrame) -> pd.Series:
    """How many customers each row stands for."""
    return frame[PEOPLE] if PEOPLE in frame.columns else pd.Series(1, index=frame.index)


def size(frame: pd.DataFrame) -> int:
    return int(weights(frame).sum())


def mask_small(counts: Mapping, k: int) -> dict:
    """Key -> what to print instead of a count of 1 to k − 1; a lone one takes the smallest open one with it, because a
    sum may stand elsewhere."""
    masks = {key: f"<{k}" for key, n in counts.items() if 0 < n < k}
    shown = [key for key, n in counts.items() if n and key not in masks]
    if len(masks) == 1 and shown:
        masks[min(shown, key=lambda key: (counts[key], key))] = f"≥{k}"
    return masks


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
    """(scheme, class) -> label from segment_summary: labels are policy rows, the page has none of its own."""
    if summary is None or not {"scheme", "class"} <= set(summary.columns):
        return {}
    labels = {}
    for row in summary.to_dict("records"):
        code = text_of(row["class"])
        zh, en = text_of(cell(row, "class_label_zh")), text_of(cell(row, "class_label_en"))
        labels[text_of(row["scheme"]), code] = Text(zh or en or code, en or zh or code)
    return labels
