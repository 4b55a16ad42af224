"""The pairs of the second stage as a run takes them: of `identity/likely.parquet` (likely.py) those that it can touch."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import duckdb

from pipeline import duck
from pipeline.identity.history import Likely, Name

COLUMNS = ("left_source", "left_id", "right_source", "right_id", "probability")
_DAYS = "known_from date, known_to date"


class Pairs:
    """Pairs of an open connection. A pair counts on the days from `known_from` up to, and without, `known_to`."""

    def __init__(self, con: duckdb.DuckDBPyConnection, path: Path) -> None:
        """`path`: the file; absent where the stage is off."""
        self._con = con
        self._read: Sequence[tuple[date, date, Likely]] = ()
        con.execute(
            f"create or replace temp table likely_pairs ({', '.join(f'{c} varchar' for c in COLUMNS[:4])}, "
            f"probability double, {_DAYS}, l ubigint, r ubigint)"
        )
        if path.exists():
            con.execute(
                f"insert into likely_pairs select {', '.join(COLUMNS)}, known_from, known_to, "
                f"hash(left_source, left_id), hash(right_source, right_id) from {duck.parquet(path)}"
            )

    def days(self) -> set[date]:
        """Days on which a pair begins or ends to count."""
        sql = "select known_from from likely_pairs union select known_to from likely_pairs where known_to is not null"
        return {row[0] for row in self._con.execute(sql).fetchall()}

    def names(self) -> str:
        """SQL of the records of all pairs: source, id."""
        left, right = (
            f"select {side}_source as source, {side}_id as id from likely_pairs" for side in ("left", "right")
        )
        return f"{left} union all {right}"

    def moved(self, after: date, until: date) -> set[Name]:
        """Records of pairs that begin or end on a day in (after, until]."""
        moved = "from likely_pairs where (known_from > $1 and known_from <= $2) or (known_to > $1 and known_to <= $2)"
        sql = f"select left_source, left_id {moved} union select right_source, right_id {moved}"
        return set(self._con.execute(sql, [after, until]).fetchall())

    def partners(self, names: str, after: date) -> set[Name]:
        """The other records of pairs, of a day after `after` or of that day, that have a record of the relation `names`.

        By hash (`h`): now and then one more, which costs a look.
        """
        since = "(known_to is null or known_to >= $1)"
        sql = (
            f"select right_source, right_id from likely_pairs semi join {names} on l = h where {since} union "
            f"select left_source, left_id from likely_pairs semi join {names} on r = h where {since}"
        )
        return set(self._con.execute(sql, [after]).fetchall())

    def read(self, names: str | None) -> None:
        """Read the pairs of the records of the relation `names` (with `h`), all where None, for `on`."""
        of = f"where l in (select h from {names}) or r in (select h from {names})" if names else ""
        found = self._con.execute(f"select {', '.join(COLUMNS)}, known_from, known_to from likely_pairs {of}")
        columns = found.to_arrow_table().to_pydict().values()
        self._read = [
            (known_from, known_to or date.max, Likely((a, b), (c, d), probability))
            for a, b, c, d, probability, known_from, known_to in zip(*columns, strict=True)
        ]

    def on(self, day: date) -> list[Likely]:
        """Of the pairs that were read those that count on a day."""
        return [pair for known_from, known_to, pair in self._read if known_from <= day < known_to]


def until(path: Path, day: date) -> str:
    """The pairs that counted on any day up to `day`, as text that tells others apart, in any order of rows."""
    if not path.exists():
        return ""
    with duck.connect([path.parent]) as con:
        rows = con.execute(
            f"select count(*), bit_xor(hash({', '.join(COLUMNS)}, known_from, case when known_to <= $1 then known_to end)) "
            f"from {duck.parquet(path)} where known_from <= $1",
            [day],
        ).fetchall()
    return str(rows)
