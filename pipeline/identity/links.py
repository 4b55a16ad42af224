"""Source ids → `customer_key` for each day that is asked for, and the history of who was who.

All files of `identity/` follow from raw and the decisions of people (review.py) and may be deleted at any time:

| file | rows |
|---|---|
| links.parquet | one per known_at, source and source id |
| history.parquet | one per source, source id and interval of days, with lineage |
| review.parquet | one per merge that was not made and waits for review |
| quality.parquet | one: what gate Q-08 judges |
| state.parquet, state.json | where the last run ended, so that the next one only adds its days |
"""

import gc
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import duck
from pipeline.errors import StrataError
from pipeline.identity import normalise, review
from pipeline.identity.history import Likely, Name, Record, Suspect, Value
from pipeline.identity.matching import Rules, load_rules
from pipeline.identity.state import FORMAT, Event, Events, State, as_names
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
        ("observed_at", pa.date32()),
        ("first_seen", pa.date32()),
        ("last_seen", pa.date32()),
    ]
)
REVIEW = pa.schema(
    [
        ("item", pa.string()),
        ("why", pa.string()),
        ("rule", pa.string()),
        ("confidence", pa.float64()),
        ("records_n", pa.int64()),
        ("left_source", pa.string()),
        ("left_id", pa.string()),
        ("left_key", pa.string()),
        ("right_source", pa.string()),
        ("right_id", pa.string()),
        ("right_key", pa.string()),
        ("since", pa.date32()),
    ]
)
QUALITY = pa.schema(
    [
        ("as_of_date", pa.date32()),
        ("records_n", pa.int64()),
        ("persons_n", pa.int64()),
        ("pairs_made_n", pa.int64()),
        ("pairs_unresolved_n", pa.int64()),
        ("oversized_unreviewed_n", pa.int64()),
        ("example", pa.string()),
    ]
)


def write_links(settings: Settings, known_at: Sequence[date]) -> dict[date, int]:
    """Write the files of `identity/`.

    Args:
        known_at: the dates whose knowledge is asked for, each answered from the deliveries in force on it. The
            history and the review queue are those of the last one.

    Returns:
        Persons (distinct keys) per date.
    """
    with without_collector():
        return _write_links(settings, sorted(set(known_at)), max(known_at))


