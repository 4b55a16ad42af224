"""Assemble the page."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.publish.report import (
    channels,
    distribution,
    enough,
    feedback,
    leaving,
    movement,
    retention,
    search,
    segments,
    trust,
)
from pipeline.publish.report.labels import say
from pipeline.publish.report.release import Release, read_labels

# What the page reads, so that the publisher loads no other column of a table with a row per customer.
PAGE_TABLES: Mapping[str, tuple[str, ...]] = {
    "segments.customer_rfm": (
        "r_score", "f_score", "frequency_days", "orders_n", "monetary", "rfm_segment", "scoring_mode",
    ),
    "segments.customer_abc": ("profit_365", "abc_class", "profit_is_estimated", "abc_basis"),
    "segments.customer_lifecycle": ("stage",),
    "audiences.segment_membership": ("scheme",),
    "segments.pareto_check": (),
    "segments.class_bounds": ("as_of_date", "rfm_window_days", "abc_window_days"),
    "segments.class_stability": ("as_of_date", "scheme", "class", "customers"),
    "segments.class_transition": ("as_of_date", "scheme", "from_class", "to_class", "cause", "customers"),
    "segments.lifecycle_transition": ("month", "from_stage", "to_stage", "cause", "customers"),
    "segments.data_sufficiency": (
        "need", "purpose", "observed", "required", "is_met", "label_zh", "label_en", "consequence_zh",
        "consequence_en",
    ),
    "operations.eval_model_backtest": ("subject", "measure", "method", "is_chosen", "reason", "reason_zh"),
    "audiences.segment_delta": ("scheme", "change"),
    "audiences.segment_summary": (),
    "audiences.segment_coverage": (),
    "marts.retention_cohort": retention.COLUMNS,
    "marts.nps": (),
    "marts.csat": (),
    "marts.channel_performance": (),
    "operations.row_balance": (),
    "operations.row_chain": (),
    "operations.ingest_ledger": (
        "source", "feed", "file", "dt", "status", "reject_code", "reject_codes", "rows_read", "rows_loaded",
        "rows_rejected", "rows_duplicate",
    ),
}  # fmt: skip


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["say"] = say
    return environment


def render_page(tables: Mapping[str, pd.DataFrame], manifest: Mapping) -> str:
    """One HTML document (UTF-8 text). Pure: no clock, no files besides its own templates, no request.

    A panel is a function from the release to the values of one block of the template. When its table is
    missing, empty, not enabled or short of a column, that is {"gap": Text}: the block says why it is empty.

    tables: '<schema>.<table>' -> frame as read from the release; PAGE_TABLES names them and, for the large
    ones, the columns that are used (none named: all).
    manifest: release, as_of_date, policy_version, currency, previous_release, tables, checks, feeds; optional
    k_anon_min (10), and `reason` of a table that is not enabled.
    Raises KeyError without release or as_of_date: a page that cannot say what it shows is no page.
    """
    release = Release(tables, manifest, read_labels(tables.get("audiences.segment_summary")))
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            release=manifest["release"],
            as_of=release.as_of.isoformat(),
            policy_version=manifest.get("policy_version"),
            currency=release.currency,
            previous=manifest.get("previous_release"),
            quality=trust.quality(release),
            kpi=segments.tiles(release),
            segments=segments.segments(release),
            heat=distribution.heat_map(release),
            pareto=distribution.pareto(release),
            movement=movement.movement(release),
            flow=movement.flow(release),
            enough=enough.enough(release),
            leaving=leaving.leaving(release),
            search=search.search(release),
            lifecycle=distribution.lifecycle(release),
            retention=retention.retention(release),
            channels=channels.channels(release),
            feedback=feedback.feedback(release),
            balance=trust.row_balance(release),
            ledger=trust.ledger(release),
            rejects=trust.rejects(release),
            chain=trust.chain(release),
            published=trust.published(release),
        )
    )
