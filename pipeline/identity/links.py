"""Who is who, by deterministic identifiers: source ids → `customer_key`.

Two records of different sources are one person when they share a phone or e-mail token that belongs to exactly one
record in every source that has it, or when one source declares that it uses the other's customer ids; unless their
names or birth dates contradict each other. An identifier that two records of one source share (a household's phone, a shop's
mailbox) says nothing about who it is, so it links nobody: precision before recall, because a wrong merge shows one
person's data to another (domain.md P-25).

`customer_key` is a token, under the minting key, of the person's earliest source record: earliest delivery day,
then source name, then id. It does not depend on the order in which files were read.
"""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from pipeline import duck
from pipeline.ingest import ledger
from pipeline.ingest.contracts import load_contracts, load_sources
from pipeline.ingest.files import write_parquet
from pipeline.ingest.mapping import targets
from pipeline.ingest.vault import Vault, token
from pipeline.settings import Settings

SCHEMA = pa.schema(
    [
        ("known_at", pa.date32()),
        ("source", pa.string()),
        ("source_customer_id", pa.string()),
        ("customer_key", pa.string()),
        ("rule", pa.string()),
        ("confidence", pa.float64()),
        ("first_seen", pa.date32()),
        ("last_seen", pa.date32()),
    ]
)
# Two records that both state one of these, and state it differently, are two people of one household.
_CONTRADICTS = ("name_token", "birth_date")
_IDENTIFIERS = ("member_id", "phone_token", "email_token")


def write_links(settings: Settings, known_at: Sequence[date]) -> dict[date, int]:
    """Write `identity/links.parquet`: one row per known_at, source and source id.

    Args:
        known_at: the dates whose knowledge is asked for, each answered from the deliveries in force on it.

    Returns:
        Persons (distinct keys) per date.
    """
    entries = ledger.read(settings)
    keys: dict[tuple[str, str], str] = {}
    parts, persons = [], {}
    minting_key = Vault(settings).minting_key
    for day in sorted(set(known_at)):
        records = _records(settings, ledger.in_force(entries, day))
        records["member_id"] = _member_ids(records)
        records["customer_key"], records["rule"] = link(records, minting_key, keys)
        records["known_at"] = day
        records["confidence"] = 1.0
        persons[day] = records["customer_key"].nunique()
        parts.append(pa.Table.from_pandas(records[SCHEMA.names], SCHEMA, preserve_index=False))
    write_parquet(pa.concat_tables(parts), settings.identity / "links.parquet")
    return persons