@contextmanager
def without_collector() -> Iterator[None]:
    """No search for cycles meanwhile: it walks through millions of living tuples again and again, a third of the
    whole cost at half a million records, and none of them is in a cycle."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _write_links(settings: Settings, days: Sequence[date], as_of: date) -> dict[date, int]:
    entries = ledger.read(settings)
    vault = Vault(settings)
    _find_likely(settings, entries, as_of)
    with duck.connect([settings.raw], spill=settings.build / ".spill") as con:
        _load(con, settings, entries, as_of)
        print_ = _Fingerprint(settings, entries, vault.key_id)
        state = State(con, settings.identity, lambda day: print_.at(day) if day <= as_of else None)
        changes = _changes(con, vault, state.day)
        events = _events(settings, changes, state.day, as_of)
        history = state.take_up(vault.minting_key, events)
        for event in events.days:
            history.advance(event.day, event.changed, event.rules, event.judged, event.likely)
        con.register("intervals", state.intervals(history))
        persons, parts = {}, []
        for day in days:
            parts.append(_links(con, day))
            persons[day] = _persons_n(con, day)
        write_parquet(pa.concat_tables(parts), settings.identity / "links.parquet")
        suspects = history.open_suspects()
        keys = _keys_of(con, suspects)
        _write_review(settings, suspects, keys)
        records_n, pairs_made = state.save(history, as_of, print_.at(as_of))
        _write_quality(settings, suspects, as_of, records_n, _persons_n(con, None), pairs_made)
    return persons


def _find_likely(settings: Settings, entries: list[ledger.Entry], as_of: date) -> None:
    """The second stage, where policy switches it on."""
    from pipeline.identity.likely import write_likely
    from pipeline.identity.probabilistic import Policy

    write_likely(settings, entries, as_of, Policy.on(as_of))


def _load(
    con: duckdb.DuckDBPyConnection, settings: Settings, entries: list[ledger.Entry], as_of: date
) -> None:
    """Tables `deliveries` (with the days [starts, ends) on which each is in force), `seen`, `told` and `states`."""
    spans = list(_spans(entries, as_of))
    schema = pa.schema(
        [
            ("_delivery", pa.string()),
            ("source", pa.string()),
            ("dt", pa.date32()),
            ("starts", pa.date32()),
            ("ends", pa.date32()),
        ]
    )
    rows = [dict(zip(schema.names, (e.delivery, e.source, e.dt, a, b), strict=True)) for e, a, b in spans]
    con.register("listed", pa.Table.from_pylist(rows, schema))
    con.execute("create temp table deliveries as select * from listed")
    delivered = {feed for e, _, _ in spans for feed in targets(e.source or "", e.feed or "")}
    seen = [
        f"select distinct d.source, r.source_customer_id as id, d.dt, d.starts, d.ends from {_feed(settings.raw, feed)} as r "
        "join deliveries as d using (_delivery) where r.source_customer_id is not null"
        for feed, contract in load_contracts().items()
        if feed in delivered and "source_customer_id" in contract.columns
    ]
    con.execute(
        f"create temp table seen as {' union '.join(seen)}"
        if seen
        else "create temp table seen (source varchar, id varchar, dt date, starts date, ends date)"
    )
    con.execute(
        f"""
        create temp table told as
        select d._delivery, d.source, r.source_customer_id as id, d.starts, d.ends, r.phone_token, r.email_token,
            r.name_token, r.birth_year || '-' || r.birth_month_day as birth_date,
            coalesce(r.updated_at, cast(d.dt as timestamp)) as updated_at, d.dt, r._row as row_no
        from {_feed(settings.raw, "customers")} as r join deliveries as d using (_delivery)
        """
        if "customers" in delivered
        else "create temp table told (_delivery varchar, source varchar, id varchar, starts date, ends date, "
        "phone_token varchar, email_token varchar, name_token varchar, birth_date varchar, updated_at timestamp, "
        "dt date, row_no bigint)"
    )
    con.execute(
        f"""
        create temp table observed as
        select d.source, r.source_customer_id as id, d.starts, d.ends, r.id_type, r.id_value_hash_token as value,
            cast(coalesce(r.confidence, 1) as double) as confidence, cast(r.observed_at as date) as observed_at
        from {_feed(settings.raw, "identity_links")} as r join deliveries as d using (_delivery)
        where r.id_value_hash_token is not null
        """
        if "identity_links" in delivered
        else "create temp table observed (source varchar, id varchar, starts date, ends date, id_type varchar, "
        "value varchar, confidence double, observed_at date)"
    )
    _states(con)


def _states(con: duckdb.DuckDBPyConnection) -> None:
    """Table `states`: what each record is from a day on; first_seen is null where no delivery holds it any more.

    Records of which a delivery was ever replaced are asked again for each of their days; for all others the days
    run on, which costs as much as sorting them.
    """
    con.execute(
        """
        create temp table restated as
        select distinct source, id from seen where ends is not null;

        create temp table states as
        with firsts as (
            select source, id, starts as day, min(dt) as dt
            from seen anti join restated using (source, id)
            group by source, id, starts
        ),
        running as (
            select source, id, day, min(dt) over (partition by source, id order by day) as first_seen from firsts
        ),
        plain as (
            select distinct source, id, starts as day,
                arg_max_null(phone_token, (updated_at, dt, row_no)) over days as phone_token,
                arg_max_null(email_token, (updated_at, dt, row_no)) over days as email_token,
                max_by(name_token, (updated_at, dt, row_no)) over days as name_token,
                max_by(birth_date, (updated_at, dt, row_no)) over days as birth_date
            from told anti join restated using (source, id)
            window days as (partition by source, id order by starts range between unbounded preceding and current row)
        ),
        joined as (
            select r.source, r.id, r.day, r.first_seen, p.* exclude (source, id, day)
            from running as r asof left join plain as p
                on r.source = p.source and r.id = p.id and r.day >= p.day
        ),
        changed as (
            select *, lag((first_seen, phone_token, email_token, name_token, birth_date))
                over (partition by source, id order by day) as before
            from joined
        ),
        moments as (
            select source, id, starts as day from seen semi join restated using (source, id)
            union
            select source, id, ends from seen semi join restated using (source, id) where ends is not null
        ),
        again_first as (
            select m.source, m.id, m.day, min(s.dt) as first_seen
            from moments as m left join seen as s on m.source = s.source and m.id = s.id and s.starts <= m.day
                and (s.ends is null or s.ends > m.day)
            group by all
        ),
        again_told as (
            select m.source, m.id, m.day,
                arg_max_null(t.phone_token, (t.updated_at, t.dt, t.row_no)) as phone_token,
                arg_max_null(t.email_token, (t.updated_at, t.dt, t.row_no)) as email_token,
                max_by(t.name_token, (t.updated_at, t.dt, t.row_no)) as name_token,
                max_by(t.birth_date, (t.updated_at, t.dt, t.row_no)) as birth_date
            from moments as m join told as t on m.source = t.source and m.id = t.id and t.starts <= m.day
                and (t.ends is null or t.ends > m.day)
            group by all
        )
        select source, id, day, first_seen, phone_token, email_token, name_token, birth_date from changed
        where before is distinct from (first_seen, phone_token, email_token, name_token, birth_date)
        union all
        select f.source, f.id, f.day, f.first_seen, t.phone_token, t.email_token, t.name_token, t.birth_date
        from again_first as f left join again_told as t using (source, id, day)
        """
    )


def _spans(entries: list[ledger.Entry], as_of: date) -> Iterator[tuple[ledger.Entry, date, date | None]]:
    """Loaded entries that were ever in force up to `as_of`, with their days: as `ledger.in_force` has it for each."""
    stems: dict[tuple[str | None, ...], list[tuple[int, date, ledger.Entry]]] = defaultdict(list)
    for e in entries:
        if e.dt is not None and e.known_from is not None:
            stems[e.source, e.feed, e.stem].append((e.rev, max(e.dt + timedelta(days=1), e.known_from), e))
    for own in stems.values():
        for rev, starts, e in own:
            ends = min((day for other, day, _ in own if other > rev and day <= as_of), default=None)
            if e.status == "loaded" and starts <= as_of and (ends is None or starts < ends):
                yield e, starts, ends


def _events(
    settings: Settings, changes: Mapping[date, Mapping[Name, Record | None]], done: date | None, as_of: date
) -> Events:
    """Every day after `done` on which something changes, with all that is in force on it."""
    decisions = review.read(settings, as_of)
    likely = read_likely(settings, as_of)
    days = set(changes) | {d.known_from for d in decisions if d.known_from} | {p[0] for p in likely}
    days |= _policy_days(as_of)

    def in_force(day: date, changed: Mapping[Name, Record | None]) -> Event:
        return Event(
            day,
            changed,
            load_rules(day),
            [d.judgement for d in review.read(settings, day)] if decisions else (),
            [pair for known_from, pair in likely if known_from <= day],
        )

    wanted = sorted(d for d in days if d <= as_of and (done is None or d > done))
    return Events(in_force(done, {}) if done else None, [in_force(d, changes.get(d, {})) for d in wanted])


def _policy_days(as_of: date) -> set[date]:
    from pipeline.quality.policy import days_of

    return {day for seed in ("identity_rules", "thresholds") for day in days_of(seed) if day <= as_of}


def _changes(
    con: duckdb.DuckDBPyConnection, vault: Vault, done: date | None
) -> dict[date, dict[Name, Record | None]]:
    """Day → record → what it is from then on, for the days after `done`."""
    nobody = _tokens_of_nobody(vault)
    member = _member_ids()

    @cache
    def born_token(born: str | None) -> str | None:
        """A whole date of birth stands nowhere but in raw's two columns, so the state keeps a token of it."""
        return token(vault.key, "birth_date", born) if born and born not in nobody else None

    since = done or date.min
    con.execute(
        "create temp table changing as select source, id from states where day > $1 "
        "union select source, id from observed where starts > $1 or ends > $1",
        [since],
    )
    observed: dict[Name, list[tuple[date, date | None, Value]]] = defaultdict(list)
    for source, id_, starts, ends, *value in con.execute(
        "select * from observed semi join changing using (source, id) order by all"
    ).fetchall():
        kind = "member_id" if value[0] == "member" else value[0]
        observed[source, id_].append((starts, ends, Value(kind, *value[1:])))
    # The last state before each day that the other feed changes something on is needed as well.
    rows = con.execute(
        "select source, id, day, first_seen, phone_token, email_token, name_token, birth_date from states "
        "semi join changing using (source, id) "
        "where day > $1 or (source, id) in (select (source, id) from observed) order by source, id, day",
        [since],
    )
    out: dict[date, dict[Name, Record | None]] = defaultdict(dict)
    states: dict[Name, list[tuple]] = defaultdict(list)
    while batch := rows.fetchmany(100_000):
        for source, id_, *state in batch:
            if (source, id_) in observed:
                states[source, id_].append((*state[:-1], born_token(state[-1])))
            elif state[0] > since:
                out[state[0]][source, id_] = _record(
                    (source, id_), (*state[1:-1], born_token(state[-1])), (), nobody, member
                )
    for name, own in observed.items():
        moments = {s[0] for s in states[name]} | {d for start, end, _ in own for d in (start, end) if d}
        for day in sorted(d for d in moments if d > since):
            state = max((s for s in states[name] if s[0] <= day), key=lambda s: s[0], default=None)
            values = tuple(v for start, end, v in own if start <= day and (end is None or day < end))
            out[day][name] = _record(name, state[1:], values, nobody, member) if state else None
    return out


