"""The pending files of one source and feed: read, typed, freed of repeats, mapped and committed batch by batch."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import StrataError
from pipeline.ingest import ledger, quarantine
from pipeline.ingest.cast import broken_sql, classified_sql, literal, quote
from pipeline.ingest.contracts import Source, delivered_contract, load_contracts, load_sources
from pipeline.ingest.files import file_stat, sha256
from pipeline.ingest.landing import Delivery
from pipeline.ingest.ledger import Entry
from pipeline.ingest.mapping import mapped
from pipeline.ingest.reader import FileRejected, Records, check_file, read_text_file, resolve_header
from pipeline.ingest.vault import Vault
from pipeline.ingest.writing import RawWriter
from pipeline.settings import Settings

_BATCH_BYTES = 48 * 1024 * 1024
# Above this many rows a Parquet file is streamed from disk to disk instead of held in memory.
_STREAM_ROWS = 1_000_000


@dataclass
class Pending:
    """One file that the ledger does not know yet, with the revision that it becomes."""

    delivery: Delivery
    entry: Entry
    records: Records | None = None
    duplicate_rows: int = 0
    rejected: dict[int, tuple[str, str | None, str | None]] = field(default_factory=dict)
    loaded: int = 0


def now_utc() -> datetime:
    """The clock, in UTC without zone, as the ledger keeps it."""
    return datetime.now(UTC).replace(tzinfo=None)


class Loader:
    """Loads the pending files of one source and feed, batch by batch; each batch is one commit."""

    def __init__(
        self,
        settings: Settings,
        vault: Vault,
        source: Source,
        feed: str,
        known: list[Entry],
        run_id: str,
        released: date | None,
        as_of: date,
    ) -> None:
        contract = delivered_contract(source, feed)
        if contract is None:
            raise StrataError(f"feed {feed} of source {source.source} has no contract")
        self.settings, self.source, self.feed = settings, source, feed
        self.contract, self.run_id, self.released, self.as_of = contract, run_id, released, as_of
        self.zone = source.zone or settings.timezone
        mine = [e for e in known if e.source == source.source and e.feed == feed]
        self.last_by_file = {e.file: e for e in mine}
        self.rev = defaultdict(int)
        self.current: dict[str, Entry] = {}
        self.without_rows: set[str] = set()
        for entry in mine:
            self._remember(entry)
            self._remember_counts(entry)
        declared = source.feeds.get(feed)
        self.writer = RawWriter(settings, vault, source)
        self.encoding = declared.encoding if declared else "utf-8"
        self.delimiter = declared.delimiter if declared else ","

    def _remember(self, entry: Entry) -> None:
        stem = entry.stem or ""
        self.rev[stem] = max(self.rev[stem], entry.rev)
        if entry.rev == self.rev[stem]:
            self.current[stem] = entry

    def _remember_counts(self, entry: Entry) -> None:
        if entry.status == "loaded" and not entry.rows_read:
            self.without_rows.add(entry.sha256)

    def load(self, files: list[Delivery]) -> Iterator[list[Entry]]:
        """Entries of each committed batch."""
        self._check_one_file_each(files)
        batch: list[Pending] = []
        size = 0
        # The second round is for duplicates: the file that they repeated may have been corrected in the first.
        for delivery in (*files, *(f for f in files if self._is_duplicate(f))):
            pending = self._pending(delivery)
            if pending is None:
                continue
            self._remember(pending.entry)
            self.last_by_file[delivery.file] = pending.entry
            if delivery.ext == "parquet":
                if batch:
                    yield self._commit(batch)
                    batch, size = [], 0
                yield self._commit([pending])
                continue
            batch.append(pending)
            size += pending.entry.bytes
            if size >= _BATCH_BYTES:
                yield self._commit(batch)
                batch, size = [], 0
        if batch:
            yield self._commit(batch)

    def _check_one_file_each(self, files: list[Delivery]) -> None:
        """Two new files of one day and part (a CSV and a workbook) would each pass for the other's correction."""
        new: dict[str, Delivery] = {}
        for delivery in files:
            if delivery.file not in self.last_by_file:
                other = new.setdefault(delivery.stem, delivery)
                if other is not delivery:
                    raise StrataError(
                        f"{other.file} and {delivery.name} are one delivery in two formats: keep one of them, or name "
                        f"them apart ({delivery.stem}.<part>.{delivery.ext})"
                    )

    def _is_duplicate(self, delivery: Delivery) -> bool:
        last = self.last_by_file.get(delivery.file)
        return last is not None and last.status == "duplicate"

    def _pending(self, delivery: Delivery) -> Pending | None:
        """The file as a pending one with its records, or None where the ledger has these bytes already."""
        stat = file_stat(delivery.path)
        last = self.last_by_file.get(delivery.file)
        if last and last.status == "duplicate" and not self._twin(delivery, last.sha256):
            last = None
        if last and last.file_stat == stat:
            return None
        readable = delivery.path.is_file() and not delivery.path.is_symlink()
        try:
            sha = sha256(delivery.path) if readable else ""
        except PermissionError:
            readable, sha = False, ""
        if last and sha and last.sha256 == sha:
            return None
        pending = Pending(delivery, self._entry(delivery, sha, stat))
        twin = self._twin(delivery, sha)
        if twin:
            pending.entry = replace(
                pending.entry,
                status="duplicate",
                reject_code="duplicate_file",
                reject_detail=f"the same bytes as {twin.file}",
            )
            return pending
        try:
            if not readable and not delivery.path.is_symlink() and delivery.path.is_file():
                raise FileRejected("no_permission", "the file cannot be opened; give its reader permission")
            with delivery.path.open("rb") if readable else Path(os.devnull).open("rb") as file:
                check_file(delivery.path, file.read(64), delivery.ext)
            if delivery.ext == "parquet":
                _check_parquet(delivery.path)
            else:
                data = delivery.path.read_bytes()
                if file_stat(delivery.path) != stat or hashlib.sha256(data).hexdigest() != sha:
                    raise FileRejected(
                        "changed_while_read", "the file changed while it was read; deliver by rename"
                    )
                pending.records = read_text_file(
                    data, delivery.ext, self.contract, self.encoding, self.delimiter
                )
                self._check_source(pending.records)
                if not pending.records.rows_read:
                    self.without_rows.add(sha)
        except FileRejected as rejected:
            self._reject(pending, rejected)
        return pending

    def _check_source(self, records: Records) -> None:
        for name, column in self.contract.columns.items():
            if column.same_as == "source":
                self._check_source_names(name, {v for v in records.columns.get(name, ()) if v})

    def _check_source_names(self, column: str, found: set[str]) -> None:
        others = found - {self.source.source}
        if others:
            # Only a source's own name is told: a shifted row puts a person's data here.
            named = min(others & set(load_sources()), default="something else")
            raise FileRejected(
                "wrong_source", f"column {column} says {named}, the folder says {self.source.source}"
            )

    def _twin(self, delivery: Delivery, sha: str) -> Entry | None:
        """A loaded delivery of another name with the same bytes that is still in force, which this one repeats.

        Two days without rows have equal bytes and are two deliveries. Where rows are states (master data, an order's
        status) only the delivery just before can be repeated: A, B and then A again means that things are as they
        were, not that A came twice.
        """
        if sha in self.without_rows:
            return None
        others = [e for e in self.current.values() if e.stem != delivery.stem and e.status == "loaded"]
        if self.contract.latest_by or self.contract.cadence == "occasional":
            before = [e for e in others if (e.dt, e.stem) < (delivery.dt, delivery.stem)]
            others = [max(before, key=lambda e: (e.dt, e.stem))] if before else []
        return next((e for e in others if e.sha256 == sha), None)

    def _loaded_as(self, sha: str) -> Iterator[Entry]:
        return (e for e in self.current.values() if e.sha256 == sha and e.status == "loaded")

    def _entry(self, delivery: Delivery, sha: str, stat: str) -> Entry:
        rev = self.rev[delivery.stem] + 1
        known_at_once = self.released is None or self.released <= delivery.dt
        return Entry(
            delivery=f"{delivery.source}/{delivery.feed}/{delivery.stem}/rev={rev}",
            source=delivery.source,
            feed=delivery.feed,
            stem=delivery.stem,
            file=delivery.file,
            dt=delivery.dt,
            rev=rev,
            known_from=delivery.dt + timedelta(days=1) if known_at_once else self.as_of,
            sha256=sha,
            bytes=delivery.path.lstat().st_size,
            status="loaded",
            loaded_at=now_utc(),
            run_id=self.run_id,
            file_stat=stat,
            zone=self.zone,
            currency=self.source.currency,
            price_includes_tax=self.source.price_includes_tax,
        )

    def _commit(self, batch: list[Pending]) -> list[Entry]:
        """Type, map, tokenise and write one batch; its ledger rows are written last."""
        readable = [p for p in batch if p.entry.status == "loaded"]
        con = duckdb.connect()
        con.execute("set TimeZone = 'UTC'")
        # A batch that does not fit in memory goes on on disk, with clear personal data in it: inside the vault.
        con.execute(f"set temp_directory = {literal(str(self.settings.vault / 'spill'))}")
        con.execute("set preserve_insertion_order = false" if _streams(readable) else "set threads = 2")
        try:
            if readable:
                self._load_rows(con, readable)
                _check_unchanged(readable)
        except FileRejected as rejected:
            self._reject(readable[0], rejected)
        except duckdb.Error:
            rejected = _damage(con, readable[0])
            if rejected is None:
                raise
            self._reject(readable[0], rejected)
        finally:
            con.close()
        entries = [self._closed(p) for p in batch]
        for entry in entries:
            self._remember(entry)
            self._remember_counts(entry)
        entries = [self._counted(entry) for entry in entries]
        self._write_quarantine(batch)
        ledger.append(self.settings, entries)
        for entry in entries:
            self._remember(entry)
            self.last_by_file[entry.file] = entry
        return entries

    def _counted(self, entry: Entry) -> Entry:
        """A duplicate file with the rows of its twin, which may be of the same batch."""
        if entry.status != "duplicate":
            return entry
        rows = next((e.rows_read for e in self._loaded_as(entry.sha256)), 0)
        return replace(entry, rows_read=rows, rows_duplicate=rows)

    def _closed(self, pending: Pending) -> Entry:
        """The entry with its counts."""
        entry, records = pending.entry, pending.records
        if entry.status != "loaded":
            return entry
        structural = len(records.rejects) if records else 0
        rejected = structural + len(pending.rejected)
        return replace(
            entry,
            rows_read=pending.loaded + rejected + pending.duplicate_rows,
            rows_loaded=pending.loaded,
            rows_rejected=rejected,
            rows_duplicate=pending.duplicate_rows,
            header_bytes=records.header_bytes if records else None,
            blank_bytes=records.blank_bytes if records else None,
            record_bytes=records.record_bytes if records else None,
            extra_columns=", ".join(records.extra_columns) or None if records else None,
        )

    def _load_rows(self, con: duckdb.DuckDBPyConnection, batch: list[Pending]) -> None:
        by_delivery = {p.entry.delivery: p for p in batch}
        relation, types = self._relation(con, batch)
        if relation is None:
            return
        con.register("deliveries", self._bounds(batch))
        until_year = max(p.delivery.dt for p in batch).year + 1
        sql, rules = classified_sql(self.contract, relation, types, "deliveries", self.zone, until_year)
        con.execute(f"create temp table classified as {sql}")
        self._note_rejects(con, by_delivery, rules, types)
        self._drop_duplicates(con, by_delivery)
        declared = self.source.feeds.get(self.feed)
        if declared and declared.maps_to:
            filled = self._map(con, declared.maps_to, by_delivery)
        else:
            filled = {self.contract.feed: "good"}
        for delivery, n in con.execute("select _delivery, count(*) from good group by _delivery").fetchall():
            by_delivery[delivery].loaded = n
        written = [(p.entry, p.delivery) for p in batch]
        for feed, relation in filled.items():
            contract = self.contract if feed == self.contract.feed else load_contracts()[feed]
            self.writer.write(con, contract, relation, written, streamed=_streams(batch))

    def _map(
        self, con: duckdb.DuckDBPyConnection, feeds: Iterable[str], by_delivery: Mapping[str, Pending]
    ) -> dict[str, str]:
        """Relation of each contract feed that the good rows fill.

        A mapped row obeys the rules of the feed that it fills. Where it breaks one, the delivered row behind it is
        rejected and the mapping is done again without it.
        """
        con.execute("create temp view delivered as select * from good")
        while True:
            filled = {feed: mapped(con, self.source.source, feed) for feed in feeds}
            broken: dict[tuple[str, int], tuple[str, str | None, str | None]] = {}
            for feed, relation in filled.items():
                sql, rules = broken_sql(load_contracts()[feed], relation, "deliveries")
                for delivery, row, rule in con.execute(sql).fetchall():
                    code, column = rules[rule]
                    broken.setdefault((delivery, row), (code, f"{feed}.{column}" if column else feed, None))
            if not broken:
                return filled
            for (delivery, row), reject in broken.items():
                by_delivery[delivery].rejected[row] = reject
            con.register("broken", pa.table({"d": [d for d, _ in broken], "r": [r for _, r in broken]}))
            con.execute("delete from classified where (_delivery, _row) in (select d, r from broken)")

    def _note_rejects(
        self,
        con: duckdb.DuckDBPyConnection,
        by_delivery: Mapping[str, Pending],
        rules: list[tuple[str, str | None]],
        delivered: Mapping[str, str],
    ) -> None:
        """Keep code, column and value of every row that breaks a rule.

        A shifted row puts a phone into the column beside it, so a feed with personal columns shows no value at all.
        """
        rows = con.execute("select _delivery, _row, _rule from classified where _rule is not null").fetchall()
        if not rows:
            return
        values: dict[tuple[str, int], dict[str, str | None]] = {}
        shown = sorted({rules[rule][1] or "" for _, _, rule in rows} & set(delivered))
        if shown and not any(column.pii for column in self.contract.columns.values()):
            columns = ", ".join(f"cast(r.{quote(name)} as varchar)" for name in shown)
            found = con.execute(
                f"select r._delivery, r._row, {columns} from as_delivered as r semi join "
                "(select _delivery, _row from classified where _rule is not null) as bad using (_delivery, _row)"
            ).fetchall()
            values = {(d, no): dict(zip(shown, rest, strict=True)) for d, no, *rest in found}
        for delivery, no, rule in rows:
            code, column = rules[rule]
            value = values.get((delivery, no), {}).get(column or "")
            by_delivery[delivery].rejected[no] = (code, column, value)

    def _relation(
        self, con: duckdb.DuckDBPyConnection, batch: list[Pending]
    ) -> tuple[str | None, dict[str, str]]:
        """Name of the relation of delivered rows, and the type of each contract column in it."""
        if batch[0].delivery.ext == "parquet":
            return self._parquet_relation(con, batch[0])
        tables = []
        for pending in batch:
            table = pending.records.table(list(self.contract.columns))  # type: ignore[union-attr]
            delivery = pa.array([pending.entry.delivery] * len(table), pa.string())
            tables.append(table.append_column("_delivery", delivery))
        con.register("as_delivered", pa.concat_tables(tables))
        return "as_delivered", dict.fromkeys(self.contract.columns, "VARCHAR")

    def _parquet_relation(
        self, con: duckdb.DuckDBPyConnection, pending: Pending
    ) -> tuple[str | None, dict[str, str]]:
        path = str(pending.delivery.path)
        try:
            described = con.execute("describe select * from read_parquet($1)", [path]).fetchall()
            resolved, extra = resolve_header([row[0] for row in described], self.contract)
            if "file_row_number" in (row[0].casefold() for row in described):
                raise FileRejected(
                    "wrong_format", "column file_row_number is DuckDB's own; rename it in the export"
                )
        except duckdb.Error as error:
            detail = str(error).splitlines()[0]
            pending.entry = replace(
                pending.entry, status="rejected", reject_code="wrong_format", reject_detail=detail
            )
            return None, {}
        except FileRejected as rejected:
            self._reject(pending, rejected)
            return None, {}
        pending.entry = replace(pending.entry, extra_columns=", ".join(extra) or None)
        types = {name: row[1] for name, row in zip(resolved, described, strict=True) if name}
        columns = ", ".join(
            f"{quote(row[0])} as {quote(name)}" for name, row in zip(resolved, described, strict=True) if name
        )
        file_literal = "'" + path.replace("'", "''") + "'"
        delivery_literal = "'" + pending.entry.delivery.replace("'", "''") + "'"
        con.execute(
            f"create temp view as_delivered as select {columns}, file_row_number + 1 as _row, "
            f"{delivery_literal} as _delivery from read_parquet({file_literal}, file_row_number = true)"
        )
        for name, column in self.contract.columns.items():
            if column.same_as == "source" and name in types:
                found = con.execute(
                    f"select distinct cast({quote(name)} as varchar) from as_delivered"
                ).fetchall()
                try:
                    self._check_source_names(name, {row[0] for row in found if row[0]})
                except FileRejected as rejected:
                    self._reject(pending, rejected)
                    return None, {}
        return "as_delivered", types

    @staticmethod
    def _reject(pending: Pending, rejected: FileRejected) -> None:
        pending.entry = replace(
            pending.entry, status="rejected", reject_code=rejected.code, reject_detail=rejected.detail
        )

    def _bounds(self, batch: list[Pending]) -> pa.Table:
        """Day and last moment of each delivery: five minutes after its business day ends, in UTC."""
        zone = ZoneInfo(self.zone)
        rows = []
        for p in batch:
            midnight = datetime.combine(p.delivery.dt + timedelta(days=1), time(), zone)
            latest = midnight.astimezone(UTC).replace(tzinfo=None) + timedelta(minutes=5)
            rows.append({"_delivery": p.entry.delivery, "_dt": p.delivery.dt, "_latest": latest})
        return pa.Table.from_pylist(
            rows,
            pa.schema([("_delivery", pa.string()), ("_dt", pa.date32()), ("_latest", pa.timestamp("us"))]),
        )

    def _drop_duplicates(self, con: duckdb.DuckDBPyConnection, by_delivery: Mapping[str, Pending]) -> None:
        """Leave out the second and later of equal rows of a keyed feed inside one delivery, and count them."""
        con.execute("create temp view good as select * from classified where _rule is null")
        key = (*(("_delivery",) if len(by_delivery) > 1 else ()), *self.contract.key)
        if not self.contract.key:
            return
        key_hash = f"hash({', '.join(quote(name) for name in key)})"
        # A 64-bit hash finds every repeat; its rare false alarm is settled by the exact comparison below.
        con.execute(
            f"create temp table repeats as select {key_hash} as key_hash from good group by 1 having count(*) > 1"
        )
        found = con.execute("select count(*) from repeats").fetchone()
        if not found or not found[0]:
            return
        columns = ", ".join(
            quote(row[0])
            for row in con.execute("describe good").fetchall()
            if row[0] not in ("_row", "_rule")
        )
        con.execute(
            f"create temp table duplicates as select id, _delivery from ("
            f"select rowid as id, _delivery, row_number() over (partition by {columns} order by _row) as nth "
            f"from classified semi join repeats on {key_hash} = key_hash where _rule is null) where nth > 1"
        )
        for delivery, n in con.execute("select _delivery, count(*) from duplicates group by 1").fetchall():
            by_delivery[delivery].duplicate_rows = n
        con.execute("delete from classified where rowid in (select id from duplicates)")

    def _write_quarantine(self, batch: list[Pending]) -> None:
        for pending in batch:
            if pending.entry.status != "loaded":
                continue
            structural = pending.records.rejects if pending.records else ()
            rows: list[tuple[object, ...]] = [
                (r.record_no, r.code, r.column, r.value, r.byte_start, r.byte_end) for r in structural
            ]
            rows += [
                (row, code, column, value, None, None)
                for row, (code, column, value) in sorted(pending.rejected.items())
            ]
            quarantine.write(self.settings, pending.entry.delivery, rows)


