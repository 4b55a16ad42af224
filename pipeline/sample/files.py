"""Tables of typed columns, and the bytes of one delivery file in each format."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from xml.sax.saxutils import escape

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.ingest.contracts import load_contracts

NULL = -(2**62)
OFFSET = "+08:00"
# Extension, text encoding and line end of each format.
FORMATS = {
    "csv": ("csv", "utf-8", "\n"),
    "csv_bom": ("csv", "utf-8-sig", "\n"),
    "csv_gb18030": ("csv", "gb18030", "\r\n"),
    "jsonl": ("jsonl", "utf-8", "\n"),
    "xlsx": ("xlsx", "", ""),
    "parquet": ("parquet", "", ""),
}


def chinese_headers(feed: str, columns: Iterable[str]) -> dict[str, str]:
    """Column → the first Chinese name that the feed's contract has for it."""
    contract = load_contracts()[feed]
    return {name: next(a for a in contract.columns[name].aliases if not a.isascii()) for name in columns}


@dataclass
class Column:
    """One column of a feed.

    kind: s text (object array, None = empty) · j JSON text · i integer · b 0/1 · ts local seconds
    since 1970 · d days since 1970 · m money in fen · q quantity in 1/1000. Integer kinds use NULL for empty.
    """

    name: str
    kind: str
    values: np.ndarray
    header: str = ""

    def __post_init__(self) -> None:
        self.header = self.header or self.name


@dataclass
class Table:
    """Rows of one source and feed; `day` is the delivery day of each row, `stem` what a file name has after it."""

    source: str
    feed: str
    format: str
    columns: list[Column]
    day: np.ndarray
    daily: bool = True
    stem: str = ""

    def sorted(self, *keys: np.ndarray) -> Table:
        """Rows by delivery day, then by the given keys (last key first, as np.lexsort)."""
        order = np.lexsort((*keys, self.day))
        for column in self.columns:
            column.values = column.values[order]
        self.day = self.day[order]
        return self

    def names(self) -> list[str]:
        return [c.name for c in self.columns]


def timestamps(values: np.ndarray) -> list[str | None]:
    """YYYY-MM-DDTHH:MM:SS of local seconds."""
    text = np.datetime_as_string(
        np.where(values == NULL, 0, values).astype("datetime64[s]"), unit="s"
    ).tolist()
    return [None if v == NULL else t for v, t in zip(values.tolist(), text, strict=True)]


def dates(values: np.ndarray) -> list[str | None]:
    text = np.datetime_as_string(
        np.where(values == NULL, 0, values).astype("datetime64[D]"), unit="D"
    ).tolist()
    return [None if v == NULL else t for v, t in zip(values.tolist(), text, strict=True)]


def decimal_text(value: int, digits: int) -> str:
    """value / 10^digits with exactly that many decimals: money and weights never pass through a float."""
    sign, value = ("-", -value) if value < 0 else ("", value)
    return f"{sign}{value // 10**digits}.{value % 10**digits:0{digits}d}"


def plain(column: Column, rows: slice) -> list[str | None]:
    """Text of each value, None for empty; timestamps with T and without offset."""
    values = column.values[rows]
    match column.kind:
        case "s" | "j":
            return values.tolist()
        case "ts":
            return timestamps(values)
        case "d":
            return dates(values)
        case "m":
            return [None if v == NULL else decimal_text(v, 2) for v in values.tolist()]
        case "q":
            return [None if v == NULL else _quantity(v) for v in values.tolist()]
        case "b":
            return [None if v == NULL else ("true" if v else "false") for v in values.tolist()]
        case "i":
            return [None if v == NULL else str(v) for v in values.tolist()]
    raise ValueError(f"unknown kind {column.kind}")


