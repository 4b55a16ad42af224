"""Where the last run ended, so that the next one reads only the records that its days can touch.

`state.parquet` has a row per record as identity knows it, `state.json` the day, what decides it, suspects and crowded
values; `history.parquet` the intervals. DuckDB goes through them as columns: from the records that a day changes to all
that hang together with them by an identifier, a decision, a pair of the second stage or a key, until nothing more is
found. Those alone become Python objects; everything else is copied as it stands.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.identity.history import (
    Crowd,
    History,
    Interval,
    Judgement,
    Likely,
    Name,
    Record,
    Suspect,
    Value,
)
from pipeline.identity.rules import Rules
from pipeline.ingest.files import write_parquet

FORMAT = 2
"""Of the state; another one is made anew."""

LINK = (
    ("source", pa.string()),
    ("source_customer_id", pa.string()),
    ("customer_key", pa.string()),
    ("rule", pa.string()),
    ("confidence", pa.float64()),
    ("observed_at", pa.date32()),
)
"""What is said of one source id and the person it belongs to, on a day or over days."""

HISTORY = pa.schema(
    [
        *LINK,
        ("valid_from", pa.date32()),
        ("valid_to", pa.date32()),
        ("merged_into", pa.string()),
        ("split_from", pa.string()),
    ]
)
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
STATE = pa.schema(
    [
        ("source", pa.string()),
        ("source_customer_id", pa.string()),
        ("first_seen", pa.date32()),
        ("name_token", pa.string()),
        ("birth_date", pa.string()),
        ("member_id", pa.string()),
        ("values", _VALUES),
        ("pairs_made", pa.int64()),
    ]
)
_NAMES = pa.schema([("source", pa.string()), ("id", pa.string())])
_BARE_VALUES = pa.schema([("type", pa.string()), ("value", pa.string())])


class Event(NamedTuple):
    """A day and all that is in force on it; `changed`: records as they are from the day on, None for one that is gone."""

    day: date
    changed: Mapping[Name, Record | None]
    rules: Rules
    judged: Sequence[Judgement]
    likely: Sequence[Likely]


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
        self._saved = self._read(fingerprint)
        state, past = STATE.empty_table(), HISTORY.empty_table()
        if self._saved:
            try:
                state = pq.read_table(folder / "state.parquet")
                past = pq.read_table(folder / "history.parquet")
            except (OSError, ValueError):
                self._saved = None
        con.register("kept", state)
        con.register("kept_intervals", past)
        self.day = date.fromisoformat(self._saved["day"]) if self._saved else None

    def _read(self, fingerprint: Callable[[date], str | None]) -> dict[str, Any] | None:
        try:
            saved = json.loads((self._folder / "state.json").read_text(encoding="utf-8"))
            if saved["fingerprint"] == fingerprint(date.fromisoformat(saved["day"])):
                return saved
        except (OSError, ValueError, KeyError):
            pass
        return None

    def take_up(self, minting_key: bytes, events: Events) -> History:
        """The history as the last run left it, of all records that the days can touch."""
        history = History(minting_key)
        self._con.execute("create or replace temp table reached (source varchar, id varchar)")
        if not events.before:
            return history
        if not events.days:
            self._load(history, events.before)
            return history
        self._con.execute(
            "create or replace temp table kept_values as select source, source_customer_id as id, "
            'v.type as type, v.value as value from (select source, source_customer_id, unnest("values") as v from kept)'
        )
        self._con.execute(
            "create or replace temp table kept_keys as select source, source_customer_id as id, customer_key "
            "from kept_intervals where valid_to is null"
        )
        if any(event.rules != events.before.rules for event in events.days):
            self._con.execute("insert into reached select source, source_customer_id from kept")
        else:
            self._reach(events)
        self._load(history, events.before)
        return history

    def _reach(self, events: Events) -> None:
        """Fill `reached` with all records that hang together with what the days change."""
        con, before, last = self._con, events.before, events.days[-1]
        judged = {j for event in (before, *events.days) for j in event.judged}
        changed = {name for event in events.days for name in event.changed}
        partners: dict[Name, set[Name]] = defaultdict(set)
        for pair in (*judged, *before.likely, *last.likely):
            if pair.right:
                partners[pair.left].add(pair.right)
                partners[pair.right].add(pair.left)
        known = set(before.likely)
        # Who anchors a judgement about a value is always there: its record says which value is meant.
        names = changed | {j.left for j in judged}
        names |= {name for p in last.likely if p not in known for name in p[:2]}
        values = {
            (v.type, v.value)
            for event in events.days
            for record in event.changed.values()
            if record
            for v in record.values
        }
        crowds = self._staying_crowded(changed, before.rules)
        passed = set(crowds)
        seen: set[Name] = set()
        while names or values:
            seen |= names
            con.register("wave", as_names(names))
            con.execute("insert into reached select * from wave")
            found = con.execute(
                "select distinct type, value from kept_values semi join wave using (source, id)"
            ).fetchall()
            values = (values | set(found)) - passed
            passed |= values
            con.register("wave_values", _table(values, _BARE_VALUES))
            near = con.execute(
                "select distinct source, id from kept_values semi join wave_values using (type, value) union "
                "select source, id from kept_keys where customer_key in "
                "(select customer_key from kept_keys semi join wave using (source, id))"
            ).fetchall()
            names = (set(near) | {other for name in names for other in partners.get(name, ())}) - seen
            values = set()

    def _staying_crowded(self, changed: set[Name], rules: Rules) -> set[tuple[str, str]]:
        """Crowded values that stay so whatever the changed records come to say: their other records need not be read."""
        self._con.register("wave", as_names(changed))
        self._con.register(
            "crowds", _table([(kind, value) for kind, value, _ in self._saved["crowded"]], _BARE_VALUES)
        )
        rows = self._con.execute(
            "select type, value, count(distinct (v.source, v.id)) from kept_values as v "
            "semi join crowds using (type, value) anti join wave on v.source = wave.source and v.id = wave.id "
            "group by type, value"
        ).fetchall()
        return {(kind, value) for kind, value, n in rows if n > rules.of(kind).records_max}

    def _load(self, history: History, before: Event) -> None:
        con, saved = self._con, self._saved
        history.crowded = {Value(kind, value): date.fromisoformat(d) for kind, value, d in saved["crowded"]}
        for left, right, rule, confidence, why, n, since in saved["suspects"]:
            one, other = tuple(left), tuple(right) if right else None
            history.suspects[one, other, rule] = Suspect(
                one, other, rule, confidence, why, n, date.fromisoformat(since)
            )
        state = con.execute(
            "select kept.* from kept semi join reached "
            "on kept.source = reached.source and kept.source_customer_id = reached.id"
        ).to_arrow_table()
        past = con.execute(
            "select i.* from kept_intervals as i semi join reached "
            "on i.source = reached.source and i.source_customer_id = reached.id where i.valid_to is null"
        ).to_arrow_table()
        *columns, pairs_made = _columns(state.drop_columns("values"))
        records = {
            (source, id_): Record(*own, values)
            for source, id_, *own, values in zip(*columns, _stored_values(state["values"]), strict=True)
        }
        history.pairs_made = {name: n for name, n in zip(records, pairs_made, strict=True) if n}
        current = {(source, id_): Interval(*own) for source, id_, *own in zip(*_columns(past), strict=True)}
        history.absent = self._absent()
        history.restore(records, current, before.judged, before.likely, before.rules)

    def _absent(self) -> dict[Value, Crowd]:
        """Of each crowded value the records that were not read."""
        crowds = [(kind, value) for kind, value, _ in self._saved["crowded"]]
        if not crowds:
            return {}
        self._con.register("crowds", _table(crowds, _BARE_VALUES))
        rows = self._con.execute(
            """
            with held as (
                select distinct source, source_customer_id as id, first_seen, v.type as type, v.value as value
                from (select source, source_customer_id, first_seen, unnest("values") as v from kept)
                semi join crowds on v.type = crowds.type and v.value = crowds.value
            )
            select type, value, count(*), min(first_seen), arg_min(source, (first_seen, source, id)),
                arg_min(id, (first_seen, source, id))
            from held anti join reached using (source, id) group by type, value
            """
        ).fetchall()
        return {Value(kind, value): Crowd(n, first, (s, i)) for kind, value, n, first, s, i in rows}

    def intervals(self, history: History) -> pa.Table:
        """Write history.parquet; its rows."""
        found = [*history.closed, *history.current.items()]
        columns = {"source": [n[0] for n, _ in found], "source_customer_id": [n[1] for n, _ in found]}
        columns |= {f: [getattr(i, f) for _, i in found] for f in HISTORY.names if f not in columns}
        self._con.register(
            "new_intervals",
            pa.Table.from_arrays([pa.array(columns[f.name], f.type) for f in HISTORY], schema=HISTORY),
        )
        # An interval that has ended never changes. Not as a condition of the join: that makes it compare every pair.
        table = self._con.execute(
            "select * from (select * from kept_intervals where valid_to is not null union all "
            "select i.* from kept_intervals as i anti join reached "
            "on i.source = reached.source and i.source_customer_id = reached.id where i.valid_to is null "
            "union all by name select * from new_intervals) order by source, source_customer_id, valid_from"
        ).to_arrow_table()
        table = table.cast(HISTORY)
        write_parquet(table, self._folder / "history.parquet")
        return table

    def save(self, history: History, day: date, fingerprint: str) -> tuple[int, int]:
        """Write state.parquet and state.json; (records, pairs made) of all."""
        columns = [
            [source for source, _ in history.records],
            [id_ for _, id_ in history.records],
            *([record[i] for record in history.records.values()] for i in range(len(Record._fields) - 1)),
            [record.values for record in history.records.values()],
            [history.pairs_made.get(name, 0) for name in history.records],
        ]
        arrays = [
            _values_array(column) if field.name == "values" else pa.array(column, field.type)
            for column, field in zip(columns, STATE, strict=True)
        ]
        self._con.register("new_state", pa.Table.from_arrays(arrays, schema=STATE))
        table = self._con.execute(
            "select kept.* from kept anti join reached "
            "on kept.source = reached.source and kept.source_customer_id = reached.id "
            "union all by name select * from new_state"
        ).to_arrow_table()
        table = table.cast(STATE)
        path = self._folder / "state.json"
        path.unlink(missing_ok=True)
        write_parquet(table, self._folder / "state.parquet")
        saved = {
            "day": day.isoformat(),
            "fingerprint": fingerprint,
            "crowded": [(v.type, v.value, since) for v, since in history.crowded.items()],
            "suspects": list(history.suspects.values()),
        }
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(saved, ensure_ascii=False, default=str), encoding="utf-8")
        temporary.replace(path)
        return table.num_rows, pc.sum(table["pairs_made"]).as_py() or 0


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
