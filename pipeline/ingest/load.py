"""Landing → raw: sweep what is pending, account for every record, write Parquet, tokenise personal data.

Raw is `raw/<source>/<feed>/dt=YYYY-MM-DD/rev=N/<part>.parquet`, each file written once in one rename.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import StrataError
from pipeline.ingest import ledger
from pipeline.ingest.cast import broken_sql, classified_sql, literal, quote
from pipeline.ingest.contracts import (
    SQL_TYPES,
    Contract,
    Source,
    delivered_contract,
    load_contracts,
    load_sources,
    source_of,
)
from pipeline.ingest.landing import Delivery, Misplaced, scan
from pipeline.ingest.ledger import Entry
from pipeline.ingest.reader import FileRejected, Records, check_file, read_text_file, resolve_header
from pipeline.ingest.vault import Vault
from pipeline.settings import MAPPINGS_DIR, Settings

_BATCH_BYTES = 48 * 1024 * 1024
# Above this many rows a Parquet file is streamed from disk to disk instead of held in memory.
_STREAM_ROWS = 1_000_000
_QUARANTINE = pa.schema(
    [
        ("delivery", pa.string()),
        ("record_no", pa.int64()),
        ("code", pa.string()),
        ("column", pa.string()),
        ("value", pa.string()),
        ("byte_start", pa.int64()),
        ("byte_end", pa.int64()),
    ]
)


@dataclass
class Pending:
    """One file that the ledger does not know yet, with the revision that it becomes."""

    delivery: Delivery
    entry: Entry
    records: Records | None = None
    duplicate_rows: int = 0
    rejected: dict[int, tuple[str, str | None, str | None]] = field(default_factory=dict)
    loaded: int = 0


@dataclass(frozen=True)
class Sweep:
    """What a sweep took in: the new ledger entries."""

    entries: tuple[Entry, ...]

    def of_feed(self, feed: str) -> list[Entry]:
        """Entries whose rows went to the contract feed `feed`."""
        return [e for e in self.entries if e.source and e.feed and feed in targets(e.source, e.feed)]


def targets(source: str, feed: str) -> tuple[str, ...]:
    """Contract feeds that a delivered feed fills."""
    delivered = source_of(source).feeds.get(feed)
    return delivered.maps_to if delivered and delivered.maps_to else (feed,)


def sweep(
    settings: Settings,
    as_of: date,
    *,
    run_id: str,
    released: date | None,
    feeds: set[str] | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> Sweep:
    """Take in every pending file whose business day lies before `as_of`.

    Args:
        released: newest as-of date that the home has published, for `known_from`.
        feeds: contract feeds to take in; all where None.
    """
    prepare_raw(settings)
    known = ledger.read(settings)
    deliveries, misplaced = scan(settings.landing)
    new = list(_refused(misplaced, deliveries, known, as_of, run_id, settings))
    ledger.append(settings, new)
    groups: dict[tuple[str, str], list[Delivery]] = defaultdict(list)
    for delivery in deliveries:
        wanted = feeds is None or feeds & set(targets(delivery.source, delivery.feed))
        if delivery.dt < as_of and wanted:
            groups[delivery.source, delivery.feed].append(delivery)
    with Vault(settings) as vault:
        for (source, feed), files in groups.items():
            done = 0
            loader = _Loader(settings, vault, source_of(source), feed, known, run_id, released, as_of)
            for entries in loader.load(files):
                new.extend(entries)
                done += len(entries)
            if done:
                rows = sum(e.rows_loaded for e in new[-done:])
                log(f"{source}/{feed}: {done} file{'s' if done > 1 else ''}, {rows:,} rows loaded")
    return Sweep(tuple(new))


def prepare_raw(settings: Settings) -> None:
    """Write the empty typed file of every feed, so that a glob over a feed that nobody delivers still works."""
    for feed, contract in load_contracts().items():
        path = settings.raw / "_schema" / feed / "dt=1970-01-01" / "rev=0" / "empty.parquet"
        schema = _arrow_schema(contract)
        if not path.exists() or pq.read_schema(path) != schema:
            ledger.write_parquet(schema.empty_table(), path)
    empty = settings.ledger / "000000.parquet"
    if not empty.exists():
        ledger.write_parquet(ledger.SCHEMA.empty_table(), empty)


def _arrow_schema(contract: Contract) -> pa.Schema:
    columns = ", ".join(
        f"cast(null as {kind}) as {quote(name)}" for name, kind in contract.raw_schema().items()
    )
    return duckdb.sql(f"select {columns}").to_arrow_table().schema


def _stat(path: Path) -> str:
    s = path.lstat()
    return f"{s.st_size}:{s.st_mtime_ns}:{s.st_ctime_ns}:{s.st_ino}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _refused(
    misplaced: Iterable[Misplaced],
    deliveries: Iterable[Delivery],
    known: list[Entry],
    as_of: date,
    run_id: str,
    settings: Settings,
) -> Iterator[Entry]:
    """Entries for files that stand in no delivery's place or are dated after tomorrow; each is named once."""
    seen = {(e.file, e.file_stat) for e in known}
    tomorrow = datetime.now(ZoneInfo(settings.timezone)).date() + timedelta(days=1)
    cases = [(m.file, m.path, "unexpected_path", f"expected {m.expected}") for m in misplaced]
    cases += [
        (d.file, d.path, "future_delivery", f"the name says {d.dt}, which is after tomorrow ({tomorrow})")
        for d in deliveries
        if d.dt > tomorrow and d.dt >= as_of
    ]
    for file, path, code, detail in cases:
        stat = _stat(path)
        if (file, stat) not in seen:
            regular = path.is_file() and not path.is_symlink() and os.access(path, os.R_OK)
            yield Entry(
                delivery=f"{file}/rev=0",
                source=None,
                feed=None,
                stem=None,
                file=file,
                dt=None,
                rev=0,
                known_from=as_of,
                sha256=_sha256(path) if regular else "",
                bytes=path.lstat().st_size,
                status="rejected",
                loaded_at=_now(),
                run_id=run_id,
                file_stat=stat,
                reject_code=code,
                reject_detail=detail,
            )


