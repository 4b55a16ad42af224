"""Typed rows → raw: one Parquet file a delivery and feed, personal columns as tokens, and a profile beside it.

Raw is `raw/<source>/<feed>/dt=YYYY-MM-DD/rev=N/<part>.parquet`, each file written once in one rename.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.ingest import ledger
from pipeline.ingest.cast import literal, quote
from pipeline.ingest.contracts import Contract, Source, load_contracts
from pipeline.ingest.files import fsync, write_parquet
from pipeline.ingest.landing import Delivery
from pipeline.ingest.ledger import Entry
from pipeline.ingest.vault import Vault
from pipeline.settings import Settings


def prepare_raw(settings: Settings) -> None:
    """Write the empty typed file of every feed, so that a glob over a feed that nobody delivers still works."""
    for feed, contract in load_contracts().items():
        path = settings.raw / "_schema" / feed / "dt=1970-01-01" / "rev=0" / "empty.parquet"
        schema = arrow_schema(contract)
        if not path.exists() or pq.read_schema(path) != schema:
            write_parquet(schema.empty_table(), path)
    empty = settings.ledger / "000000.parquet"
    if not empty.exists():
        write_parquet(ledger.SCHEMA.empty_table(), empty)


def arrow_schema(contract: Contract) -> pa.Schema:
    """Schema of the feed's files in raw."""
    columns = ", ".join(
        f"cast(null as {kind}) as {quote(name)}" for name, kind in contract.raw_schema().items()
    )
    return duckdb.sql(f"select {columns}").to_arrow_table().schema


class RawWriter:
    """Writes what one source delivers into raw."""

    def __init__(self, settings: Settings, vault: Vault, source: Source) -> None:
        self.settings, self.vault, self.source = settings, vault, source

    def write(
        self,
        con: duckdb.DuckDBPyConnection,
        contract: Contract,
        relation: str,
        deliveries: Sequence[tuple[Entry, Delivery]],
        *,
        streamed: bool,
    ) -> None:
        """Write the rows of one contract feed, one file a delivery, and the profile of each delivery.

        Args:
            relation: typed rows with the contract's columns, `_delivery` and `_row`.
            streamed: the one delivery is too large to hold in memory, and its order need not be kept.
        """
        select = self._tokenised(con, contract, relation)
        if streamed:
            path = self._raw_path(contract.feed, *deliveries[0])
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.tmp")
            con.execute(f"copy ({select}) to {literal(str(temporary))} (format parquet, compression snappy)")
            fsync(temporary)
            temporary.replace(path)
        else:
            table = con.execute(f"{select} order by _delivery, _row").to_arrow_table()
            table = table.cast(arrow_schema(contract))
            unwritten = {e.delivery: self._raw_path(contract.feed, e, d) for e, d in deliveries}
            for delivery, part in _slices(table):
                write_parquet(part, unwritten.pop(delivery))
            for path in unwritten.values():
                # What a sweep that died left for a file that has no rows any more.
                path.unlink(missing_ok=True)
        self._write_profile(con, contract, select, [entry for entry, _ in deliveries])

    def _tokenised(self, con: duckdb.DuckDBPyConnection, contract: Contract, relation: str) -> str:
        """SELECT of the raw schema over `relation`, with personal columns replaced by their tokens."""
        columns, joins = [], []
        for name, column in contract.stored.items():
            if column.pii == "birth_date":
                # Placeholders that systems write for "unknown" are no birthdays.
                real = f"case when year({quote(name)}) between 1901 and 2100 then {quote(name)} end"
                columns += [f"year({real}) as birth_year", f"strftime({real}, '%m-%d') as birth_month_day"]
            elif column.pii:
                rows = con.execute(
                    f"select distinct cast({quote(name)} as varchar) from {relation} where {quote(name)} is not null"
                ).fetchall()
                values = [row[0] for row in rows]
                tokens = self.vault.tokenise(column.pii, values, self.source.country)
                con.register(
                    f"tokens_{name}",
                    pa.table(
                        {"value": pa.array(values, pa.string()), "token": pa.array(tokens, pa.string())}
                    ),
                )
                joins.append(f"left join tokens_{name} on tokens_{name}.value = r.{quote(name)}")
                columns.append(f"tokens_{name}.token as {quote(name + '_token')}")
            else:
                columns.append(f"r.{quote(name)}")
                if column.type == "ts":
                    columns.append(f"r.{quote(name + '_offset_minutes')}")
        return f"select {', '.join(columns)}, r._delivery, r._row from {relation} as r {' '.join(joins)}"

    def _write_profile(
        self, con: duckdb.DuckDBPyConnection, contract: Contract, select: str, entries: Sequence[Entry]
    ) -> None:
        """One row per delivery: rows, nulls, smallest and largest values. The source gates read this, not raw."""
        parts = ["count(*) as rows_n"]
        for name, kind in contract.raw_schema().items():
            if name.startswith("_") or name.endswith("_offset_minutes"):
                continue
            parts.append(f"count(*) - count({quote(name)}) as {quote(name + '__nulls')}")
            if kind in ("BIGINT", "DATE", "TIMESTAMP") or kind.startswith("DECIMAL"):
                cast = "double" if kind.startswith("DECIMAL") else kind.lower()
                parts += [
                    f"cast({fn}({quote(name)}) as {cast}) as {quote(f'{name}__{fn}')}"
                    for fn in ("min", "max")
                ]
        con.register("batch_deliveries", pa.table({"delivery": [entry.delivery for entry in entries]}))
        nulls_to_zero = ", ".join(["coalesce(rows_n, 0) as rows_n"])
        table = con.execute(
            f"select b.delivery, p.* exclude (_delivery) replace ({nulls_to_zero}) from batch_deliveries b "
            f"left join (select _delivery, {', '.join(parts)} from ({select}) group by _delivery) p "
            f"on p._delivery = b.delivery order by b.delivery"
        ).to_arrow_table()
        folder = self.settings.raw / "_profile" / contract.feed
        first = entries[0].delivery.replace("/", "~")
        write_parquet(table, folder / f"{first}.parquet")

    def _raw_path(self, feed: str, entry: Entry, delivery: Delivery) -> Path:
        folder = self.settings.raw / delivery.source / feed / f"dt={delivery.dt}" / f"rev={entry.rev}"
        # A mapped feed may fill a feed that the source delivers as well.
        name = delivery.stem if feed == delivery.feed else f"{delivery.feed}.{delivery.stem}"
        return folder / f"{name}.parquet"


def _slices(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Consecutive rows of one delivery, of a table sorted by delivery."""
    if len(table) == 0:
        return
    runs = pc.run_end_encode(table["_delivery"].combine_chunks())
    start = 0
    for end, delivery in zip(runs.run_ends.to_pylist(), runs.values.to_pylist(), strict=True):
        yield delivery, table.slice(start, end - start)
        start = end
