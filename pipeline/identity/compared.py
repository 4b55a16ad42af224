"""What the second stage keeps of each record: `vault/matching.duckdb`, so that a day looks only at what came.

The table `compared` has one row per record of the feed `customers`: what is compared of it, in clear, and the keys that
propose pairs; beside it, what tells whether a delivery says anything new of it. It follows from raw and the vault: an
erasure and a new token key remove it, and what another version has made, or a run that died, is not gone on from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Self

import duckdb
import pyarrow as pa

from pipeline import duck
from pipeline.duck import literal
from pipeline.identity.comparisons import BLOCKS
from pipeline.identity.delivered import Raw, Span
from pipeline.identity.probabilistic import ROW, ROWS, in_clear
from pipeline.ingest.vault import Vault
from pipeline.ingest.vault.private import COMPARED, forget_compared, private_files
from pipeline.settings import Settings

FORMAT = 1
"""Of the tables; what another one has made is made anew, as is what another version of DuckDB has hashed."""

TOLD = (
    "name_token",
    "phone_token",
    "email_token",
    "address_token",
    "birth_date",
    "gender",
    "city",
    "postcode",
)
"""What a row of raw says that is compared."""
_MOMENT = "struct(updated_at timestamp, dt date, row_no bigint, delivery varchar)"
_TOLD_EMPTY = (
    f"(select null::varchar as source, null::varchar as id, null::date as dt, null::{_MOMENT} as moment, "
    f"null::date as starts, null::ubigint as content, {', '.join(f'null::varchar as {c}' for c in TOLD)} where false)"
)
_DELIVERED = pa.schema([("delivery", pa.string()), ("sha256", pa.string()), ("starts", pa.date32())])
_DELIVERIES = pa.schema(
    [("delivery", pa.string()), ("source", pa.string()), ("dt", pa.date32()), ("starts", pa.date32())]
)


def told(con: duckdb.DuckDBPyConnection, rows: str | None, spans: Sequence[Span]) -> None:
    """View `told`: what the deliveries say of each record, newest by `moment`; `content` is a hash of TOLD.

    Args:
        rows: SQL of their rows, among others; None where there are none.
    """
    if rows is None:
        con.execute(f"create temp view told as from {_TOLD_EMPTY}")
        return
    con.register(
        "deliveries", _table([(e.delivery, e.source, e.dt, starts) for e, starts, _ in spans], _DELIVERIES)
    )
    con.execute(
        f"""
        create temp view told as
        with given as (
            select d.source, r.source_customer_id as id, d.dt, d.starts, r.name_token, r.phone_token, r.email_token,
                r.address_token, r.birth_year || '-' || r.birth_month_day as birth_date, r.gender, r.city, r.postcode,
                {{'updated_at': coalesce(r.updated_at, d.dt::timestamp), 'dt': d.dt, 'row_no': r._row,
                    'delivery': d.delivery}}::{_MOMENT} as moment
            from {rows} as r join deliveries as d on r._delivery = d.delivery
            where r.source_customer_id is not null
        )
        select *, hash({", ".join(TOLD)}) as content from given
        """
    )


def newest(con: duckdb.DuckDBPyConnection, heard: str) -> None:
    """Table `newest`: of each record in the relation `heard` (source, id, moment, starts, content) what was said last,
    and `starts`, the day since which that is what it says."""
    con.execute(
        f"""
        create temp table newest as
        select source, id, max(moment) as moment, arg_max(content, moment) as content, min(starts) as starts,
            min(content) <> max(content) as is_contested
        from {heard} group by source, id
        """
    )
    con.execute(
        f"""
        create temp table since as
        with contested as (select source, id, content as last from newest where is_contested),
        said as (
            select source, id, starts, last, arg_max(content, moment) over (
                partition by source, id order by starts range between unbounded preceding and current row
            ) as content
            from {heard} join contested using (source, id)
        ),
        others as (
            select source, id, max(starts) as starts from said where content <> last group by source, id
        )
        select said.source, said.id, min(said.starts) as starts
        from said left join others using (source, id)
        where others.starts is null or said.starts > others.starts
        group by said.source, said.id
        """
    )
    con.execute(
        "update newest set starts = since.starts from since where newest.source = since.source and newest.id = since.id"
    )


class Compared:
    """The file, open: a connection with the relation `compared`, and what the day has changed in it.

    Attributes:
        con: in memory, with the file attached; it may read raw and identity. The vault is to be open meanwhile.
        is_new: nothing was kept that can be gone on from.
    """

    def __init__(self, settings: Settings, made_of: bytes | None) -> None:
        """`made_of`: of what the pairs were made that the file must belong to; None where there are none."""
        self._settings = settings
        self._made_of = made_of.decode() if made_of else None

    def __enter__(self) -> Self:
        s = self._settings
        self.con = duck.connect([s.raw, s.identity, s.vault], spill=s.vault / "spill")
        try:
            self.is_new = not self._open()
            if self.is_new:
                self._begin()
            self.con.execute("create temp view compared as from kept.compared")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with private_files():
            self.con.close()

    def _attach(self) -> None:
        with private_files():
            self.con.execute(f"attach {literal(str(self._settings.vault / COMPARED))} as kept")

    def _open(self) -> bool:
        """Whether there is a file that can be gone on from."""
        if self._made_of is None or not (self._settings.vault / COMPARED).exists():
            return False
        try:
            self._attach()
            held = self.con.execute("select made_by, made_of from kept.about").fetchall()
        except duckdb.Error:
            held = []
        return held == [(_made_by(), self._made_of)]

    def _begin(self) -> None:
        """An empty file."""
        self.con.execute("detach database if exists kept")
        forget_compared(self._settings.vault)
        self._attach()
        self.con.execute(
            f"""
            create table kept.compared (number bigint, source varchar, id varchar, content ubigint, moment {_MOMENT},
                starts date, {ROW});
            create table kept.deliveries (delivery varchar, sha256 varchar, starts date);
            create table kept.about (made_by varchar, made_of varchar)
            """
        )

    def take_in(self, vault: Vault, spans: Sequence[Span]) -> None:
        """Bring the table to what these deliveries say. Until `keep` the file is one that is not gone on from.

        Makes the tables `fresh` (number) of the records that are new or say something else, `changed` (source, id) of
        these and of those that are gone, and `former`, the keys that they had.
        """
        con = self.con
        con.execute("delete from kept.about")
        before = set(con.execute("select delivery, sha256, starts from kept.deliveries").fetchall())
        now = {(e.delivery, e.sha256, starts): (e, starts, ends) for e, starts, ends in spans}
        # Where a delivery was replaced, any other may hold what its records say by now.
        again = self.is_new or not before <= set(now)
        came = [span for key, span in now.items() if again or key not in before]
        self._hear(came, again)
        con.execute(
            f"""
            create temp table changed as
            select source, id from newest left join compared as c using (source, id)
            where c.content is distinct from newest.content
            {"union all select source, id from compared anti join newest using (source, id)" if again else ""}
            """
        )
        con.execute(
            """
            update kept.compared as c set moment = n.moment, starts = n.starts from newest as n
            where c.source = n.source and c.id = n.id and c.content = n.content
                and (c.moment, c.starts) is distinct from (n.moment, n.starts)
            """
        )
        con.execute(
            f"create temp table former as select {', '.join(BLOCKS)} from compared semi join changed using (source, id)"
        )
        con.execute(
            "delete from kept.compared as c using changed where c.source = changed.source and c.id = changed.id"
        )
        self._add(vault)
        con.execute("delete from kept.deliveries")
        con.register("now", _table(list(now), _DELIVERED))
        con.execute("insert into kept.deliveries from now")

    def keep(self, made_of: bytes) -> None:
        """Let the file be gone on from, with the pairs that were made of this."""
        self.con.execute("insert into kept.about values ($1, $2)", [_made_by(), made_of.decode()])

    def _hear(self, came: Sequence[Span], again: bool) -> None:
        """The view `told` of these deliveries and the table `newest` of their records; `again`: they are all there are."""
        con, raw = self.con, Raw(self._settings)
        told(con, (raw.whole("customers") if again else raw.of("customers", came)) if came else None, came)
        if not again:
            con.execute(
                """
                create temp table heard as
                select source, id, moment, starts, content from told
                union all
                select source, id, moment, starts, content from compared
                semi join (select distinct source, id from told) using (source, id)
                """
            )
        newest(con, "told" if again else "heard")

    def _add(self, vault: Vault) -> None:
        """Put the changed records that are there into the table."""
        con = self.con
        con.execute(
            """
            create temp table numbered as
            select newest.*, (select coalesce(max(number), 0) from compared) + row_number() over () as number
            from newest semi join changed using (source, id)
            """
        )
        tokens = con.execute(
            f"select numbered.number, {', '.join(TOLD)} from told join numbered using (source, id, moment)"
        ).to_arrow_table()
        con.register("clear", in_clear(vault, tokens))
        con.execute("create temp view records as select *, null::varchar as identifier from clear")
        con.execute(
            f"""
            insert into kept.compared by name
            select n.number, n.source, n.id, n.content, n.moment, n.starts, f.* exclude (number)
            from ({ROWS}) as f join numbered as n using (number)
            """
        )
        con.execute("create temp table fresh as select number from numbered")
        con.execute("drop view records")
        con.unregister("clear")


def _made_by() -> str:
    """Who made a file: what is compared, how, and by which functions."""
    return f"{FORMAT}|{duckdb.__version__}|{hashlib.sha256(f'{ROW}|{ROWS}'.encode()).hexdigest()}"


def _table(rows: Sequence[tuple], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema)
