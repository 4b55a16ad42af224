"""Bytes → accounted records, every value still text.

No sniffing: declared encoding, declared delimiter, header by name. Each record of a file ends up once, either
in the table or in `Records.rejects`, and for CSV and JSONL
`header_bytes + blank_bytes + record_bytes` is the size of the content.
"""

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from queue import Full, Queue
from threading import Event, Thread
from typing import Any, Self
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.ingest.contracts import Contract, header_name
from pipeline.ingest.reading.content import Content, FileRejected, read_workbook
from pipeline.ingest.reading.csv_chunks import (
    MAX_RECORD_BYTES,
    NOTHING_KNOWN,
    CsvParser,
    Facts,
    NotClean,
    Reject,
    line_end,
)
from pipeline.ingest.reading.key_order import KeyOrder
from pipeline.ingest.reading.workbook import Workbook

SPOOL_BYTES = 32 * 1024 * 1024
_ROW_GROUP_BYTES = 8 * 1024 * 1024
_XLSX_ROW_LIMIT = 1_048_576
_SHEET_ROWS = 50_000
_SMALL_ROWS = 50_000
# Where a further sheet may have its header below a title.
_LOOKED_AT_ROWS = 50
_NUMBER = re.compile(r"\s*[-+(]?\s*[¥￥$£€]?\s*\d[\d.,]*\s*\)?\s*元?\s*")
_MOMENT = re.compile(r"\s*\d{4}\s*[-/.年]\s*\d{1,2}")
# Keys of JSON objects are whatever a sender makes of them: so many unknown ones are kept to be told.
_MOST_EXTRA = 100
# Dropped or made a space before a header cell is compared: both come from copying out of web pages.
_INVISIBLE = dict.fromkeys((0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF))
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


# A landing folder has thousands of files of a few contracts, whose names are always the same.
_name_of = lru_cache(maxsize=16_384)(header_name)


@dataclass
class Records:
    """The records of one file: a table in memory, or a Parquet file where there are many.

    Attributes:
        tables: text columns named as in the contract, and `_row`, the record's number from 1.
        spool: Parquet file of the same columns instead of `tables`; the caller removes it.
        facts: what the reader knows of every value.
        source_names: values of the columns that repeat the source's name (`same_as`).
        sha256, bytes, content_bytes: of the file as it was read; `content_bytes` is unpacked, None for a workbook.
    """

    tables: list[pa.Table] = field(default_factory=list)
    spool: Path | None = None
    rows: int = 0
    rejects: list[Reject] = field(default_factory=list)
    header_bytes: int | None = 0
    blank_bytes: int | None = 0
    record_bytes: int | None = 0
    extra_columns: tuple[str, ...] = ()
    missing_columns: tuple[str, ...] = ()
    facts: Facts = NOTHING_KNOWN
    source_names: dict[str, set[str]] = field(default_factory=dict)
    sha256: str = ""
    bytes: int = 0
    content_bytes: int | None = None

    def discard(self) -> None:
        """Remove the Parquet file, if there is one."""
        if self.spool:
            self.spool.unlink(missing_ok=True)

    @property
    def rows_read(self) -> int:
        return self.rows + len(self.rejects)

    @property
    def nbytes(self) -> int:
        """Bytes that the records take in memory."""
        return sum(table.nbytes for table in self.tables)

    def table(self, names: list[str]) -> pa.Table:
        """One text column a name (all null where the file has none) and `_row`."""
        whole = pa.concat_tables(self.tables) if self.tables else pa.table({"_row": pa.array([], pa.int64())})
        absent = pa.nulls(len(whole), pa.string())
        have = set(whole.column_names)
        return pa.table(
            [*(whole[n] if n in have else absent for n in names), whole["_row"]], [*names, "_row"]
        )


