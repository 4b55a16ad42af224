"""Quarantine: every rejected record with its position and the rule that it broke, never a clear personal value.

`quarantine/<source>/<feed>/<stem>/rev=N.parquet`, one file a delivery that has rejected records. It is never
rewritten: a replay reads the same bytes again under the rules of today and is the delivery's next revision. What
became of a record is told by comparing the revisions.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import StrataError
from pipeline.ingest import ledger
from pipeline.ingest.files import file_stat, write_parquet
from pipeline.ingest.landing import scan
from pipeline.ingest.ledger import Entry
from pipeline.ingest.reject_codes import load_codes
from pipeline.settings import Settings
from pipeline.words import counted

SCHEMA = pa.schema(
    [
        ("delivery", pa.string()),
        ("record_no", pa.int64()),
        ("code", pa.string()),
        ("column", pa.string()),
        ("value", pa.string()),
        ("byte_start", pa.int64()),
        ("byte_end", pa.int64()),
    ]
)
DUPLICATES = pa.schema(
    [
        ("delivery", pa.string()),
        ("record_no", pa.int64()),
        ("of_delivery", pa.string()),
        ("of_record_no", pa.int64()),
    ]
)
_EXAMPLES = 3


def path_of(settings: Settings, delivery: str) -> Path:
    """Where the rejected records of one delivery lie."""
    return settings.quarantine / f"{delivery}.parquet"


def write(settings: Settings, delivery: str, rows: Iterable[tuple[object, ...]]) -> None:
    """Write the rejected records of one delivery, each (record_no, code, column, value, byte_start, byte_end).

    A sweep done again after a crash replaces what it left.
    """
    _write(path_of(settings, delivery), SCHEMA, [(delivery, *row) for row in rows])


@dataclass(frozen=True)
class Record:
    """One rejected record. `value` is empty in feeds with personal columns; byte spans where the reader knows them."""

    record_no: int
    code: str
    column: str | None
    value: str | None
    byte_start: int | None
    byte_end: int | None


def read(settings: Settings, delivery: str) -> list[Record]:
    """The rejected records of one delivery, by record number."""
    path = path_of(settings, delivery)
    if not path.exists():
        return []
    rows = pq.read_table(path, columns=SCHEMA.names[1:]).to_pylist()
    return sorted((Record(**row) for row in rows), key=lambda r: r.record_no)


def write_duplicates(settings: Settings, delivery: str, rows: Iterable[tuple[int, str, int | None]]) -> None:
    """Note which records of a delivery repeat which, each (record_no, delivery and record_no of the first)."""
    _write(duplicates_path(settings, delivery), DUPLICATES, [(delivery, *row) for row in rows])


def _write(path: Path, schema: pa.Schema, rows: Sequence[tuple[object, ...]]) -> None:
    if rows:
        columns = [pa.array(v, f.type) for v, f in zip(zip(*rows, strict=True), schema, strict=True)]
        write_parquet(pa.table(columns, schema=schema), path)
    else:
        path.unlink(missing_ok=True)


def duplicates_path(settings: Settings, delivery: str) -> Path:
    """Where the repeated records of one delivery are named."""
    return settings.quarantine / "_duplicates" / f"{delivery}.parquet"


@dataclass(frozen=True)
class Filter:
    """Which rejects are meant; what is None or empty does not narrow."""

    source: str | None = None
    feed: str | None = None
    code: str | None = None
    names: tuple[str, ...] = ()

    def meets(self, entry: Entry) -> bool:
        """Whether the file is meant: `names` holds deliveries, files below landing, or the start of either."""
        return (
            self.source in (None, entry.source)
            and self.feed in (None, entry.feed)
            and (not self.names or any(n in (entry.delivery, entry.file, _stem(entry)) for n in self.names))
        )


def _stem(entry: Entry) -> str:
    return f"{entry.source}/{entry.feed}/{entry.stem}"


@dataclass
class Group:
    """Rejects of one file with one code and column, and what has become of them.

    `state` is rejected (still open), loaded or duplicate (a replay took them in), corrected (another file of the same
    name came) or gone (a misplaced file that was taken away). `by` names the delivery that moved them.
    """

    source: str | None
    feed: str | None
    file: str
    delivery: str
    what: str
    code: str
    column: str | None
    state: str
    by: str | None
    rows_n: int = 0
    detail: str | None = None
    examples: list[Record] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def groups(settings: Settings, wanted: Filter = Filter(), *, every: bool = False) -> list[Group]:
    """Rejected records and files, by file, code and column; only what is still open unless `every`.

    Raises StrataError for a home that has taken nothing in: an empty list would pass for good news.
    """
    entries = ledger.read(settings)
    if not entries:
        raise StrataError(
            f"{settings.home} has taken nothing in yet: `strata run`, or name another with --home"
        )
    fates = _Fates(settings, entries)
    found: dict[tuple[str, str, str | None, str], Group] = {}
    for entry in sorted(entries, key=lambda e: (e.dt is None, str(e.dt), e.file, e.rev)):
        if not wanted.meets(entry):
            continue
        if entry.status == "rejected":
            state, by = fates.of_file(entry)
            if state and wanted.code in (None, entry.reject_code) and (every or state == "rejected"):
                found[entry.delivery, entry.reject_code or "", None, state] = Group(
                    entry.source, entry.feed, entry.file, entry.delivery, "file", entry.reject_code or "", None,
                    state, by, detail=entry.reject_detail,
                )  # fmt: skip
        if not entry.rows_rejected:
            continue
        for record in read(settings, entry.delivery):
            state, by = fates.of_record(entry, record.record_no)
            if wanted.code not in (None, record.code) or not state or not (every or state == "rejected"):
                continue
            key = (entry.delivery, record.code, record.column, state)
            group = found.setdefault(
                key,
                Group(
                    entry.source, entry.feed, entry.file, entry.delivery, "row", record.code, record.column, state, by
                ),
            )  # fmt: skip
            group.rows_n += 1
            if len(group.examples) < _EXAMPLES:
                group.examples.append(record)
    return list(found.values())


def last_revisions(entries: Iterable[Entry]) -> dict[tuple[str | None, str | None, str | None], Entry]:
    """The newest entry of each (source, feed, stem)."""
    return {(e.source, e.feed, e.stem): e for e in sorted(entries, key=lambda e: e.rev) if e.stem}


def still_stray(settings: Settings, entries: Iterable[Entry]) -> list[Entry]:
    """Files that were refused for their place or day and still lie in landing as they were.

    They are known by size, times and inode: the name in the ledger may be masked.
    """
    entries = list(entries)
    refused = [e for e in entries if e.dt is None]
    if not refused or not settings.landing.is_dir():
        return []
    deliveries, misplaced = scan(settings.landing)
    wanted = {e.file for e in refused}
    there = set()
    for path in [*(m.path for m in misplaced), *(d.path for d in deliveries if d.file in wanted)]:
        with suppress(FileNotFoundError):
            there.add(file_stat(path))
    taken_in = {e.file for e in entries if e.dt}
    return [e for e in refused if e.file_stat in there and e.file not in taken_in]


class _Fates:
    """What became of what was rejected, from the later revisions of the same stem."""

    def __init__(self, settings: Settings, entries: list[Entry]) -> None:
        self.settings = settings
        self.replays = {e.replay_of: e for e in entries if e.replay_of}
        self.last = last_revisions(entries)
        self.taken_in = {e.file: e for e in entries if e.dt}
        self.strays = still_stray(settings, entries)
        self._open: dict[str, set[int]] = {}
        self._repeated: dict[str, set[int]] = {}

    def _last(self, entry: Entry) -> Entry:
        return self.last[entry.source, entry.feed, entry.stem]

    def of_file(self, entry: Entry) -> tuple[str | None, str | None]:
        """(state, moved by) of a rejected file; no state where a replay rejected it again, which counts there."""
        again = self.replays.get(entry.delivery)
        if again:
            return (None, None) if again.status == "rejected" else (again.status, again.delivery)
        if not entry.stem:
            if entry.file in self.taken_in:
                return "corrected", self.taken_in[entry.file].delivery
            return ("rejected" if entry in self.strays else "gone"), None
        last = self._last(entry)
        return ("corrected", last.delivery) if last.rev > entry.rev else ("rejected", None)

    def of_record(self, entry: Entry, record_no: int) -> tuple[str | None, str | None]:
        """(state, moved by) of a rejected record; no state where a replay rejected it again, which counts there."""
        again = self.replays.get(entry.delivery)
        if not again:
            last = self._last(entry)
            return ("corrected", last.delivery) if last.rev > entry.rev else ("rejected", None)
        if again.status != "loaded":
            return again.status, again.delivery
        if record_no in self._numbers(self._open, path_of, again):
            return None, None
        repeated = record_no in self._numbers(self._repeated, duplicates_path, again)
        return ("duplicate" if repeated else "loaded"), again.delivery

    def _numbers(
        self, cache: dict[str, set[int]], path: Callable[[Settings, str], Path], entry: Entry
    ) -> set[int]:
        if entry.delivery not in cache:
            file = path(self.settings, entry.delivery)
            column = pq.read_table(file, columns=["record_no"])["record_no"] if file.exists() else None
            cache[entry.delivery] = set(column.to_pylist()) if column is not None else set()
        return cache[entry.delivery]


def told(found: Sequence[Group], *, narrowed: bool = False) -> str:
    """The groups as lines for the terminal, with what their codes mean below. `narrowed`: a filter chose them."""
    if not found:
        return "nothing of that is in quarantine" if narrowed else "nothing is in quarantine"
    rows = sum(g.rows_n for g in found)
    files = sum(g.what == "file" for g in found)
    lines = [f"{counted(rows, 'rejected record')}, {counted(files, 'refused file')}"]
    for group in found:
        about = f"{group.code}{' in ' + group.column if group.column else ''}"
        state = (
            ""
            if group.state == "rejected"
            else f" · now {group.state}{' by ' + group.by if group.by else ''}"
        )
        if group.what == "file":
            lines.append(f"  {group.file} · refused · {about}{state}\n      {group.detail or ''}".rstrip())
            continue
        more = " …" if group.rows_n > len(group.examples) else ""
        lines.append(
            f"  {group.file} · {group.rows_n} × {about}{state}\n"
            f"      {'; '.join(_place(r) for r in group.examples)}{more}"
        )
    lines.append("what the codes mean and what to do:")
    for code in sorted({g.code for g in found}):
        words = load_codes().get(code)
        lines.append(f"  {code}: {words.en}. {words.do_en}" if words else f"  {code}")
    return "\n".join(lines)


def _place(record: Record) -> str:
    span = f", bytes {record.byte_start}–{record.byte_end}" if record.byte_start is not None else ""
    value = f" ({record.value})" if record.value else ""
    return f"record {record.record_no}{span}{value}"
