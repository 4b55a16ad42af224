"""What every published table must hold, asked of the written files: one scan per table, one suite over its counts.

DuckDB counts the faults of a table in one pass over its file, and the suite `expectations/releases/every_table.py`
judges the counts.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from math import sqrt
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import duck
from pipeline.duck import literal, parquet, quote
from pipeline.ingest.vault.masking import mask
from pipeline.quality.checks import Check
from pipeline.quality.policy import thresholds
from pipeline.quality.scan import scan_suite
from pipeline.quality.suites import load_suites

_TARGET = "releases.every_table"
_KEY = "customer_key"
# What people without access to single customers read: nothing there is counted from a list that lies beside it.
_SHARED = ("audiences", "marts")
_TOKEN = "[0-9a-f]{32}"
# Wide on purpose: what it finds is looked at again with the finders that mask free text at ingest.
_MAYBE_PERSONAL = (
    r"@[^\s@]+\.[A-Za-z]{2}|(^|[^0-9A-Za-z])(\+?86[ -]?)?1[3-9][0-9]([ -]?[0-9]{4}){2}([^0-9A-Za-z]|$)"
    r"|(^|[^0-9A-Za-z])[0-9]{14,19}[0-9Xx]?([^0-9A-Za-z]|$)"
)
# Of ids that are nobody's contact: one in fourteen of eleven digits begins like a phone, one in ten passes for a card.
_IDS_BY_CHANCE = 0.2
# Encodings of a column that lists its values once and points to them from each row.
_LISTS = {"PLAIN_DICTIONARY", "RLE_DICTIONARY", "RLE"}
_MARKS = ("‹email›", "‹phone›", "‹id›")


class Written(Protocol):
    """A published table, as its allow-list states it."""

    @property
    def key(self) -> str: ...
    @property
    def columns(self) -> tuple[str, ...]: ...
    @property
    def grain(self) -> tuple[str, ...]: ...
    @property
    def optional(self) -> tuple[str, ...]: ...
    @property
    def counted_from(self) -> str | None: ...


@dataclass(frozen=True)
class _Seen:
    """One file: its faults by kind (and `table`), what of them can be shown, its columns of text, and the values of those
    that list each value once."""

    counts: dict[str, Any]
    shown: dict[str, Sequence[str]]
    texts: Sequence[str]
    listed: Sequence[str]


def check(folder: Path, tables: Iterable[Written], as_of: date) -> list[Check]:
    """One check per rule; where it fails, one per table that fails it, with what is wrong there.

    Args:
        folder: the candidate, with its `tables/`.
    """
    limits = thresholds(as_of)
    asked = list(tables)
    lists = {table.key for table in asked if _KEY in table.columns}
    by_table: dict[str, _Seen] = {}

    def look(cursor: duckdb.DuckDBPyConnection, table: Written) -> None:
        k = 0 if _tells_nothing_new(table, lists) else int(limits["k_anon_min"])
        by_table[table.key] = _counts(cursor, folder, table, as_of, k)

    con = duck.connect([folder])
    try:
        duck.share_out(con, asked, look)
        _look_closer(con, folder, by_table.values())
        suite = load_suites("expectations.releases")[_TARGET]
        found = [(by_table[table.key].counts, by_table[table.key].shown) for table in asked]
        con.register("counted", pa.Table.from_pylist([counts for counts, _ in found]))
        results = scan_suite(con, suite, "counted")
    finally:
        con.close()
    columns = {e.check: e.args["column"] for e in suite.expectations}
    checks: list[Check] = []
    for result in results:
        what = columns[result.check]
        faults = [(counts, examples) for counts, examples in found if counts[what] != 0]
        checks += [] if faults else [result]
        checks += [
            replace(
                result,
                target=str(counts["table"]),
                observed=counts[what],
                limit=0,
                examples=tuple(examples.get(what, ())),
            )
            for counts, examples in faults
        ]
    return checks


def _tells_nothing_new(table: Written, lists: Collection[str]) -> bool:
    """Whether who may read a table's few can count them in the list of single people beside it (decision 022)."""
    if table.key.partition(".")[0] in _SHARED:
        return False
    # A release of an earlier version does not say; it passed its own gate.
    return table.counted_from is None or table.counted_from in lists


def _counts(con: duckdb.DuckDBPyConnection, folder: Path, table: Written, as_of: date, k: int) -> _Seen:
    """Faults of one file. Cells below `k` people are faults."""
    path = _path(folder, table.key)
    file = parquet(path)
    types = {row[0]: row[1] for row in con.execute(f"describe select * from {file}").fetchall()}
    texts = [c for c, kind in types.items() if kind == "VARCHAR" and c != _KEY]
    grain = [quote(c) for c in table.grain if c in types]
    stated = [c for c in table.grain if c in types and c not in table.optional]
    listed, few = _listed_values(path, texts)
    others = [quote(c) for c in texts if c not in listed]
    maybe = (
        f"regexp_matches(concat_ws(' · ', {', '.join(others)}), {literal(_MAYBE_PERSONAL)})"
        if others
        else "false"
    )
    asked = {
        "null_grain": " or ".join(f"{quote(c)} is null" for c in stated) or "false",
        "other_days": _other_days(table, types, as_of),
        "small_cells": f"customers between 1 and {k - 1}"
        if "customers" in types and _KEY not in types
        else "false",
        "personal_data": maybe,
        "clear_keys": f"not regexp_full_match({_KEY}, {literal(_TOKEN)})" if _KEY in types else "false",
    }
    counted = ", ".join(f"count(*) filter (where {sql}) as {what}" for what, sql in asked.items())
    row = con.execute(f"select {counted} from {file}").fetchone()
    counts: dict[str, Any] = dict(zip(asked, row or (), strict=True))
    counts["doubled_grain"] = _doubled(con, file, grain)
    other = sorted(set(types) ^ set(table.columns))
    counted_faults = {"table": table.key, **counts, "other_columns": len(other)}
    return _Seen(counted_faults, {"other_columns": other}, texts, few)


