"""The second stage in the daily job: `identity/likely.parquet`, the pairs that the probabilistic stage found.

One row per pair: left_source, left_id, right_source, right_id, probability, known_from, left_state, right_state. A pair
counts from the day it was first found and stays while neither record changes, so that a drift of the estimated
parameters splits nobody. Deleted, the file is made anew with today's pairs from today on: of all files of `identity/` it
alone does not follow from raw, because the parameters follow from all records of the day. A pair that a person rejects
stays in the file; the decision goes before it.
"""

from collections.abc import Sequence
from datetime import date

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import duck
from pipeline.identity.probabilistic import Policy, candidate_pairs, vault_records
from pipeline.ingest import ledger
from pipeline.ingest.files import write_parquet
from pipeline.ingest.mapping import targets
from pipeline.ingest.vault import Vault, token
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
_STATE = (
    "name_token",
    "phone_token",
    "email_token",
    "address_token",
    "birth_date",
    "gender",
    "city",
    "postcode",
)


def write_likely(settings: Settings, entries: Sequence[ledger.Entry], as_of: date, policy: Policy) -> int:
    """Find the pairs of the records as of a day, and write the file; where policy says no, remove it. Their number."""
    path = settings.identity / "likely.parquet"
    if not policy.enabled:
        path.unlink(missing_ok=True)
        return 0
    records = read_records(settings, ledger.in_force(list(entries), as_of))
    clear = vault_records(settings, records)
    pairs = candidate_pairs(clear, settings, policy)
    names = list(zip(records["source"], records["source_customer_id"], strict=True))
    states = dict(zip(names, _states(clear, Vault(settings).minting_key), strict=True))
    found = {}
    for left, right, probability in pairs.itertuples(index=False):
        one, other = sorted((names[left], names[right]))
        found[one, other] = (probability, as_of)
    for row in pq.read_table(path).to_pylist() if path.exists() else ():
        pair = ((row["left_source"], row["left_id"]), (row["right_source"], row["right_id"]))
        unchanged = [states.get(name) for name in pair] == [row["left_state"], row["right_state"]]
        if pair in found or unchanged:
            found[pair] = (found.get(pair, (row["probability"],))[0], min(row["known_from"], as_of))
    rows = [
        dict(zip(SCHEMA.names, (*one, *other, probability, day, states[one], states[other]), strict=True))
        for (one, other), (probability, day) in sorted(found.items())
    ]
    write_parquet(pa.Table.from_pylist(rows, SCHEMA), path)
    return len(rows)


def _states(clear: pd.DataFrame, key: bytes) -> list[str]:
    """What a record says, as a token under the minting key: the same after a new token key."""
    columns = [clear[c].fillna("").astype(str) for c in clear]
    return [token(key, "state", "\x1f".join(row)) for row in zip(*columns, strict=True)]


def read_records(settings: Settings, in_force: Sequence[ledger.Entry]) -> pd.DataFrame:
    """The newest state of each record of the feed `customers`: source, source_customer_id, first_seen, tokens and
    the clear columns that matching compares."""
    loaded = [
        e for e in in_force if e.status == "loaded" and "customers" in targets(e.source or "", e.feed or "")
    ]
    if not loaded:
        return pd.DataFrame(
            {c: pd.Series(dtype=object) for c in ("source", "source_customer_id", "first_seen")}
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
                }
            ),
        )
        return con.execute(
            """
            select d.source, r.source_customer_id, min(d.dt) over own as first_seen,
                r.name_token, r.phone_token, r.email_token, r.address_token,
                r.birth_year || '-' || r.birth_month_day as birth_date, r.gender, r.city, r.postcode
            from read_parquet($1, union_by_name = true, hive_partitioning = false) as r
            join deliveries as d using (_delivery)
            where r.source_customer_id is not null
            window own as (partition by d.source, r.source_customer_id)
            qualify row_number() over (
                partition by d.source, r.source_customer_id
                order by coalesce(r.updated_at, cast(d.dt as timestamp)) desc, d.dt desc, r._row desc
            ) = 1
            order by 1, 2
            """,
            [str(settings.raw / "*" / "customers" / "*" / "*" / "*.parquet")],
        ).df()
    finally:
        con.close()
