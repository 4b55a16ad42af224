"""What a scan still finds after raw, vault and releases are clean: logs, Dagster's storage, build scratch, outbox.

Each file is mended as what it is. What only repeats what others say (dbt's artifacts, a delivery in the outbox) is
deleted where it cannot be mended.
"""

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.duck import quote
from pipeline.home_scan import Needles, scan, spellings
from pipeline.ingest.files import write_parquet
from pipeline.privacy.erasure_subject import Subject
from pipeline.settings import Settings

MARK = "erased"
_BY_LINE = (".jsonl", ".csv", ".log", ".ndjson")
# These are made whole by the steps before; what is found there is a leak, and no repair of a copy would mend it.
_LEFT_ALONE = ("raw", "releases", "warehouse")
_DISPENSABLE = ("dbt", "build", "dagster")


def sweep(settings: Settings, subject: Subject, skip: Sequence[Path]) -> dict[str, int]:
    """Mend or delete every file that still names the persons; number of files by folder of the home."""
    needles = subject.needles()
    mended: Counter[str] = Counter()
    # A log of SQLite goes with its database.
    found = {re.sub("-(wal|shm)$", "", hit.file) for hit in scan(settings.home, needles, skip=skip)}
    for name in sorted(found):
        path = settings.home / name
        top = Path(name).parts[0]
        if top in _LEFT_ALONE or name == "vault/vault.duckdb" or not path.exists():
            continue
        if "outbox" in Path(name).parts:
            path.unlink()
        else:
            mend(path, path, subject)
            if path.exists() and top in _DISPENSABLE and _still_names(path, needles):
                path.unlink()
        mended["/".join(Path(name).parts[:2]) if top == "vault" else top] += 1
    return dict(mended)


def _still_names(path: Path, needles: Needles) -> bool:
    return any(path.name == hit.file for hit in scan(path.parent, needles) if "/" not in hit.file)


def mend(source: Path, target: Path, subject: Subject) -> None:
    """Write a file without the persons; source and target may be the same."""
    head = source.open("rb").read(16)
    if head[:4] == b"PAR1":
        _parquet(source, target, subject)
    elif head[:15] == b"SQLite format 3":
        if source != target:
            target.write_bytes(source.read_bytes())
        _sqlite(target, subject)
    else:
        _text(source, target, subject)


def _parquet(source: Path, target: Path, subject: Subject) -> None:
    """Rows in which a text names a person go."""
    needles, table = subject.needles(), pq.read_table(source)
    records = {i for _, i in subject.records}
    keep = [True] * len(table)
    for column in table.columns:
        if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
            continue
        named = {v for v in pc.unique(column).to_pylist() if v and (v in records or needles.found_in(v))}
        if named:
            keep = [k and v not in named for k, v in zip(keep, column.to_pylist(), strict=True)]
    write_parquet(table.filter(pa.array(keep, pa.bool_())), target)


def _forms(subject: Subject) -> Iterator[str]:
    """Every spelling that a log or an event may have: as it is, and as JSON escapes it once and twice."""
    values = (*subject.clear, *subject.words, *subject.keys, *(t for _, t in subject.tokens))
    for value in sorted(values, key=len, reverse=True):
        for spelling in spellings(value):
            once = json.dumps(spelling)[1:-1]
            yield from dict.fromkeys((json.dumps(once)[1:-1], once, spelling))


def _sqlite(path: Path, subject: Subject) -> None:
    """In place: `secure_delete` overwrites what goes with zeros, so that other connections may stay open."""
    con = sqlite3.connect(path, timeout=60, isolation_level=None)
    try:
        con.execute("pragma secure_delete = on")
        con.execute("begin immediate")
        for (table,) in con.execute("select name from sqlite_master where type = 'table'").fetchall():
            for column in [row[1] for row in con.execute(f"pragma table_info({quote(table)})").fetchall()]:
                for form in _forms(subject):
                    con.execute(
                        f"update {quote(table)} set {quote(column)} = replace({quote(column)}, $form, $mark) "
                        f"where typeof({quote(column)}) = 'text' and instr({quote(column)}, $form) > 0",
                        {"form": form, "mark": MARK},
                    )
        con.execute("commit")
        con.execute("vacuum")
        con.execute("pragma wal_checkpoint(truncate)")
    finally:
        con.close()


def _text(source: Path, target: Path, subject: Subject) -> None:
    """Lines of lists and logs that name a person go; elsewhere the value gives way to a word."""
    data = source.read_bytes()
    wanted = re.compile(b"|".join(re.escape(form.encode()) for form in _forms(subject)), re.IGNORECASE)
    if source.suffix in _BY_LINE:
        data = b"".join(line for line in data.splitlines(keepends=True) if not wanted.search(line))
    else:
        data = wanted.sub(MARK.encode(), data)
    # In place, not by rename: a log may be open.
    with target.open("r+b" if target.exists() else "wb") as file:
        file.write(data)
        file.truncate()