def _look_closer(con: duckdb.DuckDBPyConnection, folder: Path, tables: Iterable[_Seen]) -> None:
    """Where a first glance sees personal data, ask the finders: the columns in which they agree are the faults."""
    seen = list(tables)
    # All lists at once: there are few values in them, and a question of each table costs more than its answer.
    suspects = _suspects(con, sorted(set().union(*(one.listed for one in seen))))
    for one in seen:
        if one.counts["personal_data"] or not suspects.isdisjoint(one.listed):
            file = parquet(_path(folder, one.counts["table"]))
            columns = _personal(con, file, [quote(c) for c in one.texts])
            one.counts["personal_data"] = len(columns)
            one.shown["personal_data"] = [f"column {column}" for column in columns]


def _path(folder: Path, key: str) -> Path:
    schema, name = key.split(".")
    return folder / "tables" / schema / f"{name}.parquet"


def _doubled(con: duckdb.DuckDBPyConnection, file: str, grain: Sequence[str]) -> int:
    """Rows that repeat the grain of another. Files are sorted by it, so equal rows are neighbours.

    Asked apart from all else: a window over the order of the file takes one core, and the columns beside it would wait.
    """
    if not grain:
        return 0
    both = ", ".join(grain)
    found = con.execute(
        f"select count(*) from (select {both}, lag(row({both})) over () as before from {file}) "
        f"where row({both}) is not distinct from before"
    ).fetchone()
    return found[0] if found else 0


def _listed_values(path: Path, texts: Sequence[str]) -> tuple[set[str], list[str]]:
    """(columns of which the file lists each value once a row group, the values): a hundredth of the reading.

    Other columns are those with a plain page: many values, or a writer that states it of the list itself.
    """
    file = pq.ParquetFile(path, read_dictionary=list(texts))
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    names = file.schema_arrow.names
    listed: set[str] = set()
    values: set[str] = set()
    for name in texts:
        chunks = [group.column(names.index(name)) for group in groups]
        empty = all(
            c.statistics is not None and c.statistics.null_count == g.num_rows
            for c, g in zip(chunks, groups, strict=True)
        )
        if empty:
            listed.add(name)
        elif all(set(c.encodings) <= _LISTS for c in chunks):
            listed.add(name)
            for chunk in file.read(columns=[name], use_threads=False).column(0).chunks:
                values.update(chunk.dictionary.to_pylist())
    return listed, sorted(values)


def _suspects(con: duckdb.DuckDBPyConnection, values: Sequence[str]) -> set[str]:
    """Those of the values that look personal at a first glance."""
    con.register("listed", pa.table({"value": pa.array(values, pa.string())}))
    found = con.execute(
        f"select value from listed where regexp_matches(value, {literal(_MAYBE_PERSONAL)})"
    ).fetchall()
    return {row[0] for row in found}


def _other_days(table: Written, types: dict[str, str], as_of: date) -> str:
    """Rows of a day that the table is not for. One whose grain begins with the day keeps the days before it too."""
    if "as_of_date" not in types:
        return "false"
    day = f"{literal(as_of.isoformat())}::date"
    if table.grain[:1] == ("as_of_date",):
        return f"as_of_date is null or as_of_date > {day}"
    return f"as_of_date is distinct from {day}"


def _personal(con: duckdb.DuckDBPyConnection, file: str, texts: Sequence[str]) -> list[str]:
    """Columns in which the finders agree that there is personal data. Its values are never told.

    An id of many digits looks like a phone or a card now and then; more of them than chance makes are some.
    """
    found = []
    for column in texts:
        values = con.execute(
            f"select distinct {column} from {file} where regexp_matches({column}, {literal(_MAYBE_PERSONAL)})"
        ).fetchall()
        hits = sum(_is_personal(row[0] for row in values))
        name = column.strip('"')
        if hits and name.endswith("_id"):
            row = con.execute(f"select count(distinct {column}) from {file}").fetchone()
            n, p = row[0] if row else 0, _IDS_BY_CHANCE
            hits = hits > p * n + 3 * sqrt(p * (1 - p) * n)
        if hits:
            found.append(name)
    return found


def _is_personal(values: Iterable[str]) -> Iterator[bool]:
    texts = list(values)
    for text, masked in zip(texts, mask(texts), strict=True):
        yield any(mark in masked and mark not in text for mark in _MARKS)
