"""What the deliveries say of each source record, day by day: the tables and changes that the history is made of.

Raw is read by DuckDB; only records that something changes on become Python objects. From a state on, raw is read of the
new deliveries alone: the table `known` of the state (parts.py) has of each record what they need to be laid over. Of
records in a delivery that was replaced since, everything is read again.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline.duck import literal
from pipeline.identity import normalise
from pipeline.identity.history import Name, Record, Value
from pipeline.identity.parts import Parts
from pipeline.ingest import ledger
from pipeline.ingest.contracts import load_contracts, load_sources
from pipeline.ingest.mapping import targets
from pipeline.ingest.vault import Vault, token
from pipeline.settings import Settings

_DELIVERIES = pa.schema(
    [
        ("_delivery", pa.string()),
        ("source", pa.string()),
        ("dt", pa.date32()),
        ("starts", pa.date32()),
        ("ends", pa.date32()),
    ]
)
_NOBODY = ""
"""Stands for a date of birth that the policy lists as nobody's: what was said last, and tells nothing."""
_ROWS = {
    "seen": "source varchar, id varchar, dt date, starts date, ends date",
    "told": "_delivery varchar, source varchar, id varchar, starts date, ends date, phone_token varchar, "
    "email_token varchar, name_token varchar, birth_date varchar, updated_at timestamp, dt date, row_no bigint",
    "observed": "source varchar, id varchar, starts date, ends date, id_type varchar, value varchar, "
    "confidence double, observed_at date",
}

Span = tuple[ledger.Entry, date, date | None]
"""A loaded delivery with the days [starts, ends) on which it is in force."""


