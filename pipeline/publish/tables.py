"""The tables that leave: which they are, and their two forms, a Parquet file each and one database of all."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from pipeline import duck
from pipeline.duck import literal, parquet
from pipeline.errors import StrataError
from pipeline.privacy import consent
from pipeline.publish import withheld
from pipeline.settings import Settings

# How a table is written. Level 1 of Zstandard costs a tenth to a third less CPU than DuckDB's usual 3 and is no larger.
PARQUET = "(format parquet, compression zstd, compression_level 1)"
# Rows of all tables below which a second thread is not worth its start.
_SOON_DONE = 200_000
# What DuckDB 1.0 clients and the tools built on them can read. TIME_NS and BIGNUM, for two, they cannot.
_ALLOWED_TYPES = (
    "VARCHAR",
    "BIGINT",
    "INTEGER",
    "SMALLINT",
    "DOUBLE",
    "BOOLEAN",
    "DATE",
    "TIMESTAMP",
    "DECIMAL",
)


@dataclass(frozen=True)
class PublishedTable:
    """One table that leaves: the columns on its allow-list, in order, and the grain that it is sorted by.

    `schemes` names the column that holds the class of each scheme, where the table classes people (`meta.scheme`).
    `optional` are columns of the grain that are empty in rows about all of it (`meta.optional_grain`). `counted_from` is
    the published list of single people that all its figures can be counted from (`meta.counted_from`), '' where there is
    none, None where a release of an earlier version does not say.
    """

    schema: str
    name: str
    columns: tuple[str, ...]
    grain: tuple[str, ...]
    requires_feeds: tuple[str, ...] = ()
    schemes: Mapping[str, str] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    counted_from: str | None = ""

    @property
    def key(self) -> str:
        return f"{self.schema}.{self.name}"


def published_tables(manifest: Mapping[str, Any]) -> list[PublishedTable]:
    """The allow-list: columns with `meta.publish: true` in the dbt project, by table."""
    tables = []
    for node in manifest["nodes"].values():
        if node["resource_type"] != "model":
            continue
        described = {
            name: {**c.get("meta", {}), **c.get("config", {}).get("meta", {})}
            for name, c in node["columns"].items()
        }
        columns = tuple(name for name, meta in described.items() if meta.get("publish"))
        if columns:
            meta = node["config"].get("meta", {})
            tables.append(
                PublishedTable(
                    node["schema"].removeprefix("main_"),
                    node["name"],
                    columns,
                    tuple(meta.get("grain", ())),
                    tuple(meta.get("requires_feeds", ())),
                    {described[name]["scheme"]: name for name in columns if "scheme" in described[name]},
                    tuple(meta.get("optional_grain", ())),
                    meta.get("counted_from", ""),
                )
            )
    return sorted(tables, key=lambda t: t.key)


def stated_tables(manifest: Mapping[str, Any]) -> list[PublishedTable]:
    """The tables of a release, as its own manifest states them."""
    tables = []
    for key, stated in sorted(manifest["tables"].items()):
        schema, name = key.split(".")
        tables.append(
            PublishedTable(
                schema,
                name,
                tuple(stated["columns"]),
                tuple(stated.get("grain", ())),
                optional=tuple(stated.get("optional_grain", ())),
                counted_from=stated.get("counted_from"),
            )
        )
    return tables


def path_of(table: PublishedTable) -> Path:
    """Its Parquet file below the folder of a release."""
    return Path("tables") / table.schema / f"{table.name}.parquet"


def write_parquet(
    settings: Settings, folder: Path, tables: Iterable[PublishedTable], refused: consent.Refusals
) -> None:
    """Parquet of each table, sorted by its grain so that equal contents are equal bytes; without who has refused since."""
    warehouse = settings.warehouse
    con = duck.connect(
        [folder, warehouse.parent], database=warehouse, read_only=True, spill=warehouse.parent / ".spill"
    )

    def write(cursor: duckdb.DuckDBPyConnection, one: PublishedTable) -> None:
        withheld.register(cursor, refused)
        _write_one(cursor, folder / path_of(one), one)

    try:
        sizes = dict(
            con.execute(
                "select schema_name || '.' || table_name, estimated_size from duckdb_tables()"
            ).fetchall()
        )
        _share_out(con, tables, sizes, write)
    finally:
        con.close()


def _share_out(
    con: duckdb.DuckDBPyConnection,
    tables: Iterable[PublishedTable],
    rows: Mapping[str, int],
    write: Callable[[duckdb.DuckDBPyConnection, PublishedTable], None],
) -> None:
    """Write each table, the largest first; by one thread alone where all of them are soon done.

    Args:
        rows: by key of the table; of others, too.
    """
    largest_first = sorted(tables, key=lambda t: -rows.get(t.key, 0) * len(t.columns))
    if sum(rows.get(table.key, 0) for table in largest_first) < _SOON_DONE:
        con.execute("set threads = 1")
    duck.share_out(con, largest_first, write)


def _write_one(con: duckdb.DuckDBPyConnection, path: Path, table: PublishedTable) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = ", ".join(f'"{c}"' for c in table.columns)
    order = ", ".join(f'"{c}" nulls first' for c in table.grain or table.columns)
    con.execute(
        f'copy (select {withheld.columns(table.schema, table.columns)} from "{table.schema}"."{table.name}" '
        f"where {withheld.condition(table.schema, table.columns)} order by {order}) to "
        f"{literal(str(path))} {PARQUET}"
    )
    # The warehouse's own types: Parquet knows no HUGEINT, and DuckDB would quietly write it as a double.
    for name, kind, *_ in con.execute(
        f'describe select {columns} from "{table.schema}"."{table.name}"'
    ).fetchall():
        if not kind.startswith(_ALLOWED_TYPES) or "[" in kind:
            raise StrataError(f"{table.key}.{name} has type {kind}, which older readers cannot open")


def write_database(folder: Path, tables: Iterable[PublishedTable]) -> None:
    """`marts.duckdb` from the candidate's own Parquet, in the storage format that DuckDB 1.0 reads."""
    path = folder / "marts.duckdb"
    tables = list(tables)
    rows = {table.key: pq.read_metadata(folder / path_of(table)).num_rows for table in tables}

    def fill(cursor: duckdb.DuckDBPyConnection, one: PublishedTable) -> None:
        cursor.execute(
            f'create table marts."{one.schema}"."{one.name}" as select * from {parquet(folder / path_of(one))}'
        )

    con = duck.connect([folder], spill=folder.parent.parent / "warehouse" / ".spill")
    try:
        con.execute(f"attach {literal(str(path))} as marts (storage_version 'v1.0.0')")
        for schema in sorted({table.schema for table in tables}):
            con.execute(f'create schema if not exists marts."{schema}"')
        _share_out(con, tables, rows, fill)
        con.execute("checkpoint marts")
        con.execute("detach marts")
    finally:
        con.close()
    if path.with_name("marts.duckdb.wal").exists():
        raise StrataError("marts.duckdb was not checkpointed: a log file lies beside it")
