"""What a build goes on from: classes, cut points and memberships as they stood before D, taken from the releases.

A release is the only thing that is committed, kept, redacted and rolled back as a whole, so the history lives in it and
nowhere else (docs/decisions/017-class-history.md). Before dbt runs, `build/history/` is written anew, or linked where
the release's file says just that:

| file | rows | from |
|---|---|---|
| class_history.parquet | what was known before D; what D or a later day added is taken back | the current release |
| class_bounds.parquet | one per day before D that was built | the current release |
| class_group_bounds.parquet | one per such day, scheme and group | the current release |
| segment_membership.parquet | customer_key, scheme, class, as_of_date | the last release of a day before D |
| segment_summary.parquet, segment_coverage.parquet, retention_cohort.parquet, nps.parquet, csat.parquet | which cells it hid | the same |
"""

import os
import shutil
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from pipeline import duck
from pipeline.duck import literal, quote
from pipeline.identity import tables
from pipeline.progress import say
from pipeline.publish import shelf
from pipeline.settings import Settings
from pipeline.transform.receipt import identity

# Columns of each table that are read, all of them where None, and the condition under which a row stood before D. Both
# are SQL over the columns of the release's file; $day is D.
_PICKED = {
    "segment_membership": ("customer_key", "scheme", "class", "as_of_date"),
    "segment_summary": ("scheme", "class", "is_suppressed"),
    "segment_coverage": ("population_group", "is_suppressed"),
    "retention_cohort": ("cohort_month", "is_suppressed", "customers"),
    "nps": ("survey_id", "wave", "segment", "is_suppressed"),
    "csat": ("question_type", "survey_id", "wave", "segment", "is_suppressed"),
}
# Tables whose cells may be hidden; what the earlier release hid with a small cell stays hidden with it.
_HIDING = (
    "audiences.segment_summary",
    "audiences.segment_coverage",
    "marts.retention_cohort",
    "marts.nps",
    "marts.csat",
)
# Releases of earlier versions have none.
_SINCE = "segments.class_group_bounds"
_UNDONE = {
    # What D closed or showed is open and not shown again.
    "valid_to": "case when valid_to < $day then valid_to end",
    "left_cause": "case when valid_to < $day then left_cause end",
    "published_from": "case when published_from < $day then published_from end",
}


def prepare(settings: Settings, as_of: date, nodes: Mapping[str, Any]) -> str | None:
    """Write `build/history/` for a build of `as_of`; the release that it goes on from, None where history begins.

    Args:
        nodes: of the dbt manifest; the tables' own columns give the files their types, whatever an old release has.
    """
    base = _base(settings)
    before = _before(settings, as_of)
    folder = settings.build / "history"
    folder.mkdir(parents=True, exist_ok=True)
    people = tables.sql(settings, "history")
    with duck.connect([folder, settings.releases, settings.identity], spill=settings.build / ".spill") as con:
        for table, source, where, undone in (
            ("segments.class_history", base, "valid_from < $day and {known}", _UNDONE),
            ("segments.class_bounds", base, "as_of_date < $day", {}),
            (_SINCE, base if base and _has(settings, base, _SINCE) else None, "as_of_date < $day", {}),
            ("audiences.segment_membership", before, "{known}", {}),
            *((table, _hidden(settings, before, table), "true", {}) for table in _HIDING),
        ):
            schema, name = table.split(".")
            columns = {
                column: c["data_type"]
                for column, c in nodes[f"model.strata.{name}"]["columns"].items()
                if column in _PICKED.get(name, (column,))
            }
            file = settings.releases / source / "tables" / schema / f"{name}.parquet" if source else None
            have = _columns(con, file)
            picked = ", ".join(
                f"cast({undone.get(c, quote(c)) if c in have else 'null'} as {kind}) as {quote(c)}"
                for c, kind in columns.items()
            )
            # Whom identity knows no longer has been erased, or the source has taken the record back.
            known = (
                f"customer_key in (select customer_key from {people} union select merged_into from {people})"
            )
            rows = (
                f"from read_parquet({literal(str(file))}, hive_partitioning = false) "
                f"where {where.format(known=known)}"
                if have
                else "where false"
            )
            target = folder / f"{name}.parquet"
            # It may be the very file of a release.
            target.unlink(missing_ok=True)
            if (
                file
                and source
                and undone
                and have
                and _stands(settings, con, file, source, columns, known, as_of)
            ):
                _link(file, target)
                continue
            sql = f"copy (select {picked} {rows}) to {literal(str(target))} (format parquet)"
            con.execute(sql.replace("$day", f"date {literal(as_of.isoformat())}"))
    return base


