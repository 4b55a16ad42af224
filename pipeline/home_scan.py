"""Does a value stand anywhere under a folder? A search that decodes what it reads.

Compression, escapes and encodings hide a value from a search for its bytes. So every file is read as what it is:
every column of Parquet, DuckDB and SQLite as text, JSON and HTML with their escapes resolved, gzip, bzip2, xz and
zip (with it XLSX) unpacked, in turn; and the raw bytes of every file in UTF-8, UTF-16 and GB18030, which also finds
what a database has deleted but not overwritten. A file that cannot be read is told as such: what was not read is
not clean.
"""

import bz2
import gzip
import html
import io
import lzma
import mmap
import re
import shutil
import sqlite3
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import duck
from pipeline.ingest.vault import Vault
from pipeline.lock import run_lock
from pipeline.settings import Settings

ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "gb18030")
# Four random bytes are a two-letter name in UTF-16 once in a few gigabytes; six never.
_LEAST_BYTES = 6
_CHUNK = 16 * 1024 * 1024
_NESTED = 4
_LOWER = np.array([c + 32 if 65 <= c <= 90 else c for c in range(256)], dtype=np.uint8)
_UNICODE_ESCAPE = re.compile(rb"\\{1,4}u([0-9a-fA-F]{4})")
_HTML_ESCAPE = re.compile(rb"&#\w")
_PHONE = re.compile(r"\+?\d{7,15}")


@dataclass(frozen=True, order=True)
class Hit:
    """One value in one file; `value` is None where the file could not be read, and `where` says why."""

    file: str
    where: str
    value: str | None


