"""A day reads only what it can touch, and comes to the same as if everything had stayed in memory."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
from hypothesis import given
from hypothesis import settings as hypothesis_settings

from pipeline import duck
from pipeline.identity.history import History, Record
from pipeline.identity.likely import SCHEMA
from pipeline.identity.pairs import COLUMNS as COLUMNS_OF_PAIRS
from pipeline.identity.pairs import Pairs
from pipeline.identity.state import Event, Events, State
from pipeline.ingest.files import write_parquet
from tests.identity.test_identity_history import DAY, KEY, RULES, events, record

SOAK = os.environ.get("STRATA_SOAK")
few = hypothesis_settings(deadline=None, max_examples=300 if SOAK else 6, derandomize=not SOAK)


COLUMNS = (
    "source, id as source_customer_id, customer_key, rule, confidence, observed_at, valid_from, valid_to, merged_into, "
    "split_from"
)


def fingerprint(_: date) -> str:
    return "same"


def event(n: int, step: tuple) -> Event:
    changed, judged, _ = step
    return Event(DAY + timedelta(days=n), changed, RULES, judged)


def likely_file(folder: Path, steps: Sequence[tuple]) -> Path:
    """The pairs of each day as the second stage keeps them: a row per pair and run of days."""
    rows = [
        {c: v for c, v in zip(COLUMNS_OF_PAIRS, (*pair.left, *pair.right, pair.probability), strict=True)}
        | {"known_from": DAY + timedelta(days=n), "known_to": DAY + timedelta(days=n + 1)}
        for n, (_, _, likely) in enumerate(steps)
        for pair in sorted(set(likely))
    ]
    write_parquet(pa.Table.from_pylist(rows, SCHEMA), folder / "likely.parquet")
    return folder / "likely.parquet"


def run_saved(
    folder: Path, before: Event | None, days: Sequence[Event], steps: Sequence[tuple] = ()
) -> tuple:
    """One run on the files of the folder: what it leaves for readers, and how many records it read.

    steps: of which the second stage has the pairs.
    """
    with duck.connect([folder]) as con:
        state = State(con, folder, fingerprint)
        assert (state.day is None) == (before is None)
        pairs = Pairs(con, likely_file(folder, steps))
        history = state.take_up(KEY, Events(before, days), pairs)
        read = len(history.records)
        for day in days:
            history.advance(*day, pairs.on(day.day))
        suspects = history.open_suspects()
        con.execute(
            "create temp table nothing (source varchar, id varchar, h ubigint, first_seen date, last_seen date, "
            "day date)"
        )
        state.put(history, "nothing", "nothing")
        state.publish(history, (days[-1] if days else before).day, "same")
        rows = con.execute(f"select {COLUMNS} from history order by source, id, valid_from")
        rows = rows.to_arrow_table().to_pylist()
    return rows, suspects, state.records_n, state.pairs_made, read


def told(history: History) -> tuple:
    rows = [
        {"source": name[0], "source_customer_id": name[1]} | asdict(i)
        for name, i in [*history.closed, *history.current.items()]
    ]
    rows.sort(key=lambda r: (r["source"], r["source_customer_id"], r["valid_from"]))
    return rows, history.open_suspects(), len(history.records), sum(history.pairs_made.values())


@few
@given(events)
def test_days_from_the_files_are_the_days_in_memory(steps: list[tuple]) -> None:
    """Merges, splits, crowds that come and go, decisions; a day a run, and the last days in one run."""
    history = History(KEY)
    with TemporaryDirectory() as one, TemporaryDirectory() as two:
        before = None
        for n, step in enumerate(steps):
            day = event(n, step)
            history.advance(*day, step[2])
            assert run_saved(Path(one), before, [day], steps)[:4] == told(history)
            before = day
        assert run_saved(Path(one), before, [], steps)[:4] == told(history), (
            "a run without a change keeps all of it"
        )
        first, rest = event(0, steps[0]), [event(n, step) for n, step in enumerate(steps)][1:]
        last = run_saved(Path(two), None, [first], steps)
        if rest:
            last = run_saved(Path(two), first, rest, steps)
        assert last[:4] == told(history)


def test_a_run_reads_what_its_days_can_touch(tmp_path: Path) -> None:
    """Of 300 records with one mailbox: the one that has the new record's phone, and for a mailbox that empties all left."""
    crowd = {("app", f"{n:03}"): record(0, f"p{n}", "team@") for n in range(300)}
    first = Event(DAY, crowd, RULES, [])
    run_saved(tmp_path, None, [first])
    second = Event(DAY + timedelta(1), {("crm", "new"): record(1, "p7", "team@")}, RULES, [])
    rows, suspects, records_n, _, read = run_saved(tmp_path, first, [second])
    assert (read, records_n) == (1, 301)
    assert [(s.left, s.records_n) for s in suspects] == [(("app", "000"), 301)]
    assert len({r["customer_key"] for r in rows if not r["valid_to"]}) == 300
    emptied: dict[tuple[str, str], Record | None] = {name: record(0) for name in list(crowd)[2:]}
    third = Event(DAY + timedelta(2), emptied | {("crm", "new"): None}, RULES, [])
    _, suspects, records_n, _, read = run_saved(tmp_path, second, [third])
    assert (read, records_n) == (301, 300), "two are left with the mailbox, and they are read"
    assert [s.why for s in suspects] == ["shared value"]


def test_a_first_day_leaves_no_rows_in_memory(tmp_path: Path) -> None:
    """A million records are four gigabytes where tables, objects and files hold them at the same time."""
    day = Event(DAY, {("app", f"{n}"): record(0, f"p{n}", "team@") for n in range(300)}, RULES, [])
    with duck.connect([tmp_path]) as con:
        state = State(con, tmp_path, fingerprint)
        history = state.take_up(KEY, Events(None, [day]), Pairs(con, tmp_path / "none"))
        history.advance(*day)
        con.execute(
            "create temp table nothing (source varchar, id varchar, h ubigint, first_seen date, last_seen date, "
            "day date)"
        )
        state.put(history, "nothing", "nothing")
        state.publish(history, DAY, "same")
        rows = con.execute("select table_name from duckdb_tables() where estimated_size > 0").fetchall()
    assert {name for (name,) in rows} <= {"moved", "named", "gone"}, "names and hashes alone"
    assert not history.records and not history.current
