"""CSV in chunks of whole lines: a strict vectorised parser where a chunk is provably clean, else record by record.

Both give the same records. A chunk takes the quick way only if its quotes stand where quotes may stand, it has no
NUL, ^Z or lone carriage return, every record has the header's width, and there are as many records as line ends
outside quotes. One bad record therefore costs its own chunk the slow way and not the whole file.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from pipeline.ingest.contracts import EXACT_DECIMALS, Contract
from pipeline.ingest.reading.content import FileRejected

MAX_RECORD_BYTES = 16 * 1024 * 1024
MAX_FIELD_BYTES = 1_000_000
_MAX_JOINED_LINES = 1_000
_DELIMITERS = ",;\t|"
_BLANK_LINE = re.compile(rb"^[ \t\x0b\x0c]*\r?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Reject:
    """One record that cannot be loaded. `value` is left out where the column holds personal data."""

    record_no: int
    code: str
    column: str | None = None
    value: str | None = None
    byte_start: int | None = None
    byte_end: int | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of every value of a file, so that it need not be asked of each again.

    Attributes:
        is_clean: no value has a blank around it or a character outside ASCII.
        is_short: no value is longer than a field may be.
        plain: columns of numbers whose values are nothing but digits, `-` and a point, none rounded by its type.
    """

    is_clean: bool = False
    is_short: bool = False
    plain: frozenset[str] = frozenset()

    def __and__(self, other: "Facts") -> "Facts":
        """What is known of both."""
        return Facts(
            self.is_clean and other.is_clean, self.is_short and other.is_short, self.plain & other.plain
        )


NOTHING_KNOWN = Facts()


class NotClean(Exception):
    """A chunk needs the slow way, or holds values of another kind than the chunks before it."""


def line_end(data: bytes) -> int:
    """Bytes up to the end of the last whole line; 0 where there is none.

    A carriage return at the very end may be half of a line end and does not count.
    """
    end = data.rfind(b"\n") + 1
    return end or data.rfind(b"\r", 0, len(data) - 1) + 1


def quoted_fields(text: str, delimiter: str, quote: str) -> list[str] | None:
    """Fields of one record with quotes. None: a quote is still open. Raises ValueError on a bare quote."""
    fields: list[str] = []
    i, n = 0, len(text)
    while True:
        if i < n and text[i] == quote:
            j = i + 1
            while True:
                k = text.find(quote, j)
                if k < 0:
                    return None
                if text[k + 1 : k + 2] != quote:
                    break
                j = k + 2
            fields.append(text[i + 1 : k].replace(quote * 2, quote))
            i = k + 1
            if i < n and text[i] != delimiter:
                raise ValueError("bare quote")
        else:
            k = text.find(delimiter, i)
            end = n if k < 0 else k
            if quote in text[i:end]:
                raise ValueError("bare quote")
            fields.append(text[i:end])
            i = end
        if i >= n:
            return fields
        i += 1


def _has_control(text: str) -> bool:
    return "\0" in text or "\x1a" in text


