"""The same file, a corrected file, a repeated file: what the ledger says and what raw holds afterwards."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import StrataError
from pipeline.ingest import ledger, profile
from pipeline.ingest.files import write_parquet
from pipeline.ingest.ledger import Entry
from pipeline.ingest.load import sweep
from pipeline.quality.history import read_history
from pipeline.settings import Settings

Land = Callable[[str, bytes | str], Path]
HEAD = "order_id,ordered_at,status\n"
FILE = "shop/orders/2024-05-06.csv"


def orders(*ids: str, day: str = "2024-05-06") -> str:
    return HEAD + "".join(f"{name},{day} 10:00:00,paid\n" for name in ids)


def take_in(settings: Settings, as_of: date = date(2024, 5, 10), released: date | None = None) -> list[Entry]:
    return list(sweep(settings, as_of, run_id="test", released=released).entries)


def ids_in_force(settings: Settings, as_of: date = date(2024, 5, 10)) -> list[str]:
    """Order ids that a build for `as_of` reads: joined by delivery, as staging does it."""
    good = {e.delivery for e in ledger.in_force(ledger.read(settings), as_of) if e.status == "loaded"}
    rows = [
        row
        for file in settings.raw.glob("[!_]*/orders/*/*/*.parquet")
        for row in pq.read_table(file).to_pylist()
    ]
    return sorted(row["order_id"] for row in rows if row["_delivery"] in good)


def told(entries: list[Entry]) -> list[tuple[int, str, int]]:
    return [(e.rev, e.status, e.rows_read) for e in entries]


def test_the_same_file_again_makes_no_ledger_row(settings: Settings, land: Land) -> None:
    path = land(FILE, orders("a"))
    assert told(take_in(settings)) == [(1, "loaded", 1)]
    before = sorted(settings.ledger.iterdir())
    assert take_in(settings) == []
    os.utime(path, ns=(1, 1))
    assert take_in(settings) == [], "touched, but the bytes are the same"
    assert sorted(settings.ledger.iterdir()) == before


def test_a_corrected_file_is_the_next_revision_and_both_stay_in_the_ledger(
    settings: Settings, land: Land
) -> None:
    land(FILE, orders("a"))
    take_in(settings)
    land(FILE, orders("b", "c"))
    take_in(settings)
    assert told(ledger.read(settings)) == [(1, "loaded", 1), (2, "loaded", 2)]
    assert ids_in_force(settings) == ["b", "c"]


def test_first_content_delivered_again_after_a_correction_is_a_third_revision(
    settings: Settings, land: Land
) -> None:
    for content in ("a", "b", "a"):
        land(FILE, orders(content))
        take_in(settings)
    assert told(ledger.read(settings)) == [(1, "loaded", 1), (2, "loaded", 1), (3, "loaded", 1)]
    assert ids_in_force(settings) == ["a"]


def test_a_refused_correction_does_not_bring_the_earlier_file_back(settings: Settings, land: Land) -> None:
    land(FILE, orders("a"))
    take_in(settings)
    land(FILE, b"")
    take_in(settings)
    assert told(ledger.read(settings)) == [(1, "loaded", 1), (2, "rejected", 0)]
    assert ids_in_force(settings) == []


@pytest.mark.parametrize("sweeps", [1, 2], ids=["together", "one after the other"])
def test_same_bytes_under_another_name_are_a_duplicate_file(
    settings: Settings, land: Land, sweeps: int
) -> None:
    land(FILE, orders("a", "b"))
    if sweeps == 2:
        take_in(settings)
    land("shop/orders/2024-05-07.csv", orders("a", "b"))
    take_in(settings)
    again = ledger.read(settings)[1]
    assert (again.status, again.reject_code, again.rows_read, again.rows_duplicate) == (
        "duplicate",
        "duplicate_file",
        2,
        2,
    )
    assert FILE in (again.reject_detail or "")
    assert ids_in_force(settings) == ["a", "b"]


def test_a_duplicate_counts_once_the_file_that_it_repeated_is_corrected(
    settings: Settings, land: Land
) -> None:
    """Store B's file was delivered as store A's too; with A corrected, the bytes are B's alone and must load."""
    land("shop/orders/2024-05-06.a.csv", orders("b1"))
    land("shop/orders/2024-05-06.b.csv", orders("b1"))
    take_in(settings)
    land("shop/orders/2024-05-06.a.csv", orders("a1"))
    take_in(settings)
    assert ids_in_force(settings) == ["a1", "b1"]


