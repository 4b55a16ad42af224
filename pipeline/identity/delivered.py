"""What the deliveries say of each source record, day by day: the tables and changes that the history is made of.

Raw is read by DuckDB; only records that something changes on become Python objects.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline.identity import normalise
from pipeline.identity.history import Name, Record, Value
from pipeline.ingest import ledger
from pipeline.ingest.contracts import load_contracts, load_sources
from pipeline.ingest.mapping import targets
from pipeline.ingest.vault import Vault, token
from pipeline.settings import Settings


def load(
    con: duckdb.DuckDBPyConnection, settings: Settings, entries: list[ledger.Entry], as_of: date
) -> None:
    """Tables `deliveries` (with the days [starts, ends) on which each is in force), `seen`, `told` and `states`."""
    deliveries = list(spans(entries, as_of))
    schema = pa.schema(
        [
            ("_delivery", pa.string()),
            ("source", pa.string()),
            ("dt", pa.date32()),
            ("starts", pa.date32()),
            ("ends", pa.date32()),
        ]
    )
    rows = [
        dict(zip(schema.names, (e.delivery, e.source, e.dt, a, b), strict=True)) for e, a, b in deliveries
    ]
    con.register("listed", pa.Table.from_pylist(rows, schema))
    con.execute("create temp table deliveries as select * from listed")
    delivered = {feed for e, _, _ in deliveries for feed in targets(e.source or "", e.feed or "")}
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


def spans(entries: list[ledger.Entry], as_of: date) -> Iterator[tuple[ledger.Entry, date, date | None]]:
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


def changes(
    con: duckdb.DuckDBPyConnection, vault: Vault, done: date | None
) -> dict[date, dict[Name, Record | None]]:
    """Day → record → what it is from then on, for the days after `done`."""
    nobody = _tokens_of_nobody(vault)
    member = member_ids()

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


def member_ids() -> dict[str, str]:
    """Source → the source that gives out its customer ids, for those that share theirs with another."""
    owner = {s.source: s.customer_ids_of or s.source for s in load_sources().values()}
    shared = {s.customer_ids_of for s in load_sources().values() if s.customer_ids_of}
    return {source: its for source, its in owner.items() if its in shared}


def _feed(raw: Path, feed: str) -> str:
    pattern = str(raw / "*" / feed / "*" / "*" / "*.parquet").replace("'", "''")
    return f"read_parquet('{pattern}', union_by_name = true, hive_partitioning = false)"
