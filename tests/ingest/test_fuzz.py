"""Damaged files, through the real loader: both equations hold, nothing crashes, and an independent count agrees.

300 files; STRATA_SOAK=1 (`make soak`) makes it 10,000 in homes of 1,000.
"""

import gzip
import os
from collections import Counter, defaultdict
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline import settings as settings_module
from pipeline.ingest import ledger
from pipeline.ingest.load import sweep
from pipeline.settings import Settings
from tests.ingest.counter import Counted, count
from tests.ingest.fuzz import Fuzzed, fuzzed

DAY, AS_OF, SEED = "2024-05-06", date(2024, 5, 7), 20240506
SOAK = os.environ.get("STRATA_SOAK") == "1"
SIZE = 1_000 if SOAK else 300
ROUNDS = range(10 if SOAK else 1)


def _land(settings: Settings, numbers: range) -> dict[str, Fuzzed]:
    files = {}
    for number in numbers:
        made = fuzzed(SEED, number, DAY)
        name = f"{made.source}/{made.feed}/{DAY}.f{number}.{made.ext}"
        path = settings.landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made.data)
        files[name] = made
    return files


def _rows_by_delivery(folder: Path) -> Counter[str]:
    """Rows of Parquet files below a folder, by the delivery that they came with."""
    found: Counter[str] = Counter()
    for path in folder.rglob("*.parquet"):
        names = pq.read_schema(path).names
        key = next((n for n in ("_delivery", "delivery") if n in names), None)
        if key and not any(part.startswith("_") for part in path.relative_to(folder).parts):
            found.update(pq.read_table(path, columns=[key])[key].to_pylist())
    return found


@pytest.mark.soak
@pytest.mark.parametrize("round_", ROUNDS)
def test_both_equations_hold_on_damaged_files(
    round_: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("STRATA_LANDING", str(tmp_path / "landing"))
    monkeypatch.setenv("STRATA_TOKEN_KEY", "ab" * 32)
    settings = settings_module.load()
    files = _land(settings, range(round_ * SIZE, (round_ + 1) * SIZE))
    sweep(settings, AS_OF, run_id="fuzz", released=None)
    entries = {e.file: e for e in ledger.read(settings)}
    assert set(entries) == set(files), "each file has one row in the ledger"
    in_raw, in_quarantine = _rows_by_delivery(settings.raw), _rows_by_delivery(settings.quarantine)
    wrong: list[str] = []
    ends: dict[str, Counter[str]] = defaultdict(Counter)
    for name, made in files.items():
        entry = entries[name]
        ends[made.ext][entry.status] += 1
        found = (in_raw[entry.delivery], in_quarantine[entry.delivery])
        if entry.status != "loaded":
            fine = found == (0, 0) and (entry.rows_loaded, entry.rows_rejected) == (0, 0)
        else:
            fine = found == (entry.rows_loaded, entry.rows_rejected) and _agrees(made, entry)
        if not fine:
            wrong.append(
                f"{name}: {made.done} {entry.status} {entry.rows_read} {count(made.data, made.ext, made.encoding)}"
            )
    assert not wrong, "\n".join(wrong[:5])
    # A run in which everything is refused, or nothing, would show nothing.
    for ext in ("csv", "csv.gz", "jsonl", "xlsx", "parquet"):
        assert min(ends[ext]["loaded"], ends[ext]["rejected"]) > 0, (ext, ends[ext])
    assert sum(e.rows_loaded for e in entries.values()) > 2 * SIZE
    assert sum(e.rows_rejected for e in entries.values()) > SIZE // 4
    codes = {e.reject_code for e in entries.values()}
    assert {"wrong_format", "unbalanced_quote", "no_header", "missing_column"} <= codes


def _agrees(made: Fuzzed, entry: ledger.Entry) -> bool:
    counted = count(made.data, made.ext, made.encoding)
    read = entry.rows_loaded + entry.rows_rejected + entry.rows_duplicate
    if counted is None or not (counted.records == entry.rows_read == read):
        return False
    if counted.header_bytes is None:
        return entry.bytes == len(made.data)
    unpacked = gzip.decompress(made.data) if made.ext.endswith(".gz") else made.data
    ours = Counted(entry.rows_read, entry.header_bytes, entry.blank_bytes, entry.record_bytes)
    total = (entry.header_bytes or 0) + (entry.blank_bytes or 0) + (entry.record_bytes or 0)
    return ours == counted and total == entry.content_bytes == len(unpacked)


def test_a_file_is_made_again_from_its_number() -> None:
    assert fuzzed(SEED, 17, DAY) == fuzzed(SEED, 17, DAY)
    assert len({fuzzed(SEED, n, DAY).data for n in range(50)}) == 50
