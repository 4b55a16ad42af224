"""What one source delivers under its own columns → the contract feeds, by one mapping SQL a feed."""

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
    """Run the source's mapping for one contract feed; name of the resulting table."""
    path = MAPPINGS_DIR / source / f"{target}.sql"
    contract = load_contracts()[target]
    name = f"mapped_{target}"
    try:
        con.execute(f"create or replace temp table as_mapped_{target} as {path.read_text(encoding='utf-8')}")
        given = {row[0] for row in con.execute(f"describe as_mapped_{target}").fetchall()}
        unknown = given - set(contract.raw_schema()) - set(contract.columns)
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
        con.execute(
            f"create or replace temp table {name} as select {', '.join(columns)}, _delivery, _row from as_mapped_{target}"
        )
    except duckdb.Error as error:
        raise StrataError(f"{path}: {without_values(error)}") from None
    return name
