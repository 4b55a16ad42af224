"""One row per delivery and feed of what the gates want to know, noted while the rows are in hand.

`raw/_profile/<feed>/<first delivery of the batch>.parquet`. The gates read this and not the rows, so that their cost
does not grow with them. Where a feed has many such files they are folded into one, `base.parquet`. What is noted: rows, nulls, smallest and largest values, and the measures that
`expectations/sources` declares.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from pipeline.duck import quote
from pipeline.ingest.contracts import Contract
from pipeline.ingest.files import fsync, write_parquet
from pipeline.ingest.landing import made_of
from pipeline.ingest.ledger import Entry
from pipeline.quality.measures import Measures

Known = Mapping[str, tuple[object, str]]
"""Name in the profile → value and SQL type, of what need not be asked of the rows again."""

Noted = Mapping[str, Mapping[str, float]]
"""Delivery → name → number, of what only the rows as they came can tell."""

MALFORMED = {"phone": "doubt__malformed_phone", "email": "doubt__malformed_email"}
"""Kind of contact → name in the profile of how many rows have one that nobody can read."""

MALFORMED_TWICE = "malformed_twice"
"""Name in the profile of how many of those counts are of a row that is counted already."""

NOTES = ("key_conflicts", "rejected_amount", *MALFORMED.values(), MALFORMED_TWICE)
"""Numbers that the loader notes: rows whose key has another content too, money in rejected rows, unreadable contacts."""

_BASE = "base.parquet"
_FILES_KEPT = 8


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


def malformed_contacts(
    con: duckdb.DuckDBPyConnection, relation: str, unreadable: Mapping[tuple[str, str], Sequence[str]]
) -> dict[str, dict[str, float]]:
    """How many rows have a contact that nobody can read, by delivery and kind.

    Args:
        relation: rows of a feed with its contacts in clear.
        unreadable: (column, kind) → its values that no normaliser could read.
    """
    if not unreadable:
        return {}
    asked: dict[str, list[str]] = {}
    for n, ((column, kind), values) in enumerate(unreadable.items()):
        con.register(f"malformed_{n}", pa.table({"value": pa.array(values, pa.string())}))
        is_bad = f"coalesce(cast({quote(column)} as varchar) in (select value from malformed_{n}), false)"
        asked.setdefault(kind, []).append(is_bad)
    by_kind = {kind: f"({' or '.join(found)})" for kind, found in asked.items()}
    sums = [f"count(*) filter (where {kind}_bad)" for kind in by_kind]
    once = f"count(*) filter (where {' or '.join(f'{kind}_bad' for kind in by_kind)})"
    rows = con.execute(
        f"select _delivery, {', '.join(sums)}, {once} from (select _delivery, "
        f"{', '.join(f'{found} as {kind}_bad' for kind, found in by_kind.items())} from {relation}) group by 1"
    ).fetchall()
    for n in range(len(unreadable)):
        con.unregister(f"malformed_{n}")
    names = [*(MALFORMED[kind] for kind in by_kind), MALFORMED_TWICE]
    # What is 0 is not noted: whatever lies in the same batch says nothing of a delivery.
    return {
        delivery: {name: n for name, n in zip(names, (*counts, sum(counts) - rows_n), strict=True) if n}
        for delivery, *counts, rows_n in rows
        if rows_n
    }


def parts_of(contract: Contract, *, mapped: bool) -> dict[str, str]:
    """Name → SELECT expression over the rows of one delivery as they stand in raw."""
    parts = {"rows_n": "count(*)"}
    for name, type_ in _ranged(contract).items():
        parts[f"{name}__nulls"] = f"count(*) - count({quote(name)})"
        if type_:
            parts |= {f"{name}__{fn}": f"cast({fn}({quote(name)}) as {type_})" for fn in ("min", "max")}
    measures = measures_of(contract.feed)
    if measures.amount:
        parts["amount"] = f"cast(sum(abs({measures.amount})) as double)"
    if measures.mix:
        parts["mix"] = f"cast(to_json(histogram({quote(measures.mix)})) as varchar)"
    parts |= {f"doubt__{d.name}": f"count(*) filter (where {d.when})" for d in measures.doubts}
    if mapped and contract.key:
        parts["key_conflicts"] = f"count(*) - count(distinct row({', '.join(map(quote, contract.key))}))"
    return parts


def _ranged(contract: Contract) -> dict[str, str | None]:
    """Column of raw → type of its smallest and largest value in the profile, None where only nulls are counted."""
    types: dict[str, str | None] = {}
    for name, kind in contract.raw_schema().items():
        if not name.startswith("_") and not name.endswith("_offset_minutes"):
            ordered = kind in ("BIGINT", "DATE", "TIMESTAMP")
            types[name] = "double" if kind.startswith("DECIMAL") else kind.lower() if ordered else None
    return types


def of_footer(contract: Contract, file: Path) -> Known:
    """Name → (value, type) of what the footer of a raw file knows; empty where there are no rows or it does not say.

    Whoever wrote the file has looked at every value already: reading a large file again for this costs a tenth of
    writing it.
    """
    metadata = pq.read_metadata(file)
    known: dict[str, tuple[object, str]] = {}
    if not metadata.num_rows:
        return known
    for at, name in enumerate(metadata.schema.names):
        if name not in (types := _ranged(contract)):
            continue
        nulls, smallest, largest = 0, [], []
        for group in range(metadata.num_row_groups):
            column = metadata.row_group(group).column(at)
            stats = column.statistics
            if stats is None or not stats.has_null_count:
                return {}
            nulls += stats.null_count
            if types[name] and stats.null_count < column.num_values:
                if not stats.has_min_max:
                    return {}
                smallest.append(stats.min)
                largest.append(stats.max)
        known[f"{name}__nulls"] = nulls, "bigint"
        if type_ := types[name]:
            known[f"{name}__min"] = min(smallest, default=None), type_
            known[f"{name}__max"] = max(largest, default=None), type_
    return known


def write(
    con: duckdb.DuckDBPyConnection,
    contract: Contract,
    select: str,
    entries: Sequence[Entry],
    folder: Path,
    noted: Noted,
    known: Known | None = None,
    *,
    mapped: bool = False,
) -> dict[str, int]:
    """Write the profile of each delivery of a batch; rows by delivery.

    Args:
        select: rows of the feed as they stand in raw; not read where all is known.
        folder: `raw/_profile`.
        noted: what the loader noted.
        known: what is known of the one delivery already.
        mapped: a mapping made the rows, of which nobody has looked for repeated keys.
    """
    names = [e.delivery for e in entries]
    notes = {name: [noted.get(d, {}).get(name) for d in names] for name in NOTES}
    if mapped:
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
    parts = parts_of(contract, mapped=mapped)
    footer = known or {}
    asked = {name: sql for name, sql in parts.items() if name not in footer}
    told = [
        f"cast(${name} as {footer[name][1]}) as {quote(name)}"
        if name in footer
        else "coalesce(p.rows_n, 0) as rows_n"
        if name == "rows_n"
        else f"p.{quote(name)}"
        for name in parts
    ]
    found = (
        f"left join (select _delivery, {', '.join(f'{sql} as {quote(name)}' for name, sql in asked.items())} "
        f"from ({select}) group by _delivery) p on p._delivery = b.delivery"
        if asked
        else ""
    )
    profiled = con.execute(
        f"select b.*, {', '.join(told)} from batch_deliveries b {found} order by b.delivery",
        {name: value for name, (value, _) in footer.items()},
    ).to_arrow_table()
    write_parquet(profiled, path_of(folder, contract.feed, names[0]))
    return dict(zip(profiled["delivery"].to_pylist(), profiled["rows_n"].to_pylist(), strict=True))


def path_of(folder: Path, feed: str, delivery: str) -> Path:
    """The profile of the batch whose first delivery this is, below `raw/_profile`."""
    return folder / feed / f"{made_of(delivery)}.parquet"


def table_of(folder: Path) -> pa.Table | None:
    """Every profile of a feed's folder as it stands; None where there is none.

    A delivery may stand twice: in a file that a fold has left, or as a sweep that died noted it.
    """
    files = sorted(folder.glob("*.parquet"))
    if not files:
        return None
    # Measures that were declared since are columns that older files lack.
    schema = pa.unify_schemas([pq.read_schema(file) for file in files], promote_options="permissive")
    return ds.dataset(files, schema=schema).to_table()


def fold(raw: Path, known: Collection[str]) -> None:
    """Write many files of a feed as one and take them away; the profiles of deliveries that the ledger knows stay.

    Args:
        known: the deliveries of the ledger. Of any other a sweep that died has left a profile, which nobody reads.
    """
    for folder in sorted((raw / "_profile").glob("*/")):
        files = sorted(folder.glob("*.parquet"))
        if len(files) <= _FILES_KEPT:
            continue
        table = table_of(folder)
        assert table is not None
        # Those of an earlier version say no bytes and no run.
        says = [name for name in ("delivery", "sha256", "run_id") if name in table.column_names]
        wanted: dict[tuple[str, ...], int] = {}
        for at, row in enumerate(table.select(says).to_pylist()):
            if row["delivery"] in known:
                wanted.setdefault(tuple(row.values()), at)
        write_parquet(table.take(list(wanted.values())), folder / _BASE)
        fsync(folder)
        for file in files:
            if file.name != _BASE:
                file.unlink()