class CsvParser:
    """Records of one CSV file, given to it in chunks of whole lines.

    Args:
        contract: with the delimiter, quote and number of lines above the header.
        encoding: one in which line ends are the bytes of ASCII.
        add: takes each table of text columns and `_row`.
        rejects: takes what cannot be a row.
        measure: size in the file of a piece of a chunk (another one where the file was transcoded).
        start: offset of the first chunk in the file, after a byte-order mark.
        resolve: contract column of each header cell, and the names of the others.
        spans: filled with (first byte, end byte) of the record numbers that it holds.
        strict: raise NotClean instead of going the slow way, or where `facts` would change.
    """

    def __init__(
        self,
        contract: Contract,
        encoding: str,
        add: Callable[[pa.Table], None],
        rejects: list[Reject],
        measure: Callable[[bytes], int],
        start: int,
        resolve: Callable[[list[str]], tuple[list[str | None], tuple[str, ...]]],
        spans: dict[int, tuple[int, int]] | None = None,
        *,
        strict: bool = False,
    ) -> None:
        self._spans, self._strict = spans or {}, strict
        self._contract, self._encoding, self._add, self._rejects = contract, encoding, add, rejects
        self._measure, self._resolve = measure, resolve
        self._delimiter, self._quote = contract.delimiter, contract.quote
        self._at, self._no, self._skip_lines = start, 0, contract.skip_lines
        self._header: list[str] | None = None
        self._kept: list[tuple[int, str]] = []
        self._skipping = False
        self.facts = Facts(True, True, frozenset(n for n, c in contract.columns.items() if c.type in "imqrx"))
        self.header_bytes = self.blank_bytes = self.record_bytes = 0
        self.extra: tuple[str, ...] = ()
        self.missing: tuple[str, ...] = ()

    def feed(self, chunk: bytes, *, final: bool) -> int:
        """Read whole lines; returns how many bytes were taken. A record that is still open at the end waits."""
        taken = 0
        if self._skipping:
            taken = self._rest_of_record(chunk)
        if self._header is None:
            taken += self._read_header(chunk[taken:], final)
            if self._header is None:
                return taken
        rest = chunk[taken:] if taken else chunk
        quote = self._quote.encode()
        if quote and not final and quote in rest and rest.count(quote) % 2:
            # The last record goes on in the next block: what stands before it need not wait for it.
            rest = rest[: rest.rfind(b"\n", 0, rest.rfind(quote)) + 1] or rest
        if not rest:
            return taken
        if self._quick(rest):
            return taken + len(rest)
        if self._strict:
            raise NotClean
        return taken + self._slow(rest, final)

    def skip(self, chunk: bytes) -> int:
        """Reject the record that `chunk` begins with, which is longer than a record may be, and pass over it."""
        if self._header is None:
            raise FileRejected("no_header", f"the first line is longer than {MAX_RECORD_BYTES} bytes")
        if not self._skipping:
            self._skipping = True
            self._no += 1
            self._rejects.append(Reject(self._no, "oversized_field", byte_start=self._at, byte_end=self._at))
        return self._rest_of_record(chunk)

    def finish(self) -> None:
        """Raises FileRejected where there was no header."""
        if self._header is None:
            raise FileRejected("empty_file", "the file has only blank lines")

    def _rest_of_record(self, chunk: bytes) -> int:
        ends = [i for i in (chunk.find(b"\n"), chunk.find(b"\r")) if i >= 0]
        end = min(ends) + 1 if ends else len(chunk)
        if ends and chunk[end - 1 : end + 1] == b"\r\n":
            end += 1
        self._skipping = not ends
        size = self._measure(chunk[:end])
        self._at += size
        self.record_bytes += size
        last = self._rejects[-1]
        self._rejects[-1] = Reject(last.record_no, last.code, byte_start=last.byte_start, byte_end=self._at)
        return end

    # The header

    def _read_header(self, chunk: bytes, final: bool) -> int:
        taken = 0
        while self._skip_lines and taken < len(chunk):
            line = chunk[taken:].splitlines(keepends=True)[0]
            taken += len(line)
            self._skip_lines -= 1
            self.header_bytes += self._measure(line)
            self._at += self._measure(line)
        for size, length, fields in self._records(chunk[taken:], final):
            taken += length
            self._at += size
            if fields is None:
                self.blank_bytes += size
                continue
            if isinstance(fields, str):
                raise FileRejected(
                    "no_header",
                    f"the first line cannot be read ({fields}); declared encoding: {self._encoding}",
                )
            self.header_bytes += size
            self._take_header(fields)
            break
        return taken

    def _take_header(self, header: list[str]) -> None:
        try:
            resolved, self.extra = self._resolve(header)
        except FileRejected as rejected:
            others = [d for d in _DELIMITERS if d != self._delimiter and len(header) == 1 and d in header[0]]
            if others and rejected.code != "duplicate_column":
                raise FileRejected(
                    "wrong_delimiter",
                    f"the header is one field; it looks split by {others[0]!r}, declared is {self._delimiter!r}",
                ) from None
            raise
        self._header = header
        self._kept = [(i, name) for i, name in enumerate(resolved) if name]
        self.missing = tuple(name for name in self._contract.columns if name not in resolved)

    # Record by record

    def _records(self, chunk: bytes, final: bool) -> Iterator[tuple[int, int, list[str] | str | None]]:
        """(size in the file, bytes of the chunk, fields | reject code | None for a blank line) of each record.

        Stops before a record whose quote is still open at the end of a chunk that is not the last.
        """
        lines = chunk.splitlines(keepends=True)
        controls = b"\0" in chunk or b"\x1a" in chunk
        i = 0
        while i < len(lines):
            raw = lines[i]
            i += 1
            if not raw.strip():
                yield self._measure(raw), len(raw), None
                continue
            found: list[str] | str | None
            try:
                text = raw.decode(self._encoding).rstrip("\r\n")
                if controls and _has_control(text):
                    found = "control_character"
                elif not self._quote or self._quote not in text:
                    found = text.split(self._delimiter)
                else:
                    found = quoted_fields(text, self._delimiter, self._quote)
                    j = i
                    joined = raw
                    while found is None:
                        too_long = j - i > _MAX_JOINED_LINES or len(joined) > MAX_RECORD_BYTES
                        if j >= len(lines) and not final and not too_long:
                            return
                        if j >= len(lines) or too_long:
                            raise FileRejected(
                                "unbalanced_quote",
                                f"the quote opened in the record at byte {self._at} never closes",
                            )
                        joined += lines[j]
                        j += 1
                        text = joined.decode(self._encoding).rstrip("\r\n")
                        found = quoted_fields(text, self._delimiter, self._quote)
                    i, raw = j, joined
                    if controls and _has_control(text):
                        found = "control_character"
            except UnicodeDecodeError:
                # The record ends with its own line: what follows must not be swallowed by a stray quote.
                found = "bad_encoding"
            except ValueError:
                found = "bare_quote"
            yield self._measure(raw), len(raw), found

    def _slow(self, chunk: bytes, final: bool) -> int:
        header = self._header or []
        width, taken = len(header), 0
        rows: list[list[str]] = []
        row_no: list[int] = []
        for size, length, fields in self._records(chunk, final):
            start, self._at = self._at, self._at + size
            taken += length
            if fields is None:
                self.blank_bytes += size
                continue
            self._no += 1
            self.record_bytes += size
            if self._no in self._spans:
                self._spans[self._no] = (start, self._at)
            code = fields if isinstance(fields, str) else None
            if code is None:
                if len(fields) == width:
                    code = "repeated_header" if fields == header else None
                elif len(fields) == width + 1 and fields[-1] == "":
                    fields = fields[:-1]
                else:
                    self._check_drift(fields, width, start)
                    code = "short_row" if len(fields) < width else "long_row"
            if code:
                self._rejects.append(Reject(self._no, code, byte_start=start, byte_end=self._at))
            else:
                rows.append(fields)
                row_no.append(self._no)
        if rows:
            self.facts = NOTHING_KNOWN
            columns = list(zip(*rows, strict=True))
            arrays = [pa.array(columns[i], pa.string()) for i, _ in self._kept]
            names = [name for _, name in self._kept]
            self._add(pa.table([*arrays, pa.array(row_no, pa.int64())], [*names, "_row"]))
        return taken

    def _check_drift(self, fields: list[str], width: int, start: int) -> None:
        """A record that another delimiter splits into the header's width comes from another export."""
        if len(fields) == 1 and width >= 3:
            for other in _DELIMITERS:
                if other != self._delimiter and fields[0].count(other) == width - 1:
                    raise FileRejected(
                        "dialect_drift",
                        f"the record at byte {start} is split by {other!r}, the header by {self._delimiter!r}",
                    )

    # The quick way

    def _quick(self, chunk: bytes) -> bool:
        """Read a chunk of clean records at once; False leaves it untouched for the slow way."""
        header = self._header or []
        size = self._measure(chunk)
        if len(header) < 2 or b"\0" in chunk or b"\x1a" in chunk:
            return False
        text = chunk
        if self._encoding != "utf-8":
            try:
                text = chunk.decode(self._encoding).encode("utf-8")
            except UnicodeError:
                return False
        lone = b"\r" in text and text.count(b"\r") != text.count(b"\r\n")
        blank = text.startswith((b"\n", b"\r\n")) or b"\n\n" in text or b"\n\r\n" in text
        if lone or blank or (self._delimiter.isspace() and _BLANK_LINE.search(text.removesuffix(b"\n"))):
            return False
        delimiter, quote = self._delimiter.encode(), self._quote.encode()
        quoted = bool(quote) and quote in text
        if max(len(delimiter), len(quote)) > 1:
            return False
        # A line end in twenty bytes: counting them as numbers takes a fifth of searching for each.
        records = int(np.count_nonzero(np.frombuffer(text, np.uint8) == 10)) + (not text.endswith(b"\n"))
        if quoted:
            inside = _line_ends_in_quotes(text, delimiter, quote)
            if inside is None:
                return False
            records -= inside
        if any(self._no < no <= self._no + records for no in self._spans):
            return False
        names = [str(i) for i in range(len(header))]
        try:
            table = pa_csv.read_csv(
                pa.BufferReader(text),
                pa_csv.ReadOptions(column_names=names, block_size=max(len(text), 1), use_threads=False),
                pa_csv.ParseOptions(
                    delimiter=self._delimiter,
                    quote_char=self._quote if quoted else False,
                    double_quote=quoted,
                    newlines_in_values=quoted,
                    ignore_empty_lines=False,
                ),
                pa_csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()),
                    include_columns=[str(i) for i, _ in self._kept],
                    strings_can_be_null=False,
                    check_utf8=not text.isascii(),
                ),
            )
        except pa.ArrowInvalid:
            return False
        if len(table) != records or _holds(table, self._kept, header):
            return False
        row_no = pa.array(np.arange(self._no + 1, self._no + records + 1, dtype=np.int64))
        self._no += records
        self._at += size
        self.record_bytes += size
        table = table.rename_columns([name for _, name in self._kept])
        known = self.facts
        self.facts = Facts(
            known.is_clean and _is_clean(text, delimiter, quote if quoted else b""),
            known.is_short and _is_short(text, table),
            frozenset(
                n
                for n in known.plain
                if n in table.column_names and _is_plain(table[n], self._contract.columns[n].type)
            ),
        )
        if self._strict and self._no > records and known != self.facts:
            raise NotClean
        self._add(table.append_column("_row", row_no))
        return True


