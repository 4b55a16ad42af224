"""Links and history as others read them: of one day, whatever dies; nothing of a person in any part; homes of before."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline import duck
from pipeline.home import layout
from pipeline.identity import parts, tables
from pipeline.identity.history import Record
from pipeline.identity.pairs import Pairs
from pipeline.identity.state import Event, Events, State
from pipeline.lock import run_lock
from pipeline.privacy.erasure_raw import cut_links
from pipeline.privacy.erasure_subject import Subject
from pipeline.settings import PROJECT_ROOT, Settings
from tests.identity.test_identity_history import DAY, KEY, RULES, record

SOURCES = PROJECT_ROOT / "dbt_project" / "models" / "staging" / "_sources.yml"
FIRST: dict[tuple[str, str], Record | None] = {
    ("app", f"{n:02}"): record(0, f"p{n}", None) for n in range(30)
}
LATER: list[dict[tuple[str, str], Record | None]] = [
    {("crm", "c1"): record(1, "p1", None)},
    {("crm", "c2"): record(2, "p2", None), ("crm", "c1"): None},
    {("crm", "c3"): record(3, "p3", None), ("app", "05"): record(0, "p1", None)},
]
"""Days after the first: c1 joins app/01, c1 goes and c2 joins app/02, c3 joins app/03 and app/05 may be app/01."""


class Killed(BaseException):
    pass


def run(folder: Path, n: int) -> None:
    """The n-th day, from where the folder stands."""
    days = [Event(DAY + timedelta(days=i), c, RULES, []) for i, c in enumerate([FIRST, *LATER])]
    folder.mkdir(parents=True, exist_ok=True)
    with duck.connect([folder]) as con:
        state = State(con, folder, lambda _: "same")
        done = -1 if state.day is None else (state.day - DAY).days
        events = Events(days[done] if done >= 0 else None, days[done + 1 : n + 1])
        history = state.take_up(KEY, events, Pairs(con, folder / "none"))
        for day in days[done + 1 : n + 1]:
            history.advance(*day)
        last = {name: r for day in days[done + 1 : n + 1] for name, r in day.changed.items()}
        seen = [(*name, DAY) for name, r in last.items() if r]
        columns = [
            pa.array([row[i] for row in seen], kind)
            for i, kind in enumerate((*[pa.string()] * 2, pa.date32()))
        ]
        con.register("came", pa.table(columns, ["source", "id", "first_seen"]))
        con.execute(
            "create temp table brought as select distinct source, id, hash(source, id) as h, first_seen, "
            "first_seen as last_seen from came"
        )
        con.execute("create temp table nobody (source varchar, id varchar, first_seen date, day date)")
        state.put(history, "brought", "nobody")
        state.publish(history, days[n].day, "same")


def told(settings: Settings) -> list[list[str]]:
    """Both tables, in an order of their own."""
    found = (tables.links(settings), tables.history(settings))
    return [sorted(map(str, table.to_pylist())) if table is not None else [] for table in found]


@contextmanager
def dying_at(n: int) -> Iterator[list[str]]:
    """The n-th rename, wait for the disk or removal does not happen, nor anything after it; what happened before."""
    done: list[str] = []

    def stopping(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def act(*args: object, **more: object) -> object:
            if len(done) == n:
                raise Killed
            done.append(name)
            return real(*args, **more)

        return act

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "unlink")):
            patch.setattr(owner, name, stopping(name, getattr(owner, name)))
        yield done


def copy(settings: Settings, folder: Path) -> None:
    """The folder `identity` as it was kept."""
    settings.identity.mkdir(parents=True, exist_ok=True)
    for path in settings.identity.iterdir():
        path.unlink()
    for path in folder.iterdir():
        (settings.identity / path.name).write_bytes(path.read_bytes())


@pytest.mark.parametrize("kind", ["parts become one", "base"])
def test_a_run_that_dies_anywhere_leaves_one_day(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """At every rename, wait for the disk and removal, while parts are folded with the one of the day, or all becomes a base."""
    monkeypatch.setattr(parts, "PARTS_MAX", 1 if kind == "parts become one" else 8)
    run(settings.identity, 0)
    run(settings.identity, 1)
    if kind == "base":
        monkeypatch.setattr(parts, "ROWS_MIN", 0)
    kept = tmp_path / "kept"
    settings.identity.rename(kept)
    copy(settings, kept)
    before = told(settings)
    with dying_at(-1) as acts:
        run(settings.identity, 2)
    after = told(settings)
    assert before != after and {*acts} == {"fsync", "replace"} | {"unlink"}
    seen = []
    for n in range(len(acts)):
        copy(settings, kept)
        with dying_at(n), pytest.raises(Killed):
            run(settings.identity, 2)
        seen.append(told(settings))
        # Waiting for the disk leaves the same files as dying at the rename after it.
        if acts[n] == "fsync":
            continue
        run(settings.identity, 2)
        assert told(settings) == after, f"died at act {n}, {acts[n]}"
        left = {path.name for path in settings.identity.iterdir()} - {tables.CURRENT, ".spill"}
        current = tables.read_current(settings.identity)
        named = {f for files in current.state["files"].values() for f in (files["base"], *files["since"])}
        assert left == {*named, *current.files} - {None}, "nothing of the run that died"
    turns = [one == after for one in seen]
    assert (
        all(one in (before, after) for one in seen) and sorted(turns) == turns and set(turns) == {False, True}
    )


def test_a_day_writes_its_own_rows(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """One part of each table with the rows of two persons, beside a base that stays; then parts become one."""
    run(settings.identity, 0)
    bases = {path.name for path in settings.identity.glob("*.base.*")}
    run(settings.identity, 1)
    rows = {
        p.name.split(".since")[0]: pq.read_metadata(p).num_rows for p in settings.identity.glob("*.since.2.*")
    }
    assert rows == {"history": 2, "state.ids": 4, "state.records": 2}, "c1 and app/01, of 31 records"
    assert {path.name for path in settings.identity.glob("*.base.*")} == bases
    monkeypatch.setattr(parts, "PARTS_MAX", 1)
    run(settings.identity, 2)
    files = tables.read_current(settings.identity).state["files"]
    assert (files["ids"]["since"], files["ids"]["since_rows"]) == (["state.ids.since.3.parquet"], 7)
    run(settings.identity, 3)
    assert {path.name for path in settings.identity.glob("*.base.*")} == bases


def test_an_erased_person_is_in_no_part(settings: Settings) -> None:
    """One who stands in the base and in two parts."""
    for n in range(4):
        run(settings.identity, n)
    key = next(
        r["customer_key"] for r in tables.links(settings).to_pylist() if r["source_customer_id"] == "01"
    )
    mine = (("app", "01"), ("crm", "c1"))
    rest = [r for r in tables.links(settings).to_pylist() if r["customer_key"] != key]
    (settings.identity / ".state.known.base.9.arrow.tmp").write_text(key)
    assert cut_links(settings, Subject(mine, (key,), (), (), (), 0)) == 1
    assert sorted(map(str, tables.links(settings).to_pylist())) == sorted(map(str, rest))
    everything = [tables.rows(settings).to_pylist(), tables.history(settings).to_pylist()]
    everything += [pq.read_table(path).to_pylist() for path in settings.identity.glob("*.parquet")]
    assert key not in str(everything)
    names = sorted(path.name.split(".")[0:2] for path in settings.identity.iterdir())
    assert names == [["current", "parquet"], ["history", "base"], ["history", "since"]]
    run(settings.identity, 3)
    assert tables.read_current(settings.identity).state, "made anew"


def test_dbt_reads_the_same_rows_and_none_of_a_run_that_died(settings: Settings) -> None:
    """The text of the sources, over files that count and files that do not."""
    for n in range(3):
        run(settings.identity, n)
    for kind in ("base", "since"):
        file = next(settings.identity.glob(f"history.{kind}.*.parquet"))
        (settings.identity / f"history.{kind}.77.parquet").write_bytes(file.read_bytes())
    (identity,) = (s for s in yaml.safe_load(SOURCES.read_text())["sources"] if s["name"] == "identity")
    home = "{{ env_var('STRATA_HOME') }}"
    texts = {t["name"]: t["config"]["meta"]["external_location"] for t in identity["tables"]}
    for table, read in (("links", tables.links), ("history", tables.history)):
        assert texts[table] == tables.of_globs(f"{home}/identity", table)
        with duck.connect([settings.identity]) as con:
            rows = con.execute(f"from {texts[table].replace(home, str(settings.home))}").to_arrow_table()
        assert rows.schema.names == read(settings).schema.names
        assert sorted(map(str, rows.to_pylist())) == sorted(map(str, read(settings).to_pylist()))


def test_a_home_of_layout_2_keeps_who_is_who(settings: Settings, tmp_path: Path) -> None:
    """Its two files become parts, whenever that dies; what a run goes on from is made anew."""
    for n in range(3):
        run(settings.identity, n)
    expected, past = told(settings), tables.links(settings)
    links, history = past, tables.history(settings)
    earlier = links.set_column(0, "known_at", pa.array([date(2020, 1, 1)] * len(links), pa.date32()))
    old = tmp_path / "old"
    old.mkdir()
    pq.write_table(pa.concat_tables([links, earlier]), old / "links.parquet")
    pq.write_table(history, old / "history.parquet")
    (old / "state.json").write_text("{}")
    (old / "state.links.base.1.parquet").write_bytes(b"PAR1")
    (old / "likely.parquet").write_bytes(b"kept")
    copy(settings, old)
    stated = settings.home / layout.FILE
    stated.write_text(json.dumps({"layout": 2, "made_by": "0.1.0", "migrated": []}))
    with dying_at(-1) as acts, run_lock(settings):
        pass
    for n in range(len(acts)):
        copy(settings, old)
        stated.write_text(json.dumps({"layout": 2, "made_by": "0.1.0", "migrated": []}))
        with dying_at(n), pytest.raises(Killed), run_lock(settings):
            pass
        with run_lock(settings):
            assert layout.read(settings) == layout.LAYOUT
        assert told(settings) == expected, f"died at act {n}, {acts[n]}"
        files = {path.name for path in settings.identity.iterdir()} - {".spill"}
        assert files == {"current.parquet", "likely.parquet", *tables.read_current(settings.identity).files}
        assert tables.read_current(settings.identity).state is None


def test_without_who_is_who_nothing_is_found(settings: Settings) -> None:
    assert (tables.links(settings), tables.history(settings)) == (None, None)
    (settings.identity).mkdir(parents=True)
    (settings.identity / tables.CURRENT).write_bytes(b"half")
    with pytest.raises(Exception, match=r"current.parquet is damaged"):
        tables.links(settings)
