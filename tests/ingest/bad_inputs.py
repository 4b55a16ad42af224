"""The table of bad inputs: every item of the list in the specification, and the files that show its outcome.

The letters are those of the list: F the file is rejected, R the row is rejected, D duplicate, L loaded. What the list
calls a gate is tested in tests/quality.
"""

import gzip
import io
import json
import os
import random
import socket
import stat
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.ingest.contracts import DeliveredFeed, Source

ITEMS = {
    "F01": "empty file",
    "F02": "missing column",
    "F03": "duplicate column",
    "F04": "no header",
    "F05": "wrong delimiter",
    "F06": "preamble lines (unless the contract says skip)",
    "F07": "unbalanced quote",
    "F08": "dialect drift inside a file",
    "F09": "gzip named .csv",
    "F10": "xlsx named .csv",
    "F11": "HTML named .csv",
    "F12": "JSON named .csv",
    "F13": "zip bomb (ratio > 100)",
    "F14": "zip bomb (> 1 GB)",
    "F15": "zip member with ../",
    "F16": "symlink in landing",
    "F17": "FIFO in landing",
    "F18": "device in landing",
    "F19": "file name with ../",
    "F20": "file name with NUL",
    "F21": "file name with newline",
    "F22": "file changed while read",
    "F23": "right name with another source's content",
    "F24": "truncated against its manifest",
    "F25": "no permission",
    "F26": "xlsx at its row limit",
    "R01": "mixed encoding",
    "R02": "lone 0xFF",
    "R03": "surrogate",
    "R04": "cut multibyte",
    "R05": "short row",
    "R06": "long row",
    "R07": "blank row",
    "R08": "repeated-header row",
    "R09": "footer row",
    "R10": "bare quote",
    "R11": "backslash quote",
    "R12": "^Z",
    "R13": "oversized field",
    "R14": "id in scientific notation",
    "R15": "Excel serial date",
    "R16": "ambiguous date",
    "R17": "impossible date",
    "R18": "future date",
    "R19": "epoch date",
    "R20": "NaN",
    "R21": "inf",
    "R22": "1e400",
    "R23": "decimal comma",
    "R24": "fractional quantity where whole is declared",
    "R25": "wrong type late in the file",
    "R26": "row outside the file's day window",
    "R27": "survey score outside its scale",
    "R28": "unknown currency",
    "R29": "same key with other content (latest by rule, the other accounted)",
    "D01": "exact duplicate row of a keyed feed",
    "D02": "a feed without key declares whether repeated lines inside one document count",
    "D03": "same bytes under another name",
    "D04": "yesterday's file sent again",
    "L01": "BOM",
    "L02": "UTF-16 with BOM",
    "L03": "GBK",
    "L04": "GB18030",
    "L05": "CRLF",
    "L06": "CR",
    "L07": "mixed newlines",
    "L08": "newline, comma or quote inside quotes",
    "L09": "one empty trailing column",
    "L10": "reordered header",
    "L11": "Chinese header through the alias map",
    "L12": "padded header",
    "L13": "leading zeros",
    "L14": "20-digit ids",
    "L15": "2026年1月5日 dates",
    "L16": "offset timestamps (converted)",
    "L17": "¥",
    "L18": "thousands separators",
    "L19": "full-width digits",
    "L20": "parentheses as negative",
    "L21": "refunds",
    "L22": "the declared NULL spellings (kept apart from empty text)",
    "L23": "NFKC/NFC",
    "L24": "zero-width spaces stripped",
    "L25": "no-break spaces stripped",
    "L26": "formula text (stored raw)",
    "L27": "SQL or Jinja text as text",
    "L28": "survey for an unknown customer",
    "L29": "masked phone 138****0000 (no identity link from it)",
    "L30": "consent flag unknown or blank = not granted",
    "L31": "birthday 1900-01-01 or 9999 = null with a flag",
    "L32": "a corrected file for a day already landed = a new revision, both in the ledger",
    "L33": "an extra column = loaded, with a drift event",
    "X": "not of the list: a neighbour of one of its items, or a rule of ours",
}

DAY, AS_OF = "2024-05-06", date(2024, 5, 7)
NOON = f"{DAY} 12:00:00"
ORDERS = (
    "order_id,source_customer_id,ordered_at,status,currency,order_discount,delivery_promise_min,is_test\n"
)
LINES = "order_id,line_no,product_id,qty,unit_price_paid\n"
ROWS = LINES.strip().split(",")
HOSTILE = (
    "'); drop table x; --",
    '"; drop table x; --',
    "{{ 1/0 }}",
    "{% for x in range(9) %}x{% endfor %}",
    "${STRATA_HOME}",
    "$(touch /tmp/x)",
    "*?[a-z]{a,b}",
    "../../../etc/passwd",
    "%s %(x)s {0} \\n",
)

SOURCES = {
    name: Source(source=name, feeds={"orders": feed, "customers": feed})
    for name, feed in {
        "gbk_till": DeliveredFeed(encoding="gbk"),
        "old_erp": DeliveredFeed(skip_lines=2),
        "pipes": DeliveredFeed(delimiter="|", quote="'"),
        "unquoted": DeliveredFeed(delimiter="\t", quote=""),
        "nulls": DeliveredFeed(null_values=("N/A", "-")),
        "wide": DeliveredFeed(encoding="utf-16"),
    }.items()
}
"""Sources that deliver in a form of their own, beside those of the repository."""

Place = Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    """One file and what must become of it.

    Attributes:
        counts: (read, loaded, rejected, duplicate).
        rejects: (record number, code) of each rejected row.
        sees: the loaded values of a column, in file order.
        extra: the columns that nobody knows, as the ledger tells them.
        before: content that was delivered under this name a sweep earlier; `rev` is what the file has become.
        place: puts the file there where writing bytes does not.
    """

    item: str
    name: str
    content: bytes | str = b""
    counts: tuple[int, int, int, int] = (0, 0, 0, 0)
    code: str | None = None
    rejects: tuple[tuple[int, str], ...] = ()
    sees: Mapping[str, list[Any]] = field(default_factory=dict)
    feed: str = "orders"
    source: str = "shop"
    ext: str = "csv"
    day: str = DAY
    encoding: str = "utf-8"
    extra: str | None = None
    detail: str = ""
    status: str = ""
    before: bytes | str | None = None
    rev: int = 1
    manifest: Mapping[str, Any] | bytes | None = None
    place: Place | None = None

    @property
    def file(self) -> str:
        return f"{self.source}/{self.feed}/{self.day}.{self.name}.{self.ext}"

    @property
    def outcome(self) -> str:
        return self.status or ("rejected" if self.code else "loaded")

    def data(self, content: bytes | str | None = None) -> bytes:
        """Bytes of the file; text is written in the case's encoding, lone surrogates as the bytes they stand for."""
        chosen = self.content if content is None else content
        if isinstance(chosen, bytes):
            return chosen
        if self.encoding == "utf-8":
            errors = "surrogateescape" if "\udcff" in chosen or "\udce5" in chosen else "surrogatepass"
            return chosen.encode("utf-8", errors)
        return chosen.encode(self.encoding)