def _is_clean(text: bytes, delimiter: bytes, quote: bytes) -> bool:
    """Whether no value of the chunk can have a blank around it or a character outside ASCII."""
    if not text.isascii() or b" " not in text:
        return text.isascii()
    edges = [delimiter, b"\n", b"\r", *([quote] if quote else [])]
    blanks = any(edge + b" " in text or b" " + edge in text for edge in edges)
    return not blanks and not text.startswith(b" ") and not text.endswith(b" ")


def _is_short(text: bytes, table: pa.Table) -> bool:
    """Whether no value is longer than a field may be, which one of a chunk that is itself no longer cannot be."""
    if len(text) <= MAX_FIELD_BYTES:
        return True
    longest = (pc.max(pc.binary_length(column)).as_py() or 0 for column in table.columns)
    return max(longest, default=0) <= MAX_FIELD_BYTES


def _is_plain(column: pa.ChunkedArray, kind: str) -> bool:
    """Whether the values are nothing but digits and `-`, and a point unless whole numbers are wanted, none too fine."""
    form = b"0123456789-" if kind == "i" else b"0123456789.-"
    for chunk in column.chunks:
        # The values lie in one buffer, one after the other.
        _, offsets, data = chunk.buffers()
        if data is None:
            continue
        ends = np.frombuffer(offsets, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
        values = data[int(ends[0]) : int(ends[-1])]
        if values.to_pybytes().translate(None, form):
            return False
        if kind in EXACT_DECIMALS and not _fits(values, ends - ends[0], EXACT_DECIMALS[kind]):
            return False
    return True


def _fits(values: pa.Buffer, ends: np.ndarray, decimals: int) -> bool:
    """Whether no value has more digits than `decimals` behind its point."""
    points = np.flatnonzero(np.frombuffer(values, np.uint8) == ord("."))
    if not len(points):
        return True
    # Where every value has its point, the values need not be looked up.
    of = (
        np.arange(len(points)) if len(points) == len(ends) - 1 else np.searchsorted(ends, points, "right") - 1
    )
    return bool(((points >= ends[of]) & (ends[of + 1] - points - 1 <= decimals)).all())


def _line_ends_in_quotes(text: bytes, delimiter: bytes, quote: bytes) -> int | None:
    """Line ends inside quoted fields; None unless every quote opens, closes or doubles where the grammar lets it."""
    data = np.frombuffer(text, np.uint8)
    quotes = np.flatnonzero(data == quote[0])
    if len(quotes) % 2:
        return None
    opening, closing = quotes[::2], quotes[1::2]
    before = data[opening - 1]
    after = data[np.minimum(closing + 1, len(data) - 1)]
    fine_before = (before == delimiter[0]) | (before == 10) | (before == quote[0]) | (opening == 0)
    fine_after = (
        (after == delimiter[0])
        | (after == 10)
        | (after == 13)
        | (after == quote[0])
        | (closing == len(data) - 1)
    )
    # A quote right before an opening one must be the one that closed just there: a doubled quote.
    if not fine_before.all() or not fine_after.all():
        return None
    ends = np.flatnonzero(data == 10)
    spans = np.searchsorted(ends, closing) - np.searchsorted(ends, opening)
    return int(spans.sum())


def _holds(table: pa.Table, kept: list[tuple[int, str]], header: list[str]) -> bool:
    """Whether a record may be the header again, judged by its first kept column."""
    first = kept[0][0]
    return bool(len(table)) and bool(pc.any(pc.equal(table[str(first)], header[first])).as_py())
