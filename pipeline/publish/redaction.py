"""A kept release without erased persons: the same tables, less their rows, under the next free id of its day.

History stays exact but for them: rows of others keep their values, ranks and shares. A shared summary keeps its totals
only where each class still has k people without the erased ones; where it has not, the class shows no figures, and
neither does the one from which they would follow (docs/decisions/015-erasure.md).
"""

import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import duck
from pipeline.duck import literal, parquet, quote
from pipeline.errors import StrataError
from pipeline.publish import audience_lists, commit, customers, shelf
from pipeline.publish import release as releases
from pipeline.publish.tables import PARQUET, PublishedTable, path_of, stated_tables, write_database
from pipeline.quality.policy import k_anonymity
from pipeline.settings import Settings

_PEOPLE = ("customers", "n", "buyers", "active")
_CELL_GROUPS = ("scheme", "question_type", "survey_id", "wave", "as_of_date")
_NO_FIGURES = ("sort", "months_since")


@dataclass(frozen=True)
class Who:
    """The erased persons as releases know them: customer_keys and (source, source customer id)."""

    keys: tuple[str, ...]
    records: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Redacted:
    """What became of one release. `persons` of its persons are gone with `rows` by table; `cells` lost their figures."""

    original: str
    release: str
    persons: int
    rows: Mapping[str, int]
    cells: Mapping[str, int]


def redact(
    settings: Settings, original: str, who: Who, erasure: str, others: Callable[[Path, Path], None]
) -> Redacted | None:
    """Republish a release without the persons and delete the original; None where it does not hold them.

    Done again after a crash it finishes: a republished release names its original under `redacts`.

    Args:
        others: writes a file of the release that is no table (from, to) without the persons.
    """
    done = next((r for r in made(settings, erasure) if r.original == original), None)
    if done is None:
        folder = settings.releases / original
        manifest = shelf.load_manifest(settings, original)
        tables = stated_tables(manifest)
        candidate = settings.releases / f".tmp-redact-{original}"
        commit.remove(candidate)
        candidate.mkdir(parents=True)
        try:
            rows, persons = _cut_tables(folder, candidate, tables, who)
            if not rows:
                commit.remove(candidate)
                return None
            cells = _suppress(candidate, tables, persons)
            _copy_others(folder, candidate, tables, others)
            manifest["customers"] = customers.write(settings, candidate, words_of=folder)
            manifest["audiences"], _ = audience_lists.carry(folder, candidate, manifest.get("audiences"))
            done = _publish(settings, candidate, manifest, tables, who, erasure, rows, persons, cells)
        except BaseException:
            commit.remove(candidate)
            raise
    commit.delete(settings, original)
    return done


def made(settings: Settings, erasure: str) -> list[Redacted]:
    """The kept releases that one erasure made, as their manifests say."""
    found = []
    for release in shelf.list_releases(settings):
        redacts = shelf.load_manifest(settings, release).get("redacts") or {}
        if redacts.get("erasure") == erasure:
            said = (redacts["persons"], redacts["rows"], redacts["cells"])
            found.append(Redacted(redacts["release"], release, *said))
    return found


def _cut_tables(
    folder: Path, candidate: Path, tables: Sequence[PublishedTable], who: Who
) -> tuple[dict[str, int], int]:
    """Write every table without the persons; (rows taken out by table, persons that were in the release)."""
    rows: Counter[str] = Counter()
    found: set[str] = set()
    with duck.connect([folder, candidate]) as con:
        con.register("erased_keys", pa.table({"key": pa.array(who.keys, pa.string())}))
        records = {
            "source": pa.array([s for s, _ in who.records], pa.string()),
            "id": pa.array([i for _, i in who.records], pa.string()),
        }
        con.register("erased_records", pa.table(records))
        for table in tables:
            source, target = folder / path_of(table), candidate / path_of(table)
            target.parent.mkdir(parents=True, exist_ok=True)
            relation = parquet(source)
            texts = [
                r[0]
                for r in con.execute(f"describe from {relation}").fetchall()
                if r[1].startswith("VARCHAR")
            ]
            hit = [f"coalesce({quote(c)} in (select key from erased_keys), false)" for c in texts]
            if {"source", "source_customer_id"} <= set(texts):
                hit.append("(source, source_customer_id) in (select (source, id) from erased_records)")
            where = " or ".join(hit) or "false"
            counted = con.execute(f"select count(*) from {relation} where {where}").fetchone()
            if not counted or not counted[0]:
                shutil.copyfile(source, target)
                continue
            rows[table.key] = counted[0]
            if "customer_key" in texts:
                keys = con.execute(f"select distinct customer_key from {relation} where {where}").fetchall()
                found |= {row[0] for row in keys}
            con.execute(
                f"copy (select * from {relation} where not coalesce({where}, false)) to {literal(str(target))} "
                f"{PARQUET}"
            )
    return dict(rows), len(found)


