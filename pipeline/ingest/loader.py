"""The files of one source and feed that the ledger does not know yet, committed batch by batch.

What a file is to those before it is decided here. Reading it is in pending, typing and judging its rows in rows, and
what is too large for memory in large_files.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from operator import and_

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import duck
from pipeline.errors import StrataError
from pipeline.ingest import ledger, profile, quarantine
from pipeline.ingest.cast import classified_sql
from pipeline.ingest.contracts import Source, delivered_contract, load_contracts
from pipeline.ingest.documents import Documents
from pipeline.ingest.landing import Delivery
from pipeline.ingest.large_files import LargeFiles
from pipeline.ingest.ledger import Entry
from pipeline.ingest.mapping import targets
from pipeline.ingest.pending import Feed, Pending, check_unchanged, is_streamed, read, read_now
from pipeline.ingest.reading.content import FileRejected, sha256_of
from pipeline.ingest.reading.csv_chunks import NOTHING_KNOWN
from pipeline.ingest.reading.reader import record_spans
from pipeline.ingest.rows import Rows, damage
from pipeline.ingest.rules import rules_of
from pipeline.ingest.vault import Vault
from pipeline.ingest.vault.tombstones import CODE as ERASED
from pipeline.ingest.writing import RawWriter
from pipeline.settings import Settings

_BATCH_BYTES = 48 * 1024 * 1024


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
        self.contract, self.run_id, self.released, self.as_of = contract, run_id, released, as_of
        zone, spill = source.zone or settings.timezone, settings.vault / "spill"
        self.of = Feed(settings, source, feed, contract, zone, RawWriter(settings, vault, source), spill)
        self.rows, self.large = Rows(self.of), LargeFiles(self.of)
        self.replay = frozenset(replay)
        self.rules = rules_of(settings, source, feed)
        mine = [e for e in known if e.source == source.source and e.feed == feed]
        # Master data may well be the same in two systems; a day's sales are not.
        newest = {(e.source, e.stem): e for e in known if e.source != source.source and e.feed == feed}
        others = [e for e in newest.values() if e.rows_loaded]
        self.elsewhere = {e.sha256: e.file for e in others} if contract.cadence == "daily" else {}
        self.last_by_file = {e.file: e for e in mine}
        self.rev: dict[str, int] = defaultdict(int)
        self.current: dict[str, Entry] = {}
        self.sizes = {e.bytes for e in known}
        self.without_rows: set[str] = set()
        self.in_two_formats: set[str] = set()
        for entry in mine:
            self._remember(entry)
            self._remember_counts(entry)
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
        con = duck.connect([self.of.settings.raw])
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
            if again or not self.of.is_hashed_late(delivery) or delivery.path.lstat().st_size in self.sizes:
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
            pending.reject(
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
            read(self.of, pending, self.elsewhere)
            if pending.records and not pending.records.rows_read:
                self.without_rows.add(pending.entry.sha256)
        except FileRejected as rejected:
            pending.reject(rejected)
        return pending

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
            zone=self.of.zone,
            currency=self.of.source.currency,
            price_includes_tax=self.of.source.price_includes_tax,
            first_seen_at=(again.first_seen_at or again.loaded_at) if again else now,
            replay_of=again.delivery if again else None,
            rules=self.rules,
        )

    def _commit(self, batch: list[Pending]) -> list[Entry]:
        """Type, map, tokenise and write one batch; its ledger rows are written last."""
        readable = [p for p in batch if p.entry.status == "loaded"]
        con = self.of.connection(streamed=False)
        try:
            if not any(p.streamed and self.large.stream(p) for p in readable):
                read_now(self.of, readable)
                if is_streamed(readable):
                    con.close()
                    con = self.of.connection(streamed=True)
                if readable:
                    self._load_rows(con, readable)
                    check_unchanged(readable)
        except FileRejected as rejected:
            readable[0].reject(rejected)
        except duckdb.Error as error:
            damaged = damage(con, readable[0])
            if damaged is None:
                # Neither this line nor the traceback in the event log may show the value that DuckDB stumbled over.
                name = readable[0].entry.delivery
                raise StrataError(f"{name} cannot be loaded: {duck.without_values(error)}") from None
            readable[0].reject(damaged)
        finally:
            con.close()
            for pending in batch:
                if pending.records:
                    pending.records.discard()
            self.large.discard()
        for pending in readable:
            if pending.entry.status == "rejected":
                feeds = targets(self.of.source.source, self.of.feed)
                self.of.writer.discard(feeds, pending.entry, pending.delivery, alone=len(readable) == 1)
        entries = [self._closed(p) for p in batch]
        for entry in entries:
            self._remember(entry)
            self._remember_counts(entry)
        entries = [self._counted(entry) for entry in entries]
        self._write_quarantine(batch)
        ledger.append(self.of.settings, entries)
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
            extra_columns=self.of.writer.told_columns(records.extra_columns)
            if records
            else entry.extra_columns,
        )

    def _load_rows(self, con: duckdb.DuckDBPyConnection, batch: list[Pending]) -> None:
        by_delivery = {p.entry.delivery: p for p in batch}
        relation, types = self.rows.relation(con, batch)
        if relation is None:
            return
        con.register("deliveries", self.of.bounds(batch))
        until_year = max(p.delivery.dt for p in batch).year + 1
        records = [p.records for p in batch if p.records]
        sql, rules = classified_sql(
            self.contract,
            relation,
            types,
            "deliveries",
            self.of.zone,
            until_year,
            facts=reduce(and_, (r.facts for r in records)) if records else NOTHING_KNOWN,
            alone=len(batch) == 1,
        )
        sql, rules = self.of.without_erased(con, sql, rules)
        streamed = is_streamed(batch)
        con.execute(f"create temp {'view' if streamed else 'table'} classified as {sql}")
        con.execute("create temp table excluded (_delivery varchar, _row bigint)")
        con.execute("create temp view good as select * from classified where _rule is null")
        if streamed:
            if self.large.all_good(con, batch[0], relation, types):
                return
            if self.large.judged is None:
                self.large.put_down(con, batch[0].entry)
            rules = self.large.judged or rules
        self.rows.note_rejects(con, by_delivery, rules, types)
        self.of.writer.vault.tombstones.follow(con, rules, self.contract, self.of.source)
        self.rows.exclude_duplicates(con, by_delivery)
        self._exclude_documents(con, batch)
        declared = self.of.source.feeds.get(self.of.feed)
        if declared and declared.maps_to:
            filled = self.rows.fill(con, declared, by_delivery)
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
            rows = self.of.writer.write(
                con, contract, relation, written, streamed=streamed, noted=noted if own else None
            )
            for delivery, n in rows.items():
                by_delivery[delivery].feed_rows[feed] = n
                if not (declared and declared.maps_to):
                    by_delivery[delivery].loaded = n

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
        self.rows.exclude(con, "select _delivery, _row from known_documents")

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
            masked = dict(zip(values, self.of.writer.vault.mask(values, self.of.source.country), strict=True))
            rows = [(*row[:3], masked.get(str(row[3])), *row[4:]) for row in rows]
            quarantine.write(self.of.settings, pending.entry.delivery, rows)
            quarantine.write_duplicates(self.of.settings, pending.entry.delivery, pending.repeats)

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
