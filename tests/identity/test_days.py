"""A day read by itself comes to what reading everything comes to: keys, history, review and figures."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.identity import delivered, links, parts, review, tables
from pipeline.identity.links import write_links
from pipeline.ingest.load import sweep
from pipeline.settings import PROJECT_ROOT, Settings

Land = Callable[[str, bytes | str], Path]
DAY = date(2024, 5, 1)
DAYS = 7


def deliver(land: Land, rng: random.Random, day: date) -> None:
    """Files of three sources for one day: what customers say, what they buy, and union ids of one of them."""

    def pick(values: str, share: float) -> str:
        return rng.choice(values.split()) if rng.random() < share else ""

    for source in ("app", "crm", "shop"):
        rows = [
            f"{source}{rng.randrange(9)},{pick('王芳 李静 张伟', 0.6)},{pick('13812345678 13912345678 13712345678', 0.7)},"
            f"{pick('a@x.org b@x.org', 0.4)},{pick('1980-01-01 1990-02-02 1900-01-01', 0.3)},"
            f"{pick(f'{day} 2024-04-30 {DAY}', 0.7)}"
            for _ in range(rng.randrange(1, 5))
        ]
        land(
            f"{source}/customers/{day}.csv",
            "source_customer_id,name,phone,email,birth_date,updated_at\n" + "".join(f"{r}\n" for r in rows),
        )
    rows = [f"{day}-{n},{rng.choice(['app', 'x'])}{rng.randrange(12)},{day},paid" for n in range(3)]
    land(
        f"app/orders/{day}.csv",
        "order_id,source_customer_id,ordered_at,status\n" + "".join(f"{r}\n" for r in rows),
    )
    if rng.random() < 0.5:
        rows = [
            f"{day}-{n},app{rng.randrange(9)},unionid,u{rng.randrange(3)},{rng.choice(['0.5', '0.9'])},{day}"
            for n in range(2)
        ]
        land(
            f"app/identity_links/{day}.csv",
            "link_id,source_customer_id,id_type,id_value_hash,confidence,observed_at\n"
            + "".join(f"{r}\n" for r in rows),
        )


def before_it_is_published(patch: pytest.MonkeyPatch) -> None:
    """The third table is not written any more: files that no state names lie there."""
    put, calls = parts.Parts.put, []

    def stopping(self: parts.Parts, *args: str) -> None:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(args)
        put(self, *args)

    patch.setattr(parts.Parts, "put", stopping)


def after_it_is_published(patch: pytest.MonkeyPatch) -> None:
    """The tables are of the day, and what waits for review is of the day before."""

    def stopping(*_: object) -> None:
        raise KeyboardInterrupt

    patch.setattr(links, "_write_review", stopping)


STOPS = {
    2: [before_it_is_published],
    4: [after_it_is_published],
    6: [before_it_is_published, after_it_is_published],
}
"""Day → places at which a run of that day dies."""


def told(settings: Settings) -> dict[str, list[tuple]]:
    found = {"links": tables.links(settings), "history": tables.history(settings)}
    found |= {name: pq.read_table(settings.identity / f"{name}.parquet") for name in ("review", "quality")}
    return {
        name: sorted((tuple(row.items()) for row in table.to_pylist()), key=str)
        for name, table in found.items()
    }


@pytest.mark.parametrize("seed", range(1, 40 if os.environ.get("STRATA_SOAK") else 2))
def test_day_by_day_is_as_reading_everything(
    settings: Settings, land: Land, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Also where files are corrected, where a run takes several days at once, and where runs die."""
    monkeypatch.setattr(parts, "ROWS_MIN", 20)
    whole: list[str] = []
    read = delivered.Raw.whole
    monkeypatch.setattr(delivered.Raw, "whole", lambda self, feed: whole.append(feed) or read(self, feed))
    rng = random.Random(seed)
    refresh, bases, sinces = DAY + timedelta(days=2), set(), set()
    for n in range(DAYS):
        day, corrected = DAY + timedelta(days=n), False
        deliver(land, rng, day)
        if n > 1 and n % 2:
            deliver(land, rng, DAY + timedelta(days=rng.randrange(n)))
            corrected = True
        if n == DAYS - 2:
            continue
        as_of = day + timedelta(days=1)
        known_at = [as_of, refresh] if n in (3, DAYS - 1) else [as_of]
        sweep(settings, as_of, run_id="test", released=day if n else None)
        for stop in STOPS.get(n, ()):
            with pytest.MonkeyPatch.context() as killed, pytest.raises(KeyboardInterrupt):
                stop(killed)
                write_links(settings, known_at)
        whole.clear()
        persons = write_links(settings, known_at)
        if n and not corrected and known_at == [as_of]:
            assert not whole, f"day {n} went through all of raw"
        bases |= {path.name for path in settings.identity.glob("*.base.*")}
        sinces |= {path.name for path in settings.identity.glob("*.since.*")}
        other = replace(settings, home=tmp_path / f"again{n}")
        shutil.copytree(settings.home, other.home, ignore=shutil.ignore_patterns("identity"))
        assert write_links(other, known_at) == persons
        assert told(settings) == told(other), f"day {n}"
        current = tables.read_current(settings.identity)
        named = {
            name for files in current.state["files"].values() for name in (files["base"], *files["since"])
        }
        kept = {path.name for path in settings.identity.glob("*.*.*.*")}
        assert kept == {*named, *current.files}
    assert len(bases) > 5 and len(sinces) > 5, "rows beside a base, and bases that took them over"