def _record(
    name: Name, state: Sequence, values: tuple[Value, ...], nobody: frozenset[str], member: Mapping[str, str]
) -> Record | None:
    first_seen, phone, email, person, born = state
    if first_seen is None:
        return None
    owner = member.get(name[0])
    if not (owner or phone or email or person or values):
        return Record(first_seen, None, born)
    member_id = f"{owner}/{name[1]}" if owner else None
    own = (("member_id", member_id), ("phone", phone), ("email", email))
    return Record(
        first_seen,
        person if person not in nobody else None,
        born,
        member_id,
        (*(Value(kind, value) for kind, value in own if value and value not in nobody), *values),
    )


def _tokens_of_nobody(vault: Vault) -> frozenset[str]:
    """Tokens and dates of the placeholders that the policy lists by now: raw may be older than a row of the list."""
    listed = normalise.placeholders()
    tokens = {
        token(vault.key, kind, spelling)
        for kind in ("phone", "email", "name")
        for value in listed.get(kind, ())
        for spelling in {value, value.title(), value.capitalize()}
    }
    return frozenset(tokens | listed.get("birth_date", frozenset()))


def _member_ids() -> dict[str, str]:
    """Source → the source that gives out its customer ids, for those that share theirs with another."""
    owner = {s.source: s.customer_ids_of or s.source for s in load_sources().values()}
    shared = {s.customer_ids_of for s in load_sources().values() if s.customer_ids_of}
    return {source: its for source, its in owner.items() if its in shared}


