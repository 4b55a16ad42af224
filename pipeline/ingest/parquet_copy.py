"""A Parquet file made of column chunks of other files, copied as they are: nothing is decoded or encoded again.

Only the footer is new. It is Thrift in the compact protocol, of which this module reads and writes as much as it needs:
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift has the field numbers.
Statistics, indexes and Bloom filters of a copied chunk are left out: they are what another program said of the values,
and a reader that trusts a wrong one passes rows over.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.ingest.reading.content import FileRejected, open_regular

_MAGIC = b"PAR1"
_PIECE = 1024 * 1024
# Types of the compact protocol.
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = (
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    12,
)

Struct = dict[int, tuple[int, Any]]
"""Field number → (type, value); a list is (type of its elements, values)."""

_SCHEMA_KEPT = (1, 2, 3, 6, 7, 8, 10)
_CHUNK_KEPT = (1, 2, 4, 5, 6, 7)
_MAX_DEPTH = 32


@dataclass(frozen=True)
class Footer:
    """What a Parquet file says of itself, and where its data end."""

    path: Path
    fields: Struct
    data_end: int

    @cached_property
    def row_groups(self) -> list[Struct]:
        return list(self.fields[4][1][1])

    @cached_property
    def rows(self) -> list[int]:
        """Rows of each row group."""
        return [int(group[3][1]) for group in self.row_groups]

    def leaves(self) -> dict[str, Struct]:
        """Schema of each column by name; of a flat file only. Raises FileRejected for any other."""
        root, *leaves = self.fields[2][1][1]
        if len(leaves) != root[5][1] or any(5 in leaf for leaf in leaves):
            raise FileRejected("wrong_format", "the file is not flat")
        return {leaf[4][1].decode(): leaf for leaf in leaves}


@dataclass(frozen=True)
class Taken:
    """A column that another file holds: its name there, and which row group of it is each one of the new file."""

    footer: Footer
    name: str
    groups: Sequence[int]

    @property
    def rows(self) -> list[int]:
        """Rows of each row group of the new file."""
        return [self.footer.rows[group] for group in self.groups]


def read_footer(path: Path) -> Footer:
    """The footer of a file. Raises FileRejected where there is none that can be read."""
    with open_regular(path) as file:
        size = file.seek(0, 2)
        file.seek(max(size - 8, 0))
        length, magic = int.from_bytes(file.read(4), "little"), file.read(4)
        if magic != _MAGIC or not 0 < length <= size - 12:
            raise FileRejected("wrong_format", "no Parquet file")
        file.seek(size - 8 - length)
        data = file.read(length)
    try:
        return Footer(path, _Reader(data).struct(), size - 8 - length)
    except (IndexError, KeyError, ValueError) as error:
        raise FileRejected("wrong_format", f"no Parquet footer ({type(error).__name__})") from None


def write_from(
    path: Path,
    columns: Mapping[str, Taken],
    metadata: Mapping[str, str],
    go_on: Callable[[], None] = lambda: None,
) -> None:
    """Write a file of columns that other files hold, and wait until it is on the disk.

    Args:
        path: which nobody reads yet.
        columns: by their names in the new file, all with the same row groups.
        metadata: key-value pairs of the new footer.
        go_on: asked before each column chunk; raises where the copy is not wanted any more.

    Raises:
        FileRejected: where a chunk does not lie inside the data of its file.
    """
    sources = {taken.footer.path: taken.footer for taken in columns.values()}
    rows = next(iter(columns.values())).rows
    if any(taken.rows != rows for taken in columns.values()):
        raise ValueError("the columns have other row groups than each other")
    leaves = {source: footer.leaves() for source, footer in sources.items()}
    position = {source: {name: i for i, name in enumerate(of)} for source, of in leaves.items()}
    schema: list[Struct] = [{4: (_BINARY, b"schema"), 5: (_I32, len(columns))}]
    for name, taken in columns.items():
        kept = {k: v for k, v in leaves[taken.footer.path][taken.name].items() if k in _SCHEMA_KEPT}
        schema.append(kept | {4: (_BINARY, name.encode())})
    opened: dict[Path, BinaryIO] = {}
    try:
        for source in sources:
            opened[source] = open_regular(source)
        with path.open("wb") as out:
            out.write(_MAGIC)
            groups: list[Struct] = []
            for number, n in enumerate(rows):
                chunks: list[Struct] = []
                for name, taken in columns.items():
                    go_on()
                    source = taken.footer.path
                    group = taken.footer.row_groups[taken.groups[number]]
                    chunk = group[1][1][1][position[source][taken.name]]
                    chunks.append(_copied(opened[source], out, chunk, n, taken.footer.data_end, name))
                sizes = [sum(int(c[3][1][k][1]) for c in chunks) for k in (6, 7)]
                groups.append(
                    {
                        1: (_LIST, (_STRUCT, chunks)),
                        2: (_I64, sizes[0]),
                        3: (_I64, n),
                        6: (_I64, sizes[1]),
                    }
                )
            pairs = [{1: (_BINARY, k.encode()), 2: (_BINARY, v.encode())} for k, v in metadata.items()]
            fields: Struct = {
                1: (_I32, 2),
                2: (_LIST, (_STRUCT, schema)),
                3: (_I64, sum(rows)),
                4: (_LIST, (_STRUCT, groups)),
            }
            if pairs:
                fields[5] = (_LIST, (_STRUCT, pairs))
            footer_bytes = _written(fields)
            out.write(footer_bytes + len(footer_bytes).to_bytes(4, "little") + _MAGIC)
            out.flush()
            os.fsync(out.fileno())
    finally:
        for file in opened.values():
            file.close()


def _copied(source: BinaryIO, out: BinaryIO, chunk: Struct, rows: int, data_end: int, name: str) -> Struct:
    """Copy the pages of a column chunk; its entry in the new footer."""
    meta: Struct = chunk[3][1]
    if meta[5][1] != rows:
        raise FileRejected("wrong_format", "a column chunk has another number of values than there are rows")
    first = int(meta[9][1])
    # Some writers give 0 where there is no dictionary.
    dictionary = int(meta[11][1]) if 11 in meta else 0
    start = min(first, dictionary) if dictionary else first
    left = int(meta[7][1])
    if 1 in chunk or start < len(_MAGIC) or left <= 0 or start + left > data_end:
        raise FileRejected("wrong_format", "a column chunk lies outside the data of the file")
    moved = out.tell() - start
    source.seek(start)
    while left:
        piece = source.read(min(left, _PIECE))
        if not piece:
            raise FileRejected("changed_while_read", "the file changed while it was read; deliver by rename")
        out.write(piece)
        left -= len(piece)
    kept = {k: v for k, v in meta.items() if k in _CHUNK_KEPT}
    kept |= {3: (_LIST, (_BINARY, [name.encode()])), 9: (_I64, first + moved)}
    if dictionary:
        kept[11] = (_I64, dictionary + moved)
    return {2: (_I64, start + moved), 3: (_STRUCT, kept)}


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at, self._depth = data, 0, 0

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def _number(self) -> int:
        zigzag = self._varint()
        return (zigzag >> 1) ^ -(zigzag & 1)

    def struct(self) -> Struct:
        found: Struct = {}
        field = 0
        while head := self._byte():
            kind = head & 0x0F
            field = field + (head >> 4) if head >> 4 else self._number()
            found[field] = (kind, kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind))
        return found

    def _value(self, kind: int) -> Any:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ValueError("too deep")
        value = self._value_of(kind)
        self._depth -= 1
        return value

    def _value_of(self, kind: int) -> Any:
        if kind in (_I16, _I32, _I64):
            return self._number()
        if kind in (_TRUE, _FALSE, _BYTE):
            return self._byte()
        if kind == _STRUCT:
            return self.struct()
        if kind in (_LIST, _SET):
            head = self._byte()
            n = head >> 4 if head >> 4 < 15 else self._varint()
            if n > len(self._data):
                raise ValueError("a list longer than the footer")
            return head & 0x0F, [self._value(head & 0x0F) for _ in range(n)]
        size = 8 if kind == _DOUBLE else self._varint() if kind == _BINARY else -1
        if size < 0 or self._at + size > len(self._data):
            raise ValueError("unknown type, or beyond the end")
        self._at += size
        return self._data[self._at - size : self._at]


def _written(fields: Struct) -> bytes:
    out, before = bytearray(), 0
    for field, (kind, value) in sorted(fields.items()):
        if kind in (_TRUE, _FALSE):
            kind = _TRUE if value else _FALSE
        step = field - before
        out += bytes([step << 4 | kind]) if 0 < step < 16 else bytes([kind]) + _varint(_zigzag(field))
        before = field
        if kind not in (_TRUE, _FALSE):
            out += _written_value(kind, value)
    return bytes(out + b"\0")


def _written_value(kind: int, value: Any) -> bytes:
    if kind in (_I16, _I32, _I64):
        return _varint(_zigzag(value))
    if kind in (_TRUE, _FALSE, _BYTE):
        return bytes([value])
    if kind == _STRUCT:
        return _written(value)
    if kind in (_LIST, _SET):
        of, values = value
        head = (
            bytes([len(values) << 4 | of]) if len(values) < 15 else bytes([0xF0 | of]) + _varint(len(values))
        )
        return head + b"".join(_written_value(of, one) for one in values)
    return value if kind == _DOUBLE else _varint(len(value)) + value


def _zigzag(number: int) -> int:
    return number << 1 if number >= 0 else (-number << 1) - 1


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
