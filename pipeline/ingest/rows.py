"""The rows of delivered files, typed: which break a rule, stand twice, or fill which contract feed."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.duck import literal, quote
from pipeline.errors import StrataError
from pipeline.ingest import profile
from pipeline.ingest.cast import broken_sql
from pipeline.ingest.contracts import Contract, DeliveredFeed, load_contracts
from pipeline.ingest.mapping import check_conserved, check_origins, mapped
from pipeline.ingest.pending import Feed, Pending, check_unchanged
from pipeline.ingest.reading.content import FileRejected
from pipeline.ingest.reading.reader import resolve_header
from pipeline.quality.policy import erasure_rule

# A group that breaks a rule loses the record that it names; another one may then stand for it.
_MAPPING_ROUNDS = 100


class Rows:
    """The rows of a batch in a connection: `as_delivered` → `classified` → `good`, less what is `excluded`."""

    def __init__(self, of: Feed) -> None:
        self.of = of

    def relation(
        self, con: duckdb.DuckDBPyConnection, batch: list[Pending]
    ) -> tuple[str | None, dict[str, str]]:
        """Name of the relation of delivered rows, and the type of each contract column in it."""
        if batch[0].records is None:
            return self._parquet_relation(con, batch[0])
        if (spooled := batch[0].records) and spooled.spool:
            return self._spooled_relation(con, batch[0].entry.delivery, spooled.spool)
        tables = []
        for pending in batch:
            table = pending.records.table(list(self.of.contract.columns))  # type: ignore[union-attr]
            delivery = pa.array([pending.entry.delivery] * len(table), pa.string())
            tables.append(table.append_column("_delivery", delivery))
        con.register("as_delivered", pa.concat_tables(tables))
        return "as_delivered", dict.fromkeys(self.of.contract.columns, "VARCHAR")

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
            resolved, extra = resolve_header([row[0] for row in described], self.of.contract)
            if "file_row_number" in (row[0].casefold() for row in described):
                raise FileRejected(
                    "wrong_format", "column file_row_number is DuckDB's own; rename it in the export"
                )
        except duckdb.Error as error:
            pending.reject(FileRejected("wrong_format", _damage_of(error)))
            return None, {}
        except FileRejected as rejected:
            pending.reject(rejected)
            return None, {}
        pending.entry = replace(pending.entry, extra_columns=self.of.writer.told_columns(extra))
        types = {name: row[1] for name, row in zip(resolved, described, strict=True) if name}
        columns = ", ".join(
            f"{quote(row[0])} as {quote(name)}" for name, row in zip(resolved, described, strict=True) if name
        )
        # A footer that says of its values what is not so must not answer for a rule: DuckDB would not look at them.
        con.execute("set disabled_optimizers = 'statistics_propagation'")
        file_literal = "'" + path.replace("'", "''") + "'"
        delivery_literal = "'" + pending.entry.delivery.replace("'", "''") + "'"
        con.execute(
            f"create temp view as_delivered as select {columns}, file_row_number + 1 as _row, "
            f"{delivery_literal} as _delivery "
            f"from read_parquet({file_literal}, file_row_number = true, hive_partitioning = false)"
        )
        for name, column in self.of.contract.columns.items():
            if column.same_as == "source" and name in types:
                found = con.execute(
                    f"select distinct cast({quote(name)} as varchar) from as_delivered"
                ).fetchall()
                try:
                    self.of.check_source_names(name, {row[0] for row in found if row[0]})
                except FileRejected as rejected:
                    pending.reject(rejected)
                    return None, {}
        return "as_delivered", types

    def note_rejects(
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
        if shown and not any(column.pii for column in self.of.contract.columns.values()):
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

    def exclude(self, con: duckdb.DuckDBPyConnection, rows: str) -> None:
        """Take rows, a SELECT of `_delivery` and `_row`, out of `good`."""
        con.execute(f"insert into excluded {rows}")
        several = con.execute("select count(*) > 1 from deliveries").fetchone()
        key = "_delivery, _row" if several and several[0] else "_row"
        con.execute(
            f"create or replace temp view good as select * from classified anti join excluded using ({key}) "
            "where _rule is null"
        )

    def exclude_duplicates(self, con: duckdb.DuckDBPyConnection, by_delivery: Mapping[str, Pending]) -> None:
        """Leave out the second and later of equal rows of a keyed feed inside one delivery, and count them."""
        if not self.of.contract.key:
            return
        key_hash, repeated = repeated_keys(self.of.contract, many=len(by_delivery) > 1)
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
        self.exclude(con, "select _delivery, _row from duplicates")
        con.execute("delete from alike where (_delivery, _row) in (select _delivery, _row from duplicates)")
        for delivery, n in profile.key_conflicts(con, self.of.contract).items():
            by_delivery[delivery].noted["key_conflicts"] = n
        self._exclude_superseded(con, by_delivery)

    def _exclude_superseded(self, con: duckdb.DuckDBPyConnection, by_delivery: Mapping[str, Pending]) -> None:
        """Of rows of one delivery with one key keep the newest: the others are rejected, so that each is told."""
        newest = (
            [f"{quote(self.of.contract.latest_by)} desc nulls last"] if self.of.contract.latest_by else []
        )
        con.execute(
            f"create temp table superseded as select _delivery, _row from (select _delivery, _row, row_number() over ("
            f"partition by _delivery, {', '.join(map(quote, self.of.contract.key))} "
            f"order by {', '.join([*newest, '_row desc'])}) as nth from alike) where nth > 1"
        )
        for delivery, row in con.execute("select _delivery, _row from superseded").fetchall():
            by_delivery[delivery].rejected[row] = ("superseded", None, None)
        self.exclude(con, "select _delivery, _row from superseded")

    def fill(
        self, con: duckdb.DuckDBPyConnection, declared: DeliveredFeed, by_delivery: Mapping[str, Pending]
    ) -> dict[str, str]:
        """Relation of each contract feed that the good rows fill.

        A mapped row obeys the rules of the feed that it fills. Where it breaks one, the delivered row behind it is
        rejected and the mapping is done again without it.
        """
        con.execute("create temp view delivered as select * from good")
        for _ in range(_MAPPING_ROUNDS):
            filled = {feed: mapped(con, self.of.source.source, feed) for feed in declared.maps_to}
            check_origins(con, self.of.source.source, filled)
            for feed, relation in filled.items():
                contract, rule = load_contracts()[feed], erasure_rule(feed)
                self.of.writer.vault.tombstones.cut_mapped(con, relation, contract, self.of.source, rule)
            broken: dict[tuple[str, int], tuple[str, str | None, str | None]] = {}
            for feed, relation in filled.items():
                sql, rules = broken_sql(load_contracts()[feed], relation, "deliveries")
                for delivery, row, rule in con.execute(sql).fetchall():
                    code, column = rules[rule]
                    broken.setdefault((delivery, row), (code, f"{feed}.{column}" if column else feed, None))
            if not broken:
                check_conserved(con, self.of.source.source, self.of.feed, filled, declared.one_to_many)
                return filled
            for (delivery, row), reject in broken.items():
                by_delivery[delivery].rejected[row] = reject
            con.register("broken", pa.table({"d": [d for d, _ in broken], "r": [r for _, r in broken]}))
            self.exclude(con, "select d, r from broken")
        delivery, row = min(broken)
        code, column, _ = broken[delivery, row]
        raise StrataError(
            f"the mapping of {self.of.source.source}/{self.of.feed} makes a row that is {code} in {column} whatever record is taken "
            f"out of its group, such as record {row} of {delivery}: name them all, `list(_row) as _rows`, or mend the mapping"
        )


def repeated_keys(contract: Contract, *, many: bool) -> tuple[str, str]:
    """A hash of the key and the condition under which its group may hold one key twice.

    Every repeat is found; a false alarm (two keys with one hash) is settled by the exact comparison after it.
    Where the key ends in a number, such as the line of an order, one group per order will do: as many lines as
    different line numbers means no line twice, at a third of the cost.
    """
    key = (*(("_delivery",) if many else ()), *contract.key)
    last = contract.columns[contract.key[-1]]
    if len(contract.key) > 1 and last.type == "i":
        bit = f"cast(1 as ubigint) << cast({quote(key[-1])} & 63 as ubigint)"
        return f"hash({', '.join(map(quote, key[:-1]))})", f"count(*) <> bit_count(bit_or({bit}))"
    return f"hash({', '.join(map(quote, key))})", "count(*) > 1"


def damage(con: duckdb.DuckDBPyConnection, pending: Pending) -> FileRejected | None:
    """Why a Parquet file cannot be read to its end; None where it can, so that the error is our own."""
    if pending.delivery.ext != "parquet":
        return None
    try:
        check_unchanged([pending])
        con.execute(
            "create temp table read_through as select max(hash(columns(*))) from read_parquet($1, hive_partitioning = false)",
            [str(pending.delivery.path)],
        )
    except FileRejected as changed:
        return changed
    except duckdb.Error as error:
        return FileRejected("wrong_format", _damage_of(error))
    return None


def _damage_of(error: duckdb.Error) -> str:
    """What may be told of a broken file: DuckDB's own text quotes values, and no form of it is safe to copy."""
    return f"the Parquet file cannot be read to its end ({type(error).__name__}); write it anew and deliver it again"