def read_likely(settings: Settings, known_at: date) -> list[tuple[date, Likely]]:
    """Pairs of the second stage (`identity/likely.parquet`: left_source, left_id, right_source, right_id,
    probability, known_from) with the day that each counts from; none where the stage is off."""
    path = settings.identity / "likely.parquet"
    if not path.exists():
        return []
    return [
        (
            row["known_from"],
            Likely(
                (row["left_source"], row["left_id"]),
                (row["right_source"], row["right_id"]),
                row["probability"],
            ),
        )
        for row in pq.read_table(path).to_pylist()
        if row["known_from"] <= known_at
    ]


class _Fingerprint:
    """What decides the state of a day, as one hash: an unchanged past need not be gone through again."""

    def __init__(self, settings: Settings, entries: list[ledger.Entry], key_id: str) -> None:
        self._settings, self._entries, self._key_id = settings, entries, key_id

    def at(self, day: date) -> str:
        digest = hashlib.sha256(f"{FORMAT}|{self._key_id}|{_member_ids()}".encode())
        for e, starts, ends in sorted(_spans(self._entries, day), key=lambda span: span[0].delivery):
            digest.update(f"{e.delivery}|{e.sha256}|{starts}|{ends}\n".encode())
        for decision in review.read(self._settings, day):
            digest.update(f"{decision}\n".encode())
        for pair in read_likely(self._settings, day):
            digest.update(f"{pair}\n".encode())
        rules = [load_rules(d) for d in sorted(_policy_days(day))]
        digest.update(f"{rules}|{sorted(normalise.placeholders().items(), key=str)}".encode())
        return digest.hexdigest()