def is_in_warehouse(settings: Settings, release: str | None) -> bool:
    """Whether `class_history` in the warehouse is what `prepare` has just laid out: the very file of the release, and the
    release was written from the warehouse as it lies there now. A rollback, a redaction, the same day again or another build
    since say no."""
    if release is None:
        return False
    file = settings.releases / release / "tables" / "segments" / "class_history.parquet"
    laid_out = settings.build / "history" / "class_history.parquet"
    written_from = shelf.load_manifest(settings, release).get("warehouse")
    return written_from == identity(settings.warehouse) and laid_out.samefile(file)


def _stands(
    settings: Settings,
    con: Any,
    file: Path,
    source: str,
    columns: Mapping[str, str],
    known: str,
    as_of: date,
) -> bool:
    """Whether the file of a release says word for word what stood before `as_of`, as it nearly always does: the release is
    of an earlier day, its columns are today's, and identity knows everybody in it."""
    if shelf.load_manifest(settings, source)["as_of_date"] >= as_of.isoformat():
        return False
    wanted = ", ".join(f"cast(null as {kind}) as {quote(c)}" for c, kind in columns.items())
    rows = f"read_parquet({literal(str(file))}, hive_partitioning = false)"
    typed, there = (
        [row[:2] for row in con.execute(f"describe {sql}").fetchall()]
        for sql in (f"select {wanted}", f"select * from {rows}")
    )
    strangers = f"select exists (select 1 from {rows} where ({known}) is not true)"
    return typed == there and not con.execute(strangers).fetchone()[0]


def _link(file: Path, target: Path) -> None:
    """The same file again; a copy where it lies on another disk."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)


def _base(settings: Settings) -> str | None:
    """The current release, or the newest before it whose history is as it was published."""
    now = shelf.current(settings)
    if now is None:
        return None
    for name in [now["release"], *reversed(shelf.list_releases(settings))]:
        manifest = shelf.load_manifest(settings, name)
        if manifest["as_of_date"] > now["as_of_date"] or "segments.class_history" not in manifest["tables"]:
            continue
        of_history = ("segments.class_history", "segments.class_bounds", _SINCE)
        if _is_whole(settings, manifest, [t for t in of_history if t != _SINCE or t in manifest["tables"]]):
            return name
        say(f"the class history of release {name} is damaged: going on from the one before")
    return None


def _before(settings: Settings, as_of: date) -> str | None:
    """The last release of a day before D that was shown before the current one, or is it."""
    now = shelf.current(settings)
    there = shelf.list_releases(settings)
    chain: list[str] = []
    while now and now["release"] not in chain:
        chain.append(now["release"])
        previous = now["previous_release"]
        now = shelf.load_manifest(settings, previous) if previous in there else None
    # A chain that a redaction or pruning has cut goes on with what is left.
    for name in [*chain, *(r for r in reversed(there) if chain and r < chain[-1])]:
        manifest = shelf.load_manifest(settings, name)
        if manifest["as_of_date"] < as_of.isoformat() and _is_whole(
            settings, manifest, ("audiences.segment_membership",)
        ):
            return name
    return None


def _hidden(settings: Settings, before: str | None, table: str) -> str | None:
    """The release to take the hidden cells from; None where it has no such table, as a replayed day has not."""
    if before and _is_whole(settings, shelf.load_manifest(settings, before), (table,)):
        return before
    return None


def _has(settings: Settings, release: str, table: str) -> bool:
    return table in shelf.load_manifest(settings, release)["tables"]


def _is_whole(settings: Settings, manifest: Mapping[str, Any], tables: Iterable[str]) -> bool:
    for table in tables:
        schema, name = table.split(".")
        file = settings.releases / manifest["release"] / "tables" / schema / f"{name}.parquet"
        stated = manifest["tables"].get(table)
        if stated is None or not file.is_file() or shelf.sha256(file) != stated["sha256"]:
            return False
    return True


def _columns(con: Any, file: Path | None) -> set[str]:
    if file is None:
        return set()
    rows = con.execute(
        f"describe select * from read_parquet({literal(str(file))}, hive_partitioning = false)"
    ).fetchall()
    return {row[0] for row in rows}