def _streams(batch: list[Pending]) -> bool:
    """A Parquet file too large to hold in memory is streamed; it is always a batch of its own."""
    first = batch[0].delivery if batch else None
    return bool(first and first.ext == "parquet" and pq.read_metadata(first.path).num_rows > _STREAM_ROWS)


def _check_parquet(path: Path) -> None:
    """Raises FileRejected where the file has no readable footer."""
    try:
        pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise FileRejected("wrong_format", f"no Parquet file: {str(error).splitlines()[0]}") from error


def _check_unchanged(batch: list[Pending]) -> None:
    """Raises FileRejected where a Parquet file, which is read in place, is no longer the one that was hashed."""
    first = batch[0]
    if first.delivery.ext == "parquet" and file_stat(first.delivery.path) != first.entry.file_stat:
        raise FileRejected("changed_while_read", "the file changed while it was read; deliver by rename")


def _damage(con: duckdb.DuckDBPyConnection, pending: Pending) -> FileRejected | None:
    """Why a Parquet file cannot be read to its end; None where it can, so that the error is our own."""
    if pending.delivery.ext != "parquet":
        return None
    try:
        con.execute(
            "create temp table read_through as select max(hash(columns(*))) from read_parquet($1)",
            [str(pending.delivery.path)],
        )
    except duckdb.Error as error:
        return FileRejected("wrong_format", f"damaged Parquet file: {str(error).splitlines()[0]}")
    return None