def _links(con: duckdb.DuckDBPyConnection, day: date) -> pa.Table:
    """Rows of links.parquet for one day. Raises StrataError where a delivered id has no person, which cannot be."""
    links = con.execute(
        """
        with seen_by as (
            select source, id, min(dt) as first_seen, max(dt) as last_seen
            from seen where starts <= $1 and (ends is null or ends > $1)
            group by source, id
        ),
        own as (
            select * from intervals where valid_from <= $1 and (valid_to is null or $1 < valid_to)
        )
        select cast($1 as date) as known_at, s.source, s.id as source_customer_id, own.customer_key, own.rule,
            own.confidence, own.observed_at, s.first_seen, s.last_seen
        from seen_by as s left join own on s.source = own.source and s.id = own.source_customer_id
        order by s.source, s.id
        """,
        [day],
    ).to_arrow_table()
    if links["customer_key"].null_count:
        raise StrataError(
            f"{links['customer_key'].null_count} source ids of {day} have no person: delete the folder identity/ of "
            "the home, which is made anew, and run again"
        )
    return links.cast(SCHEMA)


def _persons_n(con: duckdb.DuckDBPyConnection, day: date | None) -> int:
    """Persons of a day, None for those that the history ends with."""
    found = con.execute(
        "select count(distinct customer_key) from intervals where case when $1::date is null then valid_to is null "
        "else valid_from <= $1 and (valid_to is null or $1 < valid_to) end",
        [day],
    ).fetchone()
    return found[0] if found else 0


def _keys_of(con: duckdb.DuckDBPyConnection, suspects: list[Suspect]) -> dict[Name, str]:
    """Today's key of each record that a suspect names."""
    names = sorted({name for s in suspects for name in (s.left, s.right) if name})
    con.register("suspected", as_names(names))
    rows = con.execute(
        "select source, source_customer_id, customer_key from intervals semi join suspected "
        "on intervals.source = suspected.source and source_customer_id = id where valid_to is null"
    ).fetchall()
    return {(source, id_): key for source, id_, key in rows}


def _write_review(settings: Settings, suspects: list[Suspect], keys: Mapping[Name, str]) -> None:
    rows = [
        {
            "item": review.item_of(s),
            "why": s.why,
            "rule": s.rule,
            "confidence": s.confidence,
            "records_n": s.records_n,
            "left_source": s.left[0],
            "left_id": s.left[1],
            "left_key": keys[s.left],
            "right_source": s.right[0] if s.right else None,
            "right_id": s.right[1] if s.right else None,
            "right_key": keys[s.right] if s.right else None,
            "since": s.since,
        }
        for s in suspects
    ]
    write_parquet(pa.Table.from_pylist(rows, REVIEW), settings.identity / review.QUEUE)


def _write_quality(
    settings: Settings,
    suspects: list[Suspect],
    as_of: date,
    records_n: int,
    persons_n: int,
    pairs_made_n: int,
) -> None:
    """A value of n records stands for n − 1 pairs that nobody has looked at."""
    rules: Rules = load_rules(as_of)
    large = [s for s in suspects if s.right is None or s.records_n > rules.ids_max]
    row = {
        "as_of_date": as_of,
        "records_n": records_n,
        "persons_n": persons_n,
        "pairs_made_n": pairs_made_n,
        "pairs_unresolved_n": sum(1 if s.right else s.records_n - 1 for s in suspects),
        "oversized_unreviewed_n": len(large),
        "example": f"{review.item_of(large[0])}: {large[0].records_n} records" if large else None,
    }
    write_parquet(pa.Table.from_pylist([row], QUALITY), settings.identity / "quality.parquet")


def _feed(raw: Path, feed: str) -> str:
    pattern = str(raw / "*" / feed / "*" / "*" / "*.parquet").replace("'", "''")
    return f"read_parquet('{pattern}', union_by_name = true, hive_partitioning = false)"
