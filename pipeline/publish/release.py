"""Releases: built apart, audited, verified from disk, and made current by one pointer write.

`releases/<id>/` holds `tables/<schema>/<table>.parquet`, `marts.duckdb`, `index.html`, `customers/*.js` for its search, and
`audiences/*.csv` and `manifest.json`. What happens in which order is here; the parts are in tables, manifest, commit and shelf.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import duck
from pipeline.duck import parquet
from pipeline.errors import GateStopped, StrataError
from pipeline.ingest import ledger
from pipeline.privacy import consent, retention
from pipeline.privacy.erasure_gate import erasure_checks
from pipeline.publish import (
    audience_lists,
    commit,
    customers,
    dictionary,
    drift,
    members,
    page_facts,
    shelf,
    withheld,
)
from pipeline.publish.audiences import lists as audiences
from pipeline.publish.manifest import describe, says_the_same
from pipeline.publish.report import PAGE_TABLES, render_page
from pipeline.publish.serving import serve
from pipeline.publish.tables import PublishedTable, path_of, published_tables, write_database, write_parquet
from pipeline.quality import approvals, leaving
from pipeline.quality.checks import Check, blocking, save_checks
from pipeline.quality.scan import scan_suite
from pipeline.quality.suites import load_suites
from pipeline.settings import Settings
from pipeline.transform import receipt


@dataclass(frozen=True)
class Published:
    """Outcome of one publication. `changed` is False where the current release already says the same."""

    release: str
    changed: bool
    checks: tuple[Check, ...]
    path: Path


def publish(
    settings: Settings,
    as_of: date,
    *,
    run_id: str,
    dbt_manifest: Mapping[str, Any],
    expected_nodes: list[str],
    log: Callable[[str], None] = lambda _: None,
) -> Published:
    """Publish the built warehouse as the release of `as_of`, or say that nothing changed.

    Raises:
        GateStopped: without a valid receipt, or when a suite blocks; nothing has moved then.
        StrataError: when `as_of` lies before the current release.
    """
    before = shelf.current(settings)
    approvals.spend(settings, before)
    if before and before["as_of_date"] > as_of.isoformat():
        raise StrataError(
            f"the current release is for {before['as_of_date']}; a release for {as_of} would turn time back. "
            "To look at an older day use `strata releases`, or build it in another home"
        )
    proof = receipt.require(settings, as_of, expected_nodes)
    tables = published_tables(dbt_manifest)
    commit.sweep_leftovers(settings)
    candidate = settings.releases / f".tmp-{run_id}"
    candidate.mkdir(parents=True)
    try:
        log(f"writing {len(tables)} tables")
        in_force = ledger.in_force(ledger.read(settings), as_of)
        refused = consent.refusals(settings, {e.delivery for e in in_force})
        write_parquet(settings, candidate, tables, refused)
        searchable = customers.write(settings, candidate)
        lists = audiences.write(settings, candidate, as_of, before, log)
        checks = [Check.from_dict(dict(c)) for c in proof.checks] + audit(candidate)
        checks += [*withheld.recheck(settings, candidate, refused), retention.check(settings, as_of)]
        checks += erasure_checks(settings, candidate, as_of)
        checks += leaving.check(candidate, tables, as_of)
        checks += audience_lists.check(candidate, lists, refused.channels)
        checks += drift.check(settings, candidate, as_of, before, tables)
        checks += members.check(settings, candidate, as_of, before)
        checks = approvals.applied(settings, checks, as_of, proof.fingerprint)
        save_checks(settings, "release", run_id, checks)
        stopped = blocking(checks)
        if stopped:
            raise GateStopped("nothing was published: " + "\n".join(str(check) for check in stopped))
        hashes = shelf.sha256_of(candidate, shelf.files_of(candidate))
        same = before is not None and says_the_same(before, proof.fingerprint, hashes)
        if before and same and not shelf.verify_folder(settings.releases / before["release"]):
            commit.remove(candidate)
            serve(settings, before["release"])
            log(f"release {before['release']} already says this; nothing changed")
            return Published(before["release"], False, tuple(checks), settings.releases / before["release"])
        ready = _ready(settings, as_of, before, proof.fingerprint, hashes)
        if ready:
            commit.remove(candidate)
            commit.point(settings, ready)
            approvals.spend(settings, shelf.load_manifest(settings, ready))
            log(f"release {ready}, which a run that died had written, is current")
            return Published(ready, True, tuple(checks), settings.releases / ready)
        commit.link_unchanged(settings, candidate, before, hashes)
        release = commit.next_id(settings, as_of)
        manifest = describe(
            settings, as_of, release, run_id, proof, checks, tables, candidate, before, hashes
        )
        if not _holds_no_more(settings, manifest["tables"].get("segments.class_history")):
            manifest["warehouse"] = None
        manifest["customers"] = searchable
        manifest["audiences"] = lists
        manifest["before"] = _told_before(settings, before)
        log("writing marts.duckdb, the dictionary and the page")
        write_database(candidate, tables)
        dictionary.write(candidate, tables, dbt_manifest)
        write_page(candidate, tables, manifest)
        commit.seal(settings, candidate, manifest, is_current=True, hashes=hashes)
    except BaseException:
        commit.remove(candidate)
        raise
    approvals.spend(settings, manifest)
    log(f"release {release} is current")
    return Published(release, True, tuple(checks), settings.releases / release)


def _holds_no_more(settings: Settings, history: Mapping[str, Any] | None) -> bool:
    """Whether the warehouse has no more rows of the history of classes than were published: who refused since the build was
    left out, and the next history must not go on from rows of theirs."""
    if history is None:
        return False
    with duck.connect([settings.warehouse.parent], database=settings.warehouse, read_only=True) as con:
        (held,) = con.execute("select count(*) from segments.class_history").fetchall()[0]
    return bool(held == history["rows"])


def audit(folder: Path) -> list[Check]:
    """The suites of `expectations/audiences` on the very files that are about to leave."""
    checks: list[Check] = []
    with duck.connect([folder]) as con:
        for suite in load_suites("expectations.audiences").values():
            schema, table = suite.target.split(".")
            file = parquet(folder / "tables" / schema / f"{table}.parquet")
            checks += scan_suite(con, suite, file)
    return checks


def write_page(folder: Path, tables: Iterable[PublishedTable], manifest: Mapping[str, Any]) -> None:
    """`index.html` of a candidate, from its own Parquet."""
    frames = page_facts.of(folder, int(manifest.get("k_anon_min", 10)))
    for table in tables:
        if table.key in PAGE_TABLES and table.key not in frames:
            wanted = [c for c in PAGE_TABLES[table.key] if c in table.columns]
            frames[table.key] = pd.read_parquet(folder / path_of(table), columns=wanted or None)
    (folder / "index.html").write_text(render_page(frames, manifest), encoding="utf-8")


def _told_before(settings: Settings, before: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the page of the release before said at its top: kept, so that it is not told again without single persons."""
    if before is None:
        return None
    told = {"release": before["release"], "as_of_date": before["as_of_date"]}
    return told | page_facts.headline(settings.releases / before["release"])


def _ready(
    settings: Settings,
    as_of: date,
    before: Mapping[str, Any] | None,
    built_from: str,
    hashes: Mapping[str, str],
) -> str | None:
    """The newest release of the day, if it was written upon the current one, says the same and is whole.

    A run that died between giving it its name and moving the pointer leaves one. It need not be written again.
    """
    of_day = [r for r in shelf.list_releases(settings) if r.partition("-r")[0] == as_of.isoformat()]
    if not of_day or (before and of_day[-1] == before["release"]):
        return None
    manifest = shelf.load_manifest(settings, of_day[-1])
    upon_current = manifest["previous_release"] == (before["release"] if before else None)
    if not upon_current or "redacts" in manifest or not says_the_same(manifest, built_from, hashes):
        return None
    return None if shelf.verify_folder(settings.releases / of_day[-1]) else of_day[-1]