def order(
    name: str,
    ordered_at: str = NOON,
    status: str = "paid",
    currency: str = "CNY",
    discount: str = "",
    promise: str = "",
    test: str = "",
) -> str:
    """One CSV record of an order whose id nobody else uses."""
    return f"{name},c-{name},{ordered_at},{status},{currency},{discount},{promise},{test}\n"


def line(name: str, qty: str = "1", price: str = "5", no: int = 1) -> str:
    """One CSV record of an order line."""
    return f"{name},{no},p,{qty},{price}\n"


def refused(item: str, name: str, content: bytes | str, code: str, **more: Any) -> Case:
    return Case(item, name, content, code=code, **more)


def one_bad(item: str, name: str, code: str, row: str, **more: Any) -> Case:
    """A good record, the bad one, and a good one: exactly the second is rejected."""
    text = ORDERS + order(f"{name}-1") + row + order(f"{name}-2")
    return Case(
        item,
        name,
        text,
        (3, 2, 1, 0),
        rejects=((2, code),),
        sees={"order_id": [f"{name}-1", f"{name}-2"]},
        **more,
    )


def bad_line(item: str, name: str, code: str, row: str, **more: Any) -> Case:
    """The same for order lines."""
    text = LINES + line(f"{name}-1") + row + line(f"{name}-2")
    return Case(item, name, text, (3, 2, 1, 0), rejects=((2, code),), feed="order_lines", **more)


def one_good(
    item: str, name: str, row: str, column: str, value: Any, head: str = ORDERS, **more: Any
) -> Case:
    return Case(item, name, head + row, (1, 1, 0, 0), sees={column: [value]}, **more)