class _Loader:
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
        self.settings, self.vault, self.source, self.feed = settings, vault, source, feed
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
        stat = _stat(delivery.path)
        last = self.last_by_file.get(delivery.file)
        if last and last.status == "duplicate" and not self._twin(delivery, last.sha256):
            last = None
        if last and last.file_stat == stat:
            return None
        readable = delivery.path.is_file() and not delivery.path.is_symlink()
        try:
            sha = _sha256(delivery.path) if readable else ""
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
                if _stat(delivery.path) != stat or hashlib.sha256(data).hexdigest() != sha:
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
            loaded_at=_now(),
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
            mapped = self._map(con, declared.maps_to, by_delivery)
        else:
            mapped = {self.contract.feed: "good"}
        for delivery, n in con.execute("select _delivery, count(*) from good group by _delivery").fetchall():
            by_delivery[delivery].loaded = n
        for feed, relation in mapped.items():
            contract = self.contract if feed == self.contract.feed else load_contracts()[feed]
            self._write_feed(con, contract, relation, batch)

    def _map(
        self, con: duckdb.DuckDBPyConnection, feeds: Iterable[str], by_delivery: Mapping[str, Pending]
    ) -> dict[str, str]:
        """Relation of each contract feed that the good rows fill.

        A mapped row obeys the rules of the feed that it fills. Where it breaks one, the delivered row behind it is
        rejected and the mapping is done again without it.
        """
        con.execute("create temp view delivered as select * from good")
        while True:
            mapped = {feed: self._mapped(con, feed) for feed in feeds}
            broken: dict[tuple[str, int], tuple[str, str | None, str | None]] = {}
            for feed, relation in mapped.items():
                sql, rules = broken_sql(load_contracts()[feed], relation, "deliveries")
                for delivery, row, rule in con.execute(sql).fetchall():
                    code, column = rules[rule]
                    broken.setdefault((delivery, row), (code, f"{feed}.{column}" if column else feed, None))
            if not broken:
                return mapped
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

    def _mapped(self, con: duckdb.DuckDBPyConnection, target: str) -> str:
        """Run the source's mapping for one contract feed; name of the resulting table."""
        path = MAPPINGS_DIR / self.source.source / f"{target}.sql"
        contract = load_contracts()[target]
        name = f"mapped_{target}"
        try:
            con.execute(
                f"create or replace temp table as_mapped_{target} as {path.read_text(encoding='utf-8')}"
            )
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
            raise StrataError(f"{path}: {error}") from error
        return name

    def _write_feed(
        self, con: duckdb.DuckDBPyConnection, contract: Contract, relation: str, batch: list[Pending]
    ) -> None:
        """Write the rows of one contract feed, one file a delivery, and the profile of each delivery."""
        select = self._tokenised(con, contract, relation)
        if _streams(batch):
            path = self._raw_path(contract.feed, batch[0])
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.tmp")
            target = "'" + str(temporary).replace("'", "''") + "'"
            con.execute(f"copy ({select}) to {target} (format parquet, compression snappy)")
            _fsync(temporary)
            temporary.replace(path)
        else:
            table = con.execute(f"{select} order by _delivery, _row").to_arrow_table()
            table = table.cast(_arrow_schema(contract))
            unwritten = {p.entry.delivery: self._raw_path(contract.feed, p) for p in batch}
            for delivery, part in _slices(table):
                ledger.write_parquet(part, unwritten.pop(delivery))
            for path in unwritten.values():
                # What a sweep that died left for a file that has no rows any more.
                path.unlink(missing_ok=True)
        self._write_profile(con, contract, select, batch)

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
        self, con: duckdb.DuckDBPyConnection, contract: Contract, select: str, batch: list[Pending]
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
        con.register("batch_deliveries", pa.table({"delivery": [p.entry.delivery for p in batch]}))
        nulls_to_zero = ", ".join(["coalesce(rows_n, 0) as rows_n"])
        table = con.execute(
            f"select b.delivery, p.* exclude (_delivery) replace ({nulls_to_zero}) from batch_deliveries b "
            f"left join (select _delivery, {', '.join(parts)} from ({select}) group by _delivery) p "
            f"on p._delivery = b.delivery order by b.delivery"
        ).to_arrow_table()
        folder = self.settings.raw / "_profile" / contract.feed
        first = batch[0].entry.delivery.replace("/", "~")
        ledger.write_parquet(table, folder / f"{first}.parquet")

    def _raw_path(self, feed: str, pending: Pending) -> Path:
        entry, delivery = pending.entry, pending.delivery
        folder = self.settings.raw / delivery.source / feed / f"dt={delivery.dt}" / f"rev={entry.rev}"
        # A mapped feed may fill a feed that the source delivers as well.
        name = delivery.stem if feed == delivery.feed else f"{delivery.feed}.{delivery.stem}"
        return folder / f"{name}.parquet"

    def _write_quarantine(self, batch: list[Pending]) -> None:
        """One file a delivery, so that a sweep done again after a crash replaces what it left."""
        for pending in batch:
            if pending.entry.status != "loaded":
                continue
            delivery = pending.entry.delivery
            rows = [
                (delivery, r.record_no, r.code, r.column, r.value, r.byte_start, r.byte_end)
                for r in (pending.records.rejects if pending.records else ())
            ]
            rows += [
                (delivery, row, code, column, value, None, None)
                for row, (code, column, value) in sorted(pending.rejected.items())
            ]
            if rows:
                columns = [
                    pa.array(values, f.type)
                    for values, f in zip(zip(*rows, strict=True), _QUARANTINE, strict=True)
                ]
                path = self.settings.quarantine / f"{delivery}.parquet"
                ledger.write_parquet(pa.table(columns, schema=_QUARANTINE), path)


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
    if first.delivery.ext == "parquet" and _stat(first.delivery.path) != first.entry.file_stat:
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


def _slices(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Consecutive rows of one delivery, of a table sorted by delivery."""
    if len(table) == 0:
        return
    runs = pc.run_end_encode(table["_delivery"].combine_chunks())
    start = 0
    for end, delivery in zip(runs.run_ends.to_pylist(), runs.values.to_pylist(), strict=True):
        yield delivery, table.slice(start, end - start)
        start = end


def _fsync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