def test_a_duplicate_counts_even_when_its_name_sorts_before_the_corrected_file(
    settings: Settings, land: Land
) -> None:
    land("shop/orders/2024-05-06.b.csv", orders("b1"))
    take_in(settings)
    land("shop/orders/2024-05-06.a.csv", orders("b1"))
    take_in(settings)
    land("shop/orders/2024-05-06.b.csv", orders("b2"))
    take_in(settings)
    assert ids_in_force(settings) == ["b1", "b2"]


def test_two_days_without_rows_are_two_deliveries(settings: Settings, land: Land) -> None:
    for day in ("06", "07"):
        land(f"shop/orders/2024-05-{day}.csv", HEAD)
    assert told(take_in(settings)) == [(1, "loaded", 0), (1, "loaded", 0)]


def test_a_part_named_like_the_default_does_not_overwrite_the_whole_file(
    settings: Settings, land: Land
) -> None:
    land(FILE, orders("a"))
    land("shop/orders/2024-05-06.data.csv", orders("b"))
    take_in(settings)
    assert ids_in_force(settings) == ["a", "b"]


def test_formats_may_change_from_day_to_day(settings: Settings, land: Land, tmp_path: Path) -> None:
    import pyarrow as pa

    land(FILE, orders("a"))
    pq.write_table(
        pa.table({"order_id": ["b"], "ordered_at": ["2024-05-07 10:00:00"], "status": ["paid"]}),
        settings.landing / "shop/orders/2024-05-07.parquet",
    )
    land(
        "shop/orders/2024-05-08.jsonl",
        '{"order_id": "c", "ordered_at": "2024-05-08 10:00:00", "status": "paid"}\n',
    )
    assert told(take_in(settings)) == [(1, "loaded", 1)] * 3
    assert ids_in_force(settings) == ["a", "b", "c"]


JSONL = "shop/orders/2024-05-06.jsonl"
AS_JSON = '{"order_id": "b", "ordered_at": "2024-05-06 10:00:00", "status": "paid"}\n'


@pytest.mark.parametrize(("gone", "stays"), [(JSONL, "a"), (FILE, "b")])
@pytest.mark.parametrize("first", [True, False])
def test_one_delivery_in_two_formats_is_refused_until_one_is_gone(
    settings: Settings, land: Land, gone: str, stays: str, first: bool
) -> None:
    """Together on one day, or a CSV in force and a JSONL a day later: neither replaces the other in silence."""
    land(FILE, orders("a"))
    if first:
        take_in(settings)
        assert ids_in_force(settings) == ["a"]
    land(JSONL, AS_JSON)
    refused = take_in(settings)
    assert {(e.status, e.reject_code) for e in refused} == {("rejected", "two_formats")}
    assert len(refused) == (1 if first else 2)
    assert ids_in_force(settings) == [] and take_in(settings) == []
    (settings.landing / gone).unlink()
    (entry,) = take_in(settings)
    assert (entry.status, entry.rev, ids_in_force(settings)) == ("loaded", 3, [stays])
    assert take_in(settings) == []


def test_another_format_in_the_place_of_a_file_that_is_gone_is_a_revision_and_said(
    settings: Settings, land: Land
) -> None:
    land(FILE, orders("a"))
    take_in(settings)
    (settings.landing / FILE).unlink()
    land(JSONL, AS_JSON)
    told: list[str] = []
    sweep(settings, date(2024, 5, 10), run_id="test", released=None, log=told.append)
    assert f"{JSONL} takes the place of {FILE} (revision 2)" in told
    assert [(e.file, e.rev) for e in ledger.read(settings)] == [(FILE, 1), (JSONL, 2)]
    assert ids_in_force(settings) == ["b"]


