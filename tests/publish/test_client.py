"""Readers through the client see whole releases while others are published; a reader through a link does not."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipeline import settings as settings_module
from pipeline.publish import client
from pipeline.publish.client import ReleaseError, current, open_current
from pipeline.publish.commit import remove, seal
from pipeline.publish.tables import PublishedTable, write_database
from tests.publish.test_release import Home, built, home  # noqa: F401

SOAK = os.environ.get("STRATA_SOAK") == "1"
READER = """
import json, sys, time
from pathlib import Path
import duckdb
from pipeline.publish.client import open_current
home, how, stop, pause = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), float(sys.argv[4])
n = torn = errors = 0
while not stop.exists():
    time.sleep(pause)
    try:
        if how == "client":
            con = open_current(home)
        else:
            con = duckdb.connect()
        if how == "client":
            values = [con.execute(f"select min(v), max(v) from audiences.{t}").fetchone() for t in ("one", "two")]
        else:
            # Each table is looked up behind the link when its turn comes, as a tool does that knows one path.
            values = [con.execute(f"select min(v), max(v) from read_parquet('{home}/latest/tables/audiences/{t}.parquet')").fetchone() for t in ("one", "two")]
        con.close()
        torn += len({v for pair in values for v in pair}) > 1
        n += 1
    except Exception:
        errors += 1
print(json.dumps({"n": n, "torn": torn, "errors": errors}))
"""


def test_the_client_opens_the_current_release_read_only(home: Home) -> None:  # noqa: F811
    published = home.publish()
    with open_current(home.settings.home) as con:
        assert con.execute("select count(*) from audiences.segment_membership").fetchone() == (40,)
        with pytest.raises(duckdb.Error, match="read-only"):
            con.execute("delete from audiences.segment_membership")
    found = current(home.settings.home)
    assert (found.id, found.path) == (published.release, published.path)
    assert found.parquet("segments.customer_small").is_file()
    with pytest.raises(ReleaseError, match="has no tables/segments/other.parquet"):
        found.parquet("segments.other")


def test_without_a_release_the_client_says_so(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="no release has been published"):
        open_current(tmp_path)


def test_a_pointer_or_a_release_that_cannot_be_read_is_said_so(home: Home) -> None:  # noqa: F811
    published = home.publish()
    published.path.rename(published.path.with_name("moved"))
    with pytest.raises(ReleaseError, match="release 2024-05-10 is not in .*No such file"):
        open_current(home.settings.home)
    home.settings.pointer.write_text("{")
    with pytest.raises(ReleaseError, match="CURRENT.json cannot be read"):
        open_current(home.settings.home)


@pytest.mark.parametrize("when", ["after the pointer", "after the manifest"])
def test_a_release_that_is_taken_away_meanwhile_gives_way_to_the_next(
    home: Home,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    """An erasure puts another release in the place of the one that a reader has just looked up."""
    home.publish()
    real = {"after the pointer": client._release, "after the manifest": client._sha256}[when]

    def taken_away(*args: Any) -> Any:
        monkeypatch.setattr(client, real.__name__, real)
        home.sql("update audiences.segment_summary set action_en = 'Call again'")
        home.build()
        home.publish(run="next")
        remove(home.settings.releases / "2024-05-10")
        return real(*args)

    monkeypatch.setattr(client, real.__name__, taken_away)
    with open_current(home.settings.home) as con:
        assert con.execute("select action_en from audiences.segment_summary").fetchone() == ("Call again",)


def test_every_flipped_bit_is_refused(home: Home) -> None:  # noqa: F811
    """One bit of a release's database, of a table or of the manifest; DuckDB itself reads many of them without a word."""
    folder = home.publish().path
    draw = random.Random(5)
    files = ["marts.duckdb", "tables/segments/customer_small.parquet", "manifest.json"]
    read_all_the_same = 0
    for n in range(1_000 if SOAK else 60):
        path = folder / files[n % 3]
        path.chmod(0o644)
        good = path.read_bytes()
        at, bit = draw.randrange(len(good)), draw.randrange(8)
        path.write_bytes(good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1 :])
        with pytest.raises(ReleaseError, match="is not the file that was published"):
            found = current(home.settings.home)
            found.file(files[n % 3])
        if files[n % 3].endswith(".parquet"):
            try:
                duckdb.sql(f"select max(hash(columns(*))) from read_parquet('{path}')").fetchall()
                read_all_the_same += 1
            except duckdb.Error:
                pass
        path.write_bytes(good)
    assert read_all_the_same, "if DuckDB found each by itself, the hash would prove nothing"