def test_who_says_nothing_comes_to_the_same_as_all_others(
    settings: Settings, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids in orders become persons without a look at each, unless a decision names them or a day says more of them."""
    days = [DAY + timedelta(days=n) for n in range(4)]
    for n, day in enumerate(days):
        ids = [f"{day}-{i},guest{i},{day},paid" for i in range(20) if i % 4 <= n]
        land(f"app/orders/{day}.csv", "order_id,source_customer_id,ordered_at,status\n" + "\n".join(ids))
    head = "source_customer_id,name,phone,email,birth_date\n"
    rows = "guest3,王芳,,,\nguest1,,13812345678,,\nguest2,,,,1980-01-01\nguest7,,,a@x.org,\n"
    land(f"app/customers/{days[1]}.csv", head + rows)
    land(f"app/customers/{days[1]}.b.csv", f"{head}gone,,,,\n")
    land(
        f"app/identity_links/{days[2]}.csv",
        f"link_id,source_customer_id,id_type,id_value_hash,confidence,observed_at\n1,guest5,unionid,u1,1,{days[2]}\n",
    )
    sweep(settings, days[2], run_id="test", released=None)
    # Comes late: of guest6 there are two states.
    land(
        f"app/orders/{DAY}.late.csv", f"order_id,source_customer_id,ordered_at,status\n1,guest6,{DAY},paid\n"
    )
    land(f"app/customers/{days[1]}.b.csv", f"{head}guest19,,,,\n")
    as_of = days[-1] + timedelta(days=1)
    sweep(settings, as_of, run_id="test", released=days[2])
    found: list[set[str]] = []
    real = delivered.set_apart

    def watched(con: duckdb.DuckDBPyConnection, done: date | None, near: str) -> None:
        real(con, done, near)
        found.append({id_ for (id_,) in con.execute("select id from apart").fetchall()})

    monkeypatch.setattr(delivered, "set_apart", watched)
    write_links(settings, [as_of])
    review.decide(settings, "accept", ("app/guest8", "app/guest9"), who="a", why="b", known_from=days[2])
    persons = write_links(settings, [as_of])
    told_apart, held = told(settings), state_of(settings)
    silent = {f"guest{n}" for n in range(20) if n not in (1, 2, 3, 5, 6, 7)}
    assert found == [silent, silent - {"guest8", "guest9"}]
    shutil.rmtree(settings.identity)
    monkeypatch.setattr(delivered, "set_apart", lambda con, done, near: real(con, DAY, near))
    assert write_links(settings, [as_of]) == persons
    assert (told(settings), state_of(settings)) == (told_apart, held)


def state_of(settings: Settings) -> dict[str, object]:
    """What the next run goes on from: the rows of each base, and the figures."""
    current = tables.read_current(settings.identity)
    state = current.state
    found = {
        name: sorted(map(str, pa.ipc.open_file(settings.identity / files["base"]).read_all().to_pylist()))
        for name, files in state["files"].items()
    }
    return found | {k: v for k, v in state.items() if k != "files"}


def test_another_process_goes_on_from_the_state(settings: Settings, land: Land) -> None:
    """Each day is a process of its own, in which sets have an order of their own."""
    deliver(land, random.Random(1), DAY)
    days = [DAY + timedelta(days=n) for n in (1, 2)]
    sweep(settings, days[0], run_id="test", released=None)
    write_links(settings, days[:1])
    before = tables.read_current(settings.identity).state
    code = (
        "from datetime import date; from pipeline import settings; from pipeline.identity.links import write_links; "
        f"write_links(settings.load(), [date.fromisoformat('{days[1]}')])"
    )
    environment = os.environ | {"PYTHONPATH": str(PROJECT_ROOT), "PYTHONHASHSEED": "1"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    after = tables.read_current(settings.identity).state
    assert after["day"] == str(days[1])
    assert after["files"] == before["files"], "began anew"
