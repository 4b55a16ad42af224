"""One row per delivery and feed of what the gates want to know, noted while the rows are in hand.

`raw/_profile/<feed>/<first delivery of the batch>.parquet`. The gates read this and not the rows, so that their cost
does not grow with them. What is noted: rows, nulls, smallest and largest values, and the measures that
`expectations/sources` declares.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline.duck import quote
from pipeline.ingest.contracts import Contract
from pipeline.ingest.files import write_parquet
from pipeline.ingest.landing import made_of
from pipeline.ingest.ledger import Entry
from pipeline.quality.measures import Measures

Noted = Mapping[str, Mapping[str, float]]
"""Delivery → name → number, of what only the rows as they came can tell."""

NOTES = ("key_conflicts", "rejected_amount", "doubt__malformed_phone", "doubt__malformed_email")
"""Numbers that the loader notes: rows whose key has another content too, money in rejected rows, unreadable contacts."""


@cache
def measures_of(feed: str) -> Measures:
    """What `expectations/sources` wants to know of a feed."""
    from pipeline.quality.suites import load_suites

    suite = load_suites("expectations.sources").get(feed)
    return suite.measures if suite else Measures()


def key_conflicts(con: duckdb.DuckDBPyConnection, contract: Contract) -> dict[str, int]:
    """Rows of `alike`, which has the rows whose key may repeat, beyond the first of their key, by delivery.

    Equal rows have been taken out, so what is left under one key differs. Where rows are states, another `latest_by`
    is a newer state and no conflict.
    """
    columns = ", ".join(
        quote(c) for c in (*contract.key, *([contract.latest_by] if contract.latest_by else []))
    )
    found = con.execute(
        f"select _delivery, count(*) - count(distinct row({columns})) from alike group by _delivery"
    ).fetchall()
    return {delivery: n for delivery, n in found if n}


def rejected_amounts(con: duckdb.DuckDBPyConnection, contract: Contract) -> dict[str, float]:
    """Money in the rejected rows of `classified` whose amount could be read, by delivery."""
    amount = measures_of(contract.feed).amount
    if not amount:
        return {}
    found = con.execute(
        f"select _delivery, cast(sum(abs({amount})) as double) from classified where _rule is not null group by 1"
    ).fetchall()
    return {delivery: value for delivery, value in found if value}


def malformed(
    con: duckdb.DuckDBPyConnection, relation: str, column: str, values: Sequence[str]
) -> dict[str, int]:
    """Rows by delivery whose contact is one of `values`, which no normaliser could read."""
    con.register("malformed_values", pa.table({"value": pa.array(values, pa.string())}))
    found = con.execute(
        f"select _delivery, count(*) from {relation} semi join malformed_values on cast({quote(column)} as varchar) = value "
        "group by _delivery"
    ).fetchall()
    con.unregister("malformed_values")
    return dict(found)


def _parts(contract: Contract, *, mapped: bool) -> list[str]:
    """SELECT expressions over the rows of one delivery as they stand in raw."""
    parts = ["count(*) as rows_n"]
    for name, kind in contract.raw_schema().items():
        if name.startswith("_") or name.endswith("_offset_minutes"):
            continue
        parts.append(f"count(*) - count({quote(name)}) as {quote(name + '__nulls')}")
        if kind in ("BIGINT", "DATE", "TIMESTAMP") or kind.startswith("DECIMAL"):
            cast = "double" if kind.startswith("DECIMAL") else kind.lower()
            parts += [
                f"cast({fn}({quote(name)}) as {cast}) as {quote(f'{name}__{fn}')}" for fn in ("min", "max")
            ]
    measures = measures_of(contract.feed)
    if measures.amount:
        parts.append(f"cast(sum(abs({measures.amount})) as double) as amount")
    if measures.mix:
        parts.append(f"cast(to_json(histogram({quote(measures.mix)})) as varchar) as mix")
    parts += [
        f"count(*) filter (where {doubt.when}) as {quote('doubt__' + doubt.name)}"
        for doubt in measures.doubts
    ]
    if mapped and contract.key:
        # The mapping made these rows: nobody has looked for repeated keys among them yet.
        parts.append(
            f"count(*) - count(distinct row({', '.join(map(quote, contract.key))})) as key_conflicts"
        )
    return parts


def write(
    con: duckdb.DuckDBPyConnection,
    contract: Contract,
    select: str,
    entries: Sequence[Entry],
    folder: Path,
    noted: Noted | None,
) -> dict[str, int]:
    """Write the profile of each delivery of a batch; rows by delivery.

    Args:
        select: rows of the feed as they stand in raw.
        folder: `raw/_profile`.
        noted: what the loader noted, or None for rows that a mapping made.
    """
    names = [e.delivery for e in entries]
    notes = {name: [(noted or {}).get(d, {}).get(name) for d in names] for name in NOTES}
    if noted is None:
        del notes["key_conflicts"]
    else:
        notes["key_conflicts"] = [n or 0 for n in notes["key_conflicts"]]
    # What a sweep that died left behind is told by these from the profile of what was loaded.
    made_by = {
        "delivery": pa.array(names, pa.string()),
        "sha256": pa.array([e.sha256 for e in entries], pa.string()),
        "run_id": pa.array([e.run_id for e in entries], pa.string()),
    }
    table = pa.table(made_by | {k: pa.array(v, pa.float64()) for k, v in notes.items()})
    con.register("batch_deliveries", table)
    profiled = con.execute(
        f"select b.*, p.* exclude (_delivery) replace (coalesce(rows_n, 0) as rows_n) from batch_deliveries b "
        f"left join (select _delivery, {', '.join(_parts(contract, mapped=noted is None))} from ({select}) "
        f"group by _delivery) p on p._delivery = b.delivery order by b.delivery"
    ).to_arrow_table()
    write_parquet(profiled, folder / contract.feed / f"{made_of(names[0])}.parquet")
    return dict(zip(profiled["delivery"].to_pylist(), profiled["rows_n"].to_pylist(), strict=True))
