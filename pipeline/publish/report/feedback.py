"""What customers say: NPS and CSAT."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.interval import wilson
from pipeline.publish.report import charts
from pipeline.publish.report import numbers as fmt
from pipeline.publish.report.labels import Text, known, say
from pipeline.publish.report.release import Release, cell, is_null, text_of

# As the NPS interval has it (models/marts/feedback/nps.sql).
Z_95 = 1.96
NPS_READABLE_FROM = 200  # answers: ±10 points at 95 % need 173 to 266

SCOPE_COLUMNS = (
    "scope",
    "survey_id",
    "survey",
    "wave",
    "segment",
    "channel",
    "channel_id",
    "period",
    "month",
)


def scope_of(row: Mapping, release: Release | None = None) -> Text:
    """Which answers a row counts. A survey that is named after its kind and wave is told by these."""
    codes = {c: text_of(row[c]) for c in SCOPE_COLUMNS if c in row and not is_null(row[c])}
    codes = {c: code for c, code in codes.items() if code not in ("all", "overall", "total")}
    if not codes:
        return say("feedback.all")
    kind, _, rest = codes.get("survey_id", "").partition("-")
    if known("survey_kind", kind.lower()) and rest == codes.get("wave"):
        codes["survey_id"] = kind.lower()
    parts = [
        (known("survey_kind", code) if column == "survey_id" else None)
        or (say("feedback.unknown") if (column, code) == ("segment", "unknown") else None)
        or (release.class_text("rfm", code) if release and column == "segment" else Text(code, code))
        for column, code in codes.items()
    ]
    return Text(" · ".join(part.zh for part in parts), " · ".join(part.en for part in parts))


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
    if n is None or n < release.k:
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
            "change": None,
        }
    ]


def feedback(release: Release) -> dict:
    gap = release.gap("marts.nps", "n", "nps")
    rows = [] if gap else [nps_row(release, row) for row in release.tables["marts.nps"].to_dict("records")]
    csat_gap = release.gap("marts.csat", "n")
    csat = (
        []
        if csat_gap
        else [csat_row(release, row) for row in release.tables["marts.csat"].to_dict("records")]
    )
    return {
        "nps_gap": gap,
        "nps": sorted(rows, key=all_first),
        "by_segment": {
            "nps": sum(row["of_segment"] for row in rows),
            "csat": sum(row["of_segment"] for row in csat),
        },
        "csat_gap": csat_gap,
        "csat": sorted(csat, key=all_first),
    }


def all_first(row: Mapping) -> tuple:
    return row["scope"] != say("feedback.all"), row["scope"]


def of_segment(row: Mapping) -> bool:
    """Whether a row counts the answers of one segment alone: these are folded away below the others."""
    return text_of(row.get("segment")) not in ("", "all")


def nps_row(release: Release, row: Mapping) -> dict:
    n = fmt.exact(row["n"])
    masked = n is None or 0 < n < release.k or bool(cell(row, "is_suppressed"))
    shown = {
        "scope": scope_of(row, release),
        "of_segment": of_segment(row),
        "n": f"<{release.k}" if masked else fmt.count(n),
        "bars": [],
        "nps": fmt.DASH,
    }
    if masked or not n:
        return shown
    shares = [float(fmt.ratio(cell(row, key), n) or 0) for key in ("detractors", "passives", "promoters")]
    lo, hi = fmt.exact(cell(row, "lo")), fmt.exact(cell(row, "hi"))
    marks = None
    if lo is not None and hi is not None:
        marks = tuple(round((float(v) + 100) / 2, 1) for v in (lo, hi, row["nps"]))
    return shown | {
        "bars": [
            {
                "tone": tone,
                "x": left,
                "width": width,
                "share": fmt.percent(share),
                "label": say(f"feedback.{tone}"),
            }
            for tone, share, (left, width) in zip(
                ("detractors", "passives", "promoters"), shares, charts.stack(shares, 200), strict=True
            )
        ],
        "nps": fmt.signed(row["nps"]),
        "interval": f"{fmt.signed(lo)} … {fmt.signed(hi)}" if lo is not None and hi is not None else "",
        "whisker": marks,
        "low_n": bool(cell(row, "is_low_n")),
    }


def csat_row(release: Release, row: Mapping) -> dict:
    n = fmt.exact(row["n"])
    masked = n is None or 0 < n < release.k or bool(cell(row, "is_suppressed"))
    top = fmt.exact(cell(row, "csat", "top2_share", "csat_share", "csat_rate"))
    mean = cell(row, "mean", "mean_score", "csat_mean", "score_mean")
    return {
        "scope": scope_of(row, release),
        "of_segment": of_segment(row),
        "n": f"<{release.k}" if masked else fmt.count(n),
        "top": fmt.percent(None if masked else top),
        "interval": ""
        if masked or not n or top is None
        else " … ".join(map(fmt.percent, wilson(float(top), int(n), Z_95))),
        "mean": fmt.count(None if masked else mean, 2),
        "low_n": not masked and bool(cell(row, "is_low_n")),
    }
