"""Tables of which a day changes a few rows: a base, and beside it a part per day with all rows of the records that changed.

A record's rows in its newest part go before its rows in older parts and in the base; `is_gone` there says that none is
left. A day writes one part; many parts become one, and where they have outgrown a share of the base, one base with it: so
a day costs by what has changed. Bases and parts are sorted by the column that they are looked through by. Files are never
changed: each has a number of its own, and the manifest (tables.py) says which count.
"""

from pathlib import Path
from typing import TypedDict

import duckdb

from pipeline.duck import literal
from pipeline.ingest.files import fsync, temporary_of

SHARE = 0.1
"""Of the rows of the base, above which the parts become part of it. What a day writes is least near the root of twice
the share that a day changes: 6 % where that is two in a thousand, 20 % where it is two in a hundred."""
ROWS_MIN = 1000
"""Rows that the parts may have whatever the base has."""
PARTS_MAX = 8
"""Parts that may lie beside a base: each is one more file to open at every look."""
ROW_GROUP = 8192
"""Rows that are read at least where one is wanted. Half as many find a hundred records in a fifth less CPU and read a
whole table in half as much again."""
HISTORY = "history"
"""The table that others read (tables.py); of it there is always a base and a part, be they empty."""

COLUMNS = {
    "known": "source varchar, id varchar, h ubigint, first_seen date, last_seen date, phone_token varchar, "
    "email_token varchar, told_at {at}, name_token varchar, name_at {at}, birth_token varchar, birth_at {at}, "
    "observed struct(type varchar, value varchar, confidence double, observed_at date)[]",
    "records": "source varchar, id varchar, h ubigint, first_seen date, name_token varchar, birth_date varchar, "
    'member_id varchar, "values" struct(type varchar, value varchar, confidence double, observed_at date)[], '
    "pairs_made bigint",
    "ids": "source varchar, id varchar, h ubigint, v ubigint, first_seen date",
    HISTORY: "source varchar, id varchar, h ubigint, customer_key varchar, rule varchar, confidence double, "
    "observed_at date, valid_from date, valid_to date, merged_into varchar, split_from varchar, first_seen date, "
    "last_seen date, known_at date",
}
"""Table → its columns. `h` is the hash of source and id, `v` that of an identifier or a key: both narrow a search down,
what is found is compared in full."""
_AT = "struct(updated_at timestamp, dt date, row_no bigint, delivery varchar)"
_SORTED_BY = {"ids": "v"}


class Files(TypedDict):
    """What counts of one table: names of files, with the rows in them."""

    base: str | None
    since: list[str]
    rows: int
    since_rows: int