def link(
    records: pd.DataFrame, minting_key: bytes, keys: dict[tuple[str, str], str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(customer_key, rule) of each record.

    Args:
        records: source, source_customer_id, first_seen and one column for each identifier, one row per record,
            in any order.
        keys: tokens of source ids that are known already; new ones are added.
    """
    keys = {} if keys is None else keys
    n = len(records)
    order = np.lexsort(
        (records["source_customer_id"], records["source"], records["first_seen"].astype("int64"))
    )
    rank = np.empty(n, dtype=np.int64)
    rank[order] = np.arange(n)
    linked = np.full(n, "source_id", dtype=object)
    edges: list[np.ndarray] = []
    for identifier in (name for name in _IDENTIFIERS if name in records):
        edges.append(_edges(records, identifier))
    cluster = _clusters(records, edges, rank)
    for identifier, found in zip((name for name in _IDENTIFIERS if name in records), edges, strict=True):
        kept = found[cluster[found[:, 0]] == cluster[found[:, 1]]]
        linked[np.unique(kept)] = identifier.removesuffix("_token")
    first = pd.Series(rank).groupby(cluster).transform("min").to_numpy()
    earliest = order[first] if n else order
    sources = records["source"].to_numpy()
    ids = records["source_customer_id"].to_numpy()
    made = np.empty(n, dtype=object)
    for i in np.unique(earliest):
        pair = (sources[i], ids[i])
        if pair not in keys:
            keys[pair] = token(minting_key, "customer", f"{pair[0]}\x1f{pair[1]}")
        made[i] = keys[pair]
    return made[earliest] if n else made, linked


def _clusters(records: pd.DataFrame, edges_by_identifier: list[np.ndarray], rank: np.ndarray) -> np.ndarray:
    """Cluster number of each record: connected components, taken apart where they hold two people.

    Two people are two records of one source, or two names or birth dates. Such a component is built up again link by
    link (surer identifier first, then earlier records), leaving out each link that would join them.
    """
    n = len(records)
    edges = np.concatenate(edges_by_identifier) if edges_by_identifier else np.empty((0, 2), int)
    graph = coo_matrix((np.ones(len(edges), dtype=bool), (edges[:, 0], edges[:, 1])), shape=(n, n))
    cluster = connected_components(graph, directed=False)[1].astype(np.int64)
    if not len(edges):
        return cluster
    marks = [c for c in ("source", *_CONTRADICTS) if c in records]
    grouped = records[marks].reset_index(drop=True).groupby(cluster)
    twofold = grouped["source"].size() > grouped["source"].nunique()
    for column in marks[1:]:
        twofold |= grouped[column].nunique() > 1
    suspects = set(twofold.index[twofold])
    if not suspects:
        return cluster
    values = {c: records[c].to_numpy(dtype=object) for c in marks}
    members: dict[int, list[int]] = {i: [i] for i in np.flatnonzero(np.isin(cluster, list(suspects)))}
    root = {i: i for i in members}
    inside = [
        (surer, *sorted((int(rank[a]), int(rank[b]))), int(a), int(b))
        for surer, found in enumerate(edges_by_identifier)
        for a, b in found
        if a in root
    ]
    for _, _, _, a, b in sorted(inside):
        one, other = root[a], root[b]
        if one == other or not _one_person(values, members[one] + members[other]):
            continue
        for i in members[other]:
            root[i] = one
        members[one] += members.pop(other)
    for i, r in root.items():
        cluster[i] = n + r
    return np.unique(cluster, return_inverse=True)[1]


def _one_person(values: dict[str, np.ndarray], group: list[int]) -> bool:
    sources = [values["source"][i] for i in group]
    if len(set(sources)) < len(sources):
        return False
    return all(
        len({values[c][i] for i in group if not pd.isna(values[c][i])}) <= 1 for c in values if c != "source"
    )


def _edges(records: pd.DataFrame, identifier: str) -> np.ndarray:
    """Pairs of positions that share a trusted value of `identifier`; shape (n, 2)."""
    frame = pd.DataFrame({"value": records[identifier].to_numpy(), "source": records["source"].to_numpy()})
    frame["position"] = np.arange(len(frame))
    frame = frame.dropna(subset=["value"])
    per_source = frame.groupby(["value", "source"])["position"].transform("size")
    frame = frame[~frame["value"].isin(frame.loc[per_source > 1, "value"].unique())]
    pairs = frame.merge(frame, on="value")
    edges = pairs.loc[pairs["position_x"] < pairs["position_y"], ["position_x", "position_y"]].to_numpy()
    agree = np.ones(len(edges), dtype=bool)
    for column in (c for c in _CONTRADICTS if c in records):
        known = records[column].to_numpy(dtype=object)
        left, right = known[edges[:, 0]], known[edges[:, 1]]
        agree &= pd.isna(left) | pd.isna(right) | (left == right)
    return edges[agree]


def _records(settings: Settings, in_force: list[ledger.Entry]) -> pd.DataFrame:
    """One row per source and source id seen in any feed: first and last delivery day, latest identifiers."""
    con = duck.connect([settings.raw], spill=settings.build / ".spill")
    try:
        loaded = [e for e in in_force if e.status == "loaded"]
        con.register(
            "deliveries",
            pa.table(
                {
                    "_delivery": pa.array([e.delivery for e in loaded], pa.string()),
                    "source": pa.array([e.source for e in loaded], pa.string()),
                    "dt": pa.array([e.dt for e in loaded], pa.date32()),
                }
            ),
        )
        delivered = {feed for e in loaded for feed in targets(e.source or "", e.feed or "")} | {"customers"}
        seen = [
            f"select d.source, r.source_customer_id, d.dt from {_feed(settings.raw, feed)} as r "
            "join deliveries as d using (_delivery) where r.source_customer_id is not null"
            for feed, contract in load_contracts().items()
            if feed in delivered and "source_customer_id" in contract.columns
        ]
        return con.execute(
            f"""
            with seen as ({" union all ".join(seen)}),
            ids as (
                select source, source_customer_id, min(dt) as first_seen, max(dt) as last_seen
                from seen group by source, source_customer_id
            ),
            latest as (
                select d.source, r.source_customer_id,
                    arg_max_null(r.phone_token, (coalesce(r.updated_at, cast(d.dt as timestamp)), d.dt, r._row))
                        as phone_token,
                    arg_max_null(r.email_token, (coalesce(r.updated_at, cast(d.dt as timestamp)), d.dt, r._row))
                        as email_token,
                    max_by(r.name_token, (coalesce(r.updated_at, cast(d.dt as timestamp)), d.dt, r._row))
                        as name_token,
                    max_by(r.birth_year || '-' || r.birth_month_day,
                        (coalesce(r.updated_at, cast(d.dt as timestamp)), d.dt, r._row)) as birth_date
                from {_feed(settings.raw, "customers")} as r join deliveries as d using (_delivery)
                group by d.source, r.source_customer_id
            )
            select * from ids left join latest using (source, source_customer_id)
            order by source, source_customer_id
            """
        ).df()
    finally:
        con.close()


def _member_ids(records: pd.DataFrame) -> list[str | None]:
    """Id in the namespace that several sources share, for records of those sources only."""
    owner = {s.source: s.customer_ids_of or s.source for s in load_sources().values()}
    shared = {s.customer_ids_of for s in load_sources().values() if s.customer_ids_of}
    return [
        f"{owner.get(source, source)}/{id_}" if owner.get(source, source) in shared else None
        for source, id_ in zip(records["source"], records["source_customer_id"], strict=True)
    ]


def _feed(raw: Path, feed: str) -> str:
    pattern = str(raw / "*" / feed / "*" / "*" / "*.parquet").replace("'", "''")
    return f"read_parquet('{pattern}', union_by_name = true, hive_partitioning = false)"
