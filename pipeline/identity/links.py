"""Source ids → `customer_key` for each day that is asked for, and the history of who was who.

All files of `identity/` follow from raw, the decisions of people (review.py) and the model of the second stage (learning.py)
and may be deleted at any time; of the second stage only the pairs that have ended are lost by it:

| file | rows |
|---|---|
| current.parquet | one: which files count (tables.py) |
| history.*.parquet | one per source, source id and interval of days, with lineage: the tables links and history |
| review.parquet | one per merge that was not made and waits for review |
| quality.parquet | one: what gate Q-08 judges |
| likely.parquet | one per pair of the second stage, where policy has it on (likely.py) |
| state.*.parquet | where the last run ended, so that the next one only adds its days (state.py, parts.py) |
"""

import gc
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline import duck
from pipeline.errors import StrataError
from pipeline.identity import delivered, normalise, pairs, review
from pipeline.identity.history import Name, Record, Suspect
from pipeline.identity.pairs import Pairs
from pipeline.identity.parts import HISTORY, copy
from pipeline.identity.rules import Rules, load_rules
from pipeline.identity.state import FORMAT, Event, Events, State, as_names
from pipeline.identity.tables import next_number
from pipeline.ingest import ledger
from pipeline.ingest.files import write_parquet
from pipeline.ingest.vault import Vault
from pipeline.settings import Settings

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


_WHOSE = "own.customer_key, own.rule, own.confidence, own.observed_at"
_OWN = "select * from history where valid_from <= $1 and (valid_to is null or $1 < valid_to)"


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
    with duck.connect([settings.raw, settings.identity], spill=settings.build / ".spill") as con:
        print_ = _Fingerprint(settings, entries, vault.key_id)
        state = State(con, settings.identity, lambda day: print_.at(day) if day <= as_of else None)
        # The allocator keeps what was freed until it is told: a first day holds millions of objects beside it.
        con.execute("set allocator_flush_threshold = '16MB'")
        delivered.load(con, settings, vault, entries, as_of, state.parts, state.day)
        delivered.keep(con, state.parts)
        likely = Pairs(con, _likely(settings))
        con.register(
            "decided", as_names(n for d in review.read(settings, as_of) for n in (d.left, d.right) if n)
        )
        delivered.set_apart(con, state.day, f"from decided union all {likely.names()}")
        changes = delivered.changes(con, vault, state.day)
        events = _events(settings, changes, likely.days(), state.day, as_of)
        history = state.take_up(vault.minting_key, events, likely)
        for event in events.days:
            history.advance(*event, likely.on(event.day))
        del changes, events, likely
        suspects = history.open_suspects()
        state.put(history, "brought", "apart")
        past, persons = _write_past(con, settings, entries, [day for day in days if day != as_of], as_of)
        state.publish(history, as_of, print_.at(as_of), past)
        _write_review(settings, suspects, _keys_of(con, state, suspects))
        _write_quality(settings, suspects, as_of, state.records_n, state.persons_n, state.pairs_made)
    return persons | {as_of: state.persons_n}


def _find_likely(settings: Settings, entries: list[ledger.Entry], as_of: date) -> None:
    """The second stage, where policy switches it on."""
    from pipeline.identity.likely import write_likely
    from pipeline.identity.probabilistic import Policy

    write_likely(settings, entries, as_of, Policy.on(as_of))


def _likely(settings: Settings) -> Path:
    return settings.identity / "likely.parquet"


def _events(
    settings: Settings,
    changes: Mapping[date, Mapping[Name, Record | None]],
    days_of_pairs: set[date],
    done: date | None,
    as_of: date,
) -> Events:
    """Every day after `done` on which something changes, with all that is in force on it but the pairs."""
    decisions = review.read(settings, as_of)
    days = set(changes) | {d.known_from for d in decisions if d.known_from} | days_of_pairs
    days |= _policy_days(as_of)

    def in_force(day: date, changed: Mapping[Name, Record | None]) -> Event:
        return Event(
            day,
            changed,
            load_rules(day),
            [d.judgement for d in review.read(settings, day)] if decisions else (),
        )

    wanted = sorted(d for d in days if d <= as_of and (done is None or d > done))
    return Events(in_force(done, {}) if done else None, [in_force(d, changes.get(d, {})) for d in wanted])


