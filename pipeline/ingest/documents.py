"""Documents of a feed without a key: one that came before, line for line, is a duplicate; with other lines, rejected.

Where lines have no key of their own (a till that repeats a line for a second piece), only the whole document tells a
repeat from a further line: the same invoice in an overlapping export is the same sale. Two documents are one where
their typed lines are equal as a multiset.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline.duck import literal, quote
from pipeline.ingest.contracts import Contract
from pipeline.ingest.files import write_parquet
from pipeline.ingest.landing import made_of
from pipeline.ingest.ledger import Entry
from pipeline.ingest.vault.keys import hkdf
from pipeline.settings import Settings

_SEPARATOR = "chr(31)"
_NULL = "chr(30)"


class Documents:
    """What is known of the documents of one source and feed: `raw/_documents/<source>/<feed>/*.parquet`.

    A row is one document of one delivery: `delivery` and `sha256` of its file, `document` (MD5 of its key), `rows_n`,
    `content` (sum of the MD5 of its lines, which no order changes), `held_by`, the delivery in which it counts, and
    whether it `is_same` there. Lines may name persons, so every MD5 begins with a secret of the home.
    """

    def __init__(
        self, settings: Settings, source: str, feed: str, contract: Contract, minting_key: bytes
    ) -> None:
        self._folder: Path = settings.raw / "_documents" / source / feed
        self._contract = contract
        self._secret = hkdf(minting_key, "strata documents v1").hex()

    def met_before(
        self, con: duckdb.DuckDBPyConnection, entries: Sequence[Entry], in_force: Iterable[Entry]
    ) -> list[tuple[str, int, str, bool]]:
        """(delivery, record number, delivery that holds it, same lines) of every row of `good` whose document came before.

        Args:
            entries: the deliveries in `good`, in the order in which they count as having come.
            in_force: loaded deliveries of the feed that still count.
        """
        stems = {entry.stem for entry in entries}
        order = [e for e in in_force if e.stem not in stems and e.status == "loaded"]
        first = len(order)
        order += entries
        # The bytes are part of the name: a sweep that died may have left the documents of a file that was corrected.
        con.register(
            "document_order",
            pa.table(
                {
                    "delivery": [e.delivery for e in order],
                    "sha256": [e.sha256 for e in order],
                    "n": pa.array(range(len(order)), pa.int64()),
                }
            ),
        )
        con.register("document_secret", pa.table({"secret": [self._secret]}))
        values = ", ".join(f"coalesce(cast({quote(n)} as varchar), {_NULL})" for n in self._contract.stored)
        line = f"concat_ws({_SEPARATOR}, secret, {values})"
        key = f"md5(concat_ws({_SEPARATOR}, secret, {', '.join(map(quote, self._contract.document))}))"
        con.execute(
            f"create or replace temp table documents as select o.delivery, o.sha256, o.n, d.* exclude (_delivery) from ("
            f"select _delivery, {key} as document, count(*) as rows_n, "
            f"cast(sum(cast(md5_number_lower({line}) as hugeint)) as varchar) as content "
            "from good, document_secret group by 1, 2) d join document_order o on o.delivery = d._delivery"
        )
        known = "select delivery, n, document, rows_n, content from documents"
        if any(self._folder.glob("*.parquet")):
            files = literal(str(self._folder / "*.parquet"))
            known += (
                f" union all select delivery, n, document, rows_n, content from (select * exclude (n) from read_parquet({files}, hive_partitioning = false)) "
                "join document_order using (delivery, sha256) where held_by is null"
            )
        con.execute(
            "create or replace temp table told as select d.*, f.delivery as held_by, "
            "f.rows_n = d.rows_n and f.content = d.content as is_same from documents d left join ("
            "select document, min(n) as n, arg_min(delivery, n) as delivery, arg_min(rows_n, n) as rows_n, "
            f"arg_min(content, n) as content from ({known}) group by document"
            ") f on f.document = d.document and f.n < d.n"
        )
        table = con.execute("select * from told order by delivery, document").to_arrow_table()
        write_parquet(table, self._folder / f"{made_of(order[first].delivery)}.parquet")
        return con.execute(
            "select g._delivery, g._row, t.held_by, t.is_same "
            f"from (select _delivery, _row, {key} as document from good, document_secret) g "
            "join told t on t.delivery = g._delivery and t.document = g.document where t.held_by is not null"
        ).fetchall()

    def leaning_on(self, con: duckdb.DuckDBPyConnection, replaced: Iterable[str]) -> set[str]:
        """Deliveries with a document that was left out because one of the `replaced` deliveries held it."""
        if not any(self._folder.glob("*.parquet")):
            return set()
        con.register("replaced", pa.table({"delivery": pa.array(list(replaced), pa.string())}))
        files = literal(str(self._folder / "*.parquet"))
        found = con.execute(
            f"select distinct d.delivery from read_parquet({files}, hive_partitioning = false) d join replaced r on d.held_by = r.delivery"
        )
        return {row[0] for row in found.fetchall()}
