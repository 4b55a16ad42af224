"""CSV in chunks of whole lines: a strict vectorised parser where a chunk is provably clean, else record by record.

Both give the same records. A chunk takes the quick way only if its quotes stand where quotes may stand, it has no
NUL, ^Z or lone carriage return, every record has the header's width, and there are as many records as line ends
outside quotes. One bad record therefore costs its own chunk the slow way and not the whole file.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from pipeline.ingest.contracts import EXACT_DECIMALS, Contract
from pipeline.ingest.reading.content import FileRejected
from pipeline.ingest.reading.texts import WIDE_BLANK, is_composed, texts_of

MAX_RECORD_BYTES = 16 * 1024 * 1024
MAX_FIELD_BYTES = 1_000_000
_MAX_JOINED_LINES = 1_000
_DELIMITERS = ",;\t|"
_DIGITS = b"0123456789-"
# Type letter → precision and decimals. A rate has three digits before its point, which few are sure to keep to.
_NUMBERS = {"i": (19, 0), "m": (18, 4), "q": (18, 3), "x": (18, 8)}
_PLAIN_BYTES = 13
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
        is_clean: no value has a blank around it or a character that is stored as another or as none.
        is_short: no value is longer than a field may be.
        plain: columns of numbers whose values are nothing but digits, `-` and a point, none rounded by its type.
        filled: columns without a null: no value is short enough to be a spelling of one.
    """

    is_clean: bool = False
    is_short: bool = False
    plain: frozenset[str] = frozenset()
    filled: frozenset[str] = frozenset()

    def __and__(self, other: "Facts") -> "Facts":
        """What is known of both."""
        return Facts(
            self.is_clean and other.is_clean,
            self.is_short and other.is_short,
            self.plain & other.plain,
            self.filled & other.filled,
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
        strict: give numbers and truth values typed where all of the first chunk can be; raise NotClean instead of
            going the slow way, or where types or `facts` would change.
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
        numbers = frozenset(n for n, c in contract.columns.items() if c.type in "imqrx")
        self.facts = Facts(True, True, numbers, frozenset(contract.columns))
        self._schema: pa.Schema | None = None
        self._null_bytes = {
            n: max((len(spelling.encode()) for spelling in contract.nulls_of(n)), default=-1)
            for n in contract.columns
        }
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
            code: str | None = None
            if isinstance(fields, str):
                code = fields
            elif len(fields) == width:
                code = "repeated_header" if fields == header else None
            elif len(fields) == width + 1 and fields[-1] == "":
                fields = fields[:-1]
            else:
                self._check_drift(fields, width, start)
                code = "short_row" if len(fields) < width else "long_row"
            if code or isinstance(fields, str):
                self._rejects.append(Reject(self._no, str(code), byte_start=start, byte_end=self._at))
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
        if lone or (self._delimiter.isspace() and _BLANK_LINE.search(text.removesuffix(b"\n"))):
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
                    # A blank line is then one record too few.
                    ignore_empty_lines=True,
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
        known, kinds = self.facts, {n: self._contract.columns[n].type for n in table.column_names}
        filled = {n for n in known.filled & kinds.keys() if _shortest(table[n]) > self._null_bytes[n]}
        given = table
        if self._strict:
            table = typed(table, kinds)
            self._schema = self._schema or table.schema
        plain = {
            n for n in known.plain & kinds.keys() if _is_typed(table[n]) or _is_plain(table[n], kinds[n])
        }
        self.facts = Facts(
            known.is_clean and _is_clean(text, delimiter, quote if quoted else b""),
            known.is_short and _is_short(text, given),
            frozenset(plain),
            frozenset(filled),
        )
        if self._strict and (table.schema != self._schema or (self._no > records and known != self.facts)):
            raise NotClean
        self._add(table.append_column("_row", row_no))
        return True


def _is_clean(text: bytes, delimiter: bytes, quote: bytes) -> bool:
    """Whether no value of the chunk can have a blank around it or a character that is stored as another."""
    if not is_composed(text):
        return False
    edges = [delimiter, b"\n", b"\r", *([quote] if quote else [])]
    return not any(
        text.startswith(blank)
        or text.endswith(blank)
        or any(edge + blank in text or blank + edge in text for edge in edges)
        for blank in (b" ", WIDE_BLANK.encode())
        if blank in text
    )


def _is_short(text: bytes, table: pa.Table) -> bool:
    """Whether no value is longer than a field may be, which one of a chunk that is itself no longer cannot be."""
    if len(text) <= MAX_FIELD_BYTES:
        return True
    longest = (pc.max(pc.binary_length(column)).as_py() or 0 for column in table.columns)
    return max(longest, default=0) <= MAX_FIELD_BYTES


def _shortest(column: pa.ChunkedArray) -> int:
    """Bytes of the shortest text."""
    _, ends = texts_of(column)
    return int(np.diff(ends).min(initial=MAX_FIELD_BYTES))


def _is_plain(column: pa.ChunkedArray, kind: str) -> bool:
    """Whether the values are nothing but digits and `-`, and a point unless whole numbers are wanted, none too fine."""
    text, ends = texts_of(column)
    if text.translate(None, _DIGITS if kind == "i" else _DIGITS + b"."):
        return False
    finest = _behind_points(text, ends)[1].max(initial=0) if kind in EXACT_DECIMALS else 0
    return bool(finest <= EXACT_DECIMALS.get(kind, 0))


def _behind_points(text: bytes, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each point in a column of texts: which text it is in, and how many characters of that stand behind it."""
    points = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("."))
    # Where every value has its point, the values need not be looked up.
    of = np.arange(len(points))
    if len(points) != len(ends) - 1 or (points < ends[:-1]).any() or (points >= ends[1:]).any():
        of = np.searchsorted(ends, points, "right") - 1
    return of, ends[of + 1] - points - 1


def typed(table: pa.Table, kinds: Mapping[str, str]) -> pa.Table:
    """The table with each column of numbers or truth values typed as raw has it, where all of its texts can be.

    `kinds` has the type letter of each column. What is typed here is what the SQL of `cast` makes of the same texts; a
    text that needs more of a look leaves its column as text.
    """
    for at, name in enumerate(table.column_names):
        made = _booleans(table[name]) if kinds[name] == "b" else _numbers(table[name], kinds[name])
        if made is not None:
            table = table.set_column(at, name, made)
    return table


def type_of_typed(kind: pa.DataType) -> str:
    """The DuckDB type of a column that `typed` has looked at."""
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    return {pa.int64(): "BIGINT", pa.bool_(): "BOOLEAN"}.get(kind, "VARCHAR")


def _is_typed(column: pa.ChunkedArray) -> bool:
    return not pa.types.is_string(column.type)


def _booleans(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    found = pc.equal(column, "true")
    return found if pc.all(pc.or_(found, pc.equal(column, "false"))).as_py() else None


def _numbers(column: pa.ChunkedArray, kind: str) -> pa.Array | None:
    """Whole numbers or decimals; an empty text is null. None where a text is no plain number, or too long or fine."""
    if kind not in _NUMBERS:
        return None
    precision, decimals = _NUMBERS[kind]
    text, ends = texts_of(column)
    sizes = np.diff(ends)
    # With this many characters nothing below can overflow.
    if sizes.max(initial=0) > min(precision - decimals, _PLAIN_BYTES):
        return None
    if text.translate(None, _DIGITS + b"." if decimals else _DIGITS):
        return None
    factors: np.int64 | np.ndarray = np.int64(10**decimals)
    if decimals and b"." in text:
        of, behind = _behind_points(text, ends)
        finest = int(behind.max())
        if finest > decimals or (np.diff(of) == 0).any():
            return None
        if len(of) == len(sizes) and (behind == finest).all():
            # Money as most systems write it: two digits behind every point.
            factors, before = np.int64(10 ** (decimals - finest)), np.arange(len(ends), dtype=ends.dtype)
        else:
            each, points = np.full(len(sizes), factors), np.zeros(len(ends), ends.dtype)
            each[of], points[of + 1] = 10 ** (decimals - behind), 1
            factors, before = each, np.cumsum(points, dtype=ends.dtype)
        text, ends = text.translate(None, b"."), ends - before
    given = None if sizes.all() else pa.py_buffer(np.packbits(sizes > 0, bitorder="little"))
    digits = pa.StringArray.from_buffers(len(sizes), pa.py_buffer(ends), pa.py_buffer(text), given)
    try:
        whole = digits.cast(pa.int64())
    except pa.ArrowInvalid:
        # A sign in the middle, or nothing but a sign or a point.
        return None
    if not decimals:
        return whole
    scaled = np.frombuffer(whole.buffers()[1], np.int64)[: len(sizes)] * factors
    return pa.Array.from_buffers(
        pa.decimal64(precision, decimals), len(sizes), [whole.buffers()[0], pa.py_buffer(scaled)]
    )


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