def _policy_days(as_of: date) -> set[date]:
    from pipeline.quality.policy import days_of

    return {day for seed in ("identity_rules", "thresholds") for day in days_of(seed) if day <= as_of}


class _Fingerprint:
    """What decides the state of a day, as one hash: an unchanged past need not be gone through again.

    Another version of DuckDB may hash otherwise, and the state is looked through by hashes.
    """

    def __init__(self, settings: Settings, entries: list[ledger.Entry], key_id: str) -> None:
        self._settings, self._entries, self._key_id = settings, entries, key_id

    def at(self, day: date) -> str:
        members = sorted(delivered.member_ids().items())
        digest = hashlib.sha256(f"{FORMAT}|{duckdb.__version__}|{self._key_id}|{members}".encode())
        for e, starts, ends in sorted(delivered.spans(self._entries, day), key=lambda span: span[0].delivery):
            digest.update(f"{e.delivery}|{e.sha256}|{starts}|{ends}\n".encode())
        for decision in review.read(self._settings, day):
            digest.update(f"{decision}\n".encode())
        digest.update(pairs.until(_likely(self._settings), day).encode())
        rules = [load_rules(d) for d in sorted(_policy_days(day))]
        # The text of a set is another in each process.
        nobody = [(kind, sorted(values)) for kind, values in sorted(normalise.placeholders().items())]
        digest.update(f"{rules}|{nobody}".encode())
        return digest.hexdigest()


def _write_past(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    entries: list[ledger.Entry],
    days: Sequence[date],
    as_of: date,
) -> tuple[list[str], dict[date, int]]:
    """Write the links of days before the as-of date, from the history; the files, and the persons of each day."""
    if not days:
        return [], {}
    tables, persons = [], {}
    delivered.load_seen(con, settings, entries, as_of)
    for day in days:
        table = f"links_{day:%Y%m%d}"
        _links_on(con, table, day)
        tables.append(f"from {table}")
        row = con.execute(
            f"select count(distinct customer_key), count(*) filter (customer_key is null) from {table}"
        ).fetchone()
        persons[day], lost = row or (0, 0)
        if lost:
            raise StrataError(
                f"{lost} source ids of {day} have no person: delete the folder {settings.identity}, which is made "
                "anew, and run again"
            )
    file = f"{HISTORY}.since.past.{next_number(settings.identity)}.parquet"
    copy(con, " union all by name ".join(tables), settings.identity / file)
    return [file], persons


def _links_on(con: duckdb.DuckDBPyConnection, table: str, day: date) -> None:
    """The links of a past day from the table `seen`."""
    con.execute(
        f"""
        create or replace temp table {table} as
        with seen_by as (
            select source, id, min(dt) as first_seen, max(dt) as last_seen
            from seen where starts <= $1 and (ends is null or ends > $1)
            group by source, id
        )
        select cast($1 as date) as known_at, s.source, s.id, {_WHOSE}, s.first_seen, s.last_seen
        from seen_by as s
        left join ({_OWN}) as own on s.source = own.source and s.id = own.id
        """,
        [day],
    )


def _keys_of(con: duckdb.DuckDBPyConnection, state: State, suspects: list[Suspect]) -> dict[Name, str]:
    """Today's key of each record that a suspect names."""
    names = {name for s in suspects for name in (s.left, s.right) if name}
    con.register("suspected_names", as_names(names))
    con.execute(
        "create or replace temp table suspected as select *, hash(source, id) as h from suspected_names"
    )
    state.parts.of(HISTORY, "suspected")
    rows = con.execute("select source, id, customer_key from found where valid_to is null").fetchall()
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