class Raw:
    """Where the rows of the deliveries are."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._feeds = load_contracts()

    def whole(self, feed: str) -> str:
        """SQL of every row of a contract feed."""
        return self._read([str(self._settings.raw / "*" / feed / "*" / "*" / "*.parquet")])

    def of(self, feed: str, spans: Sequence[Span]) -> str | None:
        """SQL of the rows that deliveries have of a feed; None where none fills it."""
        files = [path for span in spans if (path := self._file(feed, span[0])) is not None]
        # The empty file has all columns, whatever the files of today were written with.
        empty = self._settings.raw / "_schema" / feed / "dt=1970-01-01" / "rev=0" / "empty.parquet"
        return self._read([str(path) for path in (empty, *files) if path.exists()]) if files else None

    def _file(self, feed: str, entry: ledger.Entry) -> Path | None:
        if feed not in targets(entry.source or "", entry.feed or ""):
            return None
        name = entry.stem if feed == entry.feed else f"{entry.feed}.{entry.stem}"
        folder = self._settings.raw / str(entry.source) / feed / f"dt={entry.dt}" / f"rev={entry.rev}"
        return folder / f"{name}.parquet"

    def _read(self, files: Sequence[str]) -> str:
        listed = ", ".join(literal(file) for file in files)
        return f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"


def load(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    vault: Vault,
    entries: list[ledger.Entry],
    as_of: date,
    parts: Parts,
    done: date | None,
) -> None:
    """Tables `told`, `observed` and `states`, and `known_next`, what is to be kept of each record in `touched`.

    Args:
        parts: with the table `known`.
        done: the day that the table `known` stands at, None without one. Then `touched` are all records, else those
            in deliveries that came or were replaced since.
    """
    raw, every = Raw(settings), list(spans(entries, as_of))
    for table, columns in _ROWS.items():
        con.execute(f"create or replace temp table {table} ({columns})")
    if done is None:
        _add_rows(con, raw.whole, every, "")
        con.execute("create or replace temp table touched as select distinct source, id from seen")
    else:
        new = [span for span in every if span[1] > done]
        replaced = [span for span in every if span[2] and span[2] > done]
        _add_rows(con, lambda feed: raw.of(feed, replaced), replaced, "")
        con.execute("create or replace temp table again as select distinct source, id from seen")
        for table in _ROWS:
            con.execute(f"delete from {table}")
        _add_rows(con, lambda feed: raw.of(feed, new), new, "anti join again using (source, id)")
        con.execute(
            "create or replace temp table touched as select distinct source, id, hash(source, id) as h from seen "
            "union select source, id, hash(source, id) from again"
        )
        if replaced:
            _add_rows(con, raw.whole, every, "semi join again using (source, id)")
    _birth_tokens(con, vault)
    if done is not None:
        _add_known(con, parts, done)
    _states(con)
    _next(con)
    con.execute("drop table seen")


def keep(con: duckdb.DuckDBPyConnection, parts: Parts) -> None:
    """Put what was found into the table `known`; of it stays `brought` (source, id, h, first_seen, last_seen)."""
    parts.put("known", "known_next", "touched")
    con.execute(
        "create or replace temp table brought as select source, id, h, first_seen, last_seen from known_next; "
        "drop table known_next; drop table touched"
    )


def load_seen(
    con: duckdb.DuckDBPyConnection, settings: Settings, entries: list[ledger.Entry], as_of: date
) -> None:
    """Table `seen` of all records of all deliveries that were ever in force up to a day."""
    for table, columns in _ROWS.items():
        con.execute(f"create or replace temp table {table} ({columns})")
    _add_rows(con, Raw(settings).whole, list(spans(entries, as_of)), "")
    con.execute("drop table told; drop table observed")


def _add_rows(
    con: duckdb.DuckDBPyConnection, rows: Callable[[str], str | None], spans: Sequence[Span], of: str
) -> None:
    """Add to `seen`, `told` and `observed` what the deliveries have; `of`: a join that leaves records out."""
    if not spans:
        return
    listed = [
        dict(zip(_DELIVERIES.names, (e.delivery, e.source, e.dt, a, b), strict=True)) for e, a, b in spans
    ]
    con.register("deliveries", pa.Table.from_pylist(listed, _DELIVERIES))
    delivered = {feed for e, _, _ in spans for feed in targets(e.source or "", e.feed or "")}
    for feed, contract in load_contracts().items():
        if feed not in delivered or "source_customer_id" not in contract.columns:
            continue
        there = f"{rows(feed)} as r join deliveries as d using (_delivery)"
        con.execute(
            f"insert into seen from (select distinct d.source, r.source_customer_id as id, d.dt, d.starts, d.ends "
            f"from {there} where r.source_customer_id is not null) {of}"
        )
        if feed == "customers":
            con.execute(
                f"""
                insert into told from (
                    select d._delivery, d.source, r.source_customer_id as id, d.starts, d.ends, r.phone_token,
                        r.email_token, r.name_token, r.birth_year || '-' || r.birth_month_day as birth_date,
                        coalesce(r.updated_at, cast(d.dt as timestamp)) as updated_at, d.dt, r._row as row_no
                    from {there}
                ) {of}
                """
            )
        if feed == "identity_links":
            con.execute(
                f"""
                insert into observed from (
                    select d.source, r.source_customer_id as id, d.starts, d.ends, r.id_type,
                        r.id_value_hash_token as value, cast(coalesce(r.confidence, 1) as double) as confidence,
                        cast(r.observed_at as date) as observed_at
                    from {there} where r.id_value_hash_token is not null
                ) {of}
                """
            )


def _add_known(con: duckdb.DuckDBPyConnection, parts: Parts, done: date) -> None:
    """What was known at the end of `done` as rows of that day: a record's first and last delivery, and of the rows that
    told something the newest, with the newest that stated a name and a birth date."""
    parts.of("known", "touched")
    con.execute("create or replace temp table before as from found anti join again using (source, id)")
    con.execute(
        """
        insert into seen
        select source, id, dt, $1::date, null from (
            select source, id, first_seen as dt from before union select source, id, last_seen from before
        )
        """,
        [done],
    )
    con.execute(
        """
        insert into told
        select moment.delivery, source, id, $1::date, null, phone_token, email_token, name_token, birth_token,
            moment.updated_at, moment.dt, moment.row_no
        from (
            select source, id, told_at as moment, phone_token, email_token,
                case when name_at = told_at then name_token end as name_token,
                case when birth_at = told_at then birth_token end as birth_token
            from before where told_at is not null
            union all
            select source, id, name_at, null, null, name_token, null from before where name_at <> told_at
            union all
            select source, id, birth_at, null, null, null, birth_token from before where birth_at <> told_at
        )
        """,
        [done],
    )
    con.execute(
        """
        insert into observed
        select source, id, $1::date, null, o.type, o.value, o.confidence, o.observed_at
        from (select source, id, unnest(observed) as o from before)
        """,
        [done],
    )


def _birth_tokens(con: duckdb.DuckDBPyConnection, vault: Vault) -> None:
    """A whole date of birth stands nowhere but in raw's two columns, so what is kept has a token of it."""
    nobody = _tokens_of_nobody(vault)
    born = [
        row[0]
        for row in con.execute("select distinct birth_date from told where birth_date is not null").fetchall()
    ]
    tokens = [_NOBODY if day in nobody else token(vault.key, "birth_date", day) for day in born]
    con.register(
        "births", pa.table({"born": pa.array(born, pa.string()), "token": pa.array(tokens, pa.string())})
    )
    con.execute(
        "create or replace temp table told as select told.* replace (births.token as birth_date) "
        "from told left join births on told.birth_date = births.born"
    )


