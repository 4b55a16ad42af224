"""Whether rows of erased persons stand anywhere, asked of the columns: what a search for text cannot tell of short ids."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import duck
from pipeline.duck import literal, parquet, quote
from pipeline.ingest.contracts import load_contracts
from pipeline.ingest.vault.tombstones import namespace
from pipeline.privacy.erasure_subject import Subject


def still_there(folder: Path, subject: Subject) -> list[str]:
    """Parquet and DuckDB files below `folder` with a row that has a key of the persons or names them by source and id.

    In raw the source is the folder, elsewhere a column. Paths are relative to `folder`.
    """
    found = []
    with duck.connect([folder]) as con:
        con.register("erased_keys", pa.table({"key": pa.array(subject.keys, pa.string())}))
        con.register(
            "erased_records",
            pa.table(
                {
                    "source": pa.array([s for s, _ in subject.records], pa.string()),
                    "id": pa.array([i for _, i in subject.records], pa.string()),
                }
            ),
        )
        for path in sorted(folder.rglob("*.parquet")):
            source = path.relative_to(folder).parts[1] if path.relative_to(folder).parts[0] == "raw" else None
            feed = path.relative_to(folder).parts[2] if source and not source.startswith("_") else None
            where = _where(pq.read_schema(path).names, source if feed else None, feed, subject)
            relation = parquet(path)
            if where and con.execute(f"select 1 from {relation} where {where} limit 1").fetchone():
                found.append(str(path.relative_to(folder)))
        for path in sorted(folder.rglob("*.duckdb")):
            if path.parent.name == "vault":
                continue
            con.execute(f"attach {literal(str(path))} as asked (read_only)")
            tables = con.execute(
                "select schema_name, table_name from duckdb_tables() where database_name = 'asked'"
            ).fetchall()
            for schema, table in tables:
                columns = con.execute(
                    "select column_name from duckdb_columns() where database_name = 'asked' and schema_name = $1 "
                    "and table_name = $2",
                    [schema, table],
                ).fetchall()
                where = _where([c for (c,) in columns], None, None, subject)
                relation = f"asked.{quote(schema)}.{quote(table)}"
                if where and con.execute(f"select 1 from {relation} where {where} limit 1").fetchone():
                    found.append(f"{path.relative_to(folder)} {schema}.{table}")
            con.execute("detach asked")
    return found


def _where(columns: list[str], source: str | None, feed: str | None, subject: Subject) -> str:
    hits = []
    if "customer_key" in columns and subject.keys:
        hits.append("customer_key in (select key from erased_keys)")
    if {"source", "source_customer_id"} <= set(columns):
        hits.append("(source, source_customer_id) in (select (source, id) from erased_records)")
    if source and feed:
        contract = load_contracts().get(feed)
        ids = [i for s, i in subject.records if namespace(s) == namespace(source)]
        named = [n for n, c in contract.stored.items() if c.ref == "customer"] if contract else []
        listed = ", ".join(literal(i) for i in ids)
        hits += [f"{quote(n)} in ({listed})" for n in named if ids and n in columns]
    return " or ".join(f"coalesce({hit}, false)" for hit in hits)
