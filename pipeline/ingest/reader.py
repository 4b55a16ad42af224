"""Bytes → accounted records, every value still text.

No sniffing: declared encoding, declared delimiter, header by name. Each record of a file ends up once, either
in `Records.columns` or in `Records.rejects`, and for CSV and JSONL
`header_bytes + blank_bytes + record_bytes` is the size of the file.
"""

import json
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
from python_calamine import CalamineError, CalamineWorkbook, SheetTypeEnum

from pipeline.ingest.contracts import Contract

_MAX_JOINED_LINES = 1_000
_BOM = "\ufeff"
# Zero-width characters are dropped, no-break spaces become spaces: both come from copying out of web pages.
_INVISIBLE = {0x200B: None, 0x200C: None, 0x200D: None, 0x2060: None, 0xFEFF: None, 0x00A0: " ", 0x202F: " "}
_XLSX_ROW_LIMIT = 1_048_576


class FileRejected(Exception):
    """The file as a whole cannot be read. `code` is of the closed list in docs/reject-codes.md."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class Reject:
    """One record that cannot be loaded. `value` is left out where the column holds personal data."""

    record_no: int
    code: str
    column: str | None = None
    value: str | None = None
    byte_start: int | None = None
    byte_end: int | None = None


@dataclass
class Records:
    """The records of one file. `columns[name][i]` belongs to record `row_no[i]` (1-based)."""

    columns: dict[str, list[str | None]]
    row_no: list[int]
    rejects: list[Reject] = field(default_factory=list)
    header_bytes: int = 0
    blank_bytes: int = 0
    record_bytes: int = 0
    extra_columns: tuple[str, ...] = ()
    missing_columns: tuple[str, ...] = ()

    @property
    def rows_read(self) -> int:
        return len(self.row_no) + len(self.rejects)

    def table(self, names: list[str]) -> pa.Table:
        """One text column a name (all null where the file has none) and `_row`."""
        n = len(self.row_no)
        arrays = [pa.array(self.columns.get(name) or [None] * n, pa.string()) for name in names]
        return pa.table([*arrays, pa.array(self.row_no, pa.int64())], [*names, "_row"])


def check_file(path: Path, data_head: bytes, ext: str) -> None:
    """Refuse what is no regular file, is empty, or is not what its name says. Raises FileRejected."""
    mode = path.lstat().st_mode
    if not stat.S_ISREG(mode):
        raise FileRejected("not_a_regular_file", "a link, pipe or device stands here; deliver a plain file")
    if not data_head:
        raise FileRejected("empty_file", "the file has no bytes; a day without rows still has its header")
    magic = {b"PK\x03\x04": "xlsx", b"PAR1": "parquet", b"\x1f\x8b": "gzip"}
    actual = next((kind for head, kind in magic.items() if data_head.startswith(head)), "text")
    if actual == "text" and data_head.lstrip()[:1] == b"<":
        actual = "html"
    expected = {"xlsx": "xlsx", "parquet": "parquet"}.get(ext, "text")
    if actual != expected:
        raise FileRejected("wrong_format", f"the name says {ext}, the content is {actual}")


def read_text_file(data: bytes, ext: str, contract: Contract, encoding: str, delimiter: str) -> Records:
    """Records of a CSV, JSONL or XLSX file.

    Raises:
        FileRejected: where the file cannot be trusted as a whole; nothing of it is loaded then.
    """
    if ext == "xlsx":
        return _read_xlsx(data, contract)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        # Spans count the transcoded bytes: UTF-16 has no byte order that a line splitter could use.
        try:
            data, encoding = data.decode("utf-16").encode("utf-8"), "utf-8"
        except UnicodeDecodeError as error:
            raise FileRejected(
                "bad_encoding", f"the mark says UTF-16, the content is not: {error.reason}"
            ) from error
    return _read_jsonl(data, contract) if ext == "jsonl" else _read_csv(data, contract, encoding, delimiter)


def resolve_header(header: list[str], contract: Contract) -> tuple[list[str | None], tuple[str, ...]]:
    """Contract column of each delivered one (None for an extra), and the extra names.

    Raises FileRejected with `duplicate_column`, `no_header` or `missing_column`.
    """
    by_name: dict[str, str] = {}
    for name, column in contract.columns.items():
        for spelling in (name, *column.aliases):
            by_name[spelling.casefold()] = name
    cleaned = [unicodedata.normalize("NFKC", cell).strip().casefold() for cell in header]
    resolved = [by_name.get(cell) for cell in cleaned]
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


def _columns(
    rows: list[list[Any]], header: list[str], resolved: list[str | None], contract: Contract
) -> tuple[dict[str, list[str | None]], tuple[str, ...]]:
    """Transpose rows of the header's width to contract columns; also the contract columns not delivered."""
    transposed = list(zip(*rows, strict=True)) if rows else [()] * len(header)
    columns = {name: list(transposed[i]) for i, name in enumerate(resolved) if name}
    return columns, tuple(name for name in contract.columns if name not in columns)


