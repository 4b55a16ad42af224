"""One file that the ledger does not know yet: what is read of it at once, and what is only looked at."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import duck
from pipeline.duck import literal
from pipeline.ingest.contracts import Contract, Source, load_sources
from pipeline.ingest.landing import Delivery, read_manifest
from pipeline.ingest.ledger import Entry
from pipeline.ingest.reading.content import FileRejected, check_kind, open_regular, sha256_of
from pipeline.ingest.reading.reader import (
    SPOOL_BYTES,
    Records,
    read_file,
    resolve_header,
    small_text_records,
)
from pipeline.ingest.writing import RawWriter
from pipeline.quality.policy import erasure_rule
from pipeline.settings import Settings

# Above this many rows a Parquet file is streamed from disk to disk instead of held in memory.
_STREAM_ROWS = 1_000_000
# Looking for repeated keys in a delivery of any size: DuckDB goes on on disk beyond this.
_STREAM_MEMORY = "500MB"


@dataclass
class Pending:
    """One file that the ledger does not know yet, with the revision that it becomes."""

    delivery: Delivery
    entry: Entry
    records: Records | None = None
    streamed: bool = False
    duplicate_rows: int = 0
    rejected: dict[int, tuple[str, str | None, str | None]] = field(default_factory=dict)
    loaded: int = 0
    feed_rows: dict[str, int] = field(default_factory=dict)
    repeats: list[tuple[int, str, int | None]] = field(default_factory=list)
    noted: dict[str, float] = field(default_factory=dict)

    def reject(self, rejected: FileRejected) -> None:
        self.entry = replace(
            self.entry, status="rejected", reject_code=rejected.code, reject_detail=rejected.detail
        )


@dataclass
class Feed:
    """What loading has to know of the feed of one source whose files are pending."""

    settings: Settings
    source: Source
    feed: str
    contract: Contract
    zone: str
    writer: RawWriter
    spill: Path

    def connection(self, *, streamed: bool) -> duckdb.DuckDBPyConnection:
        # A batch that does not fit in memory goes on on disk, with clear personal data in it: inside the vault.
        con = duck.connect([self.settings.landing, self.settings.raw], spill=self.spill)
        con.execute("set preserve_insertion_order = false" if streamed else "set threads = 2")
        if streamed:
            con.execute(f"set memory_limit = {literal(_STREAM_MEMORY)}")
        return con

    def bounds(self, batch: Sequence[Pending]) -> pa.Table:
        """Day of each delivery with the first and the last moment that its records may name, in UTC.

        The first is where the year 2000 begins in the source's zone, the last five minutes after its business day ends.
        """
        zone = ZoneInfo(self.zone)
        rows = []
        earliest = datetime(2000, 1, 1, tzinfo=zone).astimezone(UTC).replace(tzinfo=None)
        for p in batch:
            midnight = datetime.combine(p.delivery.dt + timedelta(days=1), time(), zone)
            latest = midnight.astimezone(UTC).replace(tzinfo=None) + timedelta(minutes=5)
            moments = {"_earliest": earliest, "_latest": latest}
            rows.append({"_delivery": p.entry.delivery, "_dt": p.delivery.dt, **moments})
        kinds = {"_delivery": pa.string(), "_dt": pa.date32()}
        kinds |= dict.fromkeys(("_earliest", "_latest"), pa.timestamp("us"))
        return pa.Table.from_pylist(rows, pa.schema(kinds.items()))

    def without_erased(
        self, con: duckdb.DuckDBPyConnection, sql: str, rules: list[tuple[str, str | None]]
    ) -> tuple[str, list[tuple[str, str | None]]]:
        rule = erasure_rule(self.contract.feed)
        tombstones = self.writer.vault.tombstones
        return tombstones.turned_away(con, sql, rules, self.contract, self.source, rule)

    def check_source_names(self, column: str, found: set[str]) -> None:
        others = found - {self.source.source}
        if others:
            # Only a source's own name is told: a shifted row puts a person's data here.
            named = min(others & set(load_sources()), default="something else")
            raise FileRejected(
                "wrong_source", f"column {column} says {named}, the folder says {self.source.source}"
            )

    def may_stream(self, delivery: Delivery) -> bool:
        """A large CSV file whose rows go to raw as they are, without a look at each value for its token."""
        return delivery.ext == "csv" and self.is_hashed_late(delivery)

    def is_hashed_late(self, delivery: Delivery) -> bool:
        """Whether a file is hashed while its rows are read, unless it may repeat another one."""
        declared = self.source.feeds.get(self.feed)
        plain = not (declared and declared.maps_to) and not any(c.pii for c in self.contract.columns.values())
        large = delivery.path.lstat().st_size > SPOOL_BYTES
        return plain and large and delivery.ext in ("csv", "parquet")


def read(of: Feed, pending: Pending, elsewhere: Mapping[str, str]) -> None:
    """Read a text file, a workbook or a small Parquet file of text whole.

    Another Parquet file is read in place later; here its footer is checked.
    """
    delivery, entry = pending.delivery, pending.entry
    manifest = read_manifest(delivery)
    manifest.check(bytes=entry.bytes)
    if entry.sha256:
        manifest.check(sha256=entry.sha256)
    if entry.sha256 in elsewhere:
        raise FileRejected("wrong_source", f"the same bytes as {elsewhere[entry.sha256]}")
    if delivery.ext == "parquet":
        manifest.check(rows=parquet_rows(delivery.path, of.contract))
        if is_streamed([pending]):
            return
        hash_now(pending)
        records = small_text_records(delivery.path, of.contract, pending.entry.sha256)
        if records is None:
            return
    elif of.may_stream(delivery):
        # It is read while it is written; only what is not clean is read first.
        pending.streamed = True
        return
    else:
        records = read_file(delivery.path, delivery.ext, of.contract, of.spill)
    pending.records = records
    check_records(of, pending, records)


def hash_now(pending: Pending) -> None:
    """Hash the file unless that was done. Raises FileRejected."""
    take_hash(pending, pending.entry.sha256 or sha256_of(pending.delivery.path))


def take_hash(pending: Pending, sha256: str) -> None:
    """Keep the hash of the file. Raises FileRejected where its manifest says another one."""
    if not pending.entry.sha256:
        read_manifest(pending.delivery).check(sha256=sha256)
        pending.entry = replace(pending.entry, sha256=sha256)


def check_records(of: Feed, pending: Pending, records: Records) -> None:
    """What is known only when the file has been read. Raises FileRejected."""
    delivery = pending.delivery
    if not pending.entry.sha256:
        pending.entry = replace(pending.entry, sha256=records.sha256)
    entry = pending.entry
    if delivery.stat != entry.file_stat or records.sha256 != entry.sha256:
        raise FileRejected("changed_while_read", "the file changed while it was read; deliver by rename")
    read_manifest(delivery).check(sha256=entry.sha256, rows=records.rows_read)
    for column, found in records.source_names.items():
        of.check_source_names(column, found)


def read_now(of: Feed, batch: Sequence[Pending]) -> None:
    """Read what was to be streamed and could not be. Raises FileRejected."""
    for pending in batch:
        if pending.streamed:
            delivery = pending.delivery
            pending.records = read_file(delivery.path, delivery.ext, of.contract, of.spill)
            check_records(of, pending, pending.records)


def parquet_rows(path: Path, contract: Contract) -> int:
    """Rows by the file's footer. Raises FileRejected where it has no readable one, or a type that cannot be trusted."""
    with open_regular(path) as file:
        check_kind(file.read(64), "parquet")
    try:
        metadata = pq.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError) as error:
        raise FileRejected("wrong_format", f"no Parquet file ({type(error).__name__})") from None
    resolved, _ = resolve_header(schema.names, contract)
    for column, name in zip(schema, resolved, strict=True):
        if name and pa.types.is_decimal256(column.type):
            # DuckDB reads such a number as a double, and of another value.
            raise FileRejected(
                "wrong_format", f"column {name} has more than 38 digits; write it as decimal(38, n)"
            )
        if name and (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
            # Text without its annotation comes out as hex, which no join finds and no mask sees.
            raise FileRejected(
                "wrong_format", f"column {name} holds bytes; write it as a string (UTF8) column"
            )
    if not _adds_up(metadata):
        raise FileRejected(
            "wrong_format",
            "the file's footer gives other numbers of rows in its parts than in all; write it anew",
        )
    return metadata.num_rows


def _adds_up(metadata: pq.FileMetaData) -> bool:
    """Whether row groups and column chunks have as many rows as the file says: else readers differ in what they find."""
    flat = [i for i in range(metadata.num_columns) if not metadata.schema.column(i).max_repetition_level]
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    return sum(group.num_rows for group in groups) == metadata.num_rows and all(
        group.column(i).num_values == group.num_rows for group in groups for i in flat
    )


def is_streamed(batch: Sequence[Pending]) -> bool:
    """What is too large to hold in memory is streamed; it is always a batch of its own."""
    first = batch[0] if batch else None
    if first is None or first.delivery.ext != "parquet":
        return bool(first and first.records and first.records.spool)
    return pq.read_metadata(first.delivery.path).num_rows > _STREAM_ROWS


def check_unchanged(batch: Sequence[Pending]) -> None:
    """Raises FileRejected where a Parquet file, which is read in place, is no longer the one that was hashed."""
    first = batch[0]
    if first.delivery.ext != "parquet":
        return
    with suppress(FileNotFoundError):
        if first.delivery.stat == first.entry.file_stat:
            return
    raise FileRejected("changed_while_read", "the file changed while it was read; deliver by rename")
