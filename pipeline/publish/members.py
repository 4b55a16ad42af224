"""Q-15: people who may be addressed do not vanish. A source that came empty or cut is nobody's word.

`segment_membership` holds who has consented. Consents that are missing look like consents that were never given, so a
membership is held against that of the release before: who left it without a word, and is still here, counts.
"""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from pipeline import duck
from pipeline.duck import parquet
from pipeline.ingest.vault import Vault
from pipeline.publish.withheld import MEMBERSHIP
from pipeline.quality import approvals
from pipeline.quality.checks import Check, Level
from pipeline.quality.policy import thresholds
from pipeline.settings import Settings

_LINKS = Path("tables") / "core" / "dim_identity_links.parquet"
_LOST = (
    "Many of the people who may be addressed have left without a word of theirs (Q-15): rather a source of consents or "
    "customers came empty or cut.\n\nDeliver it again; is it right, `strata gate approve` lets it pass once."
)


def check(settings: Settings, folder: Path, as_of: date, before: Mapping[str, Any] | None) -> list[Check]:
    """`members_stay` on a candidate; nothing before the second release.

    It stops where more than `drift_moved_share_max` of the members a day are lost, at most
    `audience_removes_share_max`, and more than `audience_change_rows_min` people or all of them. Another policy is
    meant to change who they are: that is told.

    Args:
        folder: the candidate, with its `tables/`.
        before: manifest of the current release.
    """
    if before is None or not (settings.releases / before["release"] / MEMBERSHIP).is_file():
        return []
    limits = thresholds(as_of)
    earlier, warehouse = settings.releases / before["release"], settings.warehouse
    con = duck.connect([folder, earlier, warehouse.parent], database=warehouse, read_only=True)
    try:
        one, other = (
            f"(select distinct customer_key from {parquet(f / MEMBERSHIP)})" for f in (earlier, folder)
        )
        policy, members_n, there_n = con.execute(
            f"select (select max(policy_version) from {parquet(folder / MEMBERSHIP)}), "
            f"(select count(*) from {one}), (select count(*) from {other})"
        ).fetchone() or (None, 0, 0)
        lost = _lost(con, settings, folder, one, other)
    finally:
        con.close()
    share = round(len(lost) / members_n, 4) if members_n else 0.0
    days = max(1, (as_of - date.fromisoformat(before["as_of_date"])).days)
    limit = min(limits["audience_removes_share_max"], days * limits["drift_moved_share_max"])
    enough = len(lost) > limits["audience_change_rows_min"] or not there_n
    passed = not (lost and enough and share > limit)
    level: Level = "warn" if policy not in (None, before["policy_version"]) and not passed else "block"
    target = ".".join(MEMBERSHIP.with_suffix("").parts[-2:])
    examples = () if passed else tuple(lost[:5])
    return [
        Check(
            "table",
            target,
            "members_stay",
            level,
            passed,
            share,
            limit,
            _LOST,
            examples,
            approvals.APPROVABLE,
        )
    ]


def _lost(
    con: duckdb.DuckDBPyConnection, settings: Settings, folder: Path, one: str, other: str
) -> list[str]:
    """Members of `one` and not of `other` who have refused nothing, are no minors, and were neither merged nor erased."""
    merged = (
        f"union select customer_key from {parquet(folder / _LINKS)} where merged_into is not null"
        if (folder / _LINKS).is_file()
        else ""
    )
    gone = con.execute(
        f"""
        select customer_key from {one} except (
            select customer_key from {other}
            union select customer_key from core.fct_consent_states
            where not is_granted and purpose in ('marketing', 'profiling')
            union select customer_key from intermediate.int_persons_excluded
            union select customer_key from core.dim_customers where is_minor
            {merged}
        ) order by 1
        """
    ).fetchall()
    if not gone:
        return []
    erased = Vault(settings, "gate Q-15").tombstones
    return [key for (key,) in gone if not erased.erased_on("key", key)]
