"""The pending files of one source and feed: read, typed, freed of repeats, mapped and committed batch by batch."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import reduce
from operator import and_
from pathlib import Path
from uuid import uuid4
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import duck
from pipeline.duck import literal, quote
from pipeline.errors import StrataError
from pipeline.ingest import ledger, profile, quarantine
from pipeline.ingest.cast import broken_sql, classified_sql
from pipeline.ingest.contracts import (
    Contract,
    DeliveredFeed,
    Source,
    delivered_contract,
    load_contracts,
    load_sources,
)
from pipeline.ingest.documents import Documents
from pipeline.ingest.landing import Delivery, read_manifest
from pipeline.ingest.ledger import Entry
from pipeline.ingest.mapping import check_conserved, check_origins, mapped, targets
from pipeline.ingest.reading.content import FileRejected, check_kind, open_regular, sha256_of
from pipeline.ingest.reading.csv_chunks import NOTHING_KNOWN, NotClean, type_of_typed
from pipeline.ingest.reading.reader import (
    SPOOL_BYTES,
    Records,
    RecordStream,
    read_file,
    record_spans,
    resolve_header,
    small_text_records,
)
from pipeline.ingest.rules import rules_of
from pipeline.ingest.take_over import columns_to_copy, known_of_good, texts_as_they_are
from pipeline.ingest.vault import Vault
from pipeline.ingest.vault.tombstones import CODE as ERASED
from pipeline.ingest.writing import RawWriter
from pipeline.quality.policy import erasure_rule
from pipeline.settings import Settings

_BATCH_BYTES = 48 * 1024 * 1024
# Above this many rows a Parquet file is streamed from disk to disk instead of held in memory.
_STREAM_ROWS = 1_000_000
_PROBED_ROWS = 100_000
# A group that breaks a rule loses the record that it names; another one may then stand for it.
_MAPPING_ROUNDS = 100
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
        replay: Collection[str] = (),
    ) -> None:
        """`replay` names deliveries to read again although the ledger knows their bytes: the rules have changed."""
        contract = delivered_contract(source, feed)
        if contract is None:
            raise StrataError(f"feed {feed} of source {source.source} has no contract")
        self.settings, self.source, self.feed = settings, source, feed
        self.spill = settings.vault / "spill"
        self.typed: list[Path] = []
        self.contract, self.run_id, self.released, self.as_of = contract, run_id, released, as_of
        self.zone = source.zone or settings.timezone
        self.replay = frozenset(replay)
        self.rules = rules_of(settings, source, feed)
        mine = [e for e in known if e.source == source.source and e.feed == feed]
        # Master data may well be the same in two systems; a day's sales are not.
        newest = {(e.source, e.stem): e for e in known if e.source != source.source and e.feed == feed}
        others = [e for e in newest.values() if e.rows_loaded]
        self.elsewhere = {e.sha256: e.file for e in others} if contract.cadence == "daily" else {}
        self.last_by_file = {e.file: e for e in mine}
        self.rev = defaultdict(int)
        self.current: dict[str, Entry] = {}
        self.sizes = {e.bytes for e in known}
        self.without_rows: set[str] = set()
        self.in_two_formats: set[str] = set()
        for entry in mine:
            self._remember(entry)
            self._remember_counts(entry)
        self.writer = RawWriter(settings, vault, source)
        self.documents = (
            Documents(settings, source.source, feed, contract, vault.minting_key)
            if contract.document
            else None
        )

    def _remember(self, entry: Entry) -> None:
        stem = entry.stem or ""
        self.sizes.add(entry.bytes)
        self.rev[stem] = max(self.rev[stem], entry.rev)
        if entry.rev == self.rev[stem]:
            self.current[stem] = entry

    def _remember_counts(self, entry: Entry) -> None:
        if entry.status == "loaded" and not entry.rows_read:
            self.without_rows.add(entry.sha256)

    def load(self, files: list[Delivery]) -> Iterator[list[Entry]]:
        """Entries of each committed batch."""
        stems = Counter(f.stem for f in files)
        self.in_two_formats = {stem for stem, n in stems.items() if n > 1}
        # The second round is for duplicates: the file that they repeated may have been corrected in the first.
        yield from self._round(f for part in (files, self._duplicates(files)) for f in part)
        self._check_duplicates_stand({f.file for f in files})
        if self.documents:
            self.replay |= self._leaning_on_corrected({f.file for f in files})
            yield from self._round(
                f
                for f in files
                if f.file in self.last_by_file and self.last_by_file[f.file].delivery in self.replay
            )

    def _leaning_on_corrected(self, landed: set[str]) -> set[str]:
        """Deliveries to read again: a document of theirs was left out for a file that has been corrected since.

        It is asked of what is stored and not of what this sweep has done, so a sweep that died is made good.
        """
        before = [
            f"{e.delivery.rsplit('=', 1)[0]}={n}" for e in self.current.values() for n in range(1, e.rev)
        ]
        if not before or not self.documents:
            return set()
        con = duck.connect([self.settings.raw])
        try:
            leaning = self.documents.leaning_on(con, before)
        finally:
            con.close()
        again = [e for e in self.current.values() if e.delivery in leaning and e.dt and e.dt < self.as_of]
        gone = sorted(e.file for e in again if e.file not in landed)
        if gone:
            raise StrataError(
                f"{gone[0]} holds documents that counted in a file which was corrected since: put {gone[0]} back into "
                "landing and run again"
            )
        return {e.delivery for e in again}

    def _check_duplicates_stand(self, landed: set[str]) -> None:
        """A file that only repeated another is needed again once that other one is corrected."""
        for entry in self.current.values():
            due = entry.status == "duplicate" and entry.dt and entry.dt < self.as_of
            if due and entry.file not in landed and not self._twin(entry, entry.sha256):
                raise StrataError(
                    f"{entry.file} repeated a file that was corrected since, so its rows are needed: put {entry.file} "
                    "back into landing and run again"
                )

    def _duplicates(self, files: list[Delivery]) -> Iterator[Delivery]:
        return (f for f in files if self._is_duplicate(f))

    def _round(self, files: Iterable[Delivery]) -> Iterator[list[Entry]]:
        batch: list[Pending] = []
        size = 0
        for delivery in files:
            pending = self._pending(delivery)
            if pending is None:
                continue
            self._remember(pending.entry)
            self.last_by_file[delivery.file] = pending.entry
            if pending.entry.status == "loaded" and (not pending.records or pending.records.spool):
                if batch:
                    yield self._commit(batch)
                    batch, size = [], 0
                yield self._commit([pending])
                continue
            batch.append(pending)
            size += max(pending.entry.bytes, pending.records.nbytes if pending.records else 0)
            if size >= _BATCH_BYTES:
                yield self._commit(batch)
                batch, size = [], 0
        if batch:
            yield self._commit(batch)

    def _is_duplicate(self, delivery: Delivery) -> bool:
        last = self.last_by_file.get(delivery.file)
        return last is not None and last.status == "duplicate"

    def _pending(self, delivery: Delivery) -> Pending | None:
        """The file as a pending one with its records, or None where the ledger has these bytes already."""
        try:
            stat = delivery.stat
        except FileNotFoundError:
            # It was taken away since the folder was listed: nothing was delivered.
            return None
        last = self.last_by_file.get(delivery.file)
        if last and last.status == "duplicate" and not self._twin(delivery, last.sha256):
            last = None
        held = self.current.get(delivery.stem)
        if held and held.reject_code == "two_formats" and delivery.stem not in self.in_two_formats:
            # One of the two is gone: what is left is the delivery, also where it was in force before.
            last = None
        again = last if last and last.delivery in self.replay else None
        if last and not again and last.file_stat == stat:
            return None
        unreadable: FileRejected | None = None
        sha = ""
        try:
            # A large file of a size that none had before repeats none: its bytes are hashed as they are read.
            if again or not self._may_stream(delivery) or delivery.path.lstat().st_size in self.sizes:
                sha = sha256_of(delivery.path)
        except FileRejected as rejected:
            unreadable = rejected
        # The same bytes come to the same, unless it was the manifest beside them that was wrong.
        if last and not again and sha and last.sha256 == sha and last.reject_code != "manifest_mismatch":
            return None
        if again and sha != again.sha256:
            raise StrataError(
                f"{delivery.file} has changed since it was loaded: `strata run` takes the correction in"
            )
        pending = Pending(delivery, self._entry(delivery, sha, stat, again))
        if delivery.stem in self.in_two_formats:
            self._reject(
                pending,
                FileRejected(
                    "two_formats",
                    f"{delivery.stem} stands in landing in two formats: take one away, or name them apart "
                    f"({delivery.stem}.<part>.{delivery.ext})",
                ),
            )
            return pending
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
            if unreadable:
                raise unreadable
            self._read(pending)
        except FileRejected as rejected:
            self._reject(pending, rejected)
        return pending

    def _read(self, pending: Pending) -> None:
        """Read a text file, a workbook or a small Parquet file of text whole.

        Another Parquet file is read in place later; here its footer is checked.
        """
        delivery, entry = pending.delivery, pending.entry
        manifest = read_manifest(delivery)
        manifest.check(bytes=entry.bytes)
        if entry.sha256:
            manifest.check(sha256=entry.sha256)
        if entry.sha256 in self.elsewhere:
            raise FileRejected("wrong_source", f"the same bytes as {self.elsewhere[entry.sha256]}")
        if delivery.ext == "parquet":
            manifest.check(rows=_parquet_rows(delivery.path, self.contract))
            records = small_text_records(delivery.path, self.contract, entry.sha256)
            if records is None:
                return
        elif self._may_stream(delivery):
            # It is read while it is written; only what is not clean is read first.
            pending.streamed = True
            return
        else:
            records = read_file(delivery.path, delivery.ext, self.contract, self.spill)
        pending.records = records
        self._check_records(pending, records)

    def _check_records(self, pending: Pending, records: Records) -> None:
        """What is known only when the file has been read. Raises FileRejected."""
        delivery = pending.delivery
        if not pending.entry.sha256:
            pending.entry = replace(pending.entry, sha256=records.sha256)
        entry = pending.entry
        if delivery.stat != entry.file_stat or records.sha256 != entry.sha256:
            raise FileRejected("changed_while_read", "the file changed while it was read; deliver by rename")
        read_manifest(delivery).check(sha256=entry.sha256, rows=records.rows_read)
        for column, found in records.source_names.items():
            self._check_source_names(column, found)
        if not records.rows_read:
            self.without_rows.add(entry.sha256)

    def _may_stream(self, delivery: Delivery) -> bool:
        """A large CSV file whose rows go to raw as they are, without a look at each value for its token."""
        declared = self.source.feeds.get(self.feed)
        plain = not (declared and declared.maps_to) and not any(c.pii for c in self.contract.columns.values())
        large = delivery.path.lstat().st_size > SPOOL_BYTES
        return plain and large and delivery.ext == "csv"

    def _stream(self, pending: Pending) -> bool:
        """Type a clean file and write it to raw while it is read.

        False where a chunk is not clean, a row breaks a rule or a key may stand twice: the file is then read the other
        way, which tells the rows, and what was written here is written again. Raises FileRejected.
        """
        entry, delivery = pending.entry, pending.delivery
        rows: dict[str, int] = {}
        con = self._connection(streamed=True)
        try:
            with RecordStream(delivery.path, delivery.ext, self.contract) as stream:
                try:
                    self._good_rows_of(con, pending, stream)
                    written, noted = [(entry, delivery)], {entry.delivery: {}}
                    rows = self.writer.write(
                        con,
                        self.contract,
                        "good",
                        written,
                        streamed=True,
                        noted=noted,
                        as_read=lambda e: replace(e, sha256=stream.records.sha256),
                    )
                except NotClean:
                    return False
                except duckdb.Error:
                    if stream.failure is None:
                        raise
            if isinstance(stream.failure, FileRejected):
                raise stream.failure
            if stream.failure or rows.get(entry.delivery, 0) != stream.records.rows_read:
                return False
            self._check_records(pending, stream.records)
            if self.contract.key and not stream.has_each_key_once and self._repeats_in_raw(con, pending):
                return False
        finally:
            con.close()
        pending.records = stream.records
        pending.loaded = pending.feed_rows[self.contract.feed] = stream.records.rows_read
        return True

    def _good_rows_of(self, con: duckdb.DuckDBPyConnection, pending: Pending, stream: RecordStream) -> None:
        table = stream.table()
        con.register("as_streamed", table)
        con.register("deliveries", self._bounds([pending]))
        sql, rules = classified_sql(
            self.contract,
            f"(select *, {literal(pending.entry.delivery)} as _delivery from as_streamed)",
            {f.name: type_of_typed(f.type) for f in table.schema if f.name != "_row"},
            "deliveries",
            self.zone,
            pending.delivery.dt.year + 1,
            facts=stream.records.facts,
            alone=True,
        )
        sql, _ = self._without_erased(con, sql, rules)
        con.execute(f"create temp view good as select * from ({sql}) where _rule is null")

    def _without_erased(
        self, con: duckdb.DuckDBPyConnection, sql: str, rules: list[tuple[str, str | None]]
    ) -> tuple[str, list[tuple[str, str | None]]]:
        rule = erasure_rule(self.contract.feed)
        tombstones = self.writer.vault.tombstones
        return tombstones.turned_away(con, sql, rules, self.contract, self.source, rule)

    def _repeats_in_raw(self, con: duckdb.DuckDBPyConnection, pending: Pending) -> bool:
        path = self.writer.raw_path(self.contract.feed, pending.entry, pending.delivery)
        key_hash, repeated = self._repeated_keys(many=False)
        sql = f"select 1 from read_parquet({literal(str(path))}, hive_partitioning = false) group by {key_hash} having {repeated} limit 1"
        return con.execute(sql).fetchone() is not None

    def _connection(self, *, streamed: bool) -> duckdb.DuckDBPyConnection:
        # A batch that does not fit in memory goes on on disk, with clear personal data in it: inside the vault.
        con = duck.connect([self.settings.landing, self.settings.raw], spill=self.spill)
        con.execute("set preserve_insertion_order = false" if streamed else "set threads = 2")
        if streamed:
            con.execute(f"set memory_limit = {literal(_STREAM_MEMORY)}")
        return con

    def _read_now(self, batch: list[Pending]) -> None:
        """Read what was to be streamed and could not be. Raises FileRejected."""
        for pending in batch:
            if pending.streamed:
                delivery = pending.delivery
                pending.records = read_file(delivery.path, delivery.ext, self.contract, self.spill)
                self._check_records(pending, pending.records)

    def _check_source_names(self, column: str, found: set[str]) -> None:
        others = found - {self.source.source}
        if others:
            # Only a source's own name is told: a shifted row puts a person's data here.
            named = min(others & set(load_sources()), default="something else")
            raise FileRejected(
                "wrong_source", f"column {column} says {named}, the folder says {self.source.source}"
            )

    def _twin(self, delivery: Delivery | Entry, sha: str) -> Entry | None:
        """A loaded delivery of another name with the same bytes that is still in force, which this one repeats.

        Two days without rows have equal bytes and are two deliveries. Where rows are states (master data, an order's
        status) only the delivery just before can be repeated: A, B and then A again means that things are as they
        were, not that A came twice.
        """
        if not sha or sha in self.without_rows:
            return None
        others = [e for e in self.current.values() if e.stem != delivery.stem and e.status == "loaded"]
        if self.contract.latest_by or self.contract.cadence == "occasional":
            before = [e for e in others if (e.dt, e.stem) < (delivery.dt, delivery.stem)]
            others = [max(before, key=lambda e: (e.dt, e.stem))] if before else []
        return next((e for e in others if e.sha256 == sha), None)

    def _loaded_as(self, sha: str) -> Iterator[Entry]:
        return (e for e in self.current.values() if e.sha256 == sha and e.status == "loaded")

    def _entry(self, delivery: Delivery, sha: str, stat: str, again: Entry | None) -> Entry:
        now = now_utc()
        rev = self.rev[delivery.stem] + 1
        known_at_once = self.released is None or self.released <= delivery.dt
        return Entry(
            delivery=delivery.id_of(rev),
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
            loaded_at=now,
            run_id=self.run_id,
            file_stat=stat,
            zone=self.zone,
            currency=self.source.currency,
            price_includes_tax=self.source.price_includes_tax,
            first_seen_at=(again.first_seen_at or again.loaded_at) if again else now,
            replay_of=again.delivery if again else None,
            rules=self.rules,
        )

    def _commit(self, batch: list[Pending]) -> list[Entry]:
        """Type, map, tokenise and write one batch; its ledger rows are written last."""
        readable = [p for p in batch if p.entry.status == "loaded"]
        con = self._connection(streamed=False)
        try:
            if not any(p.streamed and self._stream(p) for p in readable):
                self._read_now(readable)
                if _streams(readable):
                    con.close()
                    con = self._connection(streamed=True)
                if readable:
                    self._load_rows(con, readable)
                    _check_unchanged(readable)
        except FileRejected as rejected:
            self._reject(readable[0], rejected)
        except duckdb.Error as error:
            rejected = _damage(con, readable[0])
            if rejected is None:
                # Neither this line nor the traceback in the event log may show the value that DuckDB stumbled over.
                name = readable[0].entry.delivery
                raise StrataError(f"{name} cannot be loaded: {duck.without_values(error)}") from None
            self._reject(readable[0], rejected)
        finally:
            con.close()
            for pending in batch:
                if pending.records:
                    pending.records.discard()
            for path in self.typed:
                path.unlink(missing_ok=True)
            self.typed.clear()
        for pending in readable:
            if pending.entry.status == "rejected":
                feeds = targets(self.source.source, self.feed)
                self.writer.discard(feeds, pending.entry, pending.delivery)
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
        entry, records = replace(pending.entry, loaded_at=now_utc()), pending.records
        if entry.status != "loaded":
            if not entry.sha256:
                with suppress(FileRejected):
                    entry = replace(entry, sha256=sha256_of(pending.delivery.path))
            return entry
        codes = Counter(code for code, *_ in pending.rejected.values())
        codes.update(r.code for r in (records.rejects if records else ()))
        rejected = codes.total()
        return replace(
            entry,
            reject_codes=json.dumps(dict(sorted(codes.items()))) if codes else None,
            feed_rows=json.dumps(pending.feed_rows),
            rows_read=records.rows_read if records else pq.read_metadata(pending.delivery.path).num_rows,
            rows_loaded=pending.loaded,
            rows_rejected=rejected,
            rows_duplicate=pending.duplicate_rows,
            header_bytes=records.header_bytes if records else None,
            blank_bytes=records.blank_bytes if records else None,
            record_bytes=records.record_bytes if records else None,
            content_bytes=records.content_bytes if records else None,
            extra_columns=self.writer.told_columns(records.extra_columns) if records else entry.extra_columns,
        )

    def _load_rows(self, con: duckdb.DuckDBPyConnection, batch: list[Pending]) -> None:
        by_delivery = {p.entry.delivery: p for p in batch}
        relation, types = self._relation(con, batch)
        if relation is None:
            return
        con.register("deliveries", self._bounds(batch))
        until_year = max(p.delivery.dt for p in batch).year + 1
        records = [p.records for p in batch if p.records]
        sql, rules = classified_sql(
            self.contract,
            relation,
            types,
            "deliveries",
            self.zone,
            until_year,
            facts=reduce(and_, (r.facts for r in records)) if records else NOTHING_KNOWN,
            alone=len(batch) == 1,
        )
        sql, rules = self._without_erased(con, sql, rules)
        streamed = _streams(batch)
        con.execute(f"create temp {'view' if streamed else 'table'} classified as {sql}")
        con.execute("create temp table excluded (_delivery varchar, _row bigint)")
        con.execute("create temp view good as select * from classified where _rule is null")
        if streamed:
            if self._all_good(con, batch[0], relation, types):
                return
            self._put_down(con, batch[0].entry)
        self._note_rejects(con, by_delivery, rules, types)
        self.writer.vault.tombstones.follow(con, rules, self.contract, self.source)
        self._exclude_duplicates(con, by_delivery)
        self._exclude_documents(con, batch)
        declared = self.source.feeds.get(self.feed)
        if declared and declared.maps_to:
            filled = self._map(con, declared, by_delivery)
            for delivery, n in con.execute("select _delivery, count(*) from good group by 1").fetchall():
                by_delivery[delivery].loaded = n
        else:
            filled = {self.contract.feed: "good"}
        if any(p.rejected for p in batch):
            for delivery, amount in profile.rejected_amounts(con, self.contract).items():
                by_delivery[delivery].noted["rejected_amount"] = amount
        written = [(p.entry, p.delivery) for p in batch]
        noted = {p.entry.delivery: p.noted for p in batch}
        for feed, relation in filled.items():
            own = feed == self.contract.feed
            contract = self.contract if own else load_contracts()[feed]
            rows = self.writer.write(
                con, contract, relation, written, streamed=streamed, noted=noted if own else None
            )
            for delivery, n in rows.items():
                by_delivery[delivery].feed_rows[feed] = n
                if not (declared and declared.maps_to):
                    by_delivery[delivery].loaded = n

    def _all_good(
        self, con: duckdb.DuckDBPyConnection, pending: Pending, relation: str, types: Mapping[str, str]
    ) -> bool:
        """Write the rows of `good` at once; whether that were all, with no key twice.

        Most deliveries have nothing to reject, and typing a large one costs more than anything else that is done with
        it: it is typed a second time only where the first shows that there is something to tell.
        """
        declared = self.source.feeds.get(self.feed)
        if (declared and declared.maps_to) or self._begins_with_dirt(con):
            return False
        if pending.records is None and self._take_over(con, pending, relation, types):
            return True
        entry, delivery = pending.entry, pending.delivery
        given = pending.records.rows if pending.records else pq.read_metadata(delivery.path).num_rows
        noted: profile.Noted = {entry.delivery: {}}
        rows = self.writer.write(con, self.contract, "good", [(entry, delivery)], streamed=True, noted=noted)
        if rows.get(entry.delivery, 0) != given or (self.contract.key and self._repeats_in_raw(con, pending)):
            return False
        pending.loaded = pending.feed_rows[self.contract.feed] = given
        return True

    def _take_over(
        self, con: duckdb.DuckDBPyConnection, pending: Pending, relation: str, types: Mapping[str, str]
    ) -> bool:
        """Let the chunks of a Parquet file that has raw's own values be raw; whether that is so, with no key twice."""
        entry, delivery = pending.entry, pending.delivery
        columns = columns_to_copy(delivery.path, self.contract, types)
        if columns is None or self.writer.vault.tombstones:
            return False
        looked = texts_as_they_are(delivery.path, self.contract, columns)
        if looked is None:
            return False
        facts, is_each_key_once = looked
        until_year = delivery.dt.year + 1
        sql, _ = classified_sql(
            self.contract, relation, types, "deliveries", self.zone, until_year, facts=facts, alone=True
        )
        known = known_of_good(con, self.contract, sql)
        if known is None:
            return False
        rows = self.writer.take_over(con, self.contract, entry, delivery, columns, known, self.spill)
        if self.contract.key and not is_each_key_once and self._repeats_in_raw(con, pending):
            return False
        pending.loaded = pending.feed_rows[self.contract.feed] = rows[entry.delivery]
        return True

    def _put_down(self, con: duckdb.DuckDBPyConnection, entry: Entry) -> None:
        """Type a large delivery once and for all: what is asked of it from here on reads the typed rows."""
        self.spill.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.spill / f"{uuid4().hex}.parquet"
        self.typed.append(path)
        file, delivery = literal(str(path)), literal(entry.delivery)
        con.execute(
            f"copy (select * exclude (_delivery) from classified) to {file} "
            "(format parquet, compression uncompressed, dictionary_size_limit 1000)"
        )
        con.execute(
            f"create or replace temp view classified as select *, {delivery} as _delivery from read_parquet({file})"
        )

    def _begins_with_dirt(self, con: duckdb.DuckDBPyConnection) -> bool:
        """Whether the first rows have a reject or a key twice: then so has the file, and writing it would be in vain."""
        keys = ", ".join(map(quote, self.contract.key)) or "_row"
        found = con.execute(
            f"select count(*) filter (_rule is not null) > 0 or count(distinct hash({keys})) < count(*) "
            f"from (select _rule, _row, {keys} from classified limit {_PROBED_ROWS})"
        ).fetchone()
        return bool(found and found[0])

    def _map(
        self, con: duckdb.DuckDBPyConnection, declared: DeliveredFeed, by_delivery: Mapping[str, Pending]
    ) -> dict[str, str]:
        """Relation of each contract feed that the good rows fill.

        A mapped row obeys the rules of the feed that it fills. Where it breaks one, the delivered row behind it is
        rejected and the mapping is done again without it.
        """
        con.execute("create temp view delivered as select * from good")
        for _ in range(_MAPPING_ROUNDS):
            filled = {feed: mapped(con, self.source.source, feed) for feed in declared.maps_to}
            check_origins(con, self.source.source, filled)
            for feed, relation in filled.items():
                contract, rule = load_contracts()[feed], erasure_rule(feed)
                self.writer.vault.tombstones.cut_mapped(con, relation, contract, self.source, rule)
            broken: dict[tuple[str, int], tuple[str, str | None, str | None]] = {}
            for feed, relation in filled.items():
                sql, rules = broken_sql(load_contracts()[feed], relation, "deliveries")
                for delivery, row, rule in con.execute(sql).fetchall():
                    code, column = rules[rule]
                    broken.setdefault((delivery, row), (code, f"{feed}.{column}" if column else feed, None))
            if not broken:
                check_conserved(con, self.source.source, self.feed, filled, declared.one_to_many)
                return filled
            for (delivery, row), reject in broken.items():
                by_delivery[delivery].rejected[row] = reject
            con.register("broken", pa.table({"d": [d for d, _ in broken], "r": [r for _, r in broken]}))
            self._exclude(con, "select d, r from broken")
        delivery, row = min(broken)
        code, column, _ = broken[delivery, row]
        raise StrataError(
            f"the mapping of {self.source.source}/{self.feed} makes a row that is {code} in {column} whatever record is taken "
            f"out of its group, such as record {row} of {delivery}: name them all, `list(_row) as _rows`, or mend the mapping"
        )

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
            columns = ", ".join(f"left(cast(r.{quote(name)} as varchar), 200)" for name in shown)
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
        if batch[0].records is None:
            return self._parquet_relation(con, batch[0])
        if (spooled := batch[0].records) and spooled.spool:
            return self._spooled_relation(con, batch[0].entry.delivery, spooled.spool)
        tables = []
        for pending in batch:
            table = pending.records.table(list(self.contract.columns))  # type: ignore[union-attr]
            delivery = pa.array([pending.entry.delivery] * len(table), pa.string())
            tables.append(table.append_column("_delivery", delivery))
        con.register("as_delivered", pa.concat_tables(tables))
        return "as_delivered", dict.fromkeys(self.contract.columns, "VARCHAR")

    def _spooled_relation(
        self, con: duckdb.DuckDBPyConnection, delivery: str, spool: Path
    ) -> tuple[str, dict[str, str]]:
        names = [name for name in pq.read_schema(spool).names if name != "_row"]
        columns = ", ".join(quote(name) for name in [*names, "_row"])
        con.execute(
            f"create temp view as_delivered as select {columns}, {literal(delivery)} as _delivery "
            f"from read_parquet({literal(str(spool))}, hive_partitioning = false)"
        )
        return "as_delivered", dict.fromkeys(names, "VARCHAR")

    def _parquet_relation(
        self, con: duckdb.DuckDBPyConnection, pending: Pending
    ) -> tuple[str | None, dict[str, str]]:
        path = str(pending.delivery.path)
        try:
            described = con.execute(
                "describe select * from read_parquet($1, hive_partitioning = false)", [path]
            ).fetchall()
            resolved, extra = resolve_header([row[0] for row in described], self.contract)
            if "file_row_number" in (row[0].casefold() for row in described):
                raise FileRejected(
                    "wrong_format", "column file_row_number is DuckDB's own; rename it in the export"
                )
        except duckdb.Error as error:
            self._reject(pending, FileRejected("wrong_format", _damage_of(error)))
            return None, {}
        except FileRejected as rejected:
            self._reject(pending, rejected)
            return None, {}
        pending.entry = replace(pending.entry, extra_columns=self.writer.told_columns(extra))
        types = {name: row[1] for name, row in zip(resolved, described, strict=True) if name}
        columns = ", ".join(
            f"{quote(row[0])} as {quote(name)}" for name, row in zip(resolved, described, strict=True) if name
        )
        file_literal = "'" + path.replace("'", "''") + "'"
        delivery_literal = "'" + pending.entry.delivery.replace("'", "''") + "'"
        con.execute(
            f"create temp view as_delivered as select {columns}, file_row_number + 1 as _row, "
            f"{delivery_literal} as _delivery "
            f"from read_parquet({file_literal}, file_row_number = true, hive_partitioning = false)"
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

    def _exclude(self, con: duckdb.DuckDBPyConnection, rows: str) -> None:
        """Take rows, a SELECT of `_delivery` and `_row`, out of `good`."""
        con.execute(f"insert into excluded {rows}")
        several = con.execute("select count(*) > 1 from deliveries").fetchone()
        key = "_delivery, _row" if several and several[0] else "_row"
        con.execute(
            f"create or replace temp view good as select * from classified anti join excluded using ({key}) "
            "where _rule is null"
        )

    def _exclude_duplicates(self, con: duckdb.DuckDBPyConnection, by_delivery: Mapping[str, Pending]) -> None:
        """Leave out the second and later of equal rows of a keyed feed inside one delivery, and count them."""
        if not self.contract.key:
            return
        key_hash, repeated = self._repeated_keys(many=len(by_delivery) > 1)
        con.execute(
            f"create temp table repeats as select {key_hash} as key_hash from classified group by 1 having {repeated}"
        )
        found = con.execute("select count(*) from repeats").fetchone()
        if not found or not found[0]:
            return
        columns = ", ".join(
            quote(row[0])
            for row in con.execute("describe good").fetchall()
            if row[0] not in ("_row", "_rule")
        )
        # Few rows, asked three times: typing a large file again for each question would cost more than all else.
        con.execute(
            f"create temp table alike as select * from good semi join repeats on {key_hash} = key_hash"
        )
        con.execute(
            f"create temp table duplicates as select _delivery, _row, first_row from ("
            f"select _delivery, _row, min(_row) over (partition by {columns}) as first_row from alike) "
            "where _row > first_row"
        )
        for delivery, row, first in con.execute("select * from duplicates order by all").fetchall():
            by_delivery[delivery].repeats.append((row, delivery, first))
            by_delivery[delivery].duplicate_rows += 1
        self._exclude(con, "select _delivery, _row from duplicates")
        con.execute("delete from alike where (_delivery, _row) in (select _delivery, _row from duplicates)")
        for delivery, n in profile.key_conflicts(con, self.contract).items():
            by_delivery[delivery].noted["key_conflicts"] = n
        self._exclude_superseded(con, by_delivery)

    def _exclude_superseded(self, con: duckdb.DuckDBPyConnection, by_delivery: Mapping[str, Pending]) -> None:
        """Of rows of one delivery with one key keep the newest: the others are rejected, so that each is told."""
        newest = [f"{quote(self.contract.latest_by)} desc nulls last"] if self.contract.latest_by else []
        con.execute(
            f"create temp table superseded as select _delivery, _row from (select _delivery, _row, row_number() over ("
            f"partition by _delivery, {', '.join(map(quote, self.contract.key))} "
            f"order by {', '.join([*newest, '_row desc'])}) as nth from alike) where nth > 1"
        )
        for delivery, row in con.execute("select _delivery, _row from superseded").fetchall():
            by_delivery[delivery].rejected[row] = ("superseded", None, None)
        self._exclude(con, "select _delivery, _row from superseded")

    def _exclude_documents(self, con: duckdb.DuckDBPyConnection, batch: list[Pending]) -> None:
        """Leave out the documents of a feed without a key that came before: with the same lines as duplicates."""
        if not self.documents:
            return
        found = self.documents.met_before(con, [p.entry for p in batch], self.current.values())
        if not found:
            return
        by_delivery = {p.entry.delivery: p for p in batch}
        for delivery, row, held_by, is_same in sorted(found):
            if is_same:
                by_delivery[delivery].repeats.append((row, held_by, None))
                by_delivery[delivery].duplicate_rows += 1
            else:
                by_delivery[delivery].rejected[row] = ("document_changed", None, None)
        rows = {
            "_delivery": [d for d, *_ in found],
            "_row": pa.array([row for _, row, *_ in found], pa.int64()),
        }
        con.register("known_documents", pa.table(rows))
        self._exclude(con, "select _delivery, _row from known_documents")

    def _repeated_keys(self, *, many: bool) -> tuple[str, str]:
        """A hash of the key and the condition under which its group may hold one key twice.

        Every repeat is found; a false alarm (two keys with one hash) is settled by the exact comparison after it.
        Where the key ends in a number, such as the line of an order, one group per order will do: as many lines as
        different line numbers means no line twice, at a third of the cost.
        """
        key = (*(("_delivery",) if many else ()), *self.contract.key)
        last = self.contract.columns[self.contract.key[-1]]
        if len(self.contract.key) > 1 and last.type == "i":
            bit = f"cast(1 as ubigint) << cast({quote(key[-1])} & 63 as ubigint)"
            return f"hash({', '.join(map(quote, key[:-1]))})", f"count(*) <> bit_count(bit_or({bit}))"
        return f"hash({', '.join(map(quote, key))})", "count(*) > 1"

    def _write_quarantine(self, batch: list[Pending]) -> None:
        for pending in batch:
            if pending.entry.status != "loaded":
                continue
            structural = pending.records.rejects if pending.records else ()
            rows: list[tuple[object, ...]] = [
                (r.record_no, r.code, r.column, r.value, r.byte_start, r.byte_end) for r in structural
            ]
            spans = self._spans(pending)
            rows += [
                (row, code, column, value, *spans.get(row, (None, None)))
                for row, (code, column, value) in sorted(pending.rejected.items())
                if code != ERASED
            ]
            # A feed without personal columns may hold a person all the same: a name in the status of an order.
            values = sorted({str(row[3]) for row in rows if row[3] is not None})
            masked = dict(zip(values, self.writer.vault.mask(values, self.source.country), strict=True))
            rows = [(*row[:3], masked.get(str(row[3])), *row[4:]) for row in rows]
            quarantine.write(self.settings, pending.entry.delivery, rows)
            quarantine.write_duplicates(self.settings, pending.entry.delivery, pending.repeats)

    def _spans(self, pending: Pending) -> dict[int, tuple[int, int]]:
        """Byte spans of the records that broke a rule; a large file is not read again for them."""
        delivery, records = pending.delivery, pending.records
        small = records is not None and records.content_bytes and records.content_bytes <= _BATCH_BYTES
        if not pending.rejected or not small or delivery.ext == "xlsx":
            return {}
        try:
            return record_spans(delivery.path, delivery.ext, self.contract, pending.rejected)
        except FileRejected:
            # It changed after it was read: the record numbers are of the file that was loaded, places are not known.
            return {}


def _streams(batch: list[Pending]) -> bool:
    """What is too large to hold in memory is streamed; it is always a batch of its own."""
    first = batch[0] if batch else None
    if first is None or first.delivery.ext != "parquet":
        return bool(first and first.records and first.records.spool)
    return pq.read_metadata(first.delivery.path).num_rows > _STREAM_ROWS


def _parquet_rows(path: Path, contract: Contract) -> int:
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
    return metadata.num_rows


def _check_unchanged(batch: list[Pending]) -> None:
    """Raises FileRejected where a Parquet file, which is read in place, is no longer the one that was hashed."""
    first = batch[0]
    if first.delivery.ext == "parquet" and first.delivery.stat != first.entry.file_stat:
        raise FileRejected("changed_while_read", "the file changed while it was read; deliver by rename")


def _damage(con: duckdb.DuckDBPyConnection, pending: Pending) -> FileRejected | None:
    """Why a Parquet file cannot be read to its end; None where it can, so that the error is our own."""
    if pending.delivery.ext != "parquet":
        return None
    try:
        con.execute(
            "create temp table read_through as select max(hash(columns(*))) from read_parquet($1, hive_partitioning = false)",
            [str(pending.delivery.path)],
        )
    except duckdb.Error as error:
        return FileRejected("wrong_format", _damage_of(error))
    return None


def _damage_of(error: duckdb.Error) -> str:
    """What may be told of a broken file: DuckDB's own text quotes values, and no form of it is safe to copy."""
    return f"the Parquet file cannot be read to its end ({type(error).__name__}); write it anew and deliver it again"
