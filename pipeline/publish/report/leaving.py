"""What marketing tools take from the release: who joins and who leaves the audience table, and the files."""

from __future__ import annotations

from pipeline.publish.report import numbers as fmt
from pipeline.publish.report.labels import Text, known
from pipeline.publish.report.release import Release, mask_small, text_of

CHANGES = ("entered", "changed", "left")
FILES = (
    ("audiences", "segment_membership"),
    ("audiences", "segment_delta"),
    ("audiences", "segment_summary"),
    ("segments", "customer_360"),
)


def leaving(release: Release) -> dict:
    """Per scheme: members, joined, changed class, left since the release of an earlier day; files of the release."""
    name = "audiences.segment_delta"
    gap = release.gap(name, "scheme", "change")
    members = release.tables.get("audiences.segment_membership")
    rows = []
    if not gap:
        counted = release.tables[name].groupby(["scheme", "change"]).size()
        counts = {(text_of(s), text_of(c)): int(n) for (s, c), n in counted.items()}  # type: ignore[misc]
        sizes = (
            {} if members is None or "scheme" not in members else members["scheme"].value_counts().to_dict()
        )
        for scheme in sorted({s for s, _ in counts} | {text_of(s) for s in sizes}):
            own = {change: counts.get((scheme, change), 0) for change in CHANGES}
            masks = mask_small(own, release.k)
            rows.append(
                {
                    "heading": known("scheme", scheme) or Text(scheme, scheme),
                    "size": release.people(sizes.get(scheme, 0)),
                    "cells": [masks.get(change) or fmt.count(own[change]) for change in CHANGES],
                }
            )
    files = [
        f"tables/{schema}/{table}.parquet"
        for schema, table in FILES
        if f"{schema}.{table}" in released(release)
    ]
    return {"gap": gap, "rows": rows, "files": files, "k": release.k}


def released(release: Release) -> set[str]:
    """Tables that lie in the release as files: those whose entry has columns."""
    return {name for name, entry in (release.manifest.get("tables") or {}).items() if entry.get("columns")}