def _clean(text: str) -> str:
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", text.translate(_INVISIBLE))


def _quoted_fields(text: str, delimiter: str) -> list[str] | None:
    """Fields of one record with quotes. None: a quote is still open. Raises ValueError on a bare quote."""
    fields: list[str] = []
    i, n = 0, len(text)
    while True:
        if i < n and text[i] == '"':
            j = i + 1
            while True:
                k = text.find('"', j)
                if k < 0:
                    return None
                if text[k + 1 : k + 2] != '"':
                    break
                j = k + 2
            fields.append(text[i + 1 : k].replace('""', '"'))
            i = k + 1
            if i < n and text[i] != delimiter:
                raise ValueError("bare quote")
        else:
            k = text.find(delimiter, i)
            end = n if k < 0 else k
            if '"' in text[i:end]:
                raise ValueError("bare quote")
            fields.append(text[i:end])
            i = end
        if i >= n:
            return fields
        i += 1


def _csv_records(
    lines: list[bytes], encoding: str, delimiter: str
) -> Iterator[tuple[int, int, list[str] | str | None]]:
    """(first byte, end byte, fields | reject code | None for a blank line) for each record, in file order."""
    start = i = 0
    while i < len(lines):
        raw = lines[i]
        end = start + len(raw)
        i += 1
        if not raw.strip():
            yield start, end, None
            start = end
            continue
        try:
            text = _clean(raw.decode(encoding)).rstrip("\r\n")
        except UnicodeDecodeError:
            yield start, end, "bad_encoding"
            start = end
            continue
        if '"' not in text:
            yield start, end, text.split(delimiter)
            start = end
            continue
        found: list[str] | str | None = None
        joined, j, joined_end = raw, i, end
        try:
            found = _quoted_fields(text, delimiter)
            while found is None:
                if j >= len(lines) or j - i > _MAX_JOINED_LINES:
                    raise FileRejected(
                        "unbalanced_quote", f"the quote opened in the record at byte {start} never closes"
                    )
                joined += lines[j]
                joined_end += len(lines[j])
                j += 1
                found = _quoted_fields(_clean(joined.decode(encoding)).rstrip("\r\n"), delimiter)
            i, end = j, joined_end
        except ValueError as error:
            # The record ends with its own line: what follows must not be swallowed by a stray quote.
            found = "bad_encoding" if isinstance(error, UnicodeDecodeError) else "bare_quote"
        yield start, end, found
        start = end


def _read_csv(data: bytes, contract: Contract, encoding: str, delimiter: str) -> Records:
    lines = data.splitlines(keepends=True)
    records = _csv_records(lines, encoding, delimiter)
    header: list[str] | None = None
    blank = 0
    header_end = 0
    for start, end, fields in records:
        if fields is None:
            blank += end - start
            continue
        if isinstance(fields, str):
            raise FileRejected(
                "no_header", f"the first line cannot be read ({fields}); declared encoding: {encoding}"
            )
        header, header_end = fields, end - start
        break
    if header is None:
        raise FileRejected("empty_file", "the file has only blank lines")
    header[0] = header[0].lstrip(_BOM)
    try:
        resolved, extra = resolve_header(header, contract)
    except FileRejected as rejected:
        others = [d for d in ",;\t|" if d != delimiter and len(header) == 1 and header[0].count(d) > 0]
        if others and rejected.code != "duplicate_column":
            raise FileRejected(
                "wrong_delimiter",
                f"the header is one field; it looks split by {others[0]!r}, declared is {delimiter!r}",
            ) from None
        raise
    width = len(header)
    rows: list[list[str]] = []
    row_no: list[int] = []
    rejects: list[Reject] = []
    record_bytes = no = 0
    for start, end, fields in records:
        if fields is None:
            blank += end - start
            continue
        no += 1
        record_bytes += end - start
        code = fields if isinstance(fields, str) else None
        if code is None:
            if len(fields) == width:
                if fields == header:
                    code = "repeated_header"
            elif len(fields) == width + 1 and fields[-1] == "":
                fields = fields[:-1]
            else:
                code = "short_row" if len(fields) < width else "long_row"
        if code:
            rejects.append(Reject(no, code, byte_start=start, byte_end=end))
        else:
            rows.append(fields)
            row_no.append(no)
    columns, missing = _columns(rows, header, resolved, contract)
    return Records(columns, row_no, rejects, header_end, blank, record_bytes, extra, missing)