class Parts:
    """The tables of one folder on an open connection.

    Of each there are the views `<table>_base`, `<table>_since` (with `is_gone` and `part`), and `<table>`, the rows that
    count.
    """

    def __init__(
        self, con: duckdb.DuckDBPyConnection, folder: Path, files: dict[str, Files], number: int
    ) -> None:
        """`files`: those that count, none in a new home; `number`: of the files that this one writes."""
        self._con, self._folder, self._number = con, folder, number
        self.files = {
            table: files.get(table) or Files(base=None, since=[], rows=0, since_rows=0) for table in COLUMNS
        }
        # What is wanted then reaches the base as a list, by which row groups are left out.
        con.execute("set dynamic_or_filter_threshold = 1000")
        for table in COLUMNS:
            con.execute(
                f"create or replace temp table {table}_empty ({columns_of(table)}, is_gone boolean, part bigint)"
            )
            self._bind(table)

    def _bind(self, table: str) -> None:
        named = self.files[table]
        base = read(self._folder, [named["base"]] if named["base"] else []) or (
            f"(select * exclude (is_gone, part) from {table}_empty)"
        )
        since = read(self._folder, named["since"]) or f"{table}_empty"
        self._con.execute(f"create or replace temp view {table}_base as from {base}")
        self._con.execute(f"create or replace temp view {table}_since as from {since}")
        self._con.execute(
            f"create or replace temp view {table} as {whole(f'{table}_base', f'{table}_since')}"
        )

    def of(self, table: str, wanted: str, column: str = "h") -> None:
        """Fill the temp table `found` with the rows whose `column` a row of the relation `wanted` has.

        `wanted` has the column, and source and id as well where it is h.
        """
        both = "(source, id)" if column == "h" else f"({column})"
        self._con.execute(
            f"""
            create or replace temp table near as
            select *, null::boolean as is_gone, 0 as part from {table}_base semi join {wanted} using ({column})
            union all by name
            select * from {table}_since semi join {wanted} using ({column})
            """
        )
        # Of a record that is found in an older part a newer one may say something else.
        self._con.execute(
            f"""
            create or replace temp table found as
            with newest as (
                select source, id, max(part) as part from {table}_since semi join near using (source, id) group by all
            )
            select near.* exclude (is_gone, part)
            from near left join newest using (source, id)
            semi join {wanted} using {both}
            where near.part = coalesce(newest.part, 0) and near.is_gone is not true
            """
        )

    def put(self, table: str, new: str, touched: str) -> None:
        """Replace the rows of the records in the relation `touched` (source, id) by those of the relation `new`."""
        con, named = self._con, self.files[table]
        con.execute(
            f"create or replace temp table gone as select distinct source, id, hash(source, id) as h from {touched} "
            f"anti join {new} using (source, id)"
        )
        rows = _count(con, "gone") + _count(con, new)
        others = f"anti join {touched} using (source, id)"
        if named["since_rows"] + rows > (max(SHARE * named["rows"], ROWS_MIN) if named["base"] else -1):
            sql = f"select * from {table} {others} union all by name select * from {new}"
            named["base"], named["since"], named["since_rows"] = self._write(table, "base", sql), [], 0
            named["rows"] = _count(con, read(self._folder, [named["base"]]))
            if table == HISTORY:
                named["since"] = [self._write(table, "since", f"from {table}_empty")]
        elif rows:
            sql = (
                f"select *, false as is_gone, {self._number} as part from {new} "
                f"union all by name select source, id, h, true as is_gone, {self._number} as part from gone"
            )
            if len(named["since"]) >= PARTS_MAX:
                kept = f"from ({newest(f'{table}_since')}) {others}"
                sql = f"select * replace ({self._number} as part) {kept} union all by name {sql}"
                named["since"] = []
            # With all columns, whatever the rows of today have.
            sql = f"from {table}_empty union all by name {sql}"
            named["since"] = [*named["since"], self._write(table, "since", sql)]
            named["since_rows"] = sum(_count(con, read(self._folder, [part])) for part in named["since"])
        self._bind(table)

    def _write(self, table: str, kind: str, sql: str) -> str:
        file = f"{prefix(table)}.{kind}.{self._number}.parquet"
        copy(self._con, f"from ({sql}) order by {_SORTED_BY.get(table, 'h')}", self._folder / file)
        return file


def prefix(table: str) -> str:
    """How the names of a table's files begin."""
    return table if table == HISTORY else f"state.{table}"


def columns_of(table: str) -> str:
    """Names and types of a table's columns."""
    return COLUMNS[table].format(at=_AT)


def newest(since: str) -> str:
    """SQL of what the parts say of each record, what they no longer have included."""
    return f"select * from {since} qualify part = max(part) over (partition by source, id)"


def whole(base: str, since: str) -> str:
    """SQL of the rows that count."""
    return (
        f"with latest as ({newest(since)}) select * from {base} anti join latest using (source, id) "
        "union all by name select * exclude (is_gone, part) from latest where not is_gone"
    )


def read(folder: Path, names: list[str]) -> str:
    """SQL of the rows of files; empty without any."""
    listed = ", ".join(literal(str(folder / name)) for name in names)
    return f"read_parquet([{listed}], hive_partitioning = false)" if names else ""


def _count(con: duckdb.DuckDBPyConnection, relation: str) -> int:
    row = con.execute(f"select count(*) from {relation}").fetchone()
    return int(row[0]) if row else 0


def copy(con: duckdb.DuckDBPyConnection, sql: str, path: Path) -> None:
    """Write what a query gives, durably and in one rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(temporary_of(path.name))
    # Tokens and ids do not shrink further at a higher level, which costs half as much again.
    con.execute(
        f"copy ({sql}) to {literal(str(temporary))} "
        f"(format parquet, compression zstd, compression_level 1, row_group_size {ROW_GROUP})"
    )
    fsync(temporary)
    temporary.replace(path)
