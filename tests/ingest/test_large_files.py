"""What is too large for memory takes other ways through the loader and must come to the same.

The ways: a clean CSV is typed and written while it is read; anything else is put down as text first; a large Parquet
file is read in place. The limits are made small here, so that every file is large.
"""

import hashlib
import json
import os
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline import settings as settings_module
from pipeline.ingest import large_files, ledger, loader, pending
from pipeline.ingest.large_files import LargeFiles
from pipeline.ingest.load import sweep
from pipeline.ingest.reading import content, reader
from pipeline.settings import Settings
from tests.ingest.bad_inputs import CASES, DAY, SOURCES, order, parquet
from tests.ingest.bad_inputs import ORDERS as HEAD
from tests.ingest.fuzz import fuzzed

Land = Callable[[str, bytes | str], Path]
AS_OF = date(2024, 5, 7)
GOOD = HEAD + "".join(order(f"g-{i}", discount=f"{i}.5") for i in range(300))
SOAK = os.environ.get("STRATA_SOAK") == "1"
COUNTS = (
    "status",
    "reject_code",
    "reject_codes",
    "rows_read",
    "rows_loaded",
    "rows_rejected",
    "rows_duplicate",
)
BYTES = ("header_bytes", "blank_bytes", "record_bytes", "content_bytes", "extra_columns", "sha256")


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "BLOCK_BYTES", 900)
    for module in (reader, pending):
        monkeypatch.setattr(module, "SPOOL_BYTES", 2_000)
    monkeypatch.setattr(pending, "_STREAM_ROWS", 20)


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What each file that was tried while reading came to."""
    seen: list[bool] = []
    real = LargeFiles.stream

    def watched(self: LargeFiles, given: Any) -> bool:
        seen.append(real(self, given))
        return seen[-1]

    monkeypatch.setattr(LargeFiles, "stream", watched)
    return seen


def profiled(settings: Settings) -> dict[str, list[tuple[str, str, Any]]]:
    """What the gates are told of each delivery; a sum of money is a double, added up in any order."""
    told: dict[str, list[tuple[str, str, Any]]] = {}
    for path in settings.raw.glob("_profile/*/*.parquet"):
        for row in pq.read_table(path).to_pylist():
            values = ((k, round(v, 6) if isinstance(v, float) else v) for k, v in row.items())
            told.setdefault(row["delivery"], []).extend((path.parent.name, k, v) for k, v in values)
    return {delivery: sorted(values, key=repr) for delivery, values in told.items()}


def taken_in(settings: Settings) -> dict[str, tuple[Any, ...]]:
    """Counts, loaded values and profile of each file, however it was read."""
    sweep(settings, AS_OF, run_id="large", released=None)
    rows: dict[str, list[str]] = {}
    for path in settings.raw.glob("[!_]*/*/*/*/*.parquet"):
        for row in pq.read_table(path).to_pylist():
            rows.setdefault(row["_delivery"], []).append(repr(sorted(row.items())))
    rejects: dict[str, list[Any]] = {}
    for path in settings.quarantine.glob("[!_]*/*/*/*.parquet"):
        for row in pq.read_table(path).to_pylist():
            rejects.setdefault(row["delivery"], []).append((row["record_no"], row["code"], row["column"]))
    profiles = profiled(settings)
    return {
        e.file: (
            [getattr(e, name) for name in (*COUNTS, *BYTES)],
            sorted(rows.get(e.delivery, [])),
            sorted(rejects.get(e.delivery, []), key=repr),
            profiles.get(e.delivery),
        )
        for e in ledger.read(settings)
    }


@pytest.mark.parametrize(
    ("text", "at_once", "counts"),
    [
        (GOOD, True, (300, 300, 0, 0)),
        (GOOD.replace("\n", "\r\n"), True, (300, 300, 0, 0)),
        (GOOD.replace("c-g-7,", '"c,\n7",'), True, (300, 300, 0, 0)),
        (GOOD + order("bad", currency="XXX"), False, (301, 300, 1, 0)),
        (GOOD + order("g-7", discount="7.5"), False, (301, 300, 0, 1)),
        (GOOD + order("g-7", status="completed"), False, (301, 300, 1, 0)),
        (GOOD + "short\n", False, (301, 300, 1, 0)),
        (GOOD + "\n" + order("late"), False, (301, 301, 0, 0)),
        (GOOD + order("张"), True, (301, 301, 0, 0)),
        (GOOD + order("e\u0301"), False, (301, 301, 0, 0)),
        (GOOD + order("words", discount="¥5"), False, (301, 301, 0, 0)),
    ],
    ids=[
        "clean",
        "crlf",
        "quoted",
        "broken rule",
        "equal row",
        "same key",
        "short",
        "blank",
        "wide",
        "not composed",
        "not plain",
    ],
)
def test_a_large_csv(
    settings: Settings,
    land: Land,
    small_limits: None,
    streamed: list[bool],
    text: str,
    at_once: bool,
    counts: tuple[int, ...],
) -> None:
    land(f"shop/orders/{DAY}.csv", text)
    ((ledger_row, loaded, *_),) = taken_in(settings).values()
    assert streamed == [at_once]
    assert tuple(ledger_row[3:7]) == counts
    assert len(loaded) == counts[1]
    assert sum(ledger_row[len(COUNTS) : len(COUNTS) + 3]) == len(text.encode())
    assert not list((settings.vault / "spill").glob("*.parquet")), (
        "text with personal data is not left lying about"
    )


@pytest.mark.parametrize(
    ("text", "code"),
    [(GOOD + '"open\n', "unbalanced_quote"), (GOOD.replace("order_id", "x", 1), "missing_column")],
)
def test_a_large_csv_that_is_refused_leaves_nothing(
    settings: Settings, land: Land, small_limits: None, text: str, code: str
) -> None:
    land(f"shop/orders/{DAY}.csv", text)
    ((ledger_row, loaded, *_),) = taken_in(settings).values()
    assert (ledger_row[:2], loaded) == (["rejected", code], [])
    assert not list(settings.raw.glob("shop/**/*.parquet"))
    assert not list((settings.vault / "spill").glob("*.parquet"))


def test_a_large_csv_is_hashed_before_it_is_read_only_where_it_may_repeat_another(
    settings: Settings, land: Land, small_limits: None, streamed: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    real = loader.sha256_of
    monkeypatch.setattr(loader, "sha256_of", lambda path: hashed.append(path.name) or real(path))
    other = GOOD.replace("g-7,", "g-x,")
    lands = {f"{DAY}.1": GOOD, f"{DAY}.2": GOOD, f"{DAY}.3": other, f"{DAY}.4": GOOD + order("more")}
    for stem, text in lands.items():
        land(f"shop/orders/{stem}.csv", text)
    found = taken_in(settings)
    assert [row[0][:2] for _, row in sorted(found.items())] == [
        ["loaded", None],
        ["duplicate", "duplicate_file"],
        ["loaded", None],
        ["loaded", None],
    ]
    assert hashed == [f"{DAY}.2.csv", f"{DAY}.3.csv"]
    assert all(
        row[0][-1] == hashlib.sha256(lands[Path(file).stem].encode()).hexdigest()
        for file, row in found.items()
    )
    assert taken_in(settings) == found


@pytest.mark.parametrize("said", [{"sha256": "0" * 64}, {"rows": 299}, {"bytes": 7}])
def test_a_large_csv_is_held_against_its_manifest(
    settings: Settings, land: Land, small_limits: None, said: dict[str, Any]
) -> None:
    land(f"shop/orders/{DAY}.csv", GOOD)
    land(f"shop/orders/{DAY}.csv.manifest.json", json.dumps(said))
    ((ledger_row, loaded, *_),) = taken_in(settings).values()
    assert (ledger_row[:2], loaded) == (["rejected", "manifest_mismatch"], [])
    assert ledger_row[-1] == hashlib.sha256(GOOD.encode()).hexdigest()
    assert not list(settings.raw.glob("shop/**/*.parquet"))


def test_a_large_csv_that_changes_while_it_is_read_is_refused(
    settings: Settings, land: Land, small_limits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = land(f"shop/orders/{DAY}.csv", GOOD)
    real = reader._read_content

    def read(given: Path, *rest: Any, **more: Any) -> None:
        path.write_text(GOOD + order("more"))
        real(given, *rest, **more)

    monkeypatch.setattr(reader, "_read_content", read)
    ((ledger_row, loaded, *_),) = taken_in(settings).values()
    assert (ledger_row[:2], loaded) == (["rejected", "changed_while_read"], [])
    assert not list(settings.raw.glob("shop/**/*.parquet"))


def test_a_large_parquet_file_with_something_to_tell(
    settings: Settings, land: Land, small_limits: None
) -> None:
    ids = [f"p-{i}" for i in range(40)]
    rows = {"order_id": [*ids, "p-1", ""], "ordered_at": [f"{DAY} 12:00:00"] * 42, "status": ["paid"] * 42}
    land(f"shop/orders/{DAY}.parquet", parquet(rows))
    ((ledger_row, loaded, rejects, _),) = taken_in(settings).values()
    assert tuple(ledger_row[3:7]) == (42, 40, 1, 1)
    assert (len(loaded), rejects) == (40, [(42, "missing_value", "order_id")])


def test_a_file_that_is_refused_after_its_rows_were_written_leaves_nothing(
    settings: Settings, land: Land, small_limits: None, streamed: list[bool]
) -> None:
    rows = [line.split(",", 1) for line in GOOD.splitlines()]
    text = "".join(
        f"source,{head},{rest}\n" if not n else f"app,{head},{rest}\n" for n, (head, rest) in enumerate(rows)
    )
    land(f"shop/orders/{DAY}.csv", text)
    ((ledger_row, loaded, _, told),) = taken_in(settings).values()
    assert (ledger_row[:2], loaded, told) == (["rejected", "wrong_source"], [], None)


@pytest.mark.soak
def test_every_way_comes_to_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad inputs and damaged files, once with the limits as they are and once with small ones.

    A part of them; STRATA_SOAK=1 (`make soak`) takes the whole table and 300 damaged files.
    """
    from pipeline.ingest import contracts

    declared = {**contracts.load_sources(), **SOURCES}
    monkeypatch.setattr(contracts, "load_sources", lambda: declared)
    monkeypatch.setenv("STRATA_LANDING", str(tmp_path / "landing"))
    monkeypatch.setenv("STRATA_TOKEN_KEY", "ab" * 32)
    landing = tmp_path / "landing"
    files = {
        c.file: c.data()
        for c in CASES[:: 1 if SOAK else 5]
        if c.place is None and c.source != "online_retail"
    }
    for number in range(5_000_000, 5_000_300 if SOAK else 5_000_030):
        made = fuzzed(11, number, DAY)
        files[f"{made.source}/{made.feed}/{DAY}.z{number}.{made.ext}"] = made.data
    for name, data in files.items():
        (landing / name).parent.mkdir(parents=True, exist_ok=True)
        (landing / name).write_bytes(data)
    monkeypatch.setenv("STRATA_HOME", str(tmp_path / "home"))
    usual = taken_in(settings_module.load())
    monkeypatch.setenv("STRATA_HOME", str(tmp_path / "home2"))
    monkeypatch.setattr(content, "BLOCK_BYTES", 700)
    for module in (reader, pending):
        monkeypatch.setattr(module, "SPOOL_BYTES", 0)
    monkeypatch.setattr(pending, "_STREAM_ROWS", 0)
    # Else what is wrong in the first rows would keep every file from the quickest way.
    monkeypatch.setattr(large_files, "_PROBED_ROWS", 0)
    other = taken_in(settings_module.load())
    assert set(usual) == set(other) == set(files)
    different = [name for name in files if usual[name] != other[name]]
    assert not different, (different[:3], usual[different[0]], other[different[0]])
