"""The bytes of one delivered file: opened once, hashed as they are read, unpacked within limits.

Nothing but a regular file is ever opened, links are not followed, and no archive is unpacked further than the limits
say, so that neither a pipe nor a bomb holds up a run.
"""

import hashlib
import io
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Self

MAX_RATIO = 100
MAX_UNPACKED_BYTES = 1_000_000_000
MAX_SHEET_CELLS = 20_000_000
# Small enough for a block and what becomes of it to stay in a core's cache: half the time of 8 MB. And smaller than a
# field may be, so that nobody need ask how long the fields of a block are.
BLOCK_BYTES = 960 * 1024
_HEAD_BYTES = 64
_GZIP = b"\x1f\x8b"
_MAGIC = {b"PK\x03\x04": "xlsx", b"PAR1": "parquet", _GZIP: "gzip"}
_CELL = re.compile(rb"""\sr=["']([A-Z]{0,3})(\d{1,7})["']""")
_BOMB = f"unpacks to more than {MAX_RATIO} times its {{}} bytes or 1 GB; not unpacked further"
_NOT_REGULAR = "a link, pipe, socket or device stands here; deliver a plain file"


class FileRejected(Exception):
    """The file as a whole cannot be read. `code` is of the closed list in reject_codes.yml."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading. Raises FileRejected for anything else, without opening it.

    The kind is asked before opening (a device may act on being opened) and again on the descriptor (the name may
    stand for something else by then).
    """
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise FileRejected("not_a_regular_file", _NOT_REGULAR)
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        raise FileRejected(
            "no_permission", "the file cannot be opened; give its reader permission"
        ) from error
    except FileNotFoundError as error:
        raise FileRejected("changed_while_read", "the file is gone; deliver by rename") from error
    file = os.fdopen(descriptor, "rb", buffering=0)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise FileRejected("not_a_regular_file", _NOT_REGULAR)
    return file


def sha256_of(path: Path, go_on: Callable[[], None] = lambda: None) -> str:
    """Hex SHA-256 of a regular file. Raises FileRejected for what cannot be opened as one, and what `go_on` raises."""
    with open_regular(path) as file:
        digest = hashlib.sha256()
        while block := file.read(BLOCK_BYTES):
            go_on()
            digest.update(block)
        return digest.hexdigest()


def check_kind(head: bytes, ext: str) -> None:
    """Refuse content that is not what the name says, judged by its first bytes. Raises FileRejected."""
    if not head:
        raise FileRejected("empty_file", "the file has no bytes; a day without rows still has its header")
    actual = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "text")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if actual == "text" and text[:1] == b"<":
        actual = "html"
    if actual == "text" and ext.startswith("csv") and text[:1] in (b"{", b"["):
        actual = "json"
    if actual != (ext if ext in ("xlsx", "parquet") else "text"):
        raise FileRejected("wrong_format", f"the name says {ext}, the content is {actual}")


class Content:
    """Unpacked bytes of a text file, read once from start to end.

    After the last block `sha256` is the hash of the file as delivered, `bytes` its size and `content_bytes` the size
    unpacked.
    """

    def __init__(self, path: Path, ext: str) -> None:
        self._file = open_regular(path)
        self._packed = ext.endswith(".gz")
        self._hash = hashlib.sha256()
        self._size = os.fstat(self._file.fileno()).st_size
        self._ext = ext
        self.bytes = self.content_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def blocks(self) -> Iterator[bytes]:
        """Content in blocks of less than 1 MB; the first tells whether the content is what the name says.

        Raises:
            FileRejected: for another kind of content, a damaged gzip file or one that unpacks beyond the limits.
        """
        blocks = self._unpacked() if self._packed else self._raw()
        first = b""
        # A packed file may give its first bytes one by one.
        for block in blocks:
            first += block
            if len(first) >= _HEAD_BYTES:
                break
        check_kind(first[:_HEAD_BYTES], self._ext)
        for block in chain([first], blocks):
            self.content_bytes += len(block)
            yield block

    def _raw(self) -> Iterator[bytes]:
        while block := self._file.read(BLOCK_BYTES):
            self._hash.update(block)
            self.bytes += len(block)
            yield block

    def _unpacked(self) -> Iterator[bytes]:
        engine = zlib.decompressobj(wbits=31)
        inside = False
        out = 0
        try:
            for block in self._raw():
                if self.bytes == len(block) and not block.startswith(_GZIP):
                    raise FileRejected("wrong_format", f"the name says {self._ext}, the content is not gzip")
                while True:
                    if not inside:
                        # Zeros may follow the last member: tapes and some tools pad with them.
                        block = block.lstrip(b"\0")
                        if not block:
                            break
                        inside = True
                    made = engine.decompress(block, BLOCK_BYTES)
                    out += len(made)
                    if out > MAX_UNPACKED_BYTES or out > MAX_RATIO * self._size:
                        raise FileRejected("zip_bomb", _BOMB.format(self._size))
                    if made:
                        yield made
                    if engine.eof:
                        block, engine, inside = engine.unused_data, zlib.decompressobj(wbits=31), False
                        continue
                    block = engine.unconsumed_tail
                    # A full block may have more behind it inside the engine.
                    if not block and len(made) < BLOCK_BYTES:
                        break
        except zlib.error as error:
            raise FileRejected("wrong_format", f"damaged gzip file: {error}") from error
        if inside:
            raise FileRejected("wrong_format", "the gzip file is cut short")


def read_workbook(path: Path) -> tuple[bytes, str]:
    """(bytes, SHA-256) of a workbook whose archive may be opened.

    Every member is unpacked here once, in blocks, because an archive's own word about sizes may be a lie; the sheet's
    corners are looked for on the way, since two cells far apart make a table of 17 billion in memory.

    Raises:
        FileRejected: `wrong_format`, `zip_bomb` or `unsafe_archive`.
    """
    with open_regular(path) as file:
        data = file.read()
    check_kind(data[:64], "xlsx")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_archive(archive, len(data))
    except (
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        RuntimeError,
        EOFError,
        ValueError,
        OSError,
    ) as error:
        raise FileRejected("wrong_format", f"the workbook cannot be opened: {error}") from error
    return data, hashlib.sha256(data).hexdigest()


def _check_archive(archive: zipfile.ZipFile, size: int) -> None:
    total = 0
    for member in archive.infolist():
        name = member.filename.replace("\\", "/")
        if name.startswith("/") or ".." in name.split("/") or ":" in name or not name.isprintable():
            raise FileRejected("unsafe_archive", f"member {name[:80]!r} of the workbook points outside of it")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise zipfile.BadZipFile(
                f"member {name[:80]!r} is packed in a way that no spreadsheet program uses"
            )
        rows = columns = 0
        tail = b""
        with archive.open(member) as part:
            while block := part.read(1024 * 1024):
                total += len(block)
                if total > MAX_UNPACKED_BYTES or total > MAX_RATIO * size:
                    raise FileRejected("zip_bomb", _BOMB.format(size))
                if "worksheets/" in name:
                    for letters, number in _CELL.findall(tail + block):
                        rows, columns = max(rows, int(number)), max(columns, _column_number(letters))
                    tail = block[-16:]
        if rows * columns > MAX_SHEET_CELLS:
            raise FileRejected(
                "zip_bomb",
                f"{name} spans {rows} rows × {columns} columns; {MAX_SHEET_CELLS} cells are the most",
            )


def _column_number(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number
