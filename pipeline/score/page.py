"""The result as one page: no request, no customer, no small group."""

from decimal import Decimal
from pathlib import Path
from uuid import uuid4

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.errors import StrataError
from pipeline.publish import report
from pipeline.publish.report import numbers as fmt
from pipeline.publish.report.distribution import heat_cell, mask_cells
from pipeline.publish.report.labels import Text, say
from pipeline.publish.report.release import Release, bar
from pipeline.publish.report.segments import hidden_classes
from pipeline.score.run import REASONS, Scored
from pipeline.score.told import notes

_FOLDERS = [Path(__file__).parent, Path(report.__file__).parent / "templates"]


def write_page(scored: Scored, file: Path, page: Path) -> None:
    """Replace `page`. Raises StrataError where that cannot be done."""
    text = render(scored, file.name)
    partial = page.with_name(f".{page.name}.{uuid4().hex}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(page)
    except OSError as error:
        raise StrataError(f"{page}: cannot be written ({error.strerror})") from None
    finally:
        partial.unlink(missing_ok=True)


def render(scored: Scored, name: str) -> str:
    """The page as HTML. Groups of fewer than k_anon_min people are masked as in the report of a release (G-10)."""
    preset = scored.preset
    labels = {("rfm", segment): Text(*pair) for segment, pair in preset.labels.items()}
    k = int(scored.policy.values["k_anon_min"])
    release = Release({}, {"as_of_date": scored.as_of, "k_anon_min": k}, labels)
    hidden = hidden_classes(
        release, [{"class": segment, "customers": customers} for segment, customers, *_ in scored.segments]
    )
    environment = Environment(
        loader=FileSystemLoader(_FOLDERS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["say"] = say
    masked = _hidden_reasons(scored, release)
    upper = "upper" in preset.score_parameters.values()
    if scored.cuts.mode == "absolute":
        drawn = say("score.fixed")
    else:
        drawn = say("score.drawn", day=scored.cuts.effective_from, n=fmt.count(scored.cuts.buyers))
    return environment.get_template("page.html.j2").render(
        file=name,
        as_of=scored.as_of.isoformat(),
        window=scored.window,
        preset=Text(preset.row["label_zh"], preset.row["label_en"]),
        preset_name=preset.name,
        policy_version=scored.policy.version,
        rows=fmt.count(scored.file.rows),
        customers=release.people(scored.customers),
        notes=[Text(*note) for note in notes(scored, with_values=False)],
        frequency_unit=preset.row["frequency_unit"],
        monetary_unit=preset.row["monetary_unit"],
        segments=_segment_rows(scored, labels, hidden),
        masked=bool(hidden or masked),
        k=k,
        heat=_heat(scored, release),
        cuts=[
            {
                "label": say(f"score.{measure}"),
                "points": [
                    _sign(measure, preset.score_parameters) + f" {point:,.10g}"
                    for point in scored.cuts.points[measure]
                ],
            }
            for measure in ("recency", "frequency", "monetary")
        ],
        drawn=drawn,
        ties=say("score.cuts_ties" if upper else "score.cuts_note"),
        unscored=[
            {
                "reason": Text(*REASONS[reason]),
                "label": labels["rfm", segment],
                "customers": masked.get((segment, reason)) or release.people(customers),
            }
            for segment, reason, customers in scored.reasons
        ],
    )


def _hidden_reasons(scored: Scored, release: Release) -> dict[tuple[str, str], str]:
    """Mask of each reason that would tell a small group, also by taking the others from their segment's number."""
    found: dict[tuple[str, str], str] = {}
    for segment in {segment for segment, *_ in scored.reasons}:
        own = [{"class": reason, "customers": n} for s, reason, n in scored.reasons if s == segment]
        found |= {(segment, reason): mask for reason, mask in hidden_classes(release, own).items()}
    return found


def _sign(measure: str, ties: dict[str, str]) -> str:
    """How a value must lie to the cut point to score above it."""
    at_cut = ties["recency_at_cut" if measure == "recency" else "amount_at_cut"]
    strict, loose = ("<", "≤") if measure == "recency" else (">", "≥")
    return loose if at_cut == "upper" else strict


def _segment_rows(scored: Scored, labels: dict[tuple[str, str], Text], hidden: dict[str, str]) -> list[dict]:
    money = fmt.add(amount for *_, amount in scored.segments)
    rows = []
    for segment, customers, frequency, amount in scored.segments:
        mask = hidden.get(segment)
        share = None if mask else fmt.ratio(customers, scored.customers)
        money_share = None if mask else fmt.ratio(amount, money)
        rows.append(
            {
                "label": labels["rfm", segment],
                "masked": mask is not None,
                "customers": mask or fmt.count(customers),
                "share": fmt.percent(share),
                "bar": bar(share),
                "frequency": fmt.DASH if mask else fmt.count(frequency),
                "money": fmt.DASH if mask else f"{Decimal(amount):,.2f}",
                "money_share": fmt.percent(money_share),
                "money_bar": bar(money_share),
            }
        )
    return rows


def _heat(scored: Scored, release: Release) -> list[dict]:
    """Rows of cells, the most recent first; the largest segment names a cell that has several."""
    counts: dict[tuple[int, int], int] = {}
    largest: dict[tuple[int, int], tuple[int, str]] = {}
    for (r, f, segment), n in scored.cells.items():
        counts[r, f] = counts.get((r, f), 0) + n
        largest[r, f] = max(largest.get((r, f), (0, "")), (n, segment))
    if not counts:
        return []
    segments = {place: segment for place, (_, segment) in largest.items()}
    masks = mask_cells(counts, segments, release.k)
    top, high = max(counts.values()), max(scored.preset.scores, *(max(place) for place in counts))
    return [
        {
            "r": r,
            "cells": [heat_cell(release, counts, segments, masks, top, r, f) for f in range(1, high + 1)],
        }
        for r in range(high, 0, -1)
    ]
