"""The second stage in the daily job: `identity/likely.parquet`, the pairs that the probabilistic stage found.

One row per pair: left_source, left_id, right_source, right_id, probability, known_from, left_state, right_state. A pair
counts from the day it was first found and stays while neither record changes, so that a drift of the estimated
parameters splits nobody and moves no past day. A pair that a person rejects stays in the file; the decision goes before it.

A run of every day finds a pair on the day on which the later of its two records came to say what it says. So where the
file is missing, each pair counts from that day, and no earlier than policy switched the stage on: the rebuilt history is
that of the daily runs but for pairs that a drift of the parameters, which follow from all records of a day, has found
late or would no longer find.

Where the deliveries of customers in force, the erasures and the policy are those that the file was made of, it stays as it
is: its metadata says of what.
"""

import hashlib
from collections.abc import Sequence
from datetime import date, timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import duck
from pipeline.identity.probabilistic import Policy, candidate_pairs, vault_records
from pipeline.ingest import ledger
from pipeline.ingest.files import write_parquet
from pipeline.ingest.mapping import targets
from pipeline.ingest.vault import Vault, token
from pipeline.quality.policy import days_of
from pipeline.settings import Settings

SCHEMA = pa.schema(
    [
        ("left_source", pa.string()),
        ("left_id", pa.string()),
        ("right_source", pa.string()),
        ("right_id", pa.string()),
        ("probability", pa.float64()),
        ("known_from", pa.date32()),
        ("left_state", pa.string()),
        ("right_state", pa.string()),
    ]
)
FORMAT = 1
"""Of what the stage makes of the same deliveries; another one makes the file anew."""

_MADE_OF = b"strata_made_of"


def write_likely(settings: Settings, entries: Sequence[ledger.Entry], as_of: date, policy: Policy) -> int:
    """Find the pairs of the records as of a day, and write the file; where policy says no, remove it. Their number."""
    path = settings.identity / "likely.parquet"
    if not policy.enabled:
        path.unlink(missing_ok=True)
        return 0
    in_force = _of_customers(ledger.in_force(list(entries), as_of))
    made_of = _made_of(settings, in_force, policy)
    if path.exists() and (pq.read_schema(path).metadata or {}).get(_MADE_OF) == made_of:
        return pq.read_metadata(path).num_rows
    records = read_records(settings, in_force)
    clear = vault_records(settings, records)
    pairs = candidate_pairs(clear, settings, policy)
    names = list(zip(records["source"], records["source_customer_id"], strict=True))
    states = dict(zip(names, _states(clear, Vault(settings).minting_key), strict=True))
    since = records["stated_from"].tolist()
    switched_on = _switched_on(as_of) if not path.exists() else as_of
    found = {}
    for left, right, probability in pairs.itertuples(index=False):
        one, other = sorted((names[left], names[right]))
        found[one, other] = (probability, max(since[left], since[right], switched_on))
    for row in pq.read_table(path).to_pylist() if path.exists() else ():
        pair = ((row["left_source"], row["left_id"]), (row["right_source"], row["right_id"]))
        unchanged = [states.get(name) for name in pair] == [row["left_state"], row["right_state"]]
        if pair in found or unchanged:
            found[pair] = (found.get(pair, (row["probability"],))[0], min(row["known_from"], as_of))
    rows = [
        dict(zip(SCHEMA.names, (*one, *other, probability, day, states[one], states[other]), strict=True))
        for (one, other), (probability, day) in sorted(found.items())
    ]
    write_parquet(pa.Table.from_pylist(rows, SCHEMA.with_metadata({_MADE_OF: made_of})), path)
    return len(rows)


def _of_customers(in_force: Sequence[ledger.Entry]) -> list[ledger.Entry]:
    return [
        e for e in in_force if e.status == "loaded" and "customers" in targets(e.source or "", e.feed or "")
    ]


def _made_of(settings: Settings, loaded: Sequence[ledger.Entry], policy: Policy) -> bytes:
    """What decides the pairs of a day, as one hash: an erasure takes rows out of deliveries that stay as they are."""
    erasures = sorted(path.name for path in (settings.raw / "_erased").glob("*.parquet"))
    digest = hashlib.sha256(f"{FORMAT}|{policy}|{erasures}\n".encode())
    for entry in sorted(loaded, key=lambda e: e.delivery):
        digest.update(f"{entry.delivery}|{entry.sha256}|{_starts(entry)}\n".encode())
    return digest.hexdigest().encode()


def _switched_on(as_of: date) -> date:
    """The first of the days on which policy has had the stage on without a break up to `as_of`."""
    first = as_of
    for day in sorted((d for d in days_of("thresholds") if d <= as_of), reverse=True):
        if not Policy.on(day).enabled:
            break
        first = day
    return first


def _states(clear: pd.DataFrame, key: bytes) -> list[str]:
    """What a record says, as a token under the minting key: the same after a new token key."""
    columns = [clear[c].fillna("").astype(str) for c in clear]
    return [token(key, "state", "\x1f".join(row)) for row in zip(*columns, strict=True)]


def _starts(entry: ledger.Entry) -> date | None:
    """The first day for which the delivery counts."""
    return max(entry.dt + timedelta(days=1), entry.known_from) if entry.dt and entry.known_from else None


def read_records(settings: Settings, in_force: Sequence[ledger.Entry]) -> pd.DataFrame:
    """The newest state of each record of the feed `customers`: source, source_customer_id, first_seen, tokens, the clear
    columns that matching compares, and `stated_from`, the first day on which a run could know that state."""
    loaded = _of_customers(in_force)
    if not loaded:
        return pd.DataFrame(
            {
                c: pd.Series(dtype=object)
                for c in ("source", "source_customer_id", "first_seen", "stated_from")
            }
        )
    con = duck.connect([settings.raw], spill=settings.build / ".spill")
    try:
        con.register(
            "deliveries",
            pa.table(
                {
                    "_delivery": pa.array([e.delivery for e in loaded], pa.string()),
                    "source": pa.array([e.source for e in loaded], pa.string()),
                    "dt": pa.array([e.dt for e in loaded], pa.date32()),
                    "starts": pa.array([_starts(e) for e in loaded], pa.date32()),
                }
            ),
        )
        return (
            con.execute(
                """
            select d.source, r.source_customer_id, min(d.dt) over own as first_seen,
                r.name_token, r.phone_token, r.email_token, r.address_token,
                r.birth_year || '-' || r.birth_month_day as birth_date, r.gender, r.city, r.postcode, min(d.starts) over same as stated_from
            from read_parquet($1, union_by_name = true, hive_partitioning = false) as r
            join deliveries as d using (_delivery)
            where r.source_customer_id is not null
            window own as (partition by d.source, r.source_customer_id), same as (
                partition by d.source, r.source_customer_id, r.name_token, r.phone_token, r.email_token,
                    r.address_token, r.birth_year, r.birth_month_day, r.gender, r.city, r.postcode
            )
            qualify row_number() over (
                partition by d.source, r.source_customer_id
                order by coalesce(r.updated_at, cast(d.dt as timestamp)) desc, d.dt desc, r._row desc
            ) = 1
            order by 1, 2
            """,
                [str(settings.raw / "*" / "customers" / "*" / "*" / "*.parquet")],
            )
            .df()
            .astype({"stated_from": object})
            .assign(stated_from=lambda f: [d.date() for d in pd.to_datetime(f["stated_from"])])
        )
    finally:
        con.close()
