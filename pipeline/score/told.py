"""The result as text for a terminal, and as data."""

import unicodedata
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from pipeline.score.orders import PROBLEMS, told_bad
from pipeline.score.presets import Preset
from pipeline.score.run import REASONS, Scored

_MEASURES = {"recency": ("R", "days"), "frequency": ("F", ""), "monetary": ("M", "")}


def notes(scored: Scored, *, with_values: bool) -> list[tuple[str, str]]:
    """What a reader must know before using the table: (Chinese, English), the most important first.

    with_values: quote values that could not be read. A page that is passed on quotes none: they may be anything.
    """
    found = []
    needed = int(scored.policy.values["rfm_min_buyers"])
    if scored.cuts.mode == "absolute":
        version = scored.policy.version
        found.append(
            (
                f"仅有 {scored.buyers} 位购买客户，少于 {needed} 位时分位数没有意义：采用策略 {version} 的固定界限",
                f"too few buyers for quantiles ({scored.buyers}; {needed} are needed): "
                f"the fixed cut-offs of policy {version} hold",
            )
        )
    if not scored.buyers:
        found.append(
            (
                "窗口内没有任何购买：请检查 --as-of 与金额列",
                "nobody bought in the window: is --as-of right, and are only returns below 0 in the amount column?",
            )
        )
    if scored.file.bad:
        rows = sum(scored.file.bad.values())
        bad = told_bad(scored.file.bad, scored.file.examples if with_values else {})
        zh = "；".join(f"{PROBLEMS[problem][0]} {n:,} 行" for problem, n in scored.file.bad.items())
        found.append((f"{rows:,} 行未计入：{zh}", f"left out: {rows:,} of {scored.file.rows:,} rows ({bad})"))
    if scored.rows_later:
        n = f"{scored.rows_later:,}"
        found.append(
            (
                f"{n} 行在基准日或之后，不计入",
                f"not counted: {n} rows on the as-of date or after it",
            )
        )
    return found


def as_dict(scored: Scored, file: Path, out: Path | None, page: Path | None) -> dict[str, Any]:
    money = _total(scored)
    return {
        "file": str(file),
        "preset": scored.preset.name,
        "as_of_date": scored.as_of,
        "window_start": scored.window or None,
        "policy_version": scored.policy.version,
        "rows": scored.file.rows,
        "rows_left_out": scored.file.bad,
        "examples": scored.file.examples,
        "rows_on_or_after_as_of": scored.rows_later,
        "customers": scored.customers,
        "buyers": scored.buyers,
        "scoring_mode": scored.cuts.mode,
        "cut_points": {
            "effective_from": scored.cuts.effective_from,
            "is_frozen": scored.cuts.is_frozen,
            "buyers": scored.cuts.buyers,
            **scored.cuts.points,
        },
        "segments": [
            {
                "segment": name,
                "label_zh": scored.preset.labels[name][0],
                "label_en": scored.preset.labels[name][1],
                "customers": customers,
                "customer_share": customers / scored.customers,
                "frequency": frequency,
                "monetary": str(amount),
                "monetary_share": float(amount / money) if money else None,
            }
            for name, customers, frequency, amount in scored.segments
        ],
        "without_score": [
            {"segment": name, "reason": reason, "label_zh": REASONS[reason][0], "label_en": REASONS[reason][1], "customers": n}
            for name, reason, n in scored.reasons
        ],
        "notes": [{"zh": zh, "en": en} for zh, en in notes(scored, with_values=True)],
        "out": str(out) if out else None,
        "html": str(page) if page else None,
    }  # fmt: skip


def told(scored: Scored, file: Path, out: Path | None, page: Path | None) -> str:
    """The segment table with its cut points and notes."""
    preset, money = scored.preset, _total(scored)
    unit = "订单 Orders" if preset.row["frequency_unit"] == "order" else "购买日 Purchase days"
    amount_head = (
        "日均金额之和 Sum of mean amounts" if preset.row["monetary_unit"] == "mean" else "金额 Amount"
    )
    rows = [
        [
            name,
            *preset.labels[name],
            f"{customers:,}",
            _percent(customers, scored.customers),
            f"{frequency:,}",
            f"{amount:,.2f}",
            _percent(amount, money),
        ]
        for name, customers, frequency, amount in scored.segments
    ]
    total = ["", "合计", "All", f"{scored.customers:,}", "", "", f"{money:,.2f}", ""]
    head = ["segment", "客群", "Segment", "客户 Customers", "%", unit, amount_head, "%"]
    since = f"{scored.window} … " if scored.window else "… "
    lines = [
        f"{file.name} · {preset.row['label_zh']} {preset.row['label_en']} ({preset.name})",
        f"基准日 As of {scored.as_of} · 窗口 Window [{since}{scored.as_of}) · "
        f"{scored.file.rows:,} 行 rows · {scored.customers:,} 位客户 customers",
        "",
        *_table(head, [*rows, total], right=3),
        "",
    ]
    if scored.reasons:
        lines += ["没有评分 Without a score:"]
        lines += [
            f"  {n:,} {name}: {REASONS[reason][0]} {REASONS[reason][1]}" for name, reason, n in scored.reasons
        ]
    lines.append(_told_cuts(scored))
    lines += [f"! {zh}\n  {en}" for zh, en in notes(scored, with_values=True)]
    lines += [f"→ {path}" for path in (out, page) if path]
    return "\n".join(lines)


def _told_cuts(scored: Scored) -> str:
    cuts = scored.cuts
    when = f"{cuts.effective_from}" + (" (frozen for the month)" if cuts.is_frozen else "")
    what = "fixed" if cuts.mode == "absolute" else f"of {cuts.buyers:,} buyers on {when}"
    shown = " · ".join(
        f"{letter} {' | '.join(f'{point:,.10g}' for point in cuts.points[measure])}{unit and ' ' + unit}"
        for measure, (letter, unit) in _MEASURES.items()
    )
    return f"界限 Cut points {what}: {shown}"


def told_presets(presets: dict[str, Preset]) -> str:
    rows = []
    for preset in presets.values():
        row = preset.row
        window = f"{row['window_days']} d" if row["window_days"] else "all"
        rows.append(
            [
                preset.name,
                row["label_zh"],
                row["label_en"],
                window,
                row["frequency_unit"],
                row["scores"],
                row["matching"],
            ]
        )
    return "\n".join(_table(["preset", "名称", "Name", "Window", "F counts", "Scores", "Grid"], rows))


def presets_as_list(presets: dict[str, Preset]) -> list[dict[str, Any]]:
    return [
        {**preset.row, "segments": [{"segment": s, "label_zh": zh, "label_en": en} for s, (zh, en) in preset.labels.items()]}
        for preset in presets.values()
    ]  # fmt: skip


def _total(scored: Scored) -> Decimal:
    return sum((amount for *_, amount in scored.segments), Decimal(0))


def _percent(part: int | Decimal, whole: int | Decimal) -> str:
    return f"{Decimal(part) / whole:.1%}" if whole else "–"


def _width(text: str) -> int:
    """Columns that a text takes in a terminal: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], right: int = 99) -> list[str]:
    """Aligned lines; the columns from `right` on are flush right."""
    wide = [max(_width(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = []
        for i, text in enumerate(row):
            gap = " " * (wide[i] - _width(text))
            cells.append(gap + text if i >= right else text + gap)
        return "  ".join(cells).rstrip()

    return [line(head), "  ".join("─" * w for w in wide), *map(line, rows)]
