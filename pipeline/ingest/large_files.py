"""Files that do not fit in memory: a clean one is written to raw while it is read, and asked nothing twice."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.duck import beside, literal, parquet, quote
from pipeline.ingest import profile
from pipeline.ingest.cast import classified_sql
from pipeline.ingest.files import temporary_of
from pipeline.ingest.ledger import Entry
from pipeline.ingest.pending import Feed, Pending, check_records, check_unchanged, hash_now, take_hash
from pipeline.ingest.reading.content import FileRejected, sha256_of
from pipeline.ingest.reading.csv_chunks import NotClean, type_of_typed
from pipeline.ingest.reading.reader import RecordStream
from pipeline.ingest.rows import repeated_keys
from pipeline.ingest.take_over import (
    BROKEN_MAX,
    Asked,
    ask_rules,
    columns_to_copy,
    columns_to_type,
    facts_of,
    texts_as_they_are,
    write,
)
from pipeline.ingest.writing import arrow_schema

_PROBED_ROWS = 100_000

Rules = list[tuple[str, str | None]]
"""Reject code and column of each `_rule`."""


class LargeFiles:
    """The quick ways of one feed. What they refuse is loaded by way of its single rows (see rows).

    Attributes:
        typed: files of typed rows that were put down.
        judged: the rules of `classified` where all_good has asked them of every row; else None.
    """

    def __init__(self, of: Feed) -> None:
        self.of = of
        self.typed: list[Path] = []
        self.judged: Rules | None = None

    def stream(self, pending: Pending) -> bool:
        """Type a clean file and write it to raw while it is read.

        False where a chunk is not clean, a row breaks a rule or a key may stand twice: the file is then read the other
        way, which tells the rows, and what was written here is written again. Raises FileRejected.
        """
        entry, delivery = pending.entry, pending.delivery
        rows: dict[str, int] = {}
        con = self.of.connection(streamed=True)
        try:
            with RecordStream(delivery.path, delivery.ext, self.of.contract) as stream:
                try:
                    self._good_rows_of(con, pending, stream)
                    written = [(entry, delivery)]
                    noted: profile.Noted = {entry.delivery: {}}
                    rows = self.of.writer.write(
                        con,
                        self.of.contract,
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
            check_records(self.of, pending, stream.records)
            if self.of.contract.key and not stream.has_each_key_once and self._repeats_in_raw(con, pending):
                return False
        finally:
            con.close()
        pending.records = stream.records
        pending.loaded = pending.feed_rows[self.of.contract.feed] = stream.records.rows_read
        return True

    def _good_rows_of(self, con: duckdb.DuckDBPyConnection, pending: Pending, stream: RecordStream) -> None:
        table = stream.table()
        con.register("as_streamed", table)
        con.register("deliveries", self.of.bounds([pending]))
        sql, rules = classified_sql(
            self.of.contract,
            f"(select *, {literal(pending.entry.delivery)} as _delivery from as_streamed)",
            {f.name: type_of_typed(f.type) for f in table.schema if f.name != "_row"},
            "deliveries",
            self.of.zone,
            pending.delivery.dt.year + 1,
            facts=stream.records.facts,
            alone=True,
        )
        sql, _ = self.of.without_erased(con, sql, rules)
        con.execute(f"create temp view good as select * from ({sql}) where _rule is null")

    def all_good(
        self, con: duckdb.DuckDBPyConnection, pending: Pending, relation: str, types: Mapping[str, str]
    ) -> bool:
        """Write the rows of `good` at once; whether that were all, with no key twice.

        Most deliveries have nothing to reject, and typing a large one costs more than anything else that is done with
        it: it is typed a second time only where the first shows that there is something to tell.
        """
        self.judged = None
        declared = self.of.source.feeds.get(self.of.feed)
        if declared and declared.maps_to:
            return False
        begins_with_dirt = False
        # What DuckDB cannot read is said below, where it needs all of it.
        with suppress(duckdb.Error):
            begins_with_dirt = self._begins_with_dirt(con)
        if pending.records is None:
            # What Arrow or the copying cannot read is read by DuckDB next, which says what is wrong with it.
            with suppress(pa.ArrowException, OSError, FileRejected):
                if begins_with_dirt:
                    self._look(con, pending, relation, types)
                elif self._take_over(con, pending, relation, types):
                    return True
            check_unchanged([pending])
            hash_now(pending)
        if begins_with_dirt or self.judged is not None:
            return False
        entry, delivery = pending.entry, pending.delivery
        given = pending.records.rows if pending.records else pq.read_metadata(delivery.path).num_rows
        noted: profile.Noted = {entry.delivery: {}}
        rows = self.of.writer.write(
            con, self.of.contract, "good", [(entry, delivery)], streamed=True, noted=noted
        )
        if rows.get(entry.delivery, 0) != given or (
            self.of.contract.key and self._repeats_in_raw(con, pending)
        ):
            return False
        pending.loaded = pending.feed_rows[self.of.contract.feed] = given
        return True

    def _take_over(
        self, con: duckdb.DuckDBPyConnection, pending: Pending, relation: str, types: Mapping[str, str]
    ) -> bool:
        """Let the chunks of a Parquet file that has raw's own values be raw; whether that is so, with no key twice.

        Where rows are to be left out of such a file, it is judged.
        """
        contract, delivery = self.of.contract, pending.delivery
        columns = columns_to_copy(delivery.path, contract, types)
        if columns is None or self.of.writer.vault.tombstones:
            return False
        sql, rules = self._classified_as_it_came(pending, relation, types)
        schema, named, spill = arrow_schema(contract), pending.entry.delivery, self.of.spill
        path = self.of.writer.raw_path(contract.feed, pending.entry, delivery)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(temporary_of(path.name))
        try:
            found = beside(
                con,
                lambda: ask_rules(con, contract, sql, profiled=True),
                lambda go_on: texts_as_they_are(delivery.path, contract, columns, go_on),
                lambda go_on: write(temporary, delivery.path, schema, columns, named, spill, go_on),
                lambda go_on: pending.entry.sha256 or sha256_of(delivery.path, go_on),
            )
            if found is None:
                return False
            asked, looked, written, sha = found
            in_raw = con.execute(f"select count(*) from {parquet(temporary)}").fetchone()
            if {(asked.rows_n,), (looked.rows,), (written,)} != {in_raw}:
                return False
            take_hash(pending, sha)
            check_unchanged([pending])
            has_repeats = (
                bool(contract.key) and not looked.has_each_key_once and self._repeats(con, temporary)
            )
            if asked.broken_n or has_repeats:
                self._judge(con, sql, rules, asked)
                return False
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        self.of.writer.note(con, contract, pending.entry, asked.known)
        pending.loaded = pending.feed_rows[contract.feed] = written
        return True

    def _look(
        self, con: duckdb.DuckDBPyConnection, pending: Pending, relation: str, types: Mapping[str, str]
    ) -> None:
        """Judge a Parquet file with rows to be left out, where no text of it need be touched."""
        contract, delivery = self.of.contract, pending.delivery
        columns = columns_to_type(delivery.path, contract, types)
        if columns is None or self.of.writer.vault.tombstones:
            return
        sql, rules = self._classified_as_it_came(pending, relation, types)
        found = beside(
            con,
            lambda: ask_rules(con, contract, sql, profiled=False),
            lambda go_on: texts_as_they_are(delivery.path, contract, columns, go_on),
            lambda go_on: pending.entry.sha256 or sha256_of(delivery.path, go_on),
        )
        if found is None:
            return
        asked, looked, sha = found
        take_hash(pending, sha)
        check_unchanged([pending])
        if asked.rows_n == looked.rows:
            self._judge(con, sql, rules, asked)

    def _classified_as_it_came(
        self, pending: Pending, relation: str, types: Mapping[str, str]
    ) -> tuple[str, Rules]:
        """classified_sql of a file of which each text is raw's own."""
        contract, until_year = self.of.contract, pending.delivery.dt.year + 1
        facts = facts_of(contract)
        return classified_sql(
            contract, relation, types, "deliveries", self.of.zone, until_year, facts=facts, alone=True
        )

    def _judge(self, con: duckdb.DuckDBPyConnection, sql: str, rules: Rules, asked: Asked) -> None:
        """Let `classified` know of each row what `asked` found: to read it again then costs little more than the file.

        Args:
            sql, rules: of classified_sql.
        """
        if asked.broken_n > BROKEN_MAX:
            return
        kinds = {"_row": pa.int64(), "_rule": pa.int16()}
        con.register("judged", pa.Table.from_pylist(asked.broken, pa.schema(kinds.items())))
        con.execute(
            "create or replace temp view classified as "
            f"select typed.* exclude (_rule), judged._rule from ({sql}) as typed left join judged using (_row)"
        )
        self.judged = rules

    def put_down(self, con: duckdb.DuckDBPyConnection, entry: Entry) -> None:
        """Type a large delivery once and for all: what is asked of it from here on reads the typed rows."""
        self.of.spill.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.of.spill / f"{uuid4().hex}.parquet"
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
        keys = ", ".join(map(quote, self.of.contract.key)) or "_row"
        found = con.execute(
            f"select count(*) filter (_rule is not null) > 0 or count(distinct hash({keys})) < count(*) "
            f"from (select _rule, _row, {keys} from classified limit {_PROBED_ROWS})"
        ).fetchone()
        return bool(found and found[0])

    def _repeats_in_raw(self, con: duckdb.DuckDBPyConnection, pending: Pending) -> bool:
        path = self.of.writer.raw_path(self.of.contract.feed, pending.entry, pending.delivery)
        return self._repeats(con, path)

    def _repeats(self, con: duckdb.DuckDBPyConnection, path: Path) -> bool:
        """Whether a key may stand twice in the rows of a file."""
        key_hash, repeated = repeated_keys(self.of.contract, many=False)
        sql = f"select 1 from {parquet(path)} group by {key_hash} having {repeated} limit 1"
        return con.execute(sql).fetchone() is not None

    def discard(self) -> None:
        """Remove the typed rows that were put down."""
        for path in self.typed:
            path.unlink(missing_ok=True)
        self.typed.clear()