class Needles:
    """Values to look for, found in every spelling that our files give them; case does not matter.

    A phone number (digits) is looked for with and without the usual blanks and hyphens, and never inside a longer
    number. `words`, such as ids, are looked for as they are, and never inside a longer word.
    """

    def __init__(self, values: Iterable[str], words: Iterable[str] = ()) -> None:
        self._value: dict[bytes, str] = {}
        self._numbers: set[bytes] = set()
        self._words: set[bytes] = set()
        lengths: dict[bytes, set[int]] = {}
        whole = {w for w in words if w}
        for value in {v for v in values if v} | whole:
            for spelling in (value,) if value in whole else spellings(value):
                for encoding in ENCODINGS:
                    encoded = _lowered(spelling.encode(encoding, "ignore"))
                    if len(encoded) < (4 if encoding == "utf-8" else _LEAST_BYTES):
                        continue
                    self._value[encoded] = value
                    lengths.setdefault(encoded[:4], set()).add(len(encoded))
                    if value in whole:
                        self._words.add(encoded)
                    elif encoded.isdigit():
                        self._numbers.add(encoded)
        self._lengths = {prefix: tuple(sorted(found)) for prefix, found in lengths.items()}
        self._longest = max(map(len, self._value), default=0)
        prefixes = np.array([int.from_bytes(p, "little") for p in self._lengths], dtype="<u4")
        self._maybe = np.zeros(1 << 20, dtype=bool)
        self._maybe[_hashed(prefixes)] = True

    def found_in(self, data: bytes | str | memoryview) -> set[str]:
        """The values that stand in the data, given as bytes or text."""
        raw = memoryview(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
        found: set[str] = set()
        # Chunks overlap, so that nothing is cut in two.
        for start in range(0, len(raw), _CHUNK):
            found |= self._in_chunk(_lowered(raw[max(start - self._longest - 2, 0) : start + _CHUNK]))
        return found

    def _in_chunk(self, chunk: bytes) -> set[str]:
        found: set[str] = set()
        for offset in range(min(4, len(chunk) - 3)):
            words = np.frombuffer(chunk, dtype="<u4", offset=offset, count=(len(chunk) - offset) // 4)
            for place in np.flatnonzero(self._maybe[_hashed(words)]).tolist():
                at = place * 4 + offset
                for length in self._lengths.get(chunk[at : at + 4], ()):
                    value = self._value.get(chunk[at : at + length])
                    if value is not None and not self._in_longer(chunk, at, length):
                        found.add(value)
        return found

    def _in_longer(self, chunk: bytes, at: int, length: int) -> bool:
        found = chunk[at : at + length]
        before, after = chunk[max(at - 1, 0) : at], chunk[at + length : at + length + 1]
        if found in self._words:
            return any(c.isalnum() or c == b"_" for c in (before, after))
        if found not in self._numbers:
            return False
        return after.isdigit() or (before.isdigit() and chunk[max(at - 2, 0) : at] != b"86")


@dataclass(frozen=True)
class Leaks:
    """What of the vault's values stands outside it: hits, and of how many values how many were looked for."""

    hits: tuple[Hit, ...]
    looked_for: int
    values: int


def leaks(settings: Settings, limit: int | None = None) -> Leaks:
    """Look for the vault's own values in everything else under the home. Under the run lock."""
    with run_lock(settings), Vault(settings, "scan") as vault:
        values, in_all = vault.identifiers(limit)
        hits = scan(settings.home, Needles(values), skip=[settings.vault])
    return Leaks(tuple(hits), len(values), in_all)


def told(found: Leaks) -> str:
    """The answer as lines for the terminal: places, never values."""
    looked = f"{found.looked_for:,} of {found.values:,} values of the vault"
    if not found.hits:
        return f"none of {looked} stands anywhere else under the home"
    places = Counter((hit.file, hit.where) for hit in found.hits)
    lines = [f"looked for {looked}; outside the vault there is"]
    lines += [
        f"  {file} · {where}" + ("" if n == 1 else f" · {n} values")
        for (file, where), n in sorted(places.items())
    ]
    return "\n".join(lines)


def scan(folder: Path, needles: Needles, skip: Collection[Path] = ()) -> list[Hit]:
    """Every hit in every file below `folder`, but for what lies in `skip`; sorted, each once a file and place."""
    hits: set[Hit] = set()
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.is_symlink() or any(path == s or s in path.parents for s in skip):
            continue
        name = str(path.relative_to(folder))
        hits |= {Hit(name, "file name", value) for value in needles.found_in(name)}
        try:
            with path.open("rb") as file:
                if path.stat().st_size:
                    data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
                    hits |= {
                        Hit(name, where, value) for where, value in _in_bytes(data, needles, _NESTED, path)
                    }
        except OSError as error:
            hits.add(Hit(name, f"cannot be read: {error.strerror}", None))
    return sorted(hits, key=lambda h: (h.file, h.where, h.value or ""))


def _in_bytes(
    data: memoryview, needles: Needles, depth: int, path: Path | None = None
) -> Iterator[tuple[str, str | None]]:
    """(where, value) of each find in one file's or member's bytes."""
    yield from (("raw bytes", value) for value in needles.found_in(data))
    try:
        if data[:4] == b"PAR1":
            yield from _in_parquet(data, needles, depth)
        elif data[8:12] == b"DUCK":
            yield from _in_duckdb(data, needles, depth, path)
        elif data[:15] == b"SQLite format 3":
            yield from _in_sqlite(data, needles, depth, path)
        elif data[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                for member in archive.namelist():
                    yield from (("member name", value) for value in needles.found_in(member))
                    yield from _nested(f"member {member}", archive.read(member), needles, depth)
        elif data[:2] == b"\x1f\x8b":
            yield from _nested("gzip", gzip.decompress(data), needles, depth)
        elif data[:3] == b"BZh":
            yield from _nested("bzip2", bz2.decompress(data), needles, depth)
        elif data[:6] == b"\xfd7zXZ\x00":
            yield from _nested("xz", lzma.decompress(data), needles, depth)
        elif data[:4] == b"\x28\xb5\x2f\xfd":
            with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
                yield from _nested("zstd", stream.read(), needles, depth)
        else:
            yield from _in_escaped(data, needles)
    except (OSError, EOFError, ValueError, pa.ArrowException, duckdb.Error, sqlite3.Error, lzma.LZMAError,
            zlib.error, zipfile.BadZipFile, RuntimeError) as error:  # fmt: skip
        yield f"cannot be decoded: {type(error).__name__}: {str(error).splitlines()[0][:200]}", None


def _nested(where: str, data: bytes, needles: Needles, depth: int) -> Iterator[tuple[str, str | None]]:
    if depth == 0:
        yield f"{where}: packed too deep", None
        return
    for inner, value in _in_bytes(memoryview(data), needles, depth - 1):
        yield f"{where}: {inner}", value


def _in_escaped(data: bytes | memoryview, needles: Needles) -> Iterator[tuple[str, str]]:
    """Text with the escapes of JSON (\\u738b, also twice escaped) and of HTML (&#29579;) resolved."""
    if _UNICODE_ESCAPE.search(data):
        text = _UNICODE_ESCAPE.sub(lambda m: chr(int(m.group(1), 16)).encode("utf-8", "surrogatepass"), data)
        yield from (("unicode escapes", value) for value in needles.found_in(text))
    if _HTML_ESCAPE.search(data):
        page = html.unescape(str(data, "utf-8", "ignore"))
        yield from (("html escapes", value) for value in needles.found_in(page))


def _in_table(where: str, table: pa.Table, needles: Needles, depth: int) -> Iterator[tuple[str, str | None]]:
    texts: dict[str, bytes] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
            for value in filter(None, column.to_pylist()):
                yield from _nested(f"{where}column {name}", value, needles, depth)
            continue
        try:
            values = pc.unique(column.cast(pa.string())).to_pylist()
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
            values = [str(v) for v in column.to_pylist() if v is not None]
        texts[name] = "\n".join(filter(None, values)).encode("utf-8", "surrogatepass")
    # Which column it is matters only where there is something to tell.
    if any(True for _ in _in_text(b"\n".join(texts.values()), needles)):
        for name, text in texts.items():
            yield from ((f"{where}column {name}", value) for value in _in_text(text, needles))


def _in_text(text: bytes, needles: Needles) -> Iterator[str]:
    yield from needles.found_in(text)
    yield from (value for _, value in _in_escaped(text, needles))


def _in_parquet(data: memoryview, needles: Needles, depth: int) -> Iterator[tuple[str, str | None]]:
    with pq.ParquetFile(pa.BufferReader(data)) as file:
        yield from (("metadata", v) for v in needles.found_in(str(file.schema_arrow.metadata)))
        for batch in file.iter_batches(batch_size=200_000):
            yield from _in_table("", pa.Table.from_batches([batch]), needles, depth)


def _in_duckdb(
    data: memoryview, needles: Needles, depth: int, path: Path | None
) -> Iterator[tuple[str, str | None]]:
    """Tables and the SQL of views. A copy is read, with its log: the file itself stays as it is."""
    with _copied(data, path, (".wal",)) as copy, duck.connect([copy.parent], database=copy) as con:
        sql = con.execute("select string_agg(sql, chr(10)) from duckdb_views() where not internal").fetchone()
        yield from (("views", value) for value in needles.found_in(sql[0] or "" if sql else ""))
        tables = con.execute(
            "select schema_name, table_name from duckdb_tables() where database_name = current_database()"
        ).fetchall()
        for schema, table in tables:
            for batch in con.execute(f'from "{schema}"."{table}"').to_arrow_reader(200_000):
                yield from _in_table(f"{schema}.{table} ", pa.Table.from_batches([batch]), needles, depth)


def _in_sqlite(
    data: memoryview, needles: Needles, depth: int, path: Path | None
) -> Iterator[tuple[str, str | None]]:
    with _copied(data, path, ("-wal",)) as copy:
        con = sqlite3.connect(copy)
        try:
            con.text_factory = lambda b: b.decode("utf-8", "surrogateescape")
            names = [r[0] for r in con.execute("select name from sqlite_master where type = 'table'")]
            for table in names:
                cursor = con.execute(f'select * from "{table}"')
                columns = [c[0] for c in cursor.description]
                while rows := cursor.fetchmany(5000):
                    for column, values in zip(columns, zip(*rows, strict=True), strict=True):
                        where = f"{table} column {column}"
                        for value in values:
                            if isinstance(value, bytes):
                                yield from _nested(where, value, needles, depth)
                        joined = "\n".join(
                            str(v) for v in values if v is not None and not isinstance(v, bytes)
                        )
                        yield from (
                            (where, v) for v in needles.found_in(joined.encode("utf-8", "surrogateescape"))
                        )
                        yield from (
                            (where, v)
                            for _, v in _in_escaped(joined.encode("utf-8", "surrogateescape"), needles)
                        )
        finally:
            con.close()


class _copied:
    """A database in a folder of its own, with the log beside it, as a context manager: its path."""

    def __init__(self, data: memoryview, path: Path | None, logs: tuple[str, ...]) -> None:
        self._data, self._path, self._logs = data, path, logs

    def __enter__(self) -> Path:
        self._folder = tempfile.TemporaryDirectory(prefix="strata-scan-")
        copy = Path(self._folder.name) / "copy.db"
        copy.write_bytes(self._data)
        for log in self._logs:
            beside = self._path.with_name(self._path.name + log) if self._path else None
            if beside and beside.exists():
                shutil.copyfile(beside, copy.with_name(copy.name + log))
        return copy

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def spellings(value: str) -> Iterator[str]:
    """A value as our files may spell it: a phone number also without its country, with blanks, hyphens, or in full width."""
    yield value
    if _PHONE.fullmatch(value):
        digits = value.removeprefix("+86") if len(value) == 14 else value.lstrip("+")
        yield digits
        if len(digits) == 11:
            for mark in " -":
                yield mark.join((digits[:3], digits[3:7], digits[7:]))
        yield "".join(chr(ord(c) + 0xFEE0) for c in digits)


def _lowered(data: bytes | memoryview) -> bytes:
    return _LOWER[np.frombuffer(data, dtype=np.uint8)].tobytes()


def _hashed(words: np.ndarray) -> np.ndarray:
    return (words.astype(np.uint32) * np.uint32(2654435761)) >> np.uint32(12)