class _Sink:
    """Takes tables; keeps them in memory up to a size and writes all of them to a Parquet file beyond it.

    The file holds clear personal data: its folder must be inside the vault.
    """

    def __init__(
        self,
        records: Records,
        contract: Contract,
        spool_folder: Path | None,
        *,
        keep: bool = True,
        forward: Callable[[pa.Table], None] | None = None,
    ) -> None:
        self.records, self.folder, self._keep, self._forward = records, spool_folder, keep, forward
        self.parser: CsvParser | None = None
        self._writer: pq.ParquetWriter | None = None
        self._size = 0
        self._named = [n for n, c in contract.columns.items() if c.same_as == "source"]

    def add(self, table: pa.Table) -> None:
        """Keep rows of text columns and `_row`; every table of one file has the same columns."""
        self.records.rows += len(table)
        for name in self._named:
            if name in table.column_names:
                found = (v.strip() for v in table[name].unique().to_pylist() if v)
                self.records.source_names.setdefault(name, set()).update(v for v in found if v)
        if self._forward:
            self.note_facts()
            self._forward(table)
        if self._keep:
            self.records.tables.append(table)
        self._size += table.nbytes
        if self.folder and self._size > SPOOL_BYTES:
            self._flush(self.folder)
            self._size = SPOOL_BYTES - _ROW_GROUP_BYTES

    def note_facts(self) -> None:
        """What the parser knows of all values so far."""
        if self.parser:
            self.records.facts = self.parser.facts

    def _flush(self, folder: Path) -> None:
        if not self.records.tables:
            return
        table = pa.concat_tables(self.records.tables)
        self.records.tables.clear()
        if self._writer is None:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.records.spool = folder / f"{uuid4().hex}.parquet"
            # It is read a few times and thrown away: packing it costs more than it saves.
            options = {"compression": "none", "use_dictionary": False, "write_statistics": False}
            self._writer = pq.ParquetWriter(self.records.spool, table.schema, **options)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer and self.folder:
            self._flush(self.folder)
            self._writer.close()

    def drop(self) -> None:
        """Leave nothing behind of a file that is refused half-way."""
        if self._writer:
            self._writer.close()
        self.records.discard()


def read_file(path: Path, ext: str, contract: Contract, spool_folder: Path | None = None) -> Records:
    """Records of a CSV, JSONL (either may be gzip) or XLSX file, in bounded memory.

    Args:
        contract: as delivered_contract gives it, with the source's encoding and delimiter.
        spool_folder: private folder for what does not fit into memory; without one everything is kept there.

    Raises:
        FileRejected: where the file cannot be trusted as a whole; nothing of it is loaded then.
    """
    records = Records()
    sink = _Sink(records, contract, spool_folder)
    try:
        if ext == "xlsx":
            data, records.sha256 = read_workbook(path)
            records.bytes = len(data)
            _read_workbook(data, contract, sink)
        else:
            _read_content(path, ext, contract, sink)
        sink.close()
    except BaseException:
        sink.drop()
        raise
    return records


