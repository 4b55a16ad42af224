"""Documents of a feed without a key: a document that came before, line for line, is a duplicate.

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
from pipeline.ingest.keys import hkdf
from pipeline.ingest.ledger import Entry
from pipeline.settings import Settings

_SEPARATOR = "chr(31)"
_NULL = "chr(30)"


class Documents:
    """What is known of the documents of one source and feed: `raw/_documents/<source>/<feed>/*.parquet`.

    A row is one document of one delivery: `delivery`, `document` (MD5 of its key), `rows_n`, `content` (sum of the
    MD5 of its lines, which no order changes) and `same_as`, the delivery that it repeats. Lines may name persons, so
    every MD5 begins with a secret of the home.
    """

    def __init__(
        self, settings: Settings, source: str, feed: str, contract: Contract, minting_key: bytes
    ) -> None:
        self._folder: Path = settings.raw / "_documents" / source / feed
        self._contract = contract
        self._secret = hkdf(minting_key, "strata documents v1").hex()

    def repeated(
        self, con: duckdb.DuckDBPyConnection, entries: Sequence[Entry], in_force: Iterable[Entry]
    ) -> list[tuple[str, int, str]]:
        """(delivery, record number, delivery that has it) of every row of `good` whose document came before.

        Args:
            entries: the deliveries in `good`, in the order in which they count as having come.
            in_force: loaded deliveries of the feed that still count.
        """
        stems = {entry.stem for entry in entries}
        order = [e.delivery for e in in_force if e.stem not in stems and e.status == "loaded"]
        first = len(order)
        order += [entry.delivery for entry in entries]
        con.register(
            "document_order", pa.table({"delivery": order, "n": pa.array(range(len(order)), pa.int64())})
        )
        con.register("document_secret", pa.table({"secret": [self._secret]}))
        values = ", ".join(f"coalesce(cast({quote(n)} as varchar), {_NULL})" for n in self._contract.stored)
        line = f"concat_ws({_SEPARATOR}, secret, {values})"
        key = f"md5(concat_ws({_SEPARATOR}, secret, {', '.join(map(quote, self._contract.document))}))"
        con.execute(
            f"create or replace temp table documents as select _delivery as delivery, {key} as document, "
            f"count(*) as rows_n, cast(sum(cast(md5_number_lower({line}) as hugeint)) as varchar) as content "
            "from good, document_secret group by 1, 2"
        )
        known = "select delivery, document, rows_n, content from documents"
        if any(self._folder.glob("*.parquet")):
            files = literal(str(self._folder / "*.parquet"))
            known += f" union all select delivery, document, rows_n, content from read_parquet({files}) where same_as is null"
        con.execute(
            "create or replace temp table told as select d.*, f.delivery as same_as from documents d "
            "join document_order o on o.delivery = d.delivery left join ("
            "select document, rows_n, content, arg_min(delivery, n) as delivery, min(n) as n "
            f"from ({known}) join document_order using (delivery) group by all"
            ") f on f.document = d.document and f.rows_n = d.rows_n and f.content = d.content and f.n < o.n"
        )
        table = con.execute("select * from told order by delivery, document").to_arrow_table()
        write_parquet(table, self._folder / f"{order[first].replace('/', '~')}.parquet")
        return con.execute(
            f"select g._delivery, g._row, t.same_as from (select _delivery, _row, {key} as document from good, document_secret) g "
            "join told t on t.delivery = g._delivery and t.document = g.document where t.same_as is not null"
        ).fetchall()

    def leaning_on(self, con: duckdb.DuckDBPyConnection, replaced: Iterable[str]) -> set[str]:
        """Deliveries with a document that counts only in one of the `replaced` deliveries."""
        if not any(self._folder.glob("*.parquet")):
            return set()
        con.register("replaced", pa.table({"delivery": pa.array(list(replaced), pa.string())}))
        files = literal(str(self._folder / "*.parquet"))
        found = con.execute(
            f"select distinct d.delivery from read_parquet({files}) d join replaced r on d.same_as = r.delivery"
        )
        return {row[0] for row in found.fetchall()}