def _as_text(value: Any) -> str | None:
    """Text of a JSON or spreadsheet value. A whole float is written as the whole number it stands for."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        # A spreadsheet keeps 15 digits: what lies beyond is noise, and a longer id has lost its last digits.
        if abs(value) >= 1e15:
            return f"{value:e}"
        return str(int(value)) if value.is_integer() else f"{Decimal(f'{value:.15g}'):f}"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return _clean(str(value))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys differ. Raises ValueError where one stands twice: which of them is meant?"""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands more than once")
    return found


def _read_jsonl(data: bytes, contract: Contract) -> Records:
    aliases = {a: name for name, column in contract.columns.items() for a in (name, *column.aliases)}
    columns: dict[str, list[str | None]] = {name: [] for name in contract.columns}
    row_no: list[int] = []
    rejects: list[Reject] = []
    seen: set[str] = set()
    blank = record_bytes = no = start = 0
    for raw in data.splitlines(keepends=True):
        end = start + len(raw)
        body = raw.removeprefix(b"\xef\xbb\xbf").strip()
        if not body:
            blank += len(raw)
        else:
            no += 1
            record_bytes += len(raw)
            try:
                # Numbers stay as they were written: a float would lose digits of money and of long ids.
                record = json.loads(
                    body.decode("utf-8"),
                    parse_float=str,
                    parse_int=str,
                    parse_constant=str,
                    object_pairs_hook=_object,
                )
                if b"\\ud" in body.lower():
                    # Half of a surrogate pair, written as an escape, is no text.
                    json.dumps(record, ensure_ascii=False).encode()
                if isinstance(record, dict):
                    named = _object(
                        [(aliases[key], value) for key, value in record.items() if key in aliases]
                    )
                    code = None
                else:
                    code = "bad_json"
            except UnicodeError:
                code = "bad_encoding"
            except (ValueError, RecursionError):
                code = "bad_json"
            if code:
                rejects.append(Reject(no, code, byte_start=start, byte_end=end))
            else:
                seen.update(record)
                for name, values in columns.items():
                    values.append(_as_text(named.get(name)))
                row_no.append(no)
        start = end
    delivered = {aliases[key] for key in seen if key in aliases}
    missing = [n for n, column in contract.columns.items() if column.required and n not in delivered]
    if row_no and missing:
        raise FileRejected("missing_column", f"required field {', '.join(missing)} is in no record")
    extra = tuple(sorted(key for key in seen if key not in aliases))
    absent = tuple(name for name in contract.columns if name not in delivered)
    return Records(columns, row_no, rejects, 0, blank, record_bytes, extra, absent)


def _read_xlsx(data: bytes, contract: Contract) -> Records:
    import io

    try:
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(data))
        sheets = [s.name for s in workbook.sheets_metadata if s.typ == SheetTypeEnum.WorkSheet]
        rows, *others = [workbook.get_sheet_by_name(name).to_python() for name in sheets]
    except (CalamineError, ValueError) as error:
        raise FileRejected("wrong_format", f"the workbook cannot be opened: {error}") from error
    if len(rows) >= _XLSX_ROW_LIMIT:
        raise FileRejected("xlsx_row_limit", "the sheet is at Excel's row limit, so rows are likely cut off")
    if not rows:
        raise FileRejected("empty_file", "the first sheet has no rows")
    header = [str(cell) for cell in rows[0]]
    resolved, extra = resolve_header(header, contract)
    if any(sheet and _is_header([str(cell) for cell in sheet[0]], contract) for sheet in others):
        raise FileRejected("several_sheets", "more than one sheet holds this feed; deliver one sheet a file")
    good: list[list[str | None]] = []
    row_no: list[int] = []
    rejects: list[Reject] = []
    no = 0
    for cells in rows[1:]:
        if all(cell == "" for cell in cells):
            continue
        no += 1
        values = [_as_text(cell) for cell in cells]
        if [value or "" for value in values] == header:
            rejects.append(Reject(no, "repeated_header"))
        elif any(value and not name for value, name in zip(values, header, strict=True)):
            rejects.append(Reject(no, "long_row"))
        else:
            good.append(values)
            row_no.append(no)
    columns, missing = _columns(good, header, resolved, contract)
    return Records(columns, row_no, rejects, extra_columns=extra, missing_columns=missing)
