"""The ledger: one row per delivered file, kept as Parquet beside raw; no row is ever changed.

A sweep writes its raw files first and its ledger rows last, in one rename. A raw file without a ledger row is
unknown to every reader, so a sweep that dies is simply done again.

Each batch adds one small file, `000123.parquet`. Once there are many they are folded into one, `000123.base.parquet`,
which holds the rows of every number up to its own: a home that takes in a dozen feeds a day would otherwise open
thousands of files after a year, many times a run.
"""

import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import StrataError
from pipeline.ingest.files import fsync, write_parquet
from pipeline.settings import Settings

_FILE = re.compile(r"(\d{6,})(\.base)?\.parquet")
_TEMPLATE = 0
_FILES_KEPT = 32

SCHEMA = pa.schema(
    [
        ("delivery", pa.string()),
        ("source", pa.string()),
        ("feed", pa.string()),
        ("stem", pa.string()),
        ("file", pa.string()),
        ("dt", pa.date32()),
        ("rev", pa.int32()),
        ("known_from", pa.date32()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
        ("content_bytes", pa.int64()),
        ("status", pa.string()),
        ("reject_code", pa.string()),
        ("reject_detail", pa.string()),
        ("reject_codes", pa.string()),
        ("rows_read", pa.int64()),
        ("rows_loaded", pa.int64()),
        ("rows_rejected", pa.int64()),
        ("rows_duplicate", pa.int64()),
        ("feed_rows", pa.string()),
        ("header_bytes", pa.int64()),
        ("blank_bytes", pa.int64()),
        ("record_bytes", pa.int64()),
        ("extra_columns", pa.string()),
        ("zone", pa.string()),
        ("currency", pa.string()),
        ("price_includes_tax", pa.bool_()),
        ("first_seen_at", pa.timestamp("us")),
        ("loaded_at", pa.timestamp("us")),
        ("replay_of", pa.string()),
        ("rules", pa.string()),
        ("run_id", pa.string()),
        ("file_stat", pa.string()),
    ]
)
ERASED_SCHEMA = pa.schema(
    [
        ("erasure", pa.string()),
        ("delivery", pa.string()),
        ("feed", pa.string()),
        ("rows_n", pa.int64()),
        ("erased_on", pa.date32()),
    ]
)
"""`raw/_erased/<erasure>.parquet`: rows that an erasure took out of raw, by delivery and contract feed.

The ledger's own counts stay: such a row was loaded. `written` to raw is what the ledger says, less these.
"""


@dataclass(frozen=True)
class Entry:
    """One delivered file. `rows_read = rows_loaded + rows_rejected + rows_duplicate` always holds.

    `status` is loaded, rejected (nothing of the file was loaded) or duplicate (the same bytes came before under
    another name). `dt` is None for a file that stands where no delivery stands. `file_stat` (size, times, inode)
    spares reading an unchanged file again.

    reject_codes: JSON, code → rejected records of a loaded file; they sum to `rows_rejected`.
    feed_rows: JSON, contract feed → rows written to raw; of a mapped file not the records delivered.
    content_bytes: size of what the records were cut from, decompressed; `header + blank + record bytes` add up to it.
        None where a format has no byte spans (Parquet, XLSX).
    first_seen_at, loaded_at: UTC, when the bytes were first met and when this row was made.
    replay_of: the delivery whose same bytes this one reads again, under `rules` (a hash) of its own day.
    """

    delivery: str
    source: str | None
    feed: str | None
    stem: str | None
    file: str
    dt: date | None
    rev: int
    known_from: date | None
    sha256: str
    bytes: int
    status: str
    loaded_at: datetime
    run_id: str
    file_stat: str
    reject_code: str | None = None
    reject_detail: str | None = None
    reject_codes: str | None = None
    rows_read: int = 0
    rows_loaded: int = 0
    rows_rejected: int = 0
    rows_duplicate: int = 0
    feed_rows: str | None = None
    content_bytes: int | None = None
    header_bytes: int | None = None
    blank_bytes: int | None = None
    record_bytes: int | None = None
    extra_columns: str | None = None
    zone: str | None = None
    currency: str | None = None
    price_includes_tax: bool = False
    first_seen_at: datetime | None = None
    replay_of: str | None = None
    rules: str | None = None

    def __post_init__(self) -> None:
        if self.rows_read != self.rows_loaded + self.rows_rejected + self.rows_duplicate:
            raise AssertionError(f"rows of {self.file} do not add up: {self}")
        if self.reject_codes and sum(json.loads(self.reject_codes).values()) != self.rows_rejected:
            raise AssertionError(f"reject codes of {self.file} do not add up: {self}")


@dataclass(frozen=True)
class _File:
    """One file of the ledger. `state` (size, time, inode) changes with its bytes."""

    number: int
    is_base: bool
    path: Path
    state: tuple[int, int, int]


def _listed(settings: Settings) -> tuple[list[_File], list[_File]]:
    """(the files that count, those that a base holds already), each oldest first.

    Raises StrataError for another Parquet file among them.
    """
    found = []
    for path in settings.ledger.glob("*.parquet"):
        match = _FILE.fullmatch(path.name)
        if path.name.startswith("."):
            continue
        if not match:
            raise StrataError(f"{path} is no file of the ledger and would count its rows again: take it away")
        # What a sweep has folded in since the folder was listed is gone; `read` looks again.
        with suppress(FileNotFoundError):
            stat = path.stat()
            state = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
            found.append(_File(int(match[1]), bool(match[2]), path, state))
    base = max((file.number for file in found if file.is_base), default=_TEMPLATE)
    counts = [
        f for f in found if f.number > base or f.number == _TEMPLATE or (f.is_base and f.number == base)
    ]
    held = [f for f in found if f not in counts]
    return sorted(counts, key=lambda f: f.number), sorted(held, key=lambda f: f.number)


# A run asks for the whole ledger at every step; its files only change by a sweep, and then their names or states do.
_last_read: dict[Path, tuple[list[_File], tuple[Entry, ...]]] = {}


def read(settings: Settings) -> list[Entry]:
    """Every entry, oldest first. Raises StrataError where a file was copied into the ledger."""
    while True:
        files, _ = _listed(settings)
        known = _last_read.get(settings.ledger)
        if known and known[0] == files:
            return list(known[1])
        # Beside a sweep that folds, a listing or a file of it may be of before and the next one of after.
        with suppress(FileNotFoundError):
            entries = _entries(files)
            if _listed(settings)[0] == files:
                _last_read.clear()
                _last_read[settings.ledger] = files, tuple(entries)
                return entries


def _entries(files: Sequence[_File]) -> list[Entry]:
    names = {field.name for field in fields(Entry)}
    entries: list[Entry] = []
    held: dict[tuple[str, str], Path] = {}
    for file in files:
        # `read_table` imports pandas, which takes longer than all the files of a home.
        with pq.ParquetFile(file.path) as rows:
            read = rows.read().to_pylist()
        for row in read:
            entry = Entry(**{k: v for k, v in row.items() if k in names})
            first = held.setdefault((entry.delivery, entry.file_stat), file.path)
            if first != file.path:
                raise StrataError(
                    f"{file.path} holds {entry.delivery}, which {first.name} holds as well: one is a copy, take it away"
                )
            entries.append(entry)
    return entries


def append(settings: Settings, entries: Iterable[Entry]) -> None:
    """Add entries in one rename: this is the commit of the raw files that they describe."""
    rows = [vars(entry) for entry in entries]
    if not rows:
        return
    settings.ledger.mkdir(parents=True, exist_ok=True)
    files, _ = _listed(settings)
    number = max((file.number for file in files), default=_TEMPLATE) + 1
    write_parquet(pa.Table.from_pylist(rows, SCHEMA), settings.ledger / f"{number:06d}.parquet")


def fold(settings: Settings) -> None:
    """Write many files as one base and take them away; the entries and their order stay.

    A base that was renamed into place hides every file of a smaller number, so a fold that dies has happened or not;
    what it left is taken away here by the next sweep. Nobody else may be writing: the caller holds the run lock.

    Raises StrataError where a file was copied into the ledger, or holds what the base that hides it does not.
    """
    files, held = _listed(settings)
    if held:
        known = {(entry.delivery, entry.file_stat) for entry in read(settings)}
        for file in held:
            rows = pq.read_table(file.path, columns=["delivery", "file_stat"]).to_pylist()
            lost = next((r["delivery"] for r in rows if (r["delivery"], r["file_stat"]) not in known), None)
            if lost:
                raise StrataError(
                    f"{file.path} holds {lost}, which the base of the ledger does not: restore raw from a backup"
                )
            file.path.unlink()
    files = [file for file in files if file.number != _TEMPLATE]
    if len(files) <= _FILES_KEPT:
        return
    rows = pa.Table.from_pylist([vars(entry) for entry in read(settings)], SCHEMA)
    base = settings.ledger / f"{files[-1].number:06d}.base.parquet"
    write_parquet(rows, base)
    fsync(settings.ledger)
    for file in files:
        if file.path != base:
            file.path.unlink()


def last_readings(entries: Iterable[Entry]) -> list[Entry]:
    """The entries without those whose bytes were read again: one row per delivered file, so that sums are sums."""
    entries = list(entries)
    replayed = {entry.replay_of for entry in entries if entry.replay_of}
    return [entry for entry in entries if entry.delivery not in replayed]


def in_force(entries: Iterable[Entry], as_of: date) -> list[Entry]:
    """The last revision of every stem with `dt < as_of` that was known at `as_of`, whatever its status."""
    latest: dict[tuple[str, str, str], Entry] = {}
    for entry in entries:
        if entry.dt is None or entry.known_from is None or entry.dt >= as_of or entry.known_from > as_of:
            continue
        key = (entry.source or "", entry.feed or "", entry.stem or "")
        if key not in latest or entry.rev > latest[key].rev:
            latest[key] = entry
    return sorted(latest.values(), key=lambda entry: entry.delivery)
