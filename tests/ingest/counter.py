"""Records and bytes of a delivered file, counted by other means than the reader's.

For CSV a state machine over the characters of one record after the other; for JSONL the lines; for a workbook the
rows of its first visible sheet's XML; for Parquet its footer. It shares no code with the pipeline and knows nothing of contracts: what it is told is
encoding, delimiter, quote and the lines above the header.
"""

import codecs
import gzip
import io
import re
import zipfile
from dataclasses import dataclass
from xml.etree import ElementTree

import pyarrow.parquet as pq

MOST_LINES = 1_000
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+\Z")


@dataclass(frozen=True)
class Counted:
    """Records below the header, and bytes of the unpacked content; the three sum to its size."""

    records: int
    header_bytes: int | None = None
    blank_bytes: int | None = None
    record_bytes: int | None = None


def count(
    data: bytes,
    ext: str,
    encoding: str = "utf-8",
    delimiter: str = ",",
    quote: str = '"',
    skip_lines: int = 0,
) -> Counted | None:
    """What is in the file; None where a quoted field is never closed, so that nobody can say."""
    if ext == "parquet":
        return Counted(pq.ParquetFile(io.BytesIO(data)).metadata.num_rows)
    if ext == "xlsx":
        return Counted(_rows_with_a_value(data) - 1)
    if ext.endswith(".gz"):
        data = gzip.decompress(data)
    if ext.startswith("jsonl"):
        encoding = "utf-8"
    mark = next(
        (m for m in (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) if data.startswith(m)), b""
    )
    if mark:
        encoding = {3: "utf-8", 2: "utf-16-le" if mark == codecs.BOM_UTF16_LE else "utf-16-be"}[len(mark)]
    # Texts of two bytes a character are cut into lines as UTF-8; sizes are those of the file again.
    wide = encoding.lower().replace("_", "-") in ("utf-16", "utf-16-le", "utf-16-be")
    actual = {"utf-16": "utf-16-le"}.get(encoding, encoding)
    body = data[len(mark) :].decode(actual).encode() if wide else data[len(mark) :]

    def size(piece: bytes) -> int:
        return len(piece.decode().encode(actual)) if wide else len(piece)

    lines = _LINE.findall(body)
    assert b"".join(lines) == body
    header = sum(size(part) for part in lines[:skip_lines]) + len(mark)
    lines = lines[skip_lines:]
    if ext.startswith("jsonl"):
        blank = sum(size(part) for part in lines if not part.strip())
        records = [part for part in lines if part.strip()]
        return Counted(len(records), header, blank, sum(map(size, records)))
    return _csv(lines, "utf-8" if wide else encoding, delimiter, quote, header, size)


def _rows_with_a_value(workbook: bytes) -> int:
    with zipfile.ZipFile(io.BytesIO(workbook)) as archive:
        names = sorted(n for n in archive.namelist() if re.fullmatch(r"xl/worksheets/[^/]+\.xml", n))
        book = ElementTree.fromstring(archive.read("xl/workbook.xml"))
        pages = [page.get("state", "visible") for page in book.iter() if page.tag.endswith("}sheet")]
        sheet = ElementTree.fromstring(archive.read(names[pages.index("visible")]))
        shared = [n for n in archive.namelist() if n == "xl/sharedStrings.xml"]
        texts = (
            ["".join(t.itertext()) for t in ElementTree.fromstring(archive.read(shared[0]))] if shared else []
        )

    def given(cell: ElementTree.Element) -> bool:
        text = "".join(cell.itertext())
        return bool(texts[int(text)] if cell.get("t") == "s" and text else text)

    rows = (row for row in sheet.iter() if row.tag.endswith("}row"))
    return sum(any(given(cell) for cell in row) for row in rows)


def _csv(lines: list[bytes], encoding: str, delimiter: str, quote: str, header: int, size) -> Counted | None:  # type: ignore[no-untyped-def]
    blank = records = taken = at = 0
    seen_header = False
    while at < len(lines):
        if not lines[at].strip(b" \t\n\r\x0b\x0c"):
            blank += size(lines[at])
            at += 1
            continue
        ended = _record(lines, at, encoding, delimiter, quote)
        if ended is None:
            return None
        spans = sum(size(part) for part in lines[at:ended])
        if seen_header:
            records, taken = records + 1, taken + spans
        else:
            seen_header, header = True, header + spans
        at = ended
    return Counted(records, header, blank, taken)


def _record(lines: list[bytes], at: int, encoding: str, delimiter: str, quote: str) -> int | None:
    """Index after the last line of the record that begins at line `at`; a record nobody can read is its own line."""
    state, begun, end = "start", at, at
    text = b""
    while True:
        if end >= len(lines):
            return None
        text += lines[end]
        end += 1
        try:
            now = text.decode(encoding)
        except UnicodeDecodeError:
            return begun + 1
        if end == begun + 1 and ("\0" in now or "\x1a" in now):
            return end
        now = now.rstrip("\r\n")
        state = "start"
        for c in now:
            if state == "start":
                state = "quoted" if c == quote else "start" if c == delimiter else "plain"
            elif state == "plain":
                if c == quote:
                    return begun + 1
                state = "start" if c == delimiter else "plain"
            elif state == "quoted":
                state = "closing" if c == quote else "quoted"
            else:
                if c not in (quote, delimiter):
                    return begun + 1
                state = "quoted" if c == quote else "start"
        if state != "quoted":
            return end
        if end - begun > MOST_LINES + 1:
            return None
