"""Tables of which a day changes a few rows: a base, and beside it all rows of the records that have changed since.

What stands in `since` goes before all rows of the same record in the base; `is_gone` there says that none is left.
A day writes `since` anew, and only where that has outgrown a share of the base one base of both: so a day costs by
what has changed. Files are never changed: each has a number of its own, and the caller's manifest says which count.
"""

from pathlib import Path
from typing import TypedDict

import duckdb

from pipeline.duck import literal, parquet
from pipeline.ingest.files import fsync, temporary_of

SHARE = 0.1
"""Of the rows of the base, above which `since` becomes part of it. What a day writes is least near the root of twice
the share that a day changes: 6 % where that is two in a thousand, 20 % where it is two in a hundred."""
ROWS_MIN = 1000
"""Rows that `since` may have whatever the base has."""

COLUMNS = {
    "known": "source varchar, id varchar, h ubigint, first_seen date, last_seen date, phone_token varchar, "
    "email_token varchar, told_at {at}, name_token varchar, name_at {at}, birth_token varchar, birth_at {at}, "
    "observed struct(type varchar, value varchar, confidence double, observed_at date)[]",
    "records": "source varchar, id varchar, h ubigint, first_seen date, name_token varchar, birth_date varchar, "
    'member_id varchar, "values" struct(type varchar, value varchar, confidence double, observed_at date)[], '
    "pairs_made bigint",
    "ids": "source varchar, id varchar, h ubigint, v ubigint, first_seen date",
    "links": "source varchar, id varchar, h ubigint, customer_key varchar, rule varchar, confidence double, "
    "observed_at date, valid_from date, split_from varchar, first_seen date, last_seen date",
    "closed": "source varchar, id varchar, customer_key varchar, rule varchar, confidence double, observed_at date, "
    "valid_from date, valid_to date, merged_into varchar, split_from varchar",
}
"""Table → its columns. `h` is the hash of source and id, `v` that of an identifier or a key: both narrow a search down,
what is found is compared in full."""
_AT = "struct(updated_at timestamp, dt date, row_no bigint, delivery varchar)"


class Files(TypedDict):
    """What counts of one table: names of files, None where there is none, and rows of the base."""

    base: str | None
    since: str | None
    rows: int


class Parts:
    """The tables of one folder on an open connection.

    Of each there are `<table>_base` and `<table>_since` (with `is_gone`), and `<table>`, the rows that count.
    """

    def __init__(
        self, con: duckdb.DuckDBPyConnection, folder: Path, files: dict[str, Files], number: int
    ) -> None:
        """`files`: those that count, none in a new home; `number`: of the files that this one writes."""
        self._con, self._folder, self._number = con, folder, number
        self.files = {table: files.get(table) or Files(base=None, since=None, rows=0) for table in COLUMNS}
        for table, named in self.files.items():
            self._empty(table)
            if named["since"]:
                con.execute(f"insert into {table}_since by name from {parquet(folder / named['since'])}")
            self._bind(table)

    def _bind(self, table: str) -> None:
        named = self.files[table]["base"]
        columns = COLUMNS[table].format(at=_AT)
        self._con.execute(f"drop view if exists {table}; drop table if exists {table}_empty")
        self._con.execute(f"create temp table {table}_empty ({columns})")
        base = parquet(self._folder / named) if named else f"{table}_empty"
        self._con.execute(f"create or replace temp view {table}_base as from {base}")
        self._con.execute(f"create or replace temp view {table} as {self._rows(table, f'{table}_base')}")

    def _rows(self, table: str, base: str) -> str:
        # An interval that has ended never changes: of those, `since` only adds.
        replaced = "" if table == "closed" else f"anti join {table}_since using (source, id) "
        return (
            f"select * from {base} {replaced}"
            f"union all by name select * exclude is_gone from {table}_since where not is_gone"
        )

    def of(self, table: str, wanted: str, column: str = "h") -> None:
        """Fill the temp table `found` with the rows whose `column` a row of the relation `wanted` has.

        `wanted` has the column, and source and id as well where it is h.
        """
        both = "(source, id)" if column == "h" else f"({column})"
        self._con.execute(
            f"create or replace temp table near as from {table}_base semi join {wanted} using ({column})"
        )
        self._con.execute(
            f"create or replace temp table found as from ({self._rows(table, 'near')}) semi join {wanted} using {both}"
        )

    def put(self, table: str, new: str, touched: str) -> None:
        """Replace the rows of the records in the relation `touched` (source, id) by those of the relation `new`.

        Of `closed` nothing is replaced: the new rows come to those that are there.
        """
        con, named = self._con, self.files[table]
        others = "" if table == "closed" else f"anti join {touched} using (source, id)"
        gone = f"select distinct source, id from {touched} anti join {new} using (source, id)"
        con.execute(
            f"create or replace temp table gone as {gone if others else 'select null as source, null as id limit 0'}"
        )
        rows = _count(con, f"(from {table}_since {others})") + _count(con, "gone") + _count(con, new)
        if rows > (max(SHARE * named["rows"], ROWS_MIN) if named["base"] else 0):
            whole = f"select * from {table} {others} union all by name select * from {new}"
            named["base"], named["since"] = self._write(f"{table}.base", whole), None
            self._empty(table)
            self._bind(table)
            named["rows"] = _count(con, f"{table}_base")
            return
        if others:
            con.execute(
                f"delete from {table}_since where (source, id) in (select (source, id) from {touched})"
            )
            con.execute(f"insert into {table}_since by name select source, id, true as is_gone from gone")
        con.execute(f"insert into {table}_since by name select *, false as is_gone from {new}")
        named["since"] = self._write(f"{table}.since", f"from {table}_since") if rows else None

    def _empty(self, table: str) -> None:
        # Rows that are deleted from a table in memory stay there.
        columns = COLUMNS[table].format(at=_AT)
        self._con.execute(f"create or replace temp table {table}_since ({columns}, is_gone boolean)")

    def _write(self, name: str, sql: str) -> str:
        file = f"state.{name}.{self._number}.parquet"
        copy(self._con, sql, self._folder / file)
        return file


def _count(con: duckdb.DuckDBPyConnection, relation: str) -> int:
    row = con.execute(f"select count(*) from {relation}").fetchone()
    return int(row[0]) if row else 0


def copy(con: duckdb.DuckDBPyConnection, sql: str, path: Path) -> None:
    """Write what a query gives, durably and in one rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(temporary_of(path.name))
    # Tokens and ids do not shrink further at a higher level, which costs half as much again.
    con.execute(
        f"copy ({sql}) to {literal(str(temporary))} (format parquet, compression zstd, compression_level 1)"
    )
    fsync(temporary)
    temporary.replace(path)