def test_a_late_file_is_known_from_the_run_that_took_it_in(settings: Settings, land: Land) -> None:
    land(FILE, orders("a"))
    land("shop/orders/2024-05-09.csv", orders("z", day="2024-05-09"))
    entries = take_in(settings, released=date(2024, 5, 8))
    assert [(e.dt, e.known_from) for e in entries] == [
        (date(2024, 5, 6), date(2024, 5, 10)),
        (date(2024, 5, 9), date(2024, 5, 10)),
    ]


def test_an_order_of_weeks_ago_keeps_its_day_and_lies_where_it_was_delivered(
    settings: Settings, land: Land
) -> None:
    land(FILE, HEAD + "old,2024-04-02 23:30:00,paid\nnew,2024-05-06 10:00:00,paid\n")
    take_in(settings)
    (file,) = settings.raw.glob("shop/orders/*/*/*.parquet")
    assert file.parts[-3] == "dt=2024-05-06"
    found = {row["order_id"]: row["ordered_at"] for row in pq.ParquetFile(file).read().to_pylist()}
    assert found == {"old": datetime(2024, 4, 2, 15, 30), "new": datetime(2024, 5, 6, 2)}


def test_files_of_later_days_wait(settings: Settings, land: Land) -> None:
    land(FILE, orders("a"))
    land("shop/orders/2024-05-07.csv", orders("b"))
    assert [e.dt for e in take_in(settings, date(2024, 5, 7))] == [date(2024, 5, 6)]
    assert [e.dt for e in take_in(settings, date(2024, 5, 8))] == [date(2024, 5, 7)]


def test_what_a_sweep_that_died_left_behind_is_not_counted(settings: Settings, land: Land) -> None:
    """Raw was written, the ledger was not, and the source replaced the file by one without rows."""
    land(FILE, orders("a"))
    take_in(settings)
    for path in settings.ledger.glob("*.parquet"):
        path.unlink()
    land(FILE, HEAD)
    assert told(take_in(settings)) == [(1, "loaded", 0)]
    assert ids_in_force(settings) == []


def test_the_order_of_arrival_does_not_change_what_is_known(
    settings: Settings, land: Land, tmp_path: Path
) -> None:
    from dataclasses import replace

    files = {f"shop/orders/2024-05-0{n}.csv": orders(f"o{n}", day=f"2024-05-0{n}") for n in (1, 2, 3)}
    for name, text in files.items():
        land(name, text)
    take_in(settings)
    other = replace(settings, home=tmp_path / "other", landing=tmp_path / "other-landing")
    for name in reversed(files):
        path = other.landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[name])
        take_in(other)
    shown = [
        sorted((e.delivery, e.known_from, e.sha256, e.rows_loaded) for e in ledger.read(s))
        for s in (settings, other)
    ]
    assert shown[0] == shown[1]
    assert ids_in_force(settings) == ids_in_force(other) == ["o1", "o2", "o3"]


def test_a_landing_that_is_not_there_is_told(settings: Settings) -> None:
    settings.landing.rmdir()
    with pytest.raises(StrataError, match="landing folder .* does not exist: make it"):
        take_in(settings)


def test_a_feed_that_nobody_delivers_still_has_its_typed_file(settings: Settings) -> None:
    import duckdb

    take_in(settings)
    pattern = settings.raw / "*" / "tickets" / "*" / "*" / "*.parquet"
    found = duckdb.sql(f"select * from read_parquet('{pattern}', union_by_name = true)")
    assert len(found) == 0
    assert dict(zip(found.columns, map(str, found.types), strict=True))["text_token"] == "VARCHAR"


