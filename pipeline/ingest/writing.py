"""Typed rows → raw: one Parquet file a delivery and feed, personal columns as tokens, and a profile beside it.

Raw is `raw/<source>/<feed>/dt=YYYY-MM-DD/rev=N/<part>.parquet`, each file written once in one rename.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.duck import literal, quote
from pipeline.errors import StrataError
from pipeline.identity.normalise import is_malformed
from pipeline.ingest import ledger, profile
from pipeline.ingest.contracts import Contract, Source, load_contracts
from pipeline.ingest.files import fsync, temporary_of, write_parquet
from pipeline.ingest.landing import Delivery
from pipeline.ingest.ledger import Entry
from pipeline.ingest.vault import Vault
from pipeline.ingest.vault.keys import KEY_ID
from pipeline.settings import Settings

_ARROW_TYPES = {
    "VARCHAR": pa.string(),
    "BIGINT": pa.int64(),
    "SMALLINT": pa.int16(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us"),
    "BOOLEAN": pa.bool_(),
    "DECIMAL(18,4)": pa.decimal128(18, 4),
    "DECIMAL(18,3)": pa.decimal128(18, 3),
    "DECIMAL(9,6)": pa.decimal128(9, 6),
    "DECIMAL(18,8)": pa.decimal128(18, 8),
}
"""Types of `Contract.raw_schema()` as DuckDB hands them over."""


_NAME_SHOWN = 60
_NAMES_SHOWN = 20
# A number, a date or a time and nothing else.
_VALUE = re.compile(r"(?=.*\d)[\d\s.,:/+\-年月日¥%TZ]+")


def prepare_raw(settings: Settings) -> None:
    """Write the empty typed file of every feed, so that a glob over a feed that nobody delivers still works.

    They are looked at again by every run and hold no data, so none of them is worth a flush to the disk.
    """
    for feed, contract in load_contracts().items():
        path = settings.raw / "_schema" / feed / "dt=1970-01-01" / "rev=0" / "empty.parquet"
        _keep_template(path, arrow_schema(contract))
    _keep_template(settings.ledger / "000000.parquet", ledger.SCHEMA)
    _keep_template(settings.raw / "_erased" / "none.parquet", ledger.ERASED_SCHEMA)


def check_raw(settings: Settings, entries: Iterable[Entry]) -> None:
    """Raises StrataError where a file was copied inside raw: readers find rows by a glob, and would find them twice.

    What a sweep that died left behind is no copy: nobody knows its deliveries.
    """
    days = {e.delivery: e.dt for e in entries}
    for source, target, day, rev, name in _parquet_below(str(settings.raw), 4):
        stem = name.removesuffix(".parquet")
        feed, _, rest = stem.partition(".")
        own = (f"{source}/{target}/{stem}/{rev}", f"{source}/{feed}/{rest}/{rev}")
        if any(one in days and day == f"dt={days[one]}" for one in own) or source == "_schema":
            continue
        path = settings.raw / source / target / day / rev / name
        try:
            held = pq.read_table(path, columns=["_delivery"])["_delivery"].unique().to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise StrataError(f"{path} is no file of raw ({type(error).__name__}): take it away") from None
        if known := sorted(days.keys() & set(held)):
            raise StrataError(
                f"{path} holds rows of {known[0]}, which have a file of their own: it is a copy, take it away"
            )


def _parquet_below(folder: str, folders: int) -> Iterator[tuple[str, ...]]:
    """Parts of the path of every Parquet file that many folders down. Of thousands `Path.glob` takes seconds."""
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.path, entry.is_dir()) for entry in entries]
    for name, path, is_dir in found:
        if folders and is_dir:
            yield from ((name, *parts) for parts in _parquet_below(path, folders - 1))
        elif not folders and name.endswith(".parquet"):
            yield (name,)


def _keep_template(path: Path, schema: pa.Schema) -> None:
    try:
        if pq.read_schema(path) == schema:
            return
    except (OSError, pa.ArrowInvalid):
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(temporary_of(path.name))
    pq.write_table(schema.empty_table(), temporary)
    temporary.replace(path)


def arrow_schema(contract: Contract) -> pa.Schema:
    """Schema of the feed's files in raw."""
    return pa.schema([(name, _ARROW_TYPES[kind]) for name, kind in contract.raw_schema().items()])


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
        noted: profile.Noted | None = None,
        as_read: Callable[[Entry], Entry] = lambda entry: entry,
    ) -> dict[str, int]:
        """Write the rows of one contract feed, one file a delivery, and the profile of each; rows by delivery.

        Args:
            relation: typed rows with the contract's columns, `_delivery` and `_row`.
            streamed: the one delivery is too large to hold in memory, and its order need not be kept.
            noted: what the loader noted of each delivery for its profile; None for rows that a mapping made.
            as_read: an entry with what is known of it once its rows are written, such as the hash of a stream.
        """
        select = self._tokenised(con, contract, relation, alone=deliveries[0][0] if streamed else None)
        has_tokens = any(name.endswith("_token") for name in contract.raw_schema())
        metadata = {KEY_ID: self.vault.key_id} if has_tokens else {}
        known: profile.Known = {}
        if streamed:
            path = self.raw_path(contract.feed, *deliveries[0])
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(temporary_of(path.name))
            con.execute(
                f"copy ({select}) to {literal(str(temporary))} "
                # A larger dictionary saves a fifth of the file and costs half as much again to write.
                "(format parquet, parquet_version v2, compression snappy, dictionary_size_limit 1000"
                + "".join(f", kv_metadata {{{k}: {literal(v)}}}" for k, v in metadata.items())
                + ")"
            )
            fsync(temporary)
            temporary.replace(path)
            select = f"select * from read_parquet({literal(str(path))}, hive_partitioning = false)"
            known = profile.of_footer(contract, path)
        else:
            table = con.execute(f"{select} order by _delivery, _row").to_arrow_table()
            table = table.cast(arrow_schema(contract)).replace_schema_metadata(metadata)
            unwritten = {e.delivery: self.raw_path(contract.feed, e, d) for e, d in deliveries}
            for delivery, part in _slices(table):
                write_parquet(part, unwritten.pop(delivery))
            for path in unwritten.values():
                # What a sweep that died left for a file that has no rows any more.
                path.unlink(missing_ok=True)
        unreadable = profile.malformed_contacts(con, relation, self._malformed)
        notes = {
            e.delivery: {**(noted or {}).get(e.delivery, {}), **unreadable.get(e.delivery, {})}
            for e, _ in deliveries
        }
        folder = self.settings.raw / "_profile"
        entries = [as_read(entry) for entry, _ in deliveries]
        return profile.write(con, contract, select, entries, folder, notes, known, mapped=noted is None)

    def note(
        self, con: duckdb.DuckDBPyConnection, contract: Contract, entry: Entry, known: profile.Known
    ) -> None:
        """Write the profile of a delivery of which all that it says is known."""
        folder = self.settings.raw / "_profile"
        profile.write(con, contract, "", [entry], folder, {entry.delivery: {}}, known)

    def _tokenised(
        self, con: duckdb.DuckDBPyConnection, contract: Contract, relation: str, *, alone: Entry | None
    ) -> str:
        """SELECT of the raw schema over `relation`, with personal columns replaced by their tokens.

        `alone` is the delivery of every row: an enumeration of one value is written without a look at each text.
        """
        columns, joins = [], []
        self._malformed: dict[tuple[str, str], list[str]] = {}
        for name, column in contract.stored.items():
            if column.pii == "birth_date":
                # Placeholders that systems write for "unknown" are no birthdays.
                is_real = f"year({quote(name)}) between 1901 and 2100"
                real = f"case when {is_real} then {quote(name)} end"
                columns += [f"year({real}) as birth_year", f"strftime({real}, '%m-%d') as birth_month_day"]
                columns.append(f"coalesce(not {is_real}, false) as birth_date_is_placeholder")
            elif column.pii:
                rows = con.execute(
                    f"select distinct cast({quote(name)} as varchar) from {relation} where {quote(name)} is not null"
                ).fetchall()
                values = [row[0] for row in rows]
                tokens = self.vault.tokenise(column.pii, values, self.source.country)
                if column.pii in ("phone", "email"):
                    told_by_none = [v for v, made in zip(values, tokens, strict=True) if made is None]
                    bad = [v for v in told_by_none if is_malformed(column.pii, v, self.source.country)]
                    self._malformed |= {(name, column.pii): bad} if bad else {}
                known = {"value": pa.array(values, pa.string()), "token": pa.array(tokens, pa.string())}
                if column.pii == "text":
                    known["masked"] = pa.array(self.vault.mask(values, self.source.country), pa.string())
                con.register(f"tokens_{name}", pa.table(known))
                joins.append(f"left join tokens_{name} on tokens_{name}.value = r.{quote(name)}")
                columns += [
                    f"tokens_{name}.{kind} as {quote(f'{name}_{kind}')}" for kind in known if kind != "value"
                ]
            else:
                columns.append(f"r.{quote(name)}")
                if column.type == "ts":
                    columns.append(f"r.{quote(name + '_offset_minutes')}")
        name = literal(alone.delivery) if alone else ""
        delivery = f"cast({name} as enum({name})) as _delivery" if alone else "r._delivery"
        return f"select {', '.join(columns)}, {delivery}, r._row from {relation} as r {' '.join(joins)}"

    def told_columns(self, names: Sequence[str]) -> str | None:
        """The names of unknown columns as the ledger may hold them.

        Where the first line of a file is a record, or a JSON object has a person for a key, names are personal data: one
        that looks like a value hides them all.
        """
        cut = [name[:_NAME_SHOWN] for name in names]
        if not cut:
            return None
        if any(_VALUE.fullmatch(name) for name in cut) or self.vault.mask(cut, self.source.country) != cut:
            several = f"{len(cut)} columns" if len(cut) > 1 else "one column"
            return f"{several} (not named: there is a value where a name should stand)"
        more = f" and {len(cut) - _NAMES_SHOWN} more" if len(cut) > _NAMES_SHOWN else ""
        return ", ".join(cut[:_NAMES_SHOWN]) + more

    def discard(self, feeds: Iterable[str], entry: Entry, delivery: Delivery, *, alone: bool) -> None:
        """Take back what was written of a delivery that was refused after all.

        Args:
            alone: it was a batch of its own, so that the profile tells of nothing else.
        """
        for feed in feeds:
            self.raw_path(feed, entry, delivery).unlink(missing_ok=True)
            if alone:
                profile.path_of(self.settings.raw / "_profile", feed, entry.delivery).unlink(missing_ok=True)

    def raw_path(self, feed: str, entry: Entry, delivery: Delivery) -> Path:
        """The file of one delivery's rows of one contract feed."""
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