class RecordStream:
    """Records of a large CSV file, read while they are taken and kept nowhere, numbers and truth values typed.

    Only for a file that is clean throughout. `table()` gives the records once; after they have been taken `records`
    has the counts, and `failure` is what ended the reading early: NotClean, where read_file must read the file, or
    FileRejected.
    """

    def __init__(self, path: Path, ext: str, contract: Contract) -> None:
        self.records = Records()
        self.failure: BaseException | None = None
        self._key_order = KeyOrder(contract.key)
        self._contract = contract
        self._typed: set[str] = set()
        self._queue: Queue[pa.Table | None] = Queue(maxsize=2)
        self._stopped = Event()
        self._sink = _Sink(self.records, contract, None, keep=False, forward=self._put)
        self._thread = Thread(target=self._read, args=(path, ext, contract), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def table(self) -> pa.RecordBatchReader:
        """The records, for one query. Raises NotClean (also where there are none) or FileRejected."""
        first = self._queue.get()
        if first is None:
            raise self.failure or NotClean
        return pa.RecordBatchReader.from_batches(first.schema, self._batches(first))

    def _batches(self, table: pa.Table | None) -> Iterator[pa.RecordBatch]:
        while table is not None:
            yield from table.combine_chunks().to_batches()
            table = self._queue.get()
        if self.failure:
            raise self.failure

    def _read(self, path: Path, ext: str, contract: Contract) -> None:
        try:
            _read_content(path, ext, contract, self._sink, strict=True)
        except BaseException as error:
            self.failure = error
        self._put(None)

    @property
    def has_each_key_once(self) -> bool:
        """Whether the order of the records proves it; where it does not, they must be asked."""
        facts = self.records.facts
        return self._key_order.ascends and all(
            # As text 01 and 1 are two numbers, and two texts may be one moment.
            n in self._typed
            or (column.type == "s" and not column.otherwise and facts.is_clean and n in facts.filled)
            for n, column in self._contract.columns.items()
            if n in self._contract.key
        )

    def _put(self, table: pa.Table | None) -> None:
        if table is not None:
            self._key_order.see(table)
            self._typed = {f.name for f in table.schema if not pa.types.is_string(f.type)}
        while not self._stopped.is_set():
            try:
                self._queue.put(table, timeout=0.1)
                return
            except Full:
                continue
        if table is not None:
            raise NotClean


def small_text_records(path: Path, contract: Contract, sha256: str) -> Records | None:
    """Records of a small Parquet file of text columns, or None: any other is read in place.

    Text is all that a batch of files can hold together, and a batch costs no more than one file: a first reading of a
    table makes a file a day. `sha256` is of the file. Raises FileRejected where the header is none of this feed.
    """
    metadata = pq.read_metadata(path)
    schema = metadata.schema.to_arrow_schema()
    if metadata.num_rows > _SMALL_ROWS or not all(pa.types.is_string(kind) for kind in schema.types):
        return None
    resolved, extra = resolve_header(schema.names, contract)
    given = [column for column, name in zip(schema.names, resolved, strict=True) if name]
    try:
        table = pq.read_table(path, columns=given)
        # Arrow takes the bytes of a damaged page as they are; text that is none would crash DuckDB, not be refused.
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        # Arrow's own text may quote a value.
        raise FileRejected("wrong_format", f"damaged Parquet file ({type(error).__name__})") from None
    if table.nbytes > SPOOL_BYTES:
        return None
    records = Records(
        header_bytes=None,
        blank_bytes=None,
        record_bytes=None,
        extra_columns=extra,
        sha256=sha256,
        bytes=path.stat().st_size,
    )
    table = table.rename_columns([name for name in resolved if name])
    row = pa.array(range(1, len(table) + 1), pa.int64())
    _Sink(records, contract, None).add(table.append_column("_row", row))
    return records


def _names_of(contract: Contract) -> dict[str, str]:
    """Contract column of each name that a column answers to, in the form in which names are compared."""
    return {
        _name_of(spelling): name
        for name, column in contract.columns.items()
        for spelling in (name, *column.aliases)
    }


def resolve_header(header: list[str], contract: Contract) -> tuple[list[str | None], tuple[str, ...]]:
    """Contract column of each delivered one (None for an extra), and the extra names.

    Raises FileRejected with `duplicate_column`, `no_header` or `missing_column`.
    """
    by_name = _names_of(contract)
    resolved = [by_name.get(header_name(cell.translate(_INVISIBLE))) for cell in header]
    named = [name for name in resolved if name]
    if len(named) != len(set(named)):
        twice = sorted({name for name in named if named.count(name) > 1})
        raise FileRejected(
            "duplicate_column", f"column {', '.join(twice)} stands more than once in the header"
        )
    if not named:
        raise FileRejected(
            "no_header",
            f"no column of feed {contract.feed} in the first line; expected {', '.join(contract.columns)}",
        )
    missing = [name for name, column in contract.columns.items() if column.required and name not in named]
    if missing:
        raise FileRejected("missing_column", f"required column {', '.join(missing)} is not in the header")
    extra = tuple(
        cell.strip() for cell, name in zip(header, resolved, strict=True) if not name and cell.strip()
    )
    return resolved, extra


def _is_header(cells: list[str], contract: Contract) -> bool:
    try:
        resolve_header(cells, contract)
    except FileRejected:
        return False
    return True


def _fits(cells: list[Any], kept: list[tuple[int, str]], contract: Contract) -> bool:
    """Whether a row of a sheet without a header could be a record: what must be filled is, in the form of its column."""
    given = {name: cells[i] for i, name in kept if i < len(cells) and cells[i] != ""}
    formed = [_has_form(value, contract.columns[name].type) for name, value in given.items()]
    required = {name for name, column in contract.columns.items() if column.required}
    # A row of nothing but texts could be a line of any note: it fits only as wide as the header.
    return required <= given.keys() and None not in formed and (True in formed or len(given) == len(kept) > 2)


def _has_form(value: Any, kind: str) -> bool | None:
    """True for a number or a time where one belongs, None for anything else there, False where any text may stand."""
    if kind in "imqrx":
        is_number = isinstance(value, int | float) or _NUMBER.fullmatch(str(value))
        return True if is_number else None
    if kind in ("d", "ts"):
        return True if isinstance(value, date) or _MOMENT.match(str(value)) else None
    return False


def record_spans(
    path: Path, ext: str, contract: Contract, wanted: Iterable[int]
) -> dict[int, tuple[int, int]]:
    """(first byte, end byte) in the unpacked content of the wanted records of a CSV or JSONL file.

    Raises FileRejected as read_file does. Records that the file does not have are left out.
    """
    spans = dict.fromkeys(wanted, (-1, -1))
    with Content(path, ext) as content:
        _read_text(content, ext, contract, _Sink(Records(), contract, None, keep=False), spans)
    return {no: span for no, span in spans.items() if span[0] >= 0}


def _read_content(path: Path, ext: str, contract: Contract, sink: _Sink, *, strict: bool = False) -> None:
    with Content(path, ext) as content:
        _read_text(content, ext, contract, sink, strict=strict)
    records = sink.records
    records.sha256, records.bytes = content.sha256, content.bytes
    records.content_bytes = content.content_bytes


def _read_text(
    content: Content,
    ext: str,
    contract: Contract,
    sink: _Sink,
    spans: dict[int, tuple[int, int]] | None = None,
    *,
    strict: bool = False,
) -> None:
    """Feed the content to a parser in chunks that end with a line.

    The parser says how much it took: a record whose quote is still open waits for the next block.
    """
    blocks = content.blocks()
    first = next(blocks, b"")
    records = sink.records
    encoding, first, blocks, mark, measure = _decoded(
        first, blocks, "utf-8" if ext.startswith("jsonl") else contract.encoding
    )
    parser: CsvParser | JsonParser
    if ext.startswith("jsonl"):
        parser = JsonParser(contract, sink.add, records.rejects, measure, mark, spans)
    else:
        parser = CsvParser(
            contract,
            encoding,
            sink.add,
            records.rejects,
            measure,
            mark,
            lambda header: resolve_header(header, contract),
            spans,
            strict=strict,
        )
        sink.parser = parser
    pending = b""
    for block, final in _with_last(chain([first], blocks)):
        # The lines of a block are copied once, behind what waits; what follows its last line end waits next.
        whole = 0 if final else line_end(block)
        waiting = block[whole:] if whole else b""
        pending = b"".join((pending, memoryview(block)[:whole])) if whole else pending + block
        while pending:
            end = len(pending) if final or whole else line_end(pending)
            took = parser.feed(pending[:end], final=final) if end else 0
            if not took and len(pending) > MAX_RECORD_BYTES:
                took = parser.skip(pending)
            pending = pending[took:]
            if not took or not final:
                break
        pending += waiting
    parser.finish()
    records.header_bytes = mark + parser.header_bytes
    records.blank_bytes, records.record_bytes = parser.blank_bytes, parser.record_bytes
    records.extra_columns, records.missing_columns = parser.extra, parser.missing
    sink.note_facts()
    accounted = records.header_bytes + records.blank_bytes + records.record_bytes
    if accounted != content.content_bytes:
        raise AssertionError(f"{accounted} of {content.content_bytes} bytes are accounted for")


def _decoded(
    first: bytes, blocks: Iterator[bytes], declared: str
) -> tuple[str, bytes, Iterator[bytes], int, Callable[[bytes], int]]:
    """(encoding, first block, the others, size of the byte-order mark, size in the file of a piece of a block).

    A byte-order mark says what the content is; without one the declaration holds. What has no line ends that could be
    found as bytes (UTF-16) is turned into UTF-8 on the way.
    """
    name = codecs.lookup(declared).name
    mark = 0
    for candidate, marked in _BYTE_ORDER_MARKS.items():
        if first.startswith(candidate):
            name, mark = marked, len(candidate)
            first = first[mark:]
            break
    name = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}.get(name, name)
    if "\n,".encode(name) == b"\n,":
        return name, first, blocks, mark, len
    turned = _transcoded(first, blocks, name)
    return "utf-8", next(turned, b""), turned, mark, lambda piece: len(piece.decode("utf-8").encode(name))