# Many small files


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger is folded beyond five files and the profiles of a feed beyond two, so that a week shows it."""
    monkeypatch.setattr(ledger, "_FILES_KEPT", 5)
    monkeypatch.setattr(profile, "_FILES_KEPT", 2)


def _days(n: int) -> list[str]:
    return [str(date(2024, 1, 1) + timedelta(days=at)) for at in range(n)]


def _aged(settings: Settings, land: Land, days: list[str]) -> list[Entry]:
    """A home that took in one file a day; its entries."""
    for at, day in enumerate(days):
        land(f"shop/orders/{day}.csv", orders(f"o{at}", day=day))
        take_in(settings)
    return ledger.read(settings)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.usefixtures("few")
def test_a_ledger_of_many_files_is_folded_and_says_the_same(settings: Settings, land: Land) -> None:
    """Without it a home of a dozen feeds opens some four thousand files after a year, twenty times a run."""
    entries = _aged(settings, land, _days(8))
    assert [e.stem for e in entries] == _days(8)
    assert _names(settings.ledger) == [
        "000000.parquet",
        "000006.base.parquet",
        "000007.parquet",
        "000008.parquet",
    ]
    assert len(pq.read_table(settings.ledger)) == 8, "whoever reads the folder finds each entry once"
    profiles = _names(settings.raw / "_profile" / "orders")
    assert "base.parquet" in profiles and len(profiles) <= 3
    found = read_history(settings, date(2024, 5, 10)).feeds["orders"].deliveries
    assert [d.rows for d in found] == [1] * 8


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("left", [1, 4, 6])
def test_a_fold_that_was_killed_has_happened(
    settings: Settings, land: Land, tmp_path: Path, left: int
) -> None:
    """The base stands, and some of the files that it holds were not yet taken away."""
    entries = _aged(settings, land, _days(6))
    shutil.copytree(settings.ledger, tmp_path / "before")
    ledger.fold(settings)
    for n in range(left, 7):
        shutil.copy2(tmp_path / "before" / f"{n:06d}.parquet", settings.ledger)
    assert ledger.read(settings) == entries
    land("shop/orders/2024-03-01.csv", orders("late", day="2024-03-01"))
    assert told(take_in(settings)) == [(1, "loaded", 1)]
    assert _names(settings.ledger) == ["000000.parquet", "000006.base.parquet", "000007.parquet"]
    entries = _aged(settings, land, ["2024-03-02", "2024-03-03", "2024-03-04", "2024-03-05"])
    shutil.copytree(settings.ledger, tmp_path / "later")
    ledger.fold(settings)
    shutil.copytree(tmp_path / "later", settings.ledger, dirs_exist_ok=True)
    assert "000006.base.parquet" in _names(settings.ledger), "the base that this one holds is left as well"
    assert ledger.read(settings) == entries
    ledger.fold(settings)
    assert _names(settings.ledger) == ["000000.parquet", "000011.base.parquet"]


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("listed_before", [1, 3])
def test_whoever_reads_beside_a_fold_reads_all(
    settings: Settings, land: Land, monkeypatch: pytest.MonkeyPatch, listed_before: int
) -> None:
    """The folder is folded while it is listed: the base was not seen, and what was seen is gone or the template alone."""
    entries = _aged(settings, land, _days(6))
    ledger._last_read.clear()
    listed, seen = ledger._listed, []

    def before_the_fold(of: Settings) -> object:
        found = listed(of)
        if not seen:
            seen.append(found)
            ledger.fold(of)
            ledger._last_read.clear()
            return found[0][:listed_before], []
        return found

    monkeypatch.setattr(ledger, "_listed", before_the_fold)
    assert ledger.read(settings) == entries
    assert len(seen) == 1


@pytest.mark.usefixtures("few")
def test_a_file_that_the_base_hides_is_not_taken_away_with_rows_of_its_own(
    settings: Settings, land: Land
) -> None:
    _aged(settings, land, _days(6))
    ledger.fold(settings)
    other = replace(ledger.read(settings)[0], delivery="shop/orders/2023-12-31/rev=1")
    path = settings.ledger / "000004.parquet"
    write_parquet(pa.Table.from_pylist([vars(other)], ledger.SCHEMA), path)
    with pytest.raises(
        StrataError, match=r"000004.parquet holds shop/orders/2023-12-31/rev=1, which the base"
    ):
        take_in(settings)
    assert path.exists()
