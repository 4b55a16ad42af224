"""Tables of which a day changes a few rows: a base, and beside it a part per day with all rows of the records that changed.

A record's rows in its newest part go before its rows in older parts and in the base; `is_gone` there says that none is
left. A day writes one part; many parts become one, and where they have outgrown a share of the base, one base with it: so
a day costs by what has changed. Files are never changed: each has a number of its own, and the manifest (tables.py) says
which count.

A base is an Arrow file, sorted by the column that it is looked through by and mapped into memory: to find a hundred records
of a million only their pages are read, where Parquet unpacks every column of nearly all of them.
"""

from pathlib import Path
from typing import Any, TypedDict

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.duck import literal
from pipeline.ingest.files import fsync, temporary_of

SHARE = 0.1
"""Of the rows of the base, above which the parts become part of it. What a day writes is least near the root of twice
the share that a day changes: 6 % where that is two in a thousand, 20 % where it is two in a hundred."""
ROWS_MIN = 1000
"""Rows that the parts may have whatever the base has."""
PARTS_MAX = 8
"""Parts that may lie beside a base: each is one more file to open at every look."""
_BATCH = 1 << 17
HISTORY = "history"
"""The table that others read (tables.py): its parts, and a copy of its base, are Parquet files, be they empty."""

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
_SORTED_BY = {table: "v" if table == "ids" else "h" for table in COLUMNS}


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
        self._bases: dict[str, _Base] = {}
        for table in COLUMNS:
            con.execute(
                f"create or replace temp table {table}_empty ({columns_of(table)}, is_gone boolean, part bigint)"
            )
            self._bind(table)

    def _bind(self, table: str) -> None:
        named = self.files[table]
        if named["base"]:
            self._bases[table] = _Base(self._folder / named["base"], _SORTED_BY[table])
            base = self._bases[table].table
        else:
            base = self._con.execute(f"select * exclude (is_gone, part) from {table}_empty").to_arrow_table()
        self._con.register(f"{table}_base", base)
        since = read(self._folder, named["since"]) or f"{table}_empty"
        self._con.execute(f"create or replace temp view {table}_since as from {since}")
        self._con.execute(
            f"create or replace temp view {table} as {whole(f'{table}_base', f'{table}_since')}"
        )

    def of(self, table: str, wanted: str) -> None:
        """Fill the temp table `found` with the rows that hang on a row of the relation `wanted`.

        `wanted` has v where the table is `ids`, else source, id and their h.
        """
        column = _SORTED_BY[table]
        both = "(source, id)" if column == "h" else f"({column})"
        near = f"from {table}_empty"
        if table in self._bases:
            values = self._con.execute(f"select distinct {column} from {wanted} order by 1").fetchnumpy()[
                column
            ]
            self._con.register("near_base", self._bases[table].of(values))
            near += " union all by name select *, 0 as part from near_base"
        self._con.execute(
            f"create or replace temp table near as {near} "
            f"union all by name select * from {table}_since semi join {wanted} using ({column})"
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
        others = f"anti join {touched} using (source, id)"
        if named["base"]:
            con.execute(
                f"create or replace temp table gone as select distinct source, id, hash(source, id) as h from {touched} "
                f"anti join {new} using (source, id)"
            )
            rows = _count(con, "gone") + _count(con, new)
            sql = f"select * from {table} {others} union all by name select * from {new}"
        else:
            sql = f"select * exclude (is_gone, part) from {table}_empty union all by name select * from {new}"
        if not named["base"] or named["since_rows"] + rows > max(SHARE * named["rows"], ROWS_MIN):
            named["base"], named["since"], named["since_rows"] = self._write_base(table, sql), [], 0
            self._bind(table)
            named["rows"] = self._bases[table].table.num_rows
            if table == HISTORY:
                copy(con, f"from {table}_base", self._folder / self._public_base())
                named["since"] = [self._write_part(table, f"from {table}_empty")]
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
            named["since"] = [*named["since"], self._write_part(table, sql)]
            named["since_rows"] = sum(_count(con, read(self._folder, [part])) for part in named["since"])
        self._bind(table)

    @property
    def public(self) -> list[str]:
        """The files by which others read `history`."""
        return [self._public_base(), *self.files[HISTORY]["since"]]

    def _public_base(self) -> str:
        number = str(self.files[HISTORY]["base"]).split(".")[-2]
        return f"{HISTORY}.base.{number}.parquet"

    def _write_part(self, table: str, sql: str) -> str:
        file = f"{table if table == HISTORY else f'state.{table}'}.since.{self._number}.parquet"
        copy(self._con, sql, self._folder / file)
        return file

    def _write_base(self, table: str, sql: str) -> str:
        path = self._folder / f"state.{table}.base.{self._number}.arrow"
        temporary = path.with_name(temporary_of(path.name))
        rows = self._con.execute(f"from ({sql}) order by {_SORTED_BY[table]}").to_arrow_reader(_BATCH)
        with pa.OSFile(str(temporary), "wb") as file, pa.ipc.new_file(file, rows.schema) as written:
            for batch in rows:
                written.write_batch(batch)
        fsync(temporary)
        temporary.replace(path)
        return path.name


class _Base:
    """One Arrow file, mapped: `table` has all of it, `of` what has one of these hashes."""

    def __init__(self, path: Path, column: str) -> None:
        self.table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        self._column = column

    def of(self, wanted: np.ndarray[Any, Any]) -> pa.Table:
        """Rows whose column is one of `wanted`, which is in order.

        Args:
            wanted: uint64, each once.
        """
        found = []
        # Batch by batch: rows of several at once are taken from a copy of all of them.
        for batch in filter(len, self.table.to_batches()):
            keys = batch[self._column].to_numpy()
            first, last = np.searchsorted(wanted, keys[0], "left"), np.searchsorted(wanted, keys[-1], "right")
            own = wanted[first:last]
            starts, ends = np.searchsorted(keys, own, "left"), np.searchsorted(keys, own, "right")
            lengths = ends - starts
            if lengths.any():
                rows = np.repeat(ends - lengths.cumsum(), lengths) + np.arange(lengths.sum())
                found.append(batch.take(pa.array(rows)))
        return pa.Table.from_batches(found, self.table.schema)


def is_whole(path: Path) -> bool:
    """Whether a base or part is there to its end."""
    try:
        if path.suffix == ".arrow":
            pa.ipc.open_file(pa.memory_map(str(path)))
        else:
            pq.read_metadata(path)
    except (OSError, ValueError):
        return False
    return True


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
    return f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)" if names else ""


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
