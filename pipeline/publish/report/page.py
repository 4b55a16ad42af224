"""Assemble the page."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.publish.report import panels
from pipeline.publish.report.labels import say

# What the page reads, so that the publisher loads no other column of a table with a row per customer.
PAGE_TABLES: Mapping[str, tuple[str, ...]] = {
    "segments.customer_rfm": (
        "r_score", "f_score", "frequency_days", "orders_n", "monetary", "rfm_segment", "scoring_mode",
    ),
    "segments.customer_abc": ("profit_365", "abc_class", "profit_is_estimated"),
    "segments.customer_lifecycle": ("stage",),
    "audiences.segment_membership": ("scheme",),
    "segments.pareto_check": (),
    "audiences.segment_summary": (),
    "marts.nps": (),
    "marts.csat": (),
    "marts.channel_performance": (),
    "operations.row_balance": (),
    "operations.ingest_ledger": (),
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

    tables: '<schema>.<table>' -> frame as read from the release; PAGE_TABLES names the tables and, for the large
    ones, the columns that are used (empty: read all). Absent, None or empty frames give a panel that says why.
    manifest: release, as_of_date, policy_version, currency, previous_release, tables, checks, feeds; optional
    k_anon_min (10). Raises KeyError without release or as_of_date: a page that cannot say what it shows is no page.
    """
    release = panels.Release(tables, manifest, panels.read_labels(tables.get("audiences.segment_summary")))
    return _environment().get_template("page.html.j2").render(
        release=manifest["release"],
        as_of=release.as_of.isoformat(),
        policy_version=manifest.get("policy_version"),
        currency=release.currency,
        previous=manifest.get("previous_release"),
        quality=panels.quality(release),
        kpi=panels.tiles(release),
        segments=panels.segments(release),
        heat=panels.heat_map(release),
        pareto=panels.pareto(release),
        lifecycle=panels.lifecycle(release),
        channels=panels.channels(release),
        feedback=panels.feedback(release),
        balance=panels.row_balance(release),
        ledger=panels.ledger(release),
        published=panels.published(release),
    )