def workbook(
    rows: list[list[Any]], more_sheets: tuple[list[list[Any]], ...] = (), hidden: tuple[int, ...] = ()
) -> bytes:
    """A workbook of these sheets. openpyxl writes `#N/A` as an error and `=A1` as a formula without its result."""
    book = openpyxl.Workbook()
    for n, sheet in enumerate((rows, *more_sheets)):
        page = book.create_sheet() if n else book.active
        page.sheet_state = "hidden" if n in hidden else "visible"
        for row in sheet:
            page.append(row)
    book.active = next((n for n in range(len(book.worksheets)) if n not in hidden), 0)
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def rezipped(
    change: Callable[[str, bytes], bytes],
    more: Mapping[str, bytes] | None = None,
    rows: tuple[list[Any], ...] = (["wz", 1, "p", 1, 5],),
) -> bytes:
    """A workbook of order lines whose archive members went through `change`, with further members."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(workbook([ROWS, *rows]))) as archive,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made,
    ):
        for member in archive.infolist():
            made.writestr(member.filename, change(member.filename, archive.read(member)))
        for name, data in (more or {}).items():
            made.writestr(name, data)
    return out.getvalue()


def sheet_with_cell(reference: str) -> bytes:
    """A workbook with the header in row 1 and one more cell at `reference`."""
    number = reference.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    row = f'<row r="{number}"><c r="{reference}" t="inlineStr"><is><t>x</t></is></c></row></sheetData>'

    def change(name: str, data: bytes) -> bytes:
        return data.replace(b"</sheetData>", row.encode()) if "worksheets/" in name else data

    return rezipped(change)


def parquet(columns: Mapping[str, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), buffer, **options)
    return buffer.getvalue()


def json_line(**values: Any) -> str:
    return json.dumps({"ordered_at": NOON, "status": "paid", **values}, ensure_ascii=False) + "\n"


def packed(text: str, **options: Any) -> bytes:
    return gzip.compress(text.encode(), mtime=0, **options)


def special(kind: int) -> Place:
    """A device (null) or a pipe."""
    return lambda path: os.mknod(path, 0o600 | kind, os.makedev(1, 3) if kind != stat.S_IFIFO else 0)


def listening(path: Path) -> None:
    """A socket. Its address must be short, so it is made from inside the folder."""
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def link_to_good_file(path: Path) -> None:
    target = path.parents[3] / "elsewhere.csv"
    target.write_text(ORDERS + order("behind-a-link"))
    path.symlink_to(target)


_noise = random.Random(7)
A_DAY = ORDERS + "".join(order(f"day-{_noise.random()}") for _ in range(5))
OTHERS_DAY = ORDERS + "".join(order(f"others-{i}") for i in range(3))
A_PARQUET = {"order_id": ["pq-1", "pq-2"], "ordered_at": [NOON, NOON], "status": ["paid", "paid"]}
DAMAGED = bytearray(parquet(A_PARQUET | {"order_id": ["pq-3", "pq-4"]}))
DAMAGED[4:60] = b"\xff" * 56
DAMAGED_GZIP = bytearray(packed(A_DAY))
DAMAGED_GZIP[40] ^= 0xFF
INVOICE = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
KEYED = "order_id,ordered_at,status,updated_at\n"
BORN = "source_customer_id,name,phone,birth_date\n"
SAID = "consent_id,source_customer_id,purpose,channel,action,at\n"


def said(name: str, action: str) -> str:
    return f"{name},u1,marketing,sms,{action},{NOON}\n"


CASES = [
    # F: the file as a whole cannot be trusted.
    refused("F01", "empty", b"", "empty_file"),
    refused("F01", "only-blank-lines", b"\n\r\n  \n", "empty_file"),
    refused("F01", "empty-packed", packed(""), "empty_file", ext="csv.gz"),
    refused("F01", "empty-sheet", workbook([]), "empty_file", ext="xlsx"),
    refused("F02", "missing-column", "order_id,status\nm-1,paid\n", "missing_column", detail="ordered_at"),
    refused(
        "F02",
        "jsonl-without-times",
        '{"order_id": "jt-1", "status": "paid"}\n',
        "missing_column",
        ext="jsonl",
    ),
    refused(
        "F02",
        "parquet-without-times",
        parquet({"order_id": ["a"], "status": ["paid"]}),
        "missing_column",
        ext="parquet",
    ),
    refused(
        "F03", "duplicate-column", ORDERS.replace("currency", "order_id") + order("dc-1"), "duplicate_column"
    ),
    refused(
        "F03", "duplicate-by-alias", ORDERS.replace("currency", "订单号") + order("da-1"), "duplicate_column"
    ),
    refused("F04", "no-header", order("nh-1") + order("nh-2"), "no_header"),
    refused("F04", "header-in-other-encoding", "订单号,下单时间,状态\n", "no_header", encoding="gb18030"),
    refused("F05", "semicolons", (ORDERS + order("sc-1")).replace(",", ";"), "wrong_delimiter", detail="';'"),
    refused("F05", "tabs", (ORDERS + order("tb-1")).replace(",", "\t"), "wrong_delimiter"),
    refused("F06", "preamble", "Exported by ERP 7\n" + ORDERS + order("pre-1"), "no_header"),
    one_good(
        "F06",
        "declared-preamble",
        order("pre-2"),
        "order_id",
        "pre-2",
        'ERP "7\n\n' + ORDERS,
        source="old_erp",
    ),
    refused(
        "F07", "unbalanced-quote", ORDERS + order("uq-1") + '"uq-2,open\n' + order("uq-3"), "unbalanced_quote"
    ),
    refused(
        "F08",
        "drift",
        ORDERS + order("dr-1") + order("dr-2").replace(",", ";"),
        "dialect_drift",
        detail="';'",
    ),
    refused(
        "F08", "drift-to-tabs", ORDERS + order("dr-3") * 3 + order("dr-4").replace(",", "\t"), "dialect_drift"
    ),
    refused("F09", "gzip", packed(ORDERS + order("gz-1")), "wrong_format", detail="gzip"),
    refused("F09", "gzip-in-gzip", gzip.compress(packed(A_DAY)), "wrong_format", ext="csv.gz", detail="gzip"),
    refused("F10", "xlsx-named-csv", workbook([ROWS]), "wrong_format", detail="xlsx"),
    refused("F11", "html", "<html><body>login expired</body></html>", "wrong_format", detail="html"),
    refused("F11", "html-after-blank", "\n  <!DOCTYPE html>\n", "wrong_format", detail="html"),
    refused("F12", "json-named-csv", json_line(order_id="jc-1"), "wrong_format", detail="json"),
    refused("F12", "json-array-named-csv", f"[{json_line(order_id='jc-2')}]", "wrong_format", detail="json"),
    refused(
        "F13", "gzip-bomb", packed(ORDERS + order("b") * 40_000), "zip_bomb", ext="csv.gz", detail="100 times"
    ),
    refused(
        "F13",
        "xlsx-bomb",
        rezipped(lambda _, d: d, {"xl/media/x.bin": bytes(9_000_000)}),
        "zip_bomb",
        ext="xlsx",
    ),
    refused(
        "F13",
        "two-cells-far-apart",
        sheet_with_cell("XFD1048575"),
        "zip_bomb",
        feed="order_lines",
        ext="xlsx",
    ),
    refused(
        "F15", "member-outside", rezipped(lambda _, d: d, {"../../x.csv": b"x"}), "unsafe_archive", ext="xlsx"
    ),
    refused(
        "F15",
        "member-absolute",
        rezipped(lambda _, d: d, {"/etc/cron.d/x": b"x"}),
        "unsafe_archive",
        ext="xlsx",
    ),
    refused(
        "F15", "member-backslash", rezipped(lambda _, d: d, {"..\\x": b"x"}), "unsafe_archive", ext="xlsx"
    ),
    refused("F16", "link", b"", "not_a_regular_file", place=link_to_good_file),
    refused("F16", "dangling-link", b"", "not_a_regular_file", place=lambda p: p.symlink_to("nowhere")),
    refused("F17", "pipe", b"", "not_a_regular_file", place=special(stat.S_IFIFO)),
    refused("F17", "packed-pipe", b"", "not_a_regular_file", ext="csv.gz", place=special(stat.S_IFIFO)),
    refused("F17", "parquet-pipe", b"", "not_a_regular_file", ext="parquet", place=special(stat.S_IFIFO)),
    refused("F18", "device", b"", "not_a_regular_file", place=special(stat.S_IFCHR)),
    refused("F18", "socket", b"", "not_a_regular_file", place=listening),
    refused(
        "F19",
        "manifest-names-parent",
        A_DAY,
        "manifest_mismatch",
        manifest={"file": "../../x.csv"},
        detail="file",
    ),
    refused(
        "F20", "manifest-names-nul", A_DAY, "manifest_mismatch", manifest={"file": "x\0.csv"}, detail="file"
    ),
    refused("F22", "changing", ORDERS + order("chg-1"), "changed_while_read"),
    refused("F22", "changing-sheet", workbook([ROWS]), "changed_while_read", feed="order_lines", ext="xlsx"),
    refused(
        "F22",
        "changing-parquet",
        parquet(A_PARQUET | {"order_id": ["c1", "c2"]}),
        "changed_while_read",
        ext="parquet",
    ),
    refused(
        "F23", "other-source", "source," + ORDERS + "app," + order("os-1"), "wrong_source", detail="says app"
    ),
    refused(
        "F23",
        "other-source-parquet",
        parquet(A_PARQUET | {"source": ["app", "app"]}),
        "wrong_source",
        ext="parquet",
    ),
    Case("F23", "sent", OTHERS_DAY, (3, 3, 0, 0), source="a_till"),
    refused(
        "F23", "taken", OTHERS_DAY, "wrong_source", source="b_till", detail=f"a_till/orders/{DAY}.sent.csv"
    ),
    refused(
        "F24", "cut-bytes", A_DAY[:-40], "manifest_mismatch", manifest={"bytes": len(A_DAY)}, detail="bytes"
    ),
    refused(
        "F24", "cut-rows", ORDERS + order("ct-1"), "manifest_mismatch", manifest={"rows": 2}, detail="rows"
    ),
    refused(
        "F24",
        "cut-rows-parquet",
        parquet(A_PARQUET | {"order_id": ["m1", "m2"]}),
        "manifest_mismatch",
        ext="parquet",
        manifest={"rows": 3},
    ),
    refused("F24", "other-hash", ORDERS + order("ct-2"), "manifest_mismatch", manifest={"sha256": "0" * 64}),
    refused("F24", "manifest-is-no-json", ORDERS + order("ct-3"), "manifest_mismatch", manifest=b"\xff{"),
    refused("F24", "manifest-is-odd", ORDERS + order("ct-4"), "manifest_mismatch", manifest={"rows": "1"}),
    Case(
        "F24",
        "as-its-manifest-says",
        ORDERS + order("ok-1"),
        (1, 1, 0, 0),
        manifest={"rows": 1, "bytes": len(ORDERS + order("ok-1"))},
    ),
    refused(
        "F26", "row-limit", sheet_with_cell("A1048576"), "xlsx_row_limit", feed="order_lines", ext="xlsx"
    ),
    refused("X", "parquet-named-csv", parquet(A_PARQUET), "wrong_format", detail="parquet"),
    refused("X", "csv-named-xlsx", ORDERS + order("cx-1"), "wrong_format", ext="xlsx"),
    refused("X", "csv-named-parquet", ORDERS + order("cp-1"), "wrong_format", ext="parquet"),
    refused("X", "csv-named-gz", ORDERS + order("cg-1"), "wrong_format", ext="csv.gz", detail="not gzip"),
    refused("X", "cut-workbook", workbook([ROWS])[:700], "wrong_format", feed="order_lines", ext="xlsx"),
    refused("X", "cut-gzip", packed(A_DAY)[:-20], "wrong_format", ext="csv.gz", detail="cut short"),
    refused("X", "damaged-gzip", bytes(DAMAGED_GZIP), "wrong_format", ext="csv.gz", detail="damaged"),
    refused("X", "cut-parquet", parquet(A_PARQUET)[:-20], "wrong_format", ext="parquet"),
    refused("X", "damaged-parquet", bytes(DAMAGED), "wrong_format", ext="parquet"),
    refused(
        "X",
        "row-number-column",
        parquet(A_PARQUET | {"file_row_number": [7, 7]}),
        "wrong_format",
        ext="parquet",
    ),
    refused("X", "cut-utf16", b"\xff\xfe" + ORDERS.encode("utf-16-le") + b"x", "bad_encoding"),
    refused(
        "X",
        "two-sheets",
        workbook([ROWS], ([ROWS, ["ts-1", 1, "p", 1, 5]],)),
        "several_sheets",
        feed="order_lines",
        ext="xlsx",
    ),
    refused(
        "X",
        "two-sheets-one-hidden",
        workbook([ROWS, ["th-1", 1, "p", 1, 5]], ([ROWS, ["th-2", 1, "p", 1, 5]],), hidden=(0,)),
        "several_sheets",
        feed="order_lines",
        ext="xlsx",
    ),
    refused(
        "X",
        "second-sheet-without-a-header",
        workbook([ROWS, ["sw-1", 1, "p", 1, 5]], ([["sw-2", 1, "p", 1, 5]],)),
        "several_sheets",
        feed="order_lines",
        ext="xlsx",
        detail="no header",
    ),
    refused(
        "X",
        "feed-only-hidden",
        workbook([ROWS, ["fh-1", 1, "p", 1, 5]], ([["how to read this"]],), hidden=(0,)),
        "no_header",
        feed="order_lines",
        ext="xlsx",
    ),
    refused(
        "X",
        "row-number-twice",
        rezipped(
            lambda _, d: d.replace(b'r="3"', b'r="2"'), rows=(["rt-1", 1, "p", 1, 5], ["rt-2", 1, "p", 1, 5])
        ),
        "wrong_format",
        feed="order_lines",
        ext="xlsx",
        detail="stands twice",
    ),
    refused(
        "X",
        "cell-twice",
        rezipped(lambda _, d: d.replace(b'r="C2"', b'r="D2"')),
        "wrong_format",
        feed="order_lines",
        ext="xlsx",
        detail="stands twice",
    ),
    refused(
        "X",
        "cell-of-another-row",
        rezipped(
            lambda _, d: d.replace(b'<c r="A3"', b'<c r="A2"'),
            rows=(["ca-1", 1, "p", 1, 5], ["ca-2", 1, "p", 1, 5]),
        ),
        "wrong_format",
        feed="order_lines",
        ext="xlsx",
        detail="says that it is of row 2",
    ),
    refused(
        "X",
        "rows-in-two-parts",
        rezipped(
            lambda _, d: d.replace(
                b"</sheetData>",
                b'</sheetData><sheetData><row r="9"><c r="A9"><v>5</v></c></row></sheetData>',
            )
        ),
        "wrong_format",
        feed="order_lines",
        ext="xlsx",
        detail="two parts",
    ),
    refused(
        "X",
        "second-sheet-below-a-title",
        workbook([ROWS, ["sb-1", 1, "p", 1, 5]], ([["May"], [], ROWS, ["sb-2", 1, "p", 1, 5]],)),
        "several_sheets",
        feed="order_lines",
        ext="xlsx",
    ),
    refused(
        "F03",
        "parquet-other-case",
        parquet({"order_id": ["pc"], "line_no": [1], "product_id": ["p"], "qty": [1], "Qty": [2]}),
        "duplicate_column",
        feed="order_lines",
        ext="parquet",
        detail="qty",
    ),
    # R: a record cannot be loaded; its neighbours can.
    Case(
        "X",
        "error-cells",
        workbook(
            [
                ROWS,
                ["ec-1", 1, "p", 1, 5],
                ["#N/A"] * 5,
                ["ec-2", 1, "p", "#DIV/0!", 5],
                ["=A2", 1, "p", 1, 5],
                ["ec-3", 1, "p", 1, 5],
                ["#REF!"],
            ]
        ),
        (6, 2, 4, 0),
        rejects=tuple((no, "unread_cell") for no in (2, 3, 4, 6)),
        sees={"order_id": ["ec-1", "ec-3"]},
        feed="order_lines",
        ext="xlsx",
    ),
    Case(
        "X",
        "error-cells-that-nobody-needs",
        workbook(
            [
                [*ROWS, "note"],
                ["en-1", 1, "p", 1, 5, "#N/A"],
                [None] * 5 + ["=1/0"],
                ["en-2", 1, "p", 1, 5, None, "#N/A"],
            ]
        ),
        (3, 1, 2, 0),
        rejects=((3, "long_row"), (2, "blank_row")),
        sees={"order_id": ["en-1"]},
        extra="note",
        feed="order_lines",
        ext="xlsx",
    ),
    Case(
        "X",
        "formula-with-empty-text",
        rezipped(
            lambda _, d: (
                d.replace(b"<f>1+1</f><v />", b"<f>1+1</f><v></v>").replace(b'r="C2"', b'r="C2" t="str"')
                if b"1+1" in d
                else d
            ),
            rows=(["fe-1", 1, "=1+1", 1, 5],),
        ),
        (1, 0, 1, 0),
        rejects=((1, "missing_value"),),
        feed="order_lines",
        ext="xlsx",
    ),
    Case(
        "X",
        "rows-without-numbers",
        rezipped(
            lambda _, d: d.replace(b'<row r="3">', b"<row>").replace(b'<row r="4">', b"<row>"),
            rows=(["rw-1", 1, "p", 1, 5], ["=A1", 1, "p", 1, 5], ["rw-3", 1, "p", 1, 5]),
        ),
        (3, 2, 1, 0),
        rejects=((2, "unread_cell"),),
        sees={"order_id": ["rw-1", "rw-3"]},
        feed="order_lines",
        ext="xlsx",
    ),
    Case(
        "X",
        "formula-with-its-result",
        rezipped(
            lambda _, d: d.replace(b"<f>1+1</f><v />", b"<f>1+1</f><v>2</v>"),
            rows=(["fr-1", 1, "p", "=1+1", 5],),
        ),
        (1, 1, 0, 0),
        sees={"qty": [Decimal(2)]},
        feed="order_lines",
        ext="xlsx",
    ),
    bad_line("X", "five-decimals", "too_precise", line("fd-bad", price="1.23456")),
    bad_line("X", "four-decimals-of-a-piece", "too_precise", line("fp-bad", "1.0001")),
    bad_line("X", "five-decimals-in-words", "too_precise", line("fw-bad", price="¥１．２３４５６元")),
    Case(
        "X",
        "five-decimals-parquet",
        parquet(
            {
                "order_id": ["fq-1", "fq-2", "fq-3", "fq-4"],
                "line_no": [1] * 4,
                "product_id": ["p"] * 4,
                "qty": pa.array([Decimal("1.0000"), Decimal("1.0001"), Decimal("2.5000"), Decimal("2.5000")]),
                "unit_price_paid": [19.990000000000002, 5.0, 1.23456, 1234567.8912],
            }
        ),
        (4, 2, 2, 0),
        rejects=((2, "too_precise"), (3, "too_precise")),
        sees={"unit_price_paid": [Decimal("19.99"), Decimal("1234567.8912")]},
        feed="order_lines",
        ext="parquet",
    ),
    Case(
        "X",
        "json-column",
        "event_id,event_type,occurred_at,value\n"
        + "".join(
            f'jt-{i},search,{NOON},"{v}"\n'
            for i, v in enumerate(
                ('{""a"": 1.50}', "not json {", '{""a"": NaN}', '{""a"": ""NaN""}', "bare", "null", "[1,]")
            )
        ),
        (7, 3, 4, 0),
        rejects=((2, "bad_json"), (3, "bad_json"), (5, "bad_json"), (7, "bad_json")),
        sees={"value": ['{"a": 1.50}', '{"a": "NaN"}', None]},
        feed="touchpoints",
    ),
    one_bad("R01", "mixed-encoding", "bad_encoding", "\udce5" + order("mx-bad")),
    one_bad("R02", "lone-ff", "bad_encoding", "\udcff" + order("ff-bad")),
    one_bad("R03", "surrogate", "bad_encoding", "\ud800" + order("su-bad")),
    one_bad("R04", "cut-multibyte", "bad_encoding", "\udce5\udcbc,c\n"),
    Case(
        "R04",
        "cut-gb18030",
        "订单号,下单时间,状态\n张,".encode("gb18030") + f"{NOON},paid\n\xd5,{NOON},paid\n".encode("latin-1"),
        (2, 1, 1, 0),
        rejects=((2, "bad_encoding"),),
        source="store_pos",
        encoding="gb18030",
    ),
    one_bad("R05", "short-row", "short_row", "sr-bad,c,2024-05-06\n"),
    one_bad("R06", "long-row", "long_row", order("lr-bad").strip() + ",one,two\n"),
    one_bad("R07", "blank-row", "blank_row", ",,,,,,,\n"),
    one_bad("R07", "blank-quoted-row", "blank_row", '"", ,NULL,,,,,\n'),
    Case(
        "R07",
        "blank-object",
        json_line(order_id="bo-1") + "{}\n",
        (2, 1, 1, 0),
        rejects=((2, "blank_row"),),
        ext="jsonl",
    ),
    one_bad("R08", "repeated-header", "repeated_header", ORDERS),
    one_bad("R09", "footer", "short_row", "Total: 2\n"),
    one_bad("R09", "wide-footer", "missing_value", "Total,,,,,2,,\n"),
    one_bad("R10", "bare-quote", "bare_quote", order('bq"bad')),
    one_bad("R11", "backslash-quote", "bare_quote", f'"a \\"b\\" c",c,{NOON},paid,CNY,,,\n'),
    one_bad("R12", "ctrl-z", "control_character", "\x1a\n"),
    one_bad("R12", "ctrl-z-in-row", "control_character", order("cz\x1a")),
    one_bad("R12", "nul", "control_character", order("nul\0")),
    Case(
        "R12",
        "ctrl-z-at-end",
        ORDERS + order("cze-1") + "\x1a",
        (2, 1, 1, 0),
        rejects=((2, "control_character"),),
    ),
    one_bad("R13", "oversized", "oversized_field", order("ov-bad", test="9" * 1_000_001)),
    one_good("R13", "large-enough", order("x" * 999_998), "order_id", "x" * 999_998),
    one_bad("R14", "scientific-id", "scientific_id", order("z").replace("z", "1.23457E+15", 1)),
    one_bad("R14", "scientific-id-2", "scientific_id", order("z").replace("z", "1.5e20", 1)),
    one_bad("R15", "excel-serial", "bad_timestamp", order("xs-bad", "45418")),
    one_bad("R16", "ambiguous-date", "bad_timestamp", order("am-bad", "05/06/2024 10:00")),
    one_bad("R17", "impossible-date", "bad_timestamp", order("imp-bad", "2024-02-30 10:00:00")),
    one_bad("R17", "impossible-hour", "bad_timestamp", order("imh-bad", "2024-05-06 25:00:00")),
    one_bad("R18", "future-date", "future_date", order("fut-bad", "2024-05-07 00:06:00")),
    one_bad("R19", "epoch", "bad_timestamp", order("ep-bad", "1714960800")),
    one_bad("R19", "epoch-date", "before_2000", order("ed-bad", "1970-01-01 00:00:00")),
    one_good(
        "X",
        "first-moment-of-2000",
        order("y2k", "2000-01-01 00:00:00"),
        "ordered_at",
        datetime(1999, 12, 31, 16),
    ),
    one_bad("X", "moment-before-2000", "before_2000", order("y1-bad", "1999-12-31 23:59:59")),
    one_bad("X", "order-number-as-discount", "amount_too_large", order("od-bad", discount="6901234567892")),
    bad_line("X", "barcode-as-quantity-of-a-gift", "amount_too_large", line("bq-bad", "6901234567892", "0")),
    one_bad("R20", "nan", "bad_number", order("nan-bad", discount="NaN")),
    one_bad("R21", "inf", "bad_number", order("inf-bad", discount="inf")),
    one_bad("R22", "1e400", "bad_number", order("exp-bad", discount="1e400")),
    one_bad("R23", "decimal-comma", "bad_number", order("dcm-bad", discount='"12,50"')),
    one_bad("R23", "german-number", "bad_number", order("de-bad", discount='"1.234,56"')),
    one_bad("R24", "half-promise", "bad_integer", order("hp-bad", promise="30.5")),
    Case(
        "R24",
        "half-a-mug",
        INVOICE + f"i1,A1,mug,1.5,{NOON},2.5,,UK\n",
        (1, 0, 1, 0),
        rejects=((1, "bad_integer"),),
        source="online_retail",
        feed="transactions",
    ),
    Case(
        "R25",
        "late-wrong-type",
        ORDERS
        + "".join(order(f"late-{i}", promise="30") for i in range(3_000))
        + order("late-bad", promise="soon"),
        (3_001, 3_000, 1, 0),
        rejects=((3_001, "bad_integer"),),
    ),
    one_bad("R26", "tomorrow", "future_date", order("tm-bad", "2024-05-08")),
    one_bad("R26", "last-century", "before_2000", order("old-bad", "1999-12-31 23:00:00")),
    Case(
        "R27",
        "score-range",
        "response_id,question_id,survey_id,score\nr1,q,s,10\nr2,q,s,11\nr3,q,s,-1\n",
        (3, 1, 2, 0),
        rejects=((2, "out_of_range"), (3, "out_of_range")),
        feed="survey_responses",
    ),
    one_bad("R28", "unknown-currency", "unknown_currency", order("cu-bad", currency="XXX")),
    Case(
        "R29",
        "same-key",
        ORDERS + order("sk") + order("sk", status="completed") + order("sk-2"),
        (3, 2, 1, 0),
        rejects=((1, "superseded"),),
        sees={"status": ["completed", "paid"]},
    ),
    Case(
        "R29",
        "same-key-older-later",
        KEYED + f"so,{NOON},completed,{DAY} 13:00:00\nso,{NOON},paid,{DAY} 12:00:00\nso,{NOON},created,\n",
        (3, 1, 2, 0),
        rejects=((2, "superseded"), (3, "superseded")),
        sees={"status": ["completed"]},
    ),
    one_bad("X", "bad-boolean", "bad_boolean", order("bb-bad", test="maybe")),
    one_bad("X", "unknown-enum", "unknown_value", order("en-bad", status="refunded?")),
    one_bad("X", "missing-value", "missing_value", order("mv-bad", ordered_at="")),
    one_bad("X", "null-key", "missing_value", order("NULL").replace("c-NULL", "c-null-key")),
    one_bad("X", "out-of-range", "out_of_range", order("oor-bad", discount="-1")),
    bad_line("X", "negative-at-price", "negative_quantity", line("np-bad", "-2", "5")),
    bad_line("X", "zero-quantity", "zero_quantity", line("zq-bad", "0")),
    Case(
        "X",
        "bad-json",
        json_line(order_id="bj-1") + "{cut\n[1, 2]\n" + "[" * 50_000 + "\n" + json_line(order_id="bj-2"),
        (5, 2, 3, 0),
        rejects=((2, "bad_json"), (3, "bad_json"), (4, "bad_json")),
        ext="jsonl",
    ),
    Case(
        "X",
        "json-key-twice",
        json_line(order_id="jk-1")
        + '{"order_id": "a", "order_id": "b", "status": "paid"}\n'
        + '{"order_id": "a", "订单号": "b", "status": "paid"}\n',
        (3, 1, 2, 0),
        rejects=((2, "bad_json"), (3, "bad_json")),
        ext="jsonl",
    ),
    Case(
        "R03",
        "json-surrogate",
        json_line(order_id="jss-1")
        + '{"order_id": "\\ud800"}\n'
        + json_line(order_id="jss-😀").replace("😀", "\\ud83d\\ude00"),
        (3, 2, 1, 0),
        rejects=((2, "bad_encoding"),),
        ext="jsonl",
        sees={"order_id": ["jss-1", "jss-😀"]},
    ),
    Case(
        "R02",
        "json-bytes",
        json_line(order_id="jb-1").encode() + b'{"order_id": "\xff"}\n',
        (2, 1, 1, 0),
        rejects=((2, "bad_encoding"),),
        ext="jsonl",
    ),
    Case(
        "R12",
        "json-nul",
        json_line(order_id="jn-1") + json_line(order_id="jn\0") + json_line(order_id="jn-2"),
        (3, 2, 1, 0),
        rejects=((2, "control_character"),),
        ext="jsonl",
    ),
    Case(
        "R06",
        "beyond-header",
        workbook([ROWS, ["bh-1", 1, "p", 1, 5, "lost"], ["bh-2", 1, "p", 1, 5]]),
        (2, 1, 1, 0),
        rejects=((1, "long_row"),),
        feed="order_lines",
        ext="xlsx",
    ),
    Case(
        "R14",
        "long-number-id",
        workbook([ROWS, [12345678901234567890, 1, "p", 1, 5], ["ln-2", 1, "p", 1, 5]]),
        (2, 1, 1, 0),
        rejects=((1, "scientific_id"),),
        feed="order_lines",
        ext="xlsx",
    ),
    Case(
        "R20",
        "parquet-nan",
        parquet(
            {
                "order_id": ["pn-1", "pn-2"],
                "line_no": [1, 1],
                "product_id": ["p", "p"],
                "qty": [1.0, 1.0],
                "unit_price_paid": [float("nan"), 0.1 + 0.2],
            }
        ),
        (2, 1, 1, 0),
        rejects=((1, "bad_number"),),
        sees={"unit_price_paid": [Decimal("0.3")]},
        feed="order_lines",
        ext="parquet",
    ),
    # D: what came before.
    Case(
        "D01",
        "equal-rows",
        ORDERS + order("eq") * 3 + order("eq-2"),
        (4, 2, 0, 2),
        sees={"order_id": ["eq", "eq-2"]},
    ),
    Case(
        "D01",
        "equal-rows-empty-key-part",
        "channel_id,campaign_code,keyword,date,spend\n" + f"c,k,,{DAY},5\n" * 2 + f"c,k,w,{DAY},5\n" * 2,
        (4, 2, 0, 2),
        feed="ad_spend",
    ),
    Case(
        "D02",
        "first-receipt",
        INVOICE + f"d1,A1,mug,2,{NOON},2.5,,UK\n" * 2,
        (2, 2, 0, 0),
        source="online_retail",
        feed="transactions",
    ),
    Case(
        "D02",
        "second-receipt",
        INVOICE + f"d1,A1,mug,2,{NOON},2.5,,UK\n" * 2 + f"d2,A1,mug,2,{NOON},2.5,,UK\n",
        (3, 1, 0, 2),
        source="online_retail",
        feed="transactions",
    ),
    Case("D03", "first-name", LINES + line("fn-1"), (1, 1, 0, 0), feed="order_lines"),
    Case(
        "D03",
        "second-name",
        LINES + line("fn-1"),
        (1, 0, 0, 1),
        "duplicate_file",
        status="duplicate",
        feed="order_lines",
        detail="first-name",
    ),
    Case("D04", "sent", LINES + line("yf-1"), (1, 1, 0, 0), feed="order_lines", day="2024-05-05"),
    Case(
        "D04",
        "sent",
        LINES + line("yf-1"),
        (1, 0, 0, 1),
        "duplicate_file",
        status="duplicate",
        feed="order_lines",
        detail="2024-05-05.sent",
    ),
    # L: unusual but right.
    Case(
        "X",
        "json-column-jsonl",
        "".join(
            f'{{"event_id": "jl-{i}", "event_type": "search", "occurred_at": "{NOON}", "value": {v}}}\n'
            for i, v in enumerate(
                (
                    '{"n": 1.50, "t": "1.50", "big": 12345678901234567890, "l": [1, null, true, "张"]}',
                    "7",
                    '"plain words"',
                    '{"a": NaN}',
                    '{"a": ' + "[" * 400 + "]" * 400 + "}",
                )
            )
        ),
        (5, 3, 2, 0),
        rejects=((3, "bad_json"), (4, "bad_json")),
        sees={
            "value": [
                '{"n": 1.50, "t": "1.50", "big": 12345678901234567890, "l": [1, null, true, "张"]}',
                "7",
                '{"a": ' + "[" * 400 + "]" * 400 + "}",
            ]
        },
        feed="touchpoints",
        ext="jsonl",
    ),
    Case(
        "X",
        "json-column-parquet",
        parquet(
            {
                "event_id": ["js-1", "js-2"],
                "event_type": ["search"] * 2,
                "occurred_at": [NOON] * 2,
                "value": pa.array([{"a": 1}, {"a": 2}]),
            }
        ),
        (2, 2, 0, 0),
        sees={"value": ['{"a":1}', '{"a":2}']},
        feed="touchpoints",
        ext="parquet",
    ),
    Case(
        "X",
        "json-keys-in-other-spelling",
        f'{{"Order-ID": "jo-1", "ORDERED_AT": "{NOON}", "status": "paid"}}\n'
        f'{{"order_id": "jo-2", "Order_ID": "jo-3", "ordered_at": "{NOON}", "status": "paid"}}\n',
        (2, 1, 1, 0),
        rejects=((2, "bad_json"),),
        sees={"order_id": ["jo-1"]},
        ext="jsonl",
    ),
    one_good("L01", "bom", order("bom-1"), "order_id", "bom-1", encoding="utf-8-sig"),
    one_good(
        "L01",
        "bom-quoted",
        order("bom-2"),
        "order_id",
        "bom-2",
        '"order_id"' + ORDERS[8:],
        encoding="utf-8-sig",
    ),
    Case("L01", "bom-jsonl", "\ufeff" + json_line(order_id="bom-3"), (1, 1, 0, 0), ext="jsonl"),
    one_good("L02", "utf16", order("u16-张伟"), "order_id", "u16-张伟", encoding="utf-16"),
    Case(
        "L02",
        "utf16-be",
        b"\xfe\xff" + (ORDERS + order("u16be-张")).encode("utf-16-be"),
        (1, 1, 0, 0),
        sees={"order_id": ["u16be-张"]},
        encoding="utf-16-be",
    ),
    one_good(
        "L02", "utf16-declared", order("u16d-𠀀"), "order_id", "u16d-𠀀", encoding="utf-16-le", source="wide"
    ),
    one_good(
        "L03",
        "gbk",
        order("gbk-1").replace("c-gbk-1", "张伟"),
        "source_customer_id",
        "张伟",
        encoding="gbk",
        source="gbk_till",
    ),
    Case(
        "L04",
        "gb18030",
        f"订单号,下单时间,状态,门店编号\ngb-1,{NOON},paid,龘店\U00020000\n",
        (1, 1, 0, 0),
        sees={"store_id": ["龘店\U00020000"]},
        source="store_pos",
        encoding="gb18030",
    ),
    Case("L05", "crlf", (ORDERS + order("crlf-1") + order("crlf-2")).replace("\n", "\r\n"), (2, 2, 0, 0)),
    Case("L06", "cr", (ORDERS + order("cr-1") + order("cr-2")).replace("\n", "\r"), (2, 2, 0, 0)),
    Case(
        "L07",
        "mixed-newlines",
        ORDERS + order("mx-1").replace("\n", "\r\n") + order("mx-2").replace("\n", "\r") + order("mx-3"),
        (3, 3, 0, 0),
    ),
    Case(
        "L08",
        "quotes",
        ORDERS + f'"q,1\n\r\n""x""",c,{NOON},"paid",CNY,"1,234.50",,\n',
        (1, 1, 0, 0),
        sees={"order_id": ['q,1\n\r\n"x"'], "order_discount": [Decimal("1234.5000")]},
    ),
    one_good(
        "L08",
        "other-quote",
        order("a-1").replace(",", "|").replace("a-1", "'a|''1'", 1),
        "order_id",
        "a|'1",
        ORDERS.replace(",", "|"),
        source="pipes",
    ),
    one_good(
        "L08",
        "no-quote",
        order('say "x').replace(",", "\t"),
        "order_id",
        'say "x',
        ORDERS.replace(",", "\t"),
        source="unquoted",
    ),
    Case("L09", "trailing-column", ORDERS + order("tc-1").strip() + ",\n" + order("tc-2"), (2, 2, 0, 0)),
    Case("L09", "trailing-header", ORDERS.strip() + ",\n" + order("th-1").strip() + ",\n", (1, 1, 0, 0)),
    Case(
        "L10",
        "reordered",
        f"status,ordered_at,order_id\npaid,{NOON},re-1\n",
        (1, 1, 0, 0),
        sees={"order_id": ["re-1"], "status": ["paid"]},
    ),
    Case(
        "L11",
        "chinese-header",
        "订单号,下单时间,状态,整单优惠\nch-1,2024年5月6日 09:31,paid,¥５．５０\n",
        (1, 1, 0, 0),
        sees={
            "order_id": ["ch-1"],
            "ordered_at": [datetime(2024, 5, 6, 1, 31)],
            "order_discount": [Decimal("5.5")],
        },
    ),
    Case(
        "L12",
        "padded-header",
        f" Order_ID ,\u200bORDERED_AT,status\u00a0\nph-1,{NOON},paid\n",
        (1, 1, 0, 0),
        sees={"order_id": ["ph-1"]},
    ),
    one_good("L13", "leading-zeros", order("000123"), "order_id", "000123"),
    one_good("L14", "twenty-digits", order("12345678901234567890"), "order_id", "12345678901234567890"),
    one_good("L15", "chinese-date", order("cd-1", "2024年5月6日"), "ordered_at", datetime(2024, 5, 5, 16)),
    one_good(
        "L16", "offset", order("of-1", "2024-05-06T10:00:00+02:00"), "ordered_at", datetime(2024, 5, 6, 8)
    ),
    one_good(
        "L16",
        "offset-apart",
        order("of-2", "2024-05-06 10:00:00 +0200"),
        "ordered_at",
        datetime(2024, 5, 6, 8),
    ),
    one_good("L16", "zulu", order("of-3", "2024-05-06T10:00:00Z"), "ordered_at_offset_minutes", 0),
    one_good("L16", "local", order("of-4"), "ordered_at_offset_minutes", 480),
    Case(
        "L16",
        "one-offset-among-naive",
        ORDERS + order("on-1") + order("on-2", f"{DAY}T12:00:00+08:00") + order("on-3"),
        (3, 3, 0, 0),
        sees={"ordered_at": [datetime(2024, 5, 6, 4)] * 3},
    ),
    one_good("L17", "yen", order("yen-1", discount="¥12.50"), "order_discount", Decimal("12.5")),
    one_good(
        "L18", "thousands", order("th-1", discount='"1,234,567.50"'), "order_discount", Decimal("1234567.5")
    ),
    one_good("L19", "full-width", order("fw-1", discount="１２３．５元"), "order_discount", Decimal("123.5")),
    one_good(
        "L20",
        "parentheses",
        line("pa-1", "1", "(5.00)"),
        "unit_price_paid",
        Decimal("-5"),
        LINES,
        feed="order_lines",
    ),
    one_good(
        "L21",
        "refund",
        f"rf-1,o-1,p,1,12.50,{NOON},refund\n",
        "refund_amount",
        Decimal("12.5"),
        "return_id,order_id,product_id,qty,refund_amount,refunded_at,type\n",
        feed="returns",
    ),
    Case(
        "L21",
        "credit-note",
        INVOICE + f"Cx1,A1,mug,-1,{NOON},2.5,,UK\n",
        (1, 1, 0, 0),
        source="online_retail",
        feed="transactions",
    ),
    one_good("L22", "null-spelling", order("ns-1", discount="\\N"), "order_discount", None),
    Case(
        "L22",
        "declared-nulls",
        "order_id,ordered_at,status,device,coupon_id,order_discount\n"
        + f'dn-1,{NOON},paid,N/A,-,N/A\ndn-2,{NOON},paid,"",NULL,\n',
        (2, 2, 0, 0),
        sees={"device": [None, ""], "coupon_id": [None, "NULL"], "order_discount": [None, None]},
        source="nulls",
    ),
    one_good("L23", "nfc", order("cafe\u0301"), "order_id", "café"),
    one_good("L23", "nfkc-header", order("nk-1"), "order_id", "nk-1", "ｏｒｄｅｒ＿ｉｄ" + ORDERS[8:]),
    Case(
        "L23",
        "nfc-parquet",
        parquet(A_PARQUET | {"order_id": ["cafe\u0301-2", " cafe\u200b3\u00a0"]}),
        (2, 2, 0, 0),
        ext="parquet",
        sees={"order_id": ["café-2", "cafe3"]},
    ),
    one_good("L24", "zero-width", order("zw\u200b-\ufeff1"), "order_id", "zw-1"),
    one_good("L25", "no-break", order("\u00a0nb\u202f1\u00a0"), "order_id", "nb 1"),
    one_good("L26", "formula", order("=cmd()"), "order_id", "=cmd()"),
    one_good("L26", "formula-plus", order("+1+cmd|' /C calc'!A0"), "order_id", "+1+cmd|' /C calc'!A0"),
    Case(
        "L27",
        "code",
        "order_id,ordered_at,status,device\n"
        + "".join(
            f'"{t.replace(chr(34), chr(34) * 2)}",{NOON},paid,"{t.replace(chr(34), chr(34) * 2)}"\n'
            for t in HOSTILE
        ),
        (len(HOSTILE), len(HOSTILE), 0, 0),
        sees={"order_id": list(HOSTILE), "device": list(HOSTILE)},
    ),
    Case(
        "L27",
        "code-jsonl",
        "".join(json_line(order_id=f"j {t}", device=t) for t in HOSTILE),
        (len(HOSTILE), len(HOSTILE), 0, 0),
        ext="jsonl",
        sees={"device": list(HOSTILE)},
    ),
    Case(
        "L27",
        "code-parquet",
        parquet(
            {
                "order_id": [f"p {t}" for t in HOSTILE],
                "ordered_at": [NOON] * len(HOSTILE),
                "status": ["paid"] * len(HOSTILE),
                "device": list(HOSTILE),
                "'); drop table x; --": list(HOSTILE),
            }
        ),
        (len(HOSTILE), len(HOSTILE), 0, 0),
        ext="parquet",
        sees={"device": list(HOSTILE)},
        extra="'); drop table x; --",
    ),
    Case(
        "L27",
        "code-rejected",
        ORDERS
        + "".join(order(f"cr-{i}", status=t) for i, t in enumerate(HOSTILE) if '"' not in t and "," not in t),
        (7, 0, 7, 0),
        rejects=tuple((i, "unknown_value") for i in range(1, 8)),
    ),
    one_good(
        "L28",
        "survey-of-unknown",
        "uk-1,q,s,nobody,9\n",
        "source_customer_id",
        "nobody",
        "response_id,question_id,survey_id,source_customer_id,score\n",
        feed="survey_responses",
    ),
    one_good("L29", "masked-phone", "mp-1,张三,138****0000,\n", "phone_token", None, BORN, feed="customers"),
    Case(
        "L30",
        "consents",
        SAID
        + said("co-1", "grant")
        + said("co-2", "")
        + said("co-3", "maybe")
        + said("co-4", "GRANT")
        + said("co-5", "NULL"),
        (5, 5, 0, 0),
        sees={"action": ["grant", "withdraw", "withdraw", "withdraw", "withdraw"]},
        feed="consents",
    ),
    Case(
        "L31",
        "birthdays",
        BORN
        + "".join(
            f"bd-{i},,,{d}\n"
            for i, d in enumerate(("1985-02-03", "1900-01-01", "9999-12-31", "9999", "0000-00-00", ""))
        ),
        (6, 6, 0, 0),
        sees={
            "birth_year": [1985, None, None, None, None, None],
            "birth_date_is_placeholder": [False, True, True, True, True, False],
        },
        feed="customers",
    ),
    Case(
        "L32",
        "corrected",
        ORDERS + order("co-1") + order("co-2"),
        (2, 2, 0, 0),
        before=ORDERS + order("co-1"),
        rev=2,
        sees={"order_id": ["co-1", "co-2"]},
    ),
    Case(
        "L33",
        "extra-column",
        ORDERS.strip() + ",天气\n" + order("ec-1").strip() + ",rain\n",
        (1, 1, 0, 0),
        extra="天气",
    ),
    Case("X", "header-only", ORDERS),
    Case(
        "X",
        "blank-lines",
        "\n" + ORDERS + "\n" + order("bl-1") + "\r\n\n" + order("bl-2") + "\n",
        (2, 2, 0, 0),
    ),
    Case("X", "no-last-newline", ORDERS + order("nl-1") + order("nl-2").rstrip("\n"), (2, 2, 0, 0)),
    one_good(
        "X",
        "five-minutes-late",
        order("fm-1", "2024-05-07 00:04:00"),
        "ordered_at",
        datetime(2024, 5, 6, 16, 4),
    ),
    one_good("X", "stock-movement", line("sm-1", "-4", "0"), "qty", Decimal("-4"), LINES, feed="order_lines"),
    one_good("X", "whole-as-decimal", order("wd-1", promise="30.0"), "delivery_promise_min", 30),
    one_good("X", "chinese-boolean", order("zb-1", test="是"), "is_test", True),
    Case(
        "X",
        "packed",
        packed(ORDERS + order("pk-1") + "\n" + order("pk-2")),
        (2, 2, 0, 0),
        ext="csv.gz",
        sees={"order_id": ["pk-1", "pk-2"]},
    ),
    Case(
        "X",
        "packed-in-two",
        packed(ORDERS + order("p2-1")) + packed(order("p2-2")) + b"\0" * 9,
        (2, 2, 0, 0),
        ext="csv.gz",
    ),
    Case(
        "X",
        "packed-jsonl",
        packed(json_line(order_id="pj-1")),
        (1, 1, 0, 0),
        ext="jsonl.gz",
        sees={"order_id": ["pj-1"]},
    ),
    Case(
        "X",
        "json",
        json_line(order_id="js-1", order_discount=0.1, source_customer_id=12345678901234567890)
        + "\n"
        + json_line(order_id="js-2", weather="rain"),
        (2, 2, 0, 0),
        ext="jsonl",
        extra="weather",
        sees={"order_discount": [Decimal("0.1"), None], "source_customer_id": ["12345678901234567890", None]},
    ),
    Case(
        "X",
        "workbook",
        workbook([ROWS, ["wb-1", 1, 40001, 2, 59.97], ["wb-2", 1, "p", 1, datetime(2024, 1, 1)]]),
        (2, 1, 1, 0),
        rejects=((2, "bad_number"),),
        sees={"product_id": ["40001"], "unit_price_paid": [Decimal("59.97")]},
        feed="order_lines",
        ext="xlsx",
    ),
    Case(
        "X",
        "workbook-notes",
        workbook([ROWS, ["wn-1", 1, "p", 1, 5]], ([["how to read this"]],)),
        (1, 1, 0, 0),
        feed="order_lines",
        ext="xlsx",
    ),
    Case(
        "X",
        "parquet",
        parquet(A_PARQUET | {"source_customer_id": [17850.0, None]}),
        (2, 2, 0, 0),
        ext="parquet",
        sees={"source_customer_id": ["17850", None]},
    ),
]
