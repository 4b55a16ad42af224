"""The second stage in the daily job: `identity/likely.parquet`, the pairs that the probabilistic stage found.

One row per pair: left_source, left_id, right_source, right_id, probability, known_from, known_to, left_state, right_state.
A pair counts from the day on which the later of its records came to say what it says, no earlier than policy switched the
stage on, and no earlier than the day after the run before the one that found it. One that ends counts for the days before
`known_to`: no past day moves. A pair that a person rejects stays in the file; the decision goes before it.

The pairs are those that a run over all records finds with the model of the home (learning.py). A day looks only for
pairs of the records that came, changed or went, and of those that share a key which has come to be of too many records or
of few enough: nothing else can have changed. With another model the pairs of unchanged records stay while a key proposes
them, so that it splits nobody.

Where the deliveries of customers in force, the erasures, the policy and the model are those that the file was made of, it
stays as it is: its metadata says of what.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import duck
from pipeline.identity import delivered, learning
from pipeline.identity.compared import Compared
from pipeline.identity.comparisons import BLOCKS, FEATURE_COLUMNS
from pipeline.identity.learning import Model, Policy
from pipeline.identity.probabilistic import propose, score
from pipeline.ingest import ledger
from pipeline.ingest.files import write_parquet
from pipeline.ingest.mapping import targets
from pipeline.ingest.vault import Vault, token
from pipeline.ingest.vault.private import forget_compared
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
        ("known_to", pa.date32()),
        ("left_state", pa.string()),
        ("right_state", pa.string()),
    ]
)
FORMAT = 2
"""Of what the stage makes of the same deliveries; another one makes the file anew."""

_MADE_OF, _MADE_WITH, _AS_OF = b"strata_made_of", b"strata_made_with", b"strata_as_of"


class _Held(NamedTuple):
    """What the file says of itself: of what its pairs were made, by which model and policy, and the day of that run."""

    made_of: bytes | None = None
    made_with: bytes | None = None
    as_of: date | None = None


def write_likely(settings: Settings, entries: Sequence[ledger.Entry], as_of: date, policy: Policy) -> int:
    """Find the pairs of the records as of a day, and write the file; where policy says no, remove it. Their number."""
    path = settings.identity / "likely.parquet"
    if not policy.enabled:
        path.unlink(missing_ok=True)
        forget_compared(settings.vault)
        return 0
    spans = of_customers(entries, as_of)
    held = _held(path)
    if held.made_of == _made_of(settings, spans, policy):
        return int(pq.read_metadata(path).num_rows)
    with Vault(settings, "matching") as vault, Compared(settings, held.made_of) as kept:
        kept.take_in(vault, spans)
        model = _model(settings, kept.con, policy, vault.minting_key, as_of)
        made_with = _made_with(settings, policy)
        anew = kept.is_new or made_with != held.made_with
        if anew:
            propose(kept.con, policy)
        else:
            _ask_about(kept.con, policy)
            propose(kept.con, policy, "asked")
        if model:
            score(kept.con, model, policy, vault.minting_key)
        else:
            kept.con.execute("create temp table made (one bigint, other bigint, probability double)")
        first = _first_day(as_of, held if path.exists() else None)
        pairs = _pairs(kept.con, path, anew, policy, vault.minting_key, first, as_of)
        made_of = _made_of(settings, spans, policy)
        said = {_MADE_OF: made_of, _MADE_WITH: made_with, _AS_OF: as_of.isoformat().encode()}
        write_parquet(pairs.cast(SCHEMA.with_metadata(said)), path)
        kept.keep(made_of)
    return pairs.num_rows


def of_customers(entries: Sequence[ledger.Entry], as_of: date) -> list[delivered.Span]:
    """The deliveries in force on a day that tell of customers."""
    return [
        span
        for span in delivered.spans(list(entries), as_of)
        if span[2] is None and "customers" in targets(span[0].source or "", span[0].feed or "")
    ]


def _held(path: Path) -> _Held:
    said = (pq.read_schema(path).metadata or {}) if path.exists() else {}
    day = said.get(_AS_OF)
    return _Held(said.get(_MADE_OF), said.get(_MADE_WITH), date.fromisoformat(day.decode()) if day else None)


def _made_of(settings: Settings, spans: Sequence[delivered.Span], policy: Policy) -> bytes:
    """What decides the pairs of a day, as one hash: an erasure takes rows out of deliveries that stay as they are."""
    erasures = sorted(path.name for path in (settings.raw / "_erased").glob("*.parquet"))
    digest = hashlib.sha256(_made_with(settings, policy) + f"{erasures}\n".encode())
    for entry, starts, _ in sorted(spans, key=lambda span: span[0].delivery):
        digest.update(f"{entry.delivery}|{entry.sha256}|{starts}\n".encode())
    return digest.hexdigest().encode()


def _made_with(settings: Settings, policy: Policy) -> bytes:
    """What decides whether two records are a pair, as one hash."""
    model = learning.path_of(settings)
    learnt = model.read_bytes() if model.exists() else b""
    return hashlib.sha256(f"{FORMAT}|{policy}|".encode() + learnt).hexdigest().encode()


def _model(
    settings: Settings, con: duckdb.DuckDBPyConnection, policy: Policy, key: bytes, as_of: date
) -> Model | None:
    """The home's model, which is learnt where there is none that fits; None where nothing can be learnt."""
    model = learning.read(settings)
    row = con.execute("select count(*) from compared").fetchone()
    if model is None or not model.fits(policy, row[0] if row else 0):
        model = learning.learn(con, policy, key, as_of)
        if model:
            learning.write(settings, model)
        else:
            learning.forget(settings)
    return model