def _with_last(blocks: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each block and whether it is the last one."""
    held = next(blocks, b"")
    for block in blocks:
        yield held, False
        held = block
    yield held, True


def _transcoded(first: bytes, blocks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """The blocks as UTF-8. Raises FileRejected where the content is not what mark or declaration says."""
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for block, final in _with_last(chain([first], blocks)):
            yield decoder.decode(block, final).encode("utf-8")
    except UnicodeError as error:
        reason = getattr(error, "reason", error)
        raise FileRejected(
            "bad_encoding", f"the content is not the {encoding} that it is said to be: {reason}"
        ) from error


class _Number(str):
    """A JSON number as it was written: a float would lose digits of money and of long ids."""


def _json_text(value: Any) -> str:
    """A parsed JSON value as JSON again, numbers as they were written."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key, ensure_ascii=False)}: {_json_text(v)}" for key, v in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_json_text, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _as_text(value: Any) -> str | None:
    """Text of a JSON or spreadsheet value. A whole float is written as the whole number it stands for."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        # A spreadsheet keeps 15 digits: what lies beyond is noise, and a longer id has lost its last digits.
        if abs(value) >= 1e15:
            return f"{value:e}"
        return str(int(value)) if value.is_integer() else f"{Decimal(f'{value:.15g}'):f}"
    if isinstance(value, dict | list):
        return _json_text(value)
    return str(value)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys differ. Raises ValueError where one stands twice: which of them is meant?"""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands more than once")
    return found


class JsonParser:
    """Records of JSONL, one object a line. Contract columns that no record names are known at the end only."""

    def __init__(
        self,
        contract: Contract,
        add: Callable[[pa.Table], None],
        rejects: list[Reject],
        measure: Callable[[bytes], int],
        start: int,
        spans: dict[int, tuple[int, int]] | None = None,
    ) -> None:
        self._spans = spans or {}
        self._contract, self._add, self._rejects, self._measure = contract, add, rejects, measure
        self._names = _names_of(contract)
        self._at, self._no, self._good = start, 0, 0
        self._seen: set[str] = set()
        self._unknown: set[str] = set()
        self.header_bytes = self.blank_bytes = self.record_bytes = 0
        self.extra: tuple[str, ...] = ()
        self.missing: tuple[str, ...] = ()

    def feed(self, chunk: bytes, *, final: bool) -> int:
        """Read whole lines; returns how many bytes were taken, which are all."""
        columns: dict[str, list[str | None]] = {name: [] for name in self._contract.columns}
        row_no: list[int] = []
        for raw in chunk.splitlines(keepends=True):
            size = self._measure(raw)
            body = raw.strip()
            if not body:
                self.blank_bytes += size
            else:
                self._no += 1
                self.record_bytes += size
                if self._no in self._spans:
                    self._spans[self._no] = (self._at, self._at + size)
                named = self._record(body)
                if isinstance(named, str):
                    self._rejects.append(
                        Reject(self._no, named, byte_start=self._at, byte_end=self._at + size)
                    )
                else:
                    for name, values in columns.items():
                        values.append(named.get(name))
                    row_no.append(self._no)
            self._at += size
        if row_no:
            self._good += len(row_no)
            arrays = [pa.array(values, pa.string()) for values in columns.values()]
            self._add(pa.table([*arrays, pa.array(row_no, pa.int64())], [*columns, "_row"]))
        return len(chunk)

    def _record(self, body: bytes) -> dict[str, str | None] | str:
        """Texts by contract column, or a reject code."""
        low = body.lower()
        if any(mark in low for mark in (b"\0", b"\x1a", b"\\u0000", b"\\u001a")):
            return "control_character"
        try:
            record = json.loads(
                body.decode("utf-8"),
                parse_float=_Number,
                parse_int=_Number,
                parse_constant=_Number,
                object_pairs_hook=_object,
            )
            if b"\\ud" in low:
                # Half of a surrogate pair, written as an escape, is no text.
                json.dumps(record, ensure_ascii=False).encode()
            if not isinstance(record, dict):
                return "bad_json"
            named = _object(
                [
                    (name, _as_text(value))
                    for key, value in record.items()
                    if (name := self._names.get(_name_of(key)))
                ]
            )
        except UnicodeError:
            return "bad_encoding"
        except (ValueError, RecursionError):
            return "bad_json"
        self._seen.update(named)
        self._unknown.update(islice((k for k in record if _name_of(k) not in self._names), _MOST_EXTRA))
        if len(self._unknown) > _MOST_EXTRA:
            self._unknown = set(sorted(self._unknown)[:_MOST_EXTRA])
        return named

    def skip(self, chunk: bytes) -> int:
        """Refuse the file: a line longer than any record may be is most likely one array of everything."""
        raise FileRejected(
            "wrong_format", f"the record at byte {self._at} is longer than {MAX_RECORD_BYTES} bytes"
        )

    def finish(self) -> None:
        """Raises FileRejected where a required column is in no record."""
        missing = [n for n, c in self._contract.columns.items() if c.required and n not in self._seen]
        if self._good and missing:
            raise FileRejected("missing_column", f"required field {', '.join(missing)} is in no record")
        self.extra = tuple(sorted(self._unknown))
        self.missing = tuple(name for name in self._contract.columns if name not in self._seen)


def _read_workbook(data: bytes, contract: Contract, sink: _Sink) -> None:
    """Records of the first visible sheet; rows without any cell are left out, as a spreadsheet keeps no trace of them."""
    workbook = Workbook(data)
    sheet, unread = workbook.sheet, workbook.unread
    if sheet.end and sheet.end[0] + 1 >= _XLSX_ROW_LIMIT:
        raise FileRejected("xlsx_row_limit", "the sheet is at Excel's row limit, so rows are likely cut off")
    rows = enumerate(sheet.iter_rows() if sheet.end else ())
    _, first = next(rows, (0, None))
    if first is None:
        raise FileRejected("empty_file", "the first sheet has no rows")
    header = [str(cell) for cell in first]
    resolved, extra = resolve_header(header, contract)
    for other in workbook.others:
        top = islice(other.iter_rows(), _LOOKED_AT_ROWS) if other.end else ()
        if any(_is_header([str(cell) for cell in cells], contract) for cells in top):
            raise FileRejected(
                "several_sheets",
                "more than one sheet, hidden ones included, holds this feed; deliver one sheet a file",
            )
    records = sink.records
    kept = [(i, name) for i, name in enumerate(resolved) if name]
    for other in workbook.others:
        top = islice(other.iter_rows(), _LOOKED_AT_ROWS) if other.end else ()
        if any(_fits(cells, kept, contract) for cells in top):
            raise FileRejected(
                "several_sheets",
                "a further sheet has rows like those of this feed and no header; deliver one sheet a file",
            )
    named = sum(1 << i for i, cell in enumerate(header) if cell)
    good: list[list[str | None]] = []
    row_no: list[int] = []

    def flush() -> None:
        columns = list(zip(*good, strict=True)) if good else [()] * len(header)
        arrays = [pa.array(columns[i], pa.string()) for i, _ in kept]
        sink.add(pa.table([*arrays, pa.array(row_no, pa.int64())], [*(name for _, name in kept), "_row"]))
        good.clear()
        row_no.clear()

    no, last = 0, 0
    for last, cells in rows:
        missing = unread.get(last, 0)
        if not missing and all(cell == "" for cell in cells):
            continue
        no += 1
        values = [_as_text(cell) for cell in cells]
        if missing and (lost := next((name for i, name in kept if missing >> i & 1), None)):
            records.rejects.append(Reject(no, "unread_cell", lost))
        elif [value or "" for value in values] == header:
            records.rejects.append(Reject(no, "repeated_header"))
        elif missing & ~named or any(value and not name for value, name in zip(values, header, strict=True)):
            records.rejects.append(Reject(no, "long_row"))
        elif any(value and ("\0" in value or "\x1a" in value) for value in values):
            records.rejects.append(Reject(no, "control_character"))
        else:
            good.append(values)
            row_no.append(no)
            if len(good) == _SHEET_ROWS:
                flush()
    flush()
    # Below the last row with a value the sheet ends for calamine; rows of nothing but errors may follow.
    for index in sorted(index for index in unread if index > last):
        no += 1
        lost = next((name for i, name in kept if unread[index] >> i & 1), None)
        blank = "long_row" if unread[index] & ~named else "blank_row"
        records.rejects.append(Reject(no, "unread_cell" if lost else blank, lost))
    records.extra_columns = extra
    records.missing_columns = tuple(n for n in contract.columns if n not in resolved)
