"""What marketing tools take from the release: the audiences with their lists, who joins and leaves, and the files."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.publish.report import numbers as fmt
from pipeline.publish.report.labels import Text, known, say
from pipeline.publish.report.release import Release, mask_small, text_of, weights

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
        delta = release.tables[name]
        counted = weights(delta).groupby([delta["scheme"], delta["change"]]).sum()
        counts = {(text_of(s), text_of(c)): int(n) for (s, c), n in counted.items()}
        sizes = (
            {}
            if members is None or "scheme" not in members
            else weights(members).groupby(members["scheme"]).sum().to_dict()
        )
        for scheme in sorted({s for s, _ in counts} | {text_of(s) for s in sizes}):
            own = {change: counts.get((scheme, change), 0) for change in CHANGES}
            masks = mask_small(own, release.k)
            rows.append(
                {
                    "heading": release.scheme_text(scheme),
                    "size": release.people(sizes.get(scheme, 0)),
                    "cells": [masks.get(change) or fmt.count(own[change]) for change in CHANGES],
                }
            )
    files = [
        f"tables/{schema}/{table}.parquet"
        for schema, table in FILES
        if f"{schema}.{table}" in released(release)
    ]
    return {"audiences": audiences(release), "gap": gap, "rows": rows, "files": files}


def audiences(release: Release) -> dict:
    """Per audience of the policy: members, joined and left since the release before, its list, and per destination the
    command that renders the file it takes in."""
    told = release.manifest.get("audiences")
    if not told:
        return {"gap": release.gap("audiences.segment_membership") or say("leaving.no_lists")}
    if "problem" in told:
        return {"gap": say("leaving.problem", problem=told["problem"])}
    if not told["lists"]:
        return {"gap": say("leaving.none_declared")}
    return {"since": told["since"], "rows": [audience(release, one) for one in told["lists"]], "k": release.k}


def audience(release: Release, one: Mapping) -> dict:
    return {
        "name": Text(one["name_zh"], one["name_en"]),
        "id": one["audience"],
        "channel": known("contact_channel", one["channel"]) or Text(one["channel"], one["channel"]),
        "cells": [
            fmt.DASH if one[key] is None else release.people(one[key])
            for key in ("members", "joined", "left")
        ],
        "file": one["file"],
        "destinations": [
            {
                "name": Text(to["name_zh"], to["name_en"]),
                "command": f"strata audiences export --audience {one['audience']} --destination {to['destination']}",
            }
            for to in one["destinations"]
        ],
    }


def released(release: Release) -> set[str]:
    """Tables that lie in the release as files: those whose entry has columns."""
    return {name for name, entry in (release.manifest.get("tables") or {}).items() if entry.get("columns")}
