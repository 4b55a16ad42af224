"""What one source delivers under its own columns → the contract feeds, by one mapping SQL a feed."""

from collections.abc import Mapping

import duckdb

from pipeline.duck import quote, without_values
from pipeline.errors import StrataError
from pipeline.ingest.contracts import SQL_TYPES, load_contracts, source_of
from pipeline.settings import MAPPINGS_DIR


def targets(source: str, feed: str) -> tuple[str, ...]:
    """Contract feeds that a delivered feed fills."""
    delivered = source_of(source).feeds.get(feed)
    return delivered.maps_to if delivered and delivered.maps_to else (feed,)


def mapped(con: duckdb.DuckDBPyConnection, source: str, target: str) -> str:
    """Run the source's mapping for one contract feed; name of the resulting table.

    It has `_delivery`, `_row` (the first record that a row is made of) and `_rows` (all of them that the mapping names).
    """
    path = MAPPINGS_DIR / source / f"{target}.sql"
    contract = load_contracts()[target]
    name = f"mapped_{target}"
    try:
        con.execute(f"create or replace temp table as_mapped_{target} as {path.read_text(encoding='utf-8')}")
        given = {row[0] for row in con.execute(f"describe as_mapped_{target}").fetchall()}
        unknown = given - set(contract.raw_schema()) - set(contract.columns) - {"_rows"}
        if unknown:
            raise StrataError(
                f"{path}: column {', '.join(sorted(unknown))} is not in the contract of {target}"
            )
        columns = []
        for column, spec in contract.columns.items():
            kinds = {column: SQL_TYPES[spec.type]}
            if spec.type == "ts":
                kinds[f"{column}_offset_minutes"] = "SMALLINT"
            columns += [
                f"cast({quote(c) if c in given else 'null'} as {kind}) as {quote(c)}"
                for c, kind in kinds.items()
            ]
        rows = "cast(_rows as bigint[])" if "_rows" in given else "[cast(_row as bigint)]"
        first = "_row" if "_row" in given else "list_min(_rows)"
        con.execute(
            f"create or replace temp table {name} as select {', '.join(columns)}, cast(_delivery as varchar) as _delivery, "
            f"cast({first} as bigint) as _row, {rows} as _rows from as_mapped_{target}"
        )
    except duckdb.Error as error:
        raise StrataError(f"{path}: {without_values(error)}") from None
    return name


def check_origins(con: duckdb.DuckDBPyConnection, source: str, filled: Mapping[str, str]) -> None:
    """Raises StrataError where a mapped row does not say which records of `good` it is made of.

    Args:
        filled: contract feed → relation, as `mapped` made it.
    """
    for target, relation in filled.items():
        path = MAPPINGS_DIR / source / f"{target}.sql"
        row = con.execute(
            f"select count(*) from {relation} where _delivery is null or _row is null or len(_rows) = 0 "
            "or list_contains(list_transform(_rows, lambda n: n is null), true)"
        ).fetchone()
        if row and row[0]:
            raise StrataError(
                f"{path}: {row[0]} row{'s' if row[0] > 1 else ''} without `_delivery` or `_row`: pass both on, of a group "
                "`min(_row)` or `list(_row) as _rows`"
            )
        row = con.execute(
            f"select _delivery, _row from ({_named(relation)}) anti join good using (_delivery, _row) order by all limit 1"
        ).fetchone()
        if row:
            raise StrataError(
                f"{path}: it makes a row of record {row[1]} of {row[0]}, which is left out or was not delivered: keep "
                "`_delivery` and `_row` of the record that a row comes from"
            )


def check_conserved(
    con: duckdb.DuckDBPyConnection,
    source: str,
    feed: str,
    filled: Mapping[str, str],
    one_to_many: tuple[str, ...],
) -> None:
    """Raises StrataError where a record of `good` is in no mapped row, or in several rows of a feed that takes one."""
    for target, relation in filled.items():
        if target in one_to_many:
            continue
        row = con.execute(
            f"select _delivery, _row, count(*) from ({_named(relation)}) group by all having count(*) > 1 order by all limit 1"
        ).fetchone()
        if row:
            raise StrataError(
                f"{MAPPINGS_DIR / source / target}.sql: {row[2]} rows are made of record {row[1]} of {row[0]}: mend the "
                f"join, or say one_to_many: [{target}] for feed {feed} in source.yml if it is meant"
            )
    named = " union all ".join(_named(relation) for relation in filled.values())
    row = con.execute(
        f"select count(*), arg_min(_delivery, (_delivery, _row)), arg_min(_row, (_delivery, _row)) "
        f"from good anti join ({named}) using (_delivery, _row)"
    ).fetchone()
    if row and row[0]:
        several = f"{row[0]} records are" if row[0] > 1 else "a record is"
        raise StrataError(
            f"{MAPPINGS_DIR / source}: {several} in no row that {', '.join(f'{target}.sql' for target in filled)} make of "
            f"{source}/{feed}, such as record {row[2]} of {row[1]}: name every record of a group with `list(_row) as "
            "_rows`, or say in source.yml which are left_out"
        )


def _named(relation: str) -> str:
    return f"select _delivery, unnest(_rows) as _row from {relation}"