def _quantity(value: int) -> str:
    return str(value // 1000) if value % 1000 == 0 else decimal_text(value, 3)


class Encoder:
    """Fragments of one format: what stands in a file for a value, for free text and for nothing."""

    def __init__(self, format: str):
        self.format = format
        self.suffix, self.encoding, self.newline = FORMATS[format]

    def value(self, kind: str, text: str | None) -> str:
        if self.suffix == "csv":
            if text is None:
                return ""
            if kind == "ts":
                return text.replace("T", " ")
            return _csv_text(text) if kind in "sj" else text
        if self.suffix == "jsonl":
            return self._json(kind, text)
        return self._cell(kind, text)

    def column(self, column: Column, rows: slice) -> list[str]:
        return [self.value(column.kind, t) for t in plain(column, rows)]

    def _json(self, kind: str, text: str | None) -> str:
        if text is None:
            return "null"
        if kind == "s":
            return json.dumps(text, ensure_ascii=False)
        if kind == "ts":
            return f'"{text}{OFFSET}"' if text[0].isdigit() else json.dumps(text)
        return f'"{text}"' if kind == "d" or not _is_json_scalar(text) and kind != "j" else text

    def _cell(self, kind: str, text: str | None) -> str:
        """Everything after `<c r="A1"`; date cells are serial numbers with a date style."""
        if text is None:
            return "/>"
        if kind in ("ts", "d"):
            serial = _excel_serial(text)
            if serial is not None:
                return f' s="{1 if kind == "ts" else 2}"><v>{serial}</v></c>'
        elif kind in ("m", "q", "i") and _is_json_scalar(text):
            return f"><v>{text}</v></c>"
        elif kind == "b":
            return f' t="b"><v>{int(text == "true")}</v></c>'
        return f' t="inlineStr"><is><t xml:space="preserve">{escape(text)}</t></is></c>'

    def file(self, headers: list[str], rows: list[tuple[str, ...]]) -> bytes:
        """The delivery file of encoded rows (tuples may be short or long in CSV)."""
        if self.suffix == "xlsx":
            return _xlsx(headers, rows)
        if self.suffix == "jsonl":
            template = "{" + ", ".join(f'"{h}": %s' for h in headers) + "}\n"
            return "".join([template % row for row in rows]).encode()
        lines = [",".join(headers), *[",".join(row) for row in rows], ""]
        return self.newline.join(lines).encode(self.encoding)


def _is_json_scalar(text: str) -> bool:
    return text in ("true", "false") or text.lstrip("-").replace(".", "", 1).isdigit()


def _csv_text(text: str) -> str:
    if any(c in text for c in ',"\r\n') or text != text.strip():
        return '"' + text.replace('"', '""') + '"'
    return text


def _excel_serial(text: str) -> str | None:
    """Days since 1899-12-30 with 10 decimals, or None when the text is no real date."""
    try:
        days = (date.fromisoformat(text[:10]) - date(1899, 12, 30)).days
    except ValueError:
        return None
    if len(text) == 10:
        return str(days)
    h, m, s = (int(x) for x in text[11:19].split(":"))
    fraction = ((h * 3600 + m * 60 + s) * 10**10 + 43200) // 86400
    return f"{days}.{fraction:010d}"


# A worksheet writer of its own: library writers stamp the clock into the file, and it must be byte-identical.
_PARTS = {
    "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    '<Override PartName="/xl/workbook.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>'
    '<Override PartName="/xl/worksheets/sheet1.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>'
    '<Override PartName="/xl/styles.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.styles+xml"/></Types>',
    "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="rId1" Target="xl/workbook.xml" '
    'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"/></Relationships>',
    "xl/workbook.xml": '<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" '
    'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships">'
    '<sheets><sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/'
    'relationships"><Relationship Id="rId1" Target="worksheets/sheet1.xml" '
    'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet"/>'
    '<Relationship Id="rId2" Target="styles.xml" '
    'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles"/></Relationships>',
    "xl/styles.xml": '<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
    '<numFmts count="2"><numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd\\ hh:mm:ss"/>'
    '<numFmt numFmtId="165" formatCode="yyyy\\-mm\\-dd"/></numFmts>'
    '<fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts>'
    '<fills count="1"><fill><patternFill patternType="none"/></fill></fills>'
    '<borders count="1"><border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs>'
    '<cellXfs count="3"><xf/><xf numFmtId="164" applyNumberFormat="1"/>'
    '<xf numFmtId="165" applyNumberFormat="1"/></cellXfs><cellStyles count="1">'
    '<cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>',
}


def _xlsx(headers: list[str], rows: list[tuple[str, ...]]) -> bytes:
    head = tuple(f' t="inlineStr"><is><t>{escape(h)}</t></is></c>' for h in headers)
    lines = []
    for k, row in enumerate([head, *rows], start=1):
        cells = "".join([f'<c r="{chr(65 + c)}{k}"{cell}' for c, cell in enumerate(row)])
        lines.append(f'<row r="{k}">{cells}</row>')
    sheet = (
        '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
        + "".join(lines)
        + "</sheetData></worksheet>"
    )
    buffer = io.BytesIO()
    # Stored, not deflated: zlib's output differs between its versions.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, text in {**_PARTS, "xl/worksheets/sheet1.xml": sheet}.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            # Left alone, it names the operating system that wrote the file.
            entry.create_system = 0
            archive.writestr(entry, '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n' + text)
    return buffer.getvalue()


ARROW_TYPES = {
    "s": pa.string(),
    "j": pa.string(),
    "i": pa.int64(),
    "b": pa.bool_(),
    "d": pa.date32(),
    "ts": pa.timestamp("us"),
    "m": pa.decimal128(18, 4),
    "q": pa.decimal128(18, 3),
}


def arrow_column(column: Column, rows: slice = slice(None)) -> pa.Array:
    text = pa.array(plain(column, rows), type=pa.string())
    if column.kind == "b":
        values = column.values[rows].tolist()
        return pa.array([None if v == NULL else bool(v) for v in values], type=pa.bool_())
    return text.cast(ARROW_TYPES[column.kind])


def parquet_bytes(columns: list[Column], rows: slice = slice(None)) -> bytes:
    table = pa.table({c.header: arrow_column(c, rows) for c in columns})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="NONE", store_schema=False)
    return sink.getvalue().to_pybytes()


def day_name(start: date, day: int) -> str:
    return (start + timedelta(days=day)).isoformat()
