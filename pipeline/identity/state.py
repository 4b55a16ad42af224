"""Where the last run ended, so that the next one reads only the records that its days can touch.

Tables of parts.py hold each record as identity knows it, its identifiers, and the persons that it belonged to and belongs
to; `current.parquet` (tables.py) says which of their files count, the day, what decides it, suspects and crowded values.
It is published in one rename, after the files: a run that dies leaves the state of before. From the records that a day
changes DuckDB goes to all that hang together with them by an identifier, a decision, a pair of the second
stage or a key, until nothing more is found. Those alone become Python objects, and only their rows are written.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from pipeline.duck import literal, quote
from pipeline.errors import StrataError
from pipeline.identity.history import (
    Crowd,
    History,
    Interval,
    Judgement,
    Name,
    Record,
    Suspect,
    Value,
    keys_of,
)
from pipeline.identity.matching import ALONE
from pipeline.identity.pairs import Pairs
from pipeline.identity.parts import HISTORY, Parts, is_whole
from pipeline.identity.rules import Rules
from pipeline.identity.tables import ROWS, Current, next_number, read_current, write_current

FORMAT = 5
"""Of the state; another one is made anew."""

_VALUES = pa.list_(
    pa.struct(
        [
            ("type", pa.string()),
            ("value", pa.string()),
            ("confidence", pa.float64()),
            ("observed_at", pa.date32()),
        ]
    )
)
_IDS = """
    select distinct source, id, hash(source, id) as h, hash(v.type, v.value) as v, first_seen
    from (select source, id, first_seen, unnest("values") as v from given_records)
    union all
    select source, id, hash(source, id), hash('customer_key', customer_key), null from given_links