def _ask_about(con: duckdb.DuckDBPyConnection, policy: Policy) -> None:
    """Table `asked` (number): records that came or changed, and those with a key that has passed the cap, up or down."""
    con.execute("create temp table asked as from fresh")
    con.execute(
        f"create temp table came as select {', '.join(BLOCKS)} from compared semi join fresh using (number)"
    )
    cap = policy.propose_records_max
    for key in BLOCKS:
        con.execute(
            f"""
            insert into asked
            with moved as (
                select {key}, sum(n) as n from (
                    select {key}, 1 as n from came union all select {key}, -1 from former
                ) where {key} is not null group by {key}
            ),
            counted as (
                select {key}, count(*) as n from compared semi join moved using ({key}) group by {key}
            ),
            passed as (
                select {key} from counted join moved using ({key})
                where (counted.n > {cap}) <> (counted.n - moved.n > {cap})
            )
            select number from compared semi join passed using ({key})
            """
        )


def _first_day(as_of: date, held: _Held | None) -> date:
    """The first day from which a pair that is found now may count."""
    if held is None:
        return _switched_on(as_of)
    return min(held.as_of + timedelta(days=1), as_of) if held.as_of else as_of


def _switched_on(as_of: date) -> date:
    """The first of the days on which policy has had the stage on without a break up to `as_of`."""
    first = as_of
    for day in sorted((d for d in days_of("thresholds") if d <= as_of), reverse=True):
        if not Policy.on(day).enabled:
            break
        first = day
    return first


def _pairs(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    anew: bool,
    policy: Policy,
    key: bytes,
    first: date,
    as_of: date,
) -> pa.Table:
    """The rows of the file: those of before that nothing was asked about, what was found of the others, and what has ended.

    Of the pairs that were asked about those of before stay as they are where neither record says anything else and a key
    proposes them still. Where a record does, one that weighs as before goes on, any other ends and begins anew.
    """
    con.register("nobody", SCHEMA.empty_table())
    held = f"from nobody union all by name from {duck.parquet(path)}" if path.exists() else "from nobody"
    con.execute(f"create temp table before as {held}")
    con.execute(
        f"update before set known_from = least(known_from, date '{as_of}'), "
        f"known_to = case when known_to <= date '{as_of}' then known_to end"
    )
    asked_about = "true"
    if not anew:
        con.execute(
            "create temp table named as "
            "select source, id from changed union select source, id from compared semi join asked using (number)"
        )
        asked_about = (
            "((left_source, left_id) in (select source, id from named) "
            "or (right_source, right_id) in (select source, id from named))"
        )
    con.execute(
        f"""
        create temp table touched as select * from before where known_to is null and {asked_about};
        create temp table known as
        select t.*, least(l.number, r.number) as one, greatest(l.number, r.number) as other
        from touched as t
        join compared as l on l.source = t.left_source and l.id = t.left_id
        join compared as r on r.source = t.right_source and r.id = t.right_id;
        create temp table ends as
        select one as number from made union select other from made union select one from known union select other from known
        """
    )
    _state(con, key)
    con.execute(
        """
        create temp table live as
        with found as (
            select least(one, other) as one, greatest(one, other) as other, probability from made
        ),
        still as (
            select known.one, known.other, known.probability from known
            semi join (select least(one, other) as one, greatest(one, other) as other from hits) using (one, other)
            join stated as l on l.source = left_source and l.id = left_id and l.state = left_state
            join stated as r on r.source = right_source and r.id = right_id and r.state = right_state
            where known.probability >= $1
        ),
        standing as (
            select one, other, coalesce(still.probability, found.probability) as probability
            from found full join still using (one, other)
        ),
        sorted as (
            select standing.probability, greatest(l.starts, r.starts, $2::date) as starts,
                if((l.source, l.id) < (r.source, r.id), l, r) as a, if((l.source, l.id) < (r.source, r.id), r, l) as b
            from standing join stated as l on l.number = one join stated as r on r.number = other
        )
        select a.source as left_source, a.id as left_id, b.source as right_source, b.id as right_id, sorted.probability,
            coalesce(t.known_from, starts) as known_from, null::date as known_to, a.state as left_state,
            b.state as right_state
        from sorted
        left join touched as t on t.left_source = a.source and t.left_id = a.id and t.right_source = b.source
            and t.right_id = b.id and t.probability = sorted.probability
        """,
        [policy.probability_min, first],
    )
    pair = "left_source, left_id, right_source, right_id"
    return con.execute(
        f"""
        from live
        union all by name
        select * replace ($1::date as known_to) from touched
        anti join live using ({pair}, known_from) where known_from < $1
        union all by name
        from before anti join touched using ({pair}, known_from)
        order by {pair}, known_from
        """,
        [first],
    ).to_arrow_table()


def _state(con: duckdb.DuckDBPyConnection, key: bytes) -> None:
    """Table `stated`: number, source, id, starts and `state` of the records in `ends`; the state is what a record says, as a
    token under the minting key: the same after a new token key."""
    says = ", ".join(f"coalesce({c}::varchar, '')" for c in FEATURE_COLUMNS)
    rows = con.execute(
        f"select number, concat_ws(chr(31), {says}) as says from compared semi join ends using (number)"
    ).to_arrow_table()
    states = [token(key, "state", says) for says in rows["says"].to_pylist()]
    con.register("states", pa.table({"number": rows["number"], "state": pa.array(states, pa.string())}))
    con.execute(
        "create temp table stated as select number, source, id, starts, state from compared join states using (number)"
    )