@pytest.mark.soak
def test_readers_see_whole_releases_while_others_are_published(tmp_path: Path) -> None:
    """10,000 swaps with 8 readers in the soak: none torn, no error. The same through a moving link fails."""
    swaps, readers = (10_000, 8) if SOAK else (300, 2)
    home_ = tmp_path / "home"
    numbers = count()
    _release(home_, next(numbers))
    counted = {how: _race(home_, how, numbers, swaps, readers, tmp_path) for how in ("client", "link")}
    print(counted)
    assert counted["client"]["n"] > 0 and (not SOAK or counted["client"]["swapped"] == swaps)
    assert (counted["client"]["torn"], counted["client"]["errors"]) == (0, 0)
    assert counted["link"]["torn"] + counted["link"]["errors"] > 0, "the test must bite"


def _race(
    home_: Path, how: str, numbers: Iterator[int], swaps: int, readers: int, tmp_path: Path
) -> Counter[str]:
    """Swaps and what the readers met meanwhile. The soak makes every swap; else, and behind the link, it is a matter of time."""
    script, stop = tmp_path / "reader.py", tmp_path / f"stop-{how}"
    script.write_text(READER)
    running = [
        subprocess.Popen(
            [
                sys.executable,
                str(script),
                str(home_),
                how,
                str(stop),
                "0.2" if SOAK and how == "client" else "0",
            ],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(settings_module.PROJECT_ROOT)},
        )
        for _ in range(readers)
    ]
    ends, swapped = time.time() + 11, 0
    while swapped < swaps and (time.time() < ends or (SOAK and how == "client")):
        swapped += 1
        _release(home_, next(numbers))
        if SOAK and swapped % 1_000 == 0:
            print(how, swapped, "swaps", flush=True)
    stop.touch()
    total = Counter(swapped=swapped)
    for process in running:
        total.update(json.loads(process.communicate(timeout=120)[0]))
    return total


def _content(folder: Path, n: int) -> Path:
    """Tables and database that all hold `n`, made once: a race needs neighbours that differ, and many of them."""
    made = folder / str(n)
    if not made.exists():
        tables = [PublishedTable("audiences", t, ("v",), ("v",)) for t in ("one", "two")]
        for t in tables:
            path = made / "tables" / t.schema / f"{t.name}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            duckdb.execute(f"copy (select {n} as v from range(10)) to '{path}' (format parquet)")
        write_database(made, tables)
    return made


def _release(home_: Path, n: int) -> None:
    """A small release whose tables all hold one number, published by the product's own last steps."""
    os.environ["STRATA_HOME"] = str(home_)
    settings = settings_module.load()
    name = f"2024-05-10-r{n + 1}" if n else "2024-05-10"
    candidate = settings.releases / ".tmp-swap"
    shutil.copytree(_content(home_.parent / "made", n % 50), candidate)
    before = f"2024-05-10-r{n}" if n > 1 else "2024-05-10" if n else None
    seal(settings, candidate, {"release": name, "previous_release": before}, is_current=True)
    link = home_ / ".latest"
    link.symlink_to(settings.releases / name)
    link.replace(home_ / "latest")
    # Kept as retention keeps them: a reader that has just read the pointer still finds what it names, also one that has
    # to wait for a processor.
    if n > 200:
        remove(settings.releases / (f"2024-05-10-r{n - 199}"))