"""
_NAMES = pa.schema([("source", pa.string()), ("id", pa.string())])
_BARE_VALUES = pa.schema([("type", pa.string()), ("value", pa.string())])
_HASHES = pa.schema([("v", pa.uint64())])
_RECORDS = pa.schema(
    [
        *_NAMES,
        ("first_seen", pa.date32()),
        ("name_token", pa.string()),
        ("birth_date", pa.string()),
        ("member_id", pa.string()),
        ("values", _VALUES),
        ("pairs_made", pa.int64()),
    ]
)
_INTERVALS = pa.schema([field for field in ROWS if field.name not in ("first_seen", "last_seen")])


class Event(NamedTuple):
    """A day and all that is in force on it but the pairs of the second stage; `changed`: records as they are from the day on, None for one that is gone."""

    day: date
    changed: Mapping[Name, Record | None]
    rules: Rules
    judged: Sequence[Judgement]


class Events(NamedTuple):
    """The day that the state stands at, None without one, and the days to go."""

    before: Event | None
    days: Sequence[Event]


def as_names(names: Iterable[Name]) -> pa.Table:
    return _table(names, _NAMES)


def _table(rows: Iterable[tuple], schema: pa.Schema) -> pa.Table:
    rows = list(rows)
    return pa.Table.from_arrays(
        [pa.array([row[i] for row in rows], field.type) for i, field in enumerate(schema)], schema=schema
    )


class State:
    """The files of one home on an open connection, and the records that `take_up` found to matter."""

    def __init__(
        self, con: duckdb.DuckDBPyConnection, folder: Path, fingerprint: Callable[[date], str | None]
    ) -> None:
        """`fingerprint`: what decides the state of a day; None or another one than was saved begins anew."""
        self._con, self._folder = con, folder
        folder.mkdir(parents=True, exist_ok=True)
        self._saved = saved = self._read(fingerprint) or {}
        self.parts = Parts(con, folder, saved.get("files", {}), next_number(folder))
        self.day = date.fromisoformat(saved["day"]) if saved else None
        self.records_n, self.pairs_made = saved.get("records_n", 0), saved.get("pairs_made", 0)
        self.persons_n = saved.get("persons_n", 0)
        for table in ("reached", "moved"):
            con.execute(f"create or replace temp table {table} (source varchar, id varchar, h ubigint)")

    def _read(self, fingerprint: Callable[[date], str | None]) -> dict[str, Any] | None:
        """What `save` wrote last; None where it is of something else, or a file is not as it was written."""
        current = read_current(self._folder)
        saved = current.state if current else None
        try:
            if saved is None or saved["fingerprint"] != fingerprint(date.fromisoformat(saved["day"])):
                return None
            names = {n for files in saved["files"].values() for n in (files["base"], *files["since"]) if n}
        except (ValueError, KeyError, TypeError):
            return None
        return saved if all(is_whole(self._folder / name) for name in names) else None

    def take_up(self, minting_key: bytes, events: Events, pairs: Pairs) -> History:
        """The history as the last run left it, of all records that the days can touch; their pairs are read."""
        history = History(minting_key)
        if not events.before:
            pairs.read(None)
            return history
        if any(event.rules != events.before.rules for event in events.days):
            self._con.execute("insert into reached select source, id, h from records")
        elif events.days:
            self._reach(events.before, events.days, pairs)
        pairs.read("reached")
        self._load(history, events.before, pairs)
        return history

    def _reach(self, before: Event, days: Sequence[Event], pairs: Pairs) -> None:
        """Fill `reached` with all records that hang together with what the days change."""
        con = self._con
        judged = {j for event in (before, *days) for j in event.judged}
        changed = {name for event in days for name in event.changed}
        partners: dict[Name, set[Name]] = defaultdict(set)
        for judgement in judged:
            if judgement.right:
                partners[judgement.left].add(judgement.right)
                partners[judgement.right].add(judgement.left)
        # Who anchors a judgement about a value is always there: its record says which value is meant.
        names = changed | {j.left for j in judged} | pairs.moved(before.day, days[-1].day)
        said = {
            (v.type, v.value)
            for event in days
            for record in event.changed.values()
            if record
            for v in record.values
        }
        con.register("wave_values", _table(said, _BARE_VALUES))
        hashes = {row[0] for row in con.execute("select hash(type, value) from wave_values").fetchall()}
        passed = self._staying_crowded(changed, before.rules)
        hashes -= passed
        passed |= hashes
        seen: set[Name] = set()
        while names or hashes:
            seen |= names
            self._wave(names)
            con.execute("insert into reached from wave")
            likely = pairs.partners("wave", before.day)
            self.parts.of("records", "wave")
            said_there = 'select hash(v.type, v.value) from (select unnest("values") as v from found)'
            found = {row[0] for row in con.execute(said_there).fetchall()}
            self.parts.of(HISTORY, "wave")
            keys = "select hash('customer_key', customer_key) from found where valid_to is null"
            found |= {row[0] for row in con.execute(keys).fetchall()}
            hashes |= found - passed
            passed |= hashes
            con.register("wave_hashes", _table([(v,) for v in hashes], _HASHES))
            self.parts.of("ids", "wave_hashes")
            near = con.execute("select distinct source, id from found").fetchall()
            judged_with = {other for name in names for other in partners.get(name, ())}
            names = (set(near) | judged_with | likely) - seen
            hashes = set()

    def _wave(self, names: Iterable[Name]) -> None:
        """Table `wave`: names with their hashes."""
        self._con.register("wave_names", as_names(names))
        self._con.execute(
            "create or replace temp table wave as select *, hash(source, id) as h from wave_names"
        )

    def _crowds(self) -> None:
        """Table `crowds`: the crowded values of the state with their hashes."""
        values = [(kind, value) for kind, value, _ in self._saved["crowded"]]
        self._con.register("crowd_values", _table(values, _BARE_VALUES))
        self._con.execute(
            "create or replace temp table crowds as select *, hash(type, value) as v from crowd_values"
        )

    def _staying_crowded(self, changed: set[Name], rules: Rules) -> set[int]:
        """Crowded values that stay so whatever the changed records come to say: their other records need not be read."""
        if not self._saved["crowded"]:
            return set()
        self._wave(changed)
        self._crowds()
        self.parts.of("ids", "crowds")
        rows = self._con.execute(
            "select type, v, n from crowds join (select v, count(*) as n from found anti join wave using (source, id) "
            "group by v) using (v)"
        ).fetchall()
        return {v for kind, v, n in rows if n > rules.of(kind).records_max}

    def _load(self, history: History, before: Event, pairs: Pairs) -> None:
        con, saved = self._con, self._saved
        history.crowded = {Value(kind, value): date.fromisoformat(d) for kind, value, d in saved["crowded"]}
        for left, right, rule, confidence, why, n, since in saved["suspects"]:
            one, other = tuple(left), tuple(right) if right else None
            history.suspects[one, other, rule] = Suspect(
                one, other, rule, confidence, why, n, date.fromisoformat(since)
            )
        self.parts.of("records", "reached")
        state = con.execute(f"select {_listed(_RECORDS)} from found").to_arrow_table()
        self.parts.of(HISTORY, "reached")
        past = con.execute(
            "select source, id, customer_key, rule, confidence, observed_at, valid_from, split_from from found "
            "where valid_to is null"
        ).to_arrow_table()
        *columns, pairs_made = _columns(state.drop_columns("values"))
        records = {
            (source, id_): Record(seen, name, birth, member, values)
            for source, id_, seen, name, birth, member, values in zip(
                *columns, _stored_values(state["values"]), strict=True
            )
        }
        history.pairs_made = {name: n for name, n in zip(records, pairs_made, strict=True) if n}
        current = {
            (source, id_): Interval(key, rule, confidence, observed, start, split_from=split)
            for source, id_, key, rule, confidence, observed, start, split in zip(
                *_columns(past), strict=True
            )
        }
        history.absent = self._absent()
        history.restore(records, current, before.judged, pairs.on(before.day), before.rules)
        self._leave(history, -1)

    def _leave(self, history: History, sign: int) -> None:
        """Take the records of the history out of the figures of all, or put them in: they are whole persons."""
        self.records_n += sign * len(history.records)
        self.pairs_made += sign * sum(history.pairs_made.values())
        self.persons_n += sign * len({i.customer_key for i in history.current.values()})

    def _absent(self) -> dict[Value, Crowd]:
        """Of each crowded value the records that were not read."""
        if not self._saved["crowded"]:
            return {}
        self._crowds()
        self.parts.of("ids", "crowds")
        rows = self._con.execute(
            """
            select type, value, count(*), min(first_seen), arg_min(source, (first_seen, source, id)),
                arg_min(id, (first_seen, source, id))
            from found join crowds using (v) anti join reached using (source, id) group by type, value
            """
        ).fetchall()
        return {Value(kind, value): Crowd(n, first, (s, i)) for kind, value, n, first, s, i in rows}

    def put(self, history: History, seen: str, apart: str) -> None:
        """Write what has changed. The history holds no records afterwards.

        Args:
            seen: relation of the records that the days brought anything of: source, id, h, first_seen, last_seen.
            apart: relation of new records that the history does not hold, each a person of its own: source, id,
                first_seen, day.

        Raises:
            StrataError: where one of these has no person, which cannot be.
        """
        self._leave(history, 1)
        alone = self._mint(history.minting_key, apart)
        self.records_n += len(alone)
        self.persons_n += len(alone)
        # A home that knows nobody has tables as well.
        empty = self.parts.files[HISTORY]["base"] is None
        if empty or history.records or _any(self._con, "reached") or _any(self._con, seen):
            self._put(history, seen, alone)

    def _mint(self, minting_key: bytes, apart: str) -> pa.Table:
        """The records of the relation `apart` with their keys."""
        found = self._con.execute(f"select source, id, first_seen, day from {apart}").to_arrow_table()
        names = zip(found["source"].to_pylist(), found["id"].to_pylist(), strict=True)
        return found.append_column("customer_key", pa.array(keys_of(minting_key, names), pa.string()))

    def publish(self, history: History, day: date, fingerprint: str, past: Sequence[str] = ()) -> None:
        """Let what `put` wrote count, in one rename; `past`: files with links of other days."""
        saved = {
            "day": day.isoformat(),
            "fingerprint": fingerprint,
            "files": self.parts.files,
            "records_n": self.records_n,
            "pairs_made": self.pairs_made,
            "persons_n": self.persons_n,
            "crowded": [(v.type, v.value, since) for v, since in history.crowded.items()],
            "suspects": list(history.suspects.values()),
        }
        write_current(self._folder, Current(day, [*self.parts.public, *past], saved))

    def _put(self, history: History, seen: str, alone: pa.Table) -> None:
        con, parts = self._con, self.parts
        records = [
            [source for source, _ in history.records],
            [id_ for _, id_ in history.records],
            *([record[i] for record in history.records.values()] for i in range(len(Record._fields) - 1)),
            _values_array([record.values for record in history.records.values()]),
            [history.pairs_made.get(name, 0) for name in history.records],
        ]
        con.register("held_records", _of_columns(records, _RECORDS))
        con.register("held_links", _intervals(history.current.items()))
        con.register("alone", alone)
        con.execute(
            f"""
            create or replace temp view given_records as from held_records union all by name
            select source, id, first_seen, [] as "values", 0 as pairs_made from alone;

            create or replace temp view given_links as from held_links union all by name
            select source, id, customer_key, {literal(ALONE)} as rule, 1.0 as confidence, first_seen as observed_at,
                day as valid_from
            from alone
            """
        )
        con.register("given_closed", _intervals(history.closed))
        # A first day has millions of them.
        del records
        history.clear()
        con.execute(
            """
            create or replace temp table moved as
            select source, id, hash(source, id) as h from given_records
            union all select source, id, h from reached anti join given_records using (source, id)
            """
        )
        con.execute(
            "create or replace temp table named as "
            f"from moved union all select source, id, h from {seen} anti join moved using (source, id)"
        )
        parts.of(HISTORY, "named")
        con.execute(
            f"""
            create or replace temp table new_history as
            select g.source, g.id, hash(g.source, g.id) as h, g.customer_key, g.rule, g.confidence, g.observed_at,
                g.valid_from, g.split_from, coalesce(s.first_seen, o.first_seen) as first_seen,
                coalesce(s.last_seen, o.last_seen) as last_seen
            from given_links as g
            left join {seen} as s on g.source = s.source and g.id = s.id
            left join found as o on g.source = o.source and g.id = o.id and o.valid_to is null
            union all by name
            select o.* replace (s.first_seen as first_seen, s.last_seen as last_seen)
            from found as o join {seen} as s on o.source = s.source and o.id = s.id
            anti join moved on o.source = moved.source and o.id = moved.id
            where o.valid_to is null
            union all by name
            select * from found where valid_to is not null
            union all by name
            select *, hash(source, id) as h from given_closed
            """
        )
        lost = con.execute(
            f"select count(*) from {seen} anti join (from new_history where valid_to is null) using (source, id)"
        ).fetchone()
        if lost and lost[0]:
            raise StrataError(
                f"{lost[0]} source ids have no person: delete the folder {self._folder}, which is made anew, and run again"
            )
        con.execute(
            "create or replace temp view new_records as select *, hash(source, id) as h from given_records"
        )
        con.execute(f"create or replace temp table new_ids as {_IDS}")
        for table, touched, rows in (
            (HISTORY, "named", "new_history"),
            ("ids", "moved", "new_ids"),
            ("records", "moved", "new_records"),
        ):
            parts.put(table, rows, touched)
            if rows in ("new_history", "new_ids"):
                con.execute(f"drop table {rows}")
        con.execute("drop view new_records; drop view given_records; drop view given_links; drop table found")
        for given in ("held_records", "held_links", "given_closed", "alone"):
            con.unregister(given)


def _any(con: duckdb.DuckDBPyConnection, relation: str) -> bool:
    return con.execute(f"select 1 from {relation} limit 1").fetchone() is not None


def _listed(schema: pa.Schema) -> str:
    return ", ".join(quote(name) for name in schema.names)


def _intervals(found: Iterable[tuple[Name, Interval]]) -> pa.Table:
    found = list(found)
    columns = [[name[i] for name, _ in found] for i in range(2)]
    columns += [[getattr(interval, field) for _, interval in found] for field in _INTERVALS.names[2:]]
    return _of_columns(columns, _INTERVALS)


def _of_columns(columns: Sequence[Any], schema: pa.Schema) -> pa.Table:
    arrays = [
        c if isinstance(c, pa.Array) else pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _columns(table: pa.Table) -> list[list[Any]]:
    """Columns as lists: a row at a time takes three times as long, and a home has millions."""
    return [column.to_pylist() for column in table.columns]


def _stored_values(column: pa.ChunkedArray) -> list[tuple[Value, ...]]:
    """The values of each record, from the column that `_values_array` made."""
    found: list[tuple[Value, ...]] = []
    for chunk in column.chunks:
        flat = list(map(Value, *(part.to_pylist() for part in chunk.flatten().flatten())))
        starts = chunk.offsets.to_pylist()
        found += [tuple(flat[a - starts[0] : b - starts[0]]) for a, b in pairwise(starts)]
    return found


def _values_array(values: Sequence[tuple[Value, ...]]) -> pa.ListArray:
    flat = [value for own in values for value in own]
    offsets = pa.array([0, *accumulate(len(own) for own in values)], pa.int32())
    parts = [pa.array([value[i] for value in flat], field.type) for i, field in enumerate(_VALUES.value_type)]
    return pa.ListArray.from_arrays(
        offsets, pa.StructArray.from_arrays(parts, fields=list(_VALUES.value_type))
    )