def _suppress(candidate: Path, tables: Sequence[PublishedTable], persons: int) -> dict[str, int]:
    """Take the figures out of cells that may have fewer than k people without the erased; their number by table."""
    k, hidden = k_anonymity(), {}
    for table in tables:
        people = [c for c in _PEOPLE if c in table.columns]
        if not people or "is_suppressed" not in table.columns:
            continue
        path = candidate / path_of(table)
        data = pq.read_table(path)
        rows = data.to_pylist()
        small = {i for i, r in enumerate(rows) if any(r[c] and r[c] - persons < k for c in people)}
        small |= _following(rows, small, people[0])
        if not small:
            continue
        figures = [
            f.name
            for f in data.schema
            if (pa.types.is_integer(f.type) or pa.types.is_decimal(f.type) or pa.types.is_floating(f.type))
            and f.name not in _NO_FIGURES
        ]
        for i in small:
            rows[i] |= dict.fromkeys(figures) | {"is_suppressed": True}
        pq.write_table(pa.Table.from_pylist(rows, data.schema), path, compression="zstd")
        hidden[table.key] = len(small)
    return hidden


def _following(rows: Sequence[Mapping[str, Any]], small: set[int], people: str) -> set[int]:
    """The smallest shown cell of each group that would hide just one: its figures would follow from the group's total."""
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        if row.get("segment") != "all":
            groups[tuple(row.get(c) for c in _CELL_GROUPS)].append(i)
    also = set()
    for members in groups.values():
        hidden = [i for i in members if i in small or rows[i]["is_suppressed"]]
        shown = [i for i in members if i not in hidden and rows[i][people]]
        if len(hidden) == 1 and hidden[0] in small and shown:
            also.add(min(shown, key=lambda i: rows[i][people]))
    return also


def _copy_others(
    folder: Path, candidate: Path, tables: Sequence[PublishedTable], others: Callable[[Path, Path], None]
) -> None:
    made_anew = {"manifest.json", "manifest.sha256", "marts.duckdb", "index.html"}
    made_anew |= {path_of(t).as_posix() for t in tables}
    for name in shelf.files_of(folder):
        if name not in made_anew and not name.startswith(
            (f"{customers.FOLDER}/", f"{audience_lists.FOLDER}/")
        ):
            target = candidate / name
            target.parent.mkdir(parents=True, exist_ok=True)
            others(folder / name, target)


def _publish(
    settings: Settings,
    candidate: Path,
    before: Mapping[str, Any],
    tables: Sequence[PublishedTable],
    who: Who,
    erasure: str,
    rows: Mapping[str, int],
    persons: int,
    cells: Mapping[str, int],
) -> Redacted:
    original = before["release"]
    release = commit.next_id(settings, date.fromisoformat(before["as_of_date"]))
    manifest = json.loads(json.dumps(before))
    for check in manifest["checks"]:
        kept = [e for e in check.get("examples", ()) if not any(key in e for key in who.keys)]
        if "examples" in check:
            check["examples"] = kept
    for table in tables:
        path = candidate / path_of(table)
        manifest["tables"][table.key] |= {
            "rows": pq.read_metadata(path).num_rows,
            "sha256": shelf.sha256(path),
            "bytes": path.stat().st_size,
        }
    redacts: dict[str, Any] = {
        "release": original,
        "erasure": erasure,
        "persons": persons,
        "rows": dict(rows),
        "cells": dict(cells),
    }
    if before.get("redacts"):
        redacts["earlier"] = before["redacts"]
    manifest |= {
        "release": release,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "redacts": redacts,
        # It no longer says what that warehouse holds.
        "warehouse": None,
    }
    write_database(candidate, tables)
    try:
        releases.write_page(candidate, tables, manifest)
    except (KeyError, ValueError, TypeError) as error:
        raise StrataError(
            f"the page of release {original}, which an earlier version made, cannot be drawn again "
            f"({type(error).__name__}): delete releases/{original} by hand and run `strata erase` again"
        ) from error
    is_current = shelf.pointed(settings) == original
    commit.seal(settings, candidate, manifest, is_current=is_current)
    return Redacted(original, release, persons, rows, cells)