def _next(con: duckdb.DuckDBPyConnection) -> None:
    """Table `known_next`: of each touched record what the deliveries in force on the last day say."""
    con.execute(
        """
        create or replace temp table known_next as
        with days as (
            select source, id, min(dt) as first_seen, max(dt) as last_seen from seen where ends is null
            group by source, id
        ),
        said as (
            select *, struct_pack(updated_at := updated_at, dt := dt, row_no := row_no, delivery := _delivery) as moment
            from told where ends is null
        ),
        newest as (
            select source, id, arg_max_null(phone_token, moment) as phone_token, arg_max_null(email_token, moment) as email_token,
                max(moment) as told_at, max_by(name_token, moment) as name_token,
                max(moment) filter (name_token is not null) as name_at, max_by(birth_date, moment) as birth_token,
                max(moment) filter (birth_date is not null) as birth_at
            from said group by source, id
        ),
        identifiers as (
            select source, id,
                list(struct_pack(type := id_type, value := value, confidence := confidence, observed_at := observed_at)
                    order by id_type, value, confidence, observed_at) as observed
            from observed where ends is null group by source, id
        )
        select days.source, days.id, hash(days.source, days.id) as h, days.first_seen, days.last_seen,
            newest.* exclude (source, id), identifiers.observed
        from days
        left join newest on days.source = newest.source and days.id = newest.id
        left join identifiers on days.source = identifiers.source and days.id = identifiers.id
        """
    )


def _states(con: duckdb.DuckDBPyConnection) -> None:
    """Table `states`: what each record is from a day on; first_seen is null where no delivery holds it any more.

    Records of which a delivery was ever replaced are asked again for each of their days; for all others the days
    run on, which costs as much as sorting them.
    """
    con.execute(
        """
        create or replace temp table restated as
        select distinct source, id from seen where ends is not null;

        create or replace temp table states as
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
                arg_max_null(phone_token, (updated_at, dt, row_no, _delivery)) over days as phone_token,
                arg_max_null(email_token, (updated_at, dt, row_no, _delivery)) over days as email_token,
                max_by(name_token, (updated_at, dt, row_no, _delivery)) over days as name_token,
                max_by(birth_date, (updated_at, dt, row_no, _delivery)) over days as birth_date
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
                arg_max_null(t.phone_token, (t.updated_at, t.dt, t.row_no, t._delivery)) as phone_token,
                arg_max_null(t.email_token, (t.updated_at, t.dt, t.row_no, t._delivery)) as email_token,
                max_by(t.name_token, (t.updated_at, t.dt, t.row_no, t._delivery)) as name_token,
                max_by(t.birth_date, (t.updated_at, t.dt, t.row_no, t._delivery)) as birth_date
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


def spans(entries: list[ledger.Entry], as_of: date) -> Iterator[Span]:
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


def set_apart(con: duckdb.DuckDBPyConnection, done: date | None, near: str) -> None:
    """Table `apart` (source, id, first_seen, day): records of a first day that nothing can link to another one.

    They say nothing of themselves on any day: ids in orders, in a source without a customers feed. Each is a person of its own
    from its only state on, so `changes` leaves them out and they become rows without having been objects.

    Args:
        near: SQL of the records (source, id) that a decision or a pair of the second stage names.
    """
    con.register("members", pa.table({"source": pa.array(list(member_ids()), pa.string())}))
    con.execute(
        f"""
        create or replace temp table apart as
        select source, id, min(first_seen) as first_seen, min(day) as day
        from states
        anti join (select distinct source, id from observed) using (source, id)
        anti join ({near}) using (source, id)
        anti join members using (source)
        where $1::date is null
        group by source, id
        having count(*) = 1 and count(coalesce(phone_token, email_token, name_token, birth_date)) = 0
        """,
        [done],
    )


def changes(
    con: duckdb.DuckDBPyConnection, vault: Vault, done: date | None
) -> dict[date, dict[Name, Record | None]]:
    """Day → record → what it is from then on, for the days after `done`; without those in `apart`."""
    nobody = _tokens_of_nobody(vault)
    member = member_ids()

    since = done or date.min
    con.execute(
        "create or replace temp table changing as select source, id from states anti join apart using (source, id) "
        "where day > $1 union select source, id from observed where starts > $1 or ends > $1",
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
                states[source, id_].append(tuple(state))
            elif state[0] > since:
                out[state[0]][source, id_] = _record((source, id_), state[1:], (), nobody, member)
    for name, own in observed.items():
        moments = {s[0] for s in states[name]} | {d for start, end, _ in own for d in (start, end) if d}
        for day in sorted(d for d in moments if d > since):
            until = [s for s in states[name] if s[0] <= day]
            newest = max(until, key=lambda s: s[0]) if until else None
            values = tuple(v for start, end, v in own if start <= day and (end is None or day < end))
            out[day][name] = _record(name, newest[1:], values, nobody, member) if newest else None
    # A first day has millions of them.
    con.execute("drop table told; drop table observed; drop table states; drop table changing")
    return out


def _record(
    name: Name, state: Sequence, values: tuple[Value, ...], nobody: frozenset[str], member: Mapping[str, str]
) -> Record | None:
    first_seen, phone, email, person, born = state
    if first_seen is None:
        return None
    born = born or None
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
