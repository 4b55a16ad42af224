"""Every kind of bad input has exactly its own outcome, and each record of an accepted file is accounted for once.

All cases are delivered at once and taken in by one sweep, as a bad day would bring them. What a file should have come
to is written beside it; how many records it holds is counted by other means than the reader's.
"""

import csv
import gzip
import io
import json
import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import settings as settings_module
from pipeline.ingest import ledger
from pipeline.ingest.ledger import Entry
from pipeline.ingest.load import sweep
from pipeline.settings import Settings

DAY, AS_OF = "2024-05-06", date(2024, 5, 7)
ORDERS = (
    "order_id,source_customer_id,ordered_at,status,currency,order_discount,delivery_promise_min,is_test\n"
)
LINES = "order_id,line_no,product_id,qty,unit_price_paid\n"
NOON = f"{DAY} 12:00:00"


@dataclass(frozen=True)
class Case:
    """One file and what must become of it.

    `counts` is (read, loaded, rejected, duplicate); `rejects` holds (record number, code); `sees` the loaded values
    of a column in file order. `counted` names the independent counter of its records.
    """

    name: str
    content: bytes | str
    counts: tuple[int, int, int, int] = (0, 0, 0, 0)
    code: str | None = None
    rejects: tuple[tuple[int, str], ...] = ()
    sees: Mapping[str, list[Any]] = field(default_factory=dict)
    feed: str = "orders"
    source: str = "shop"
    ext: str = "csv"
    encoding: str = "utf-8"
    counted: str = "csv"
    extra: str | None = None
    detail: str = ""

    @property
    def file(self) -> str:
        return f"{self.source}/{self.feed}/{DAY}.{self.name}.{self.ext}"

    @property
    def data(self) -> bytes:
        return self.content.encode(self.encoding) if isinstance(self.content, str) else self.content


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


def refused(name: str, content: bytes | str, code: str, **more: Any) -> Case:
    return Case(name, content, code=code, **more)


def one_bad(name: str, code: str, row: str, head: str = ORDERS, good: str | None = None, **more: Any) -> Case:
    """A good record, the bad one, and a good one: exactly the second is rejected."""
    around = [good.format(n) for n in (1, 2)] if good else [order(f"{name}-1"), order(f"{name}-2")]
    return Case(name, head + around[0] + row + around[1], (3, 2, 1, 0), rejects=((2, code),), **more)


def one_good(name: str, row: str, column: str, value: Any, head: str = ORDERS, **more: Any) -> Case:
    return Case(name, head + row, (1, 1, 0, 0), sees={column: [value]}, **more)


def a_line(name: str, qty: str = "1", price: str = "5", no: int = 1) -> str:
    return f"{name},{no},p,{qty},{price}\n"


def workbook(rows: list[list[Any]], more_sheets: tuple[list[list[Any]], ...] = ()) -> bytes:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for sheet in more_sheets:
        page = book.create_sheet()
        for row in sheet:
            page.append(row)
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def parquet(columns: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), buffer)
    return buffer.getvalue()


def json_line(**values: Any) -> str:
    return json.dumps({"ordered_at": NOON, "status": "paid", **values}, ensure_ascii=False) + "\n"


GOOD_LINE = "l{0},1,p,1,5\n"
A_PARQUET = {"order_id": ["pq-1", "pq-2"], "ordered_at": [NOON, NOON], "status": ["paid", "paid"]}
DAMAGED = bytearray(parquet(A_PARQUET | {"order_id": ["pq-3", "pq-4"]}))
DAMAGED[4:60] = b"\xff" * 56
DEALER = ["order_id", "line_no", "product_id", "qty", "unit_price_paid"]

CASES = [
    # The file as a whole cannot be trusted.
    refused("empty", b"", "empty_file"),
    refused("only-blank-lines", b"\n\r\n  \n", "empty_file"),
    refused("missing-column", "order_id,status\nm-1,paid\n", "missing_column", detail="ordered_at"),
    refused("duplicate-column", ORDERS.replace("currency", "order_id") + order("dc-1"), "duplicate_column"),
    refused("duplicate-by-alias", ORDERS.replace("currency", "订单号") + order("da-1"), "duplicate_column"),
    refused("no-header", order("nh-1") + order("nh-2"), "no_header"),
    refused("preamble", "Exported by ERP 7\n" + ORDERS + order("pre-1"), "no_header"),
    refused("semicolons", (ORDERS + order("sc-1")).replace(",", ";"), "wrong_delimiter", detail="';'"),
    refused("tabs", (ORDERS + order("tb-1")).replace(",", "\t"), "wrong_delimiter"),
    refused(
        "unbalanced-quote",
        ORDERS + order("uq-1") + '"uq-2,never closed\n' + order("uq-3"),
        "unbalanced_quote",
    ),
    refused("gzip", gzip.compress((ORDERS + order("gz-1")).encode(), mtime=0), "wrong_format", detail="gzip"),
    refused("xlsx-named-csv", workbook([DEALER]), "wrong_format", detail="xlsx"),
    refused("parquet-named-csv", parquet(A_PARQUET), "wrong_format", detail="parquet"),
    refused("html", "<html><body>login expired</body></html>", "wrong_format", detail="html"),
    refused("html-after-blank", "\n  <!DOCTYPE html>\n", "wrong_format"),
    refused("json-named-csv", json_line(order_id="jc-1"), "no_header"),
    refused("csv-named-xlsx", ORDERS + order("cx-1"), "wrong_format", ext="xlsx"),
    refused("csv-named-parquet", ORDERS + order("cp-1"), "wrong_format", ext="parquet"),
    refused("cut-workbook", workbook([DEALER])[:700], "wrong_format", feed="order_lines", ext="xlsx"),
    refused("cut-parquet", parquet(A_PARQUET)[:-20], "wrong_format", ext="parquet"),
    refused("damaged-parquet", bytes(DAMAGED), "wrong_format", ext="parquet"),
    refused(
        "row-number-column", parquet(A_PARQUET | {"file_row_number": [7, 7]}), "wrong_format", ext="parquet"
    ),
    refused("cut-utf16", b"\xff\xfe" + ORDERS.encode("utf-16-le") + b"x", "bad_encoding"),
    refused(
        "two-sheets",
        workbook([DEALER], ([DEALER, ["ts-1", 1, "p", 1, 5]],)),
        "several_sheets",
        feed="order_lines",
        ext="xlsx",
    ),
    refused("other-source", "source," + ORDERS + "app," + order("os-1"), "wrong_source", detail="says app"),
    refused(
        "other-source-parquet", parquet(A_PARQUET | {"source": ["app", "app"]}), "wrong_source", ext="parquet"
    ),
    refused("jsonl-without-times", '{"order_id": "jt-1", "status": "paid"}\n', "missing_column", ext="jsonl"),
    # A record cannot be loaded; its neighbours can.
    one_bad("short-row", "short_row", "sr-bad,c,2024-05-06\n", counted="lines"),
    one_bad("long-row", "long_row", order("lr-bad").strip() + ",one,two\n", counted="lines"),
    one_bad("repeated-header", "repeated_header", ORDERS),
    one_bad("footer", "short_row", "Total: 2\n"),
    one_bad("ctrl-z", "short_row", "\x1a\n"),
    one_bad("bare-quote", "bare_quote", order('bq"bad'), counted="lines"),
    one_bad("backslash-quote", "bare_quote", f'"a \\"b\\" c",c,{NOON},paid,CNY,,,\n', counted="lines"),
    one_bad("nan", "bad_number", order("nan-bad", discount="NaN")),
    one_bad("inf", "bad_number", order("inf-bad", discount="inf")),
    one_bad("1e400", "bad_number", order("exp-bad", discount="1e400")),
    one_bad("decimal-comma", "bad_number", order("dcm-bad", discount='"12,50"')),
    one_bad("german-number", "bad_number", order("de-bad", discount='"1.234,56"')),
    one_bad("half-promise", "bad_integer", order("hp-bad", promise="30.5")),
    one_bad("late-wrong-type", "bad_integer", order("lw-bad", promise="soon")),
    one_bad("bad-boolean", "bad_boolean", order("bb-bad", test="maybe")),
    one_bad("scientific-id", "scientific_id", order("sci-bad").replace("sci-bad", "1.23457E+15", 1)),
    one_bad("scientific-id-2", "scientific_id", order("sci-bad").replace("sci-bad", "1.5e20", 1)),
    one_bad("impossible-date", "bad_timestamp", order("imp-bad", "2024-02-30 10:00:00")),
    one_bad("american-date", "bad_timestamp", order("am-bad", "05/06/2024 10:00")),
    one_bad("excel-serial", "bad_timestamp", order("xs-bad", "45418")),
    one_bad("epoch", "bad_timestamp", order("ep-bad", "1714960800")),
    one_bad("future-date", "future_date", order("fut-bad", "2024-05-07 00:06:00")),
    one_bad("before-2000", "before_2000", order("old-bad", "1999-12-31 23:00:00")),
    one_bad("unknown-enum", "unknown_value", order("en-bad", status="refunded?")),
    one_bad("unknown-currency", "unknown_currency", order("cu-bad", currency="XXX")),
    one_bad("missing-value", "missing_value", order("mv-bad", ordered_at="")),
    one_bad("null-key", "missing_value", order("NULL").replace("c-NULL", "c-null-key")),
    one_bad("out-of-range", "out_of_range", order("oor-bad", discount="-1")),
    one_bad(
        "negative-at-price",
        "negative_quantity",
        a_line("np-bad", "-2", "5"),
        LINES,
        GOOD_LINE,
        feed="order_lines",
    ),
    one_bad(
        "zero-quantity", "zero_quantity", a_line("zq-bad", "0"), LINES, "z" + GOOD_LINE, feed="order_lines"
    ),
    one_bad("lone-ff", "bad_encoding", "\udcff" + order("ff-bad"), counted="lines", encoding="utf-8"),
    one_bad("surrogate", "bad_encoding", "\ud800" + order("su-bad"), counted="lines"),
    Case(
        "score-range",
        "response_id,question_id,survey_id,score\nr1,q,s,10\nr2,q,s,11\nr3,q,s,-1\n",
        (3, 1, 2, 0),
        rejects=((2, "out_of_range"), (3, "out_of_range")),
        feed="survey_responses",
    ),
    Case(
        "bad-json",
        json_line(order_id="bj-1") + "{cut\n[1, 2]\n" + "[" * 50_000 + "\n" + json_line(order_id="bj-2"),
        (5, 2, 3, 0),
        rejects=((2, "bad_json"), (3, "bad_json"), (4, "bad_json")),
        ext="jsonl",
        counted="jsonl",
    ),
    Case(
        "json-key-twice",
        json_line(order_id="jk-1")
        + '{"order_id": "a", "order_id": "b", "status": "paid"}\n'
        + '{"order_id": "a", "订单号": "b", "status": "paid"}\n',
        (3, 1, 2, 0),
        rejects=((2, "bad_json"), (3, "bad_json")),
        ext="jsonl",
        counted="jsonl",
    ),
    Case(
        "json-surrogate",
        json_line(order_id="jss-1")
        + '{"order_id": "\\ud800"}\n'
        + json_line(order_id="jss-😀").replace("😀", "\\ud83d\\ude00"),
        (3, 2, 1, 0),
        rejects=((2, "bad_encoding"),),
        ext="jsonl",
        counted="jsonl",
        sees={"order_id": ["jss-1", "jss-😀"]},
    ),
    Case(
        "json-bytes",
        json_line(order_id="jb-1").encode() + b'{"order_id": "\xff"}\n',
        (2, 1, 1, 0),
        rejects=((2, "bad_encoding"),),
        ext="jsonl",
        counted="jsonl",
    ),
    Case(
        "beyond-header",
        workbook([DEALER, ["bh-1", 1, "p", 1, 5, "lost"], ["bh-2", 1, "p", 1, 5]]),
        (2, 1, 1, 0),
        rejects=((1, "long_row"),),
        feed="order_lines",
        ext="xlsx",
        counted="none",
    ),
    Case(
        "long-number-id",
        workbook([DEALER, [12345678901234567890, 1, "p", 1, 5], ["ln-2", 1, "p", 1, 5]]),
        (2, 1, 1, 0),
        rejects=((1, "scientific_id"),),
        feed="order_lines",
        ext="xlsx",
        counted="none",
    ),
    # Equal rows.
    Case(
        "equal-rows",
        ORDERS + order("eq") * 3 + order("eq-2"),
        (4, 2, 0, 2),
        sees={"order_id": ["eq", "eq-2"]},
    ),
    Case(
        "same-key-other-content",
        ORDERS + order("sk") + order("sk", status="completed"),
        (2, 2, 0, 0),
        sees={"status": ["paid", "completed"]},
    ),
    Case(
        "equal-rows-empty-key-part",
        "channel_id,campaign_code,keyword,date,spend\n" + f"c,k,,{DAY},5\n" * 2 + f"c,k,w,{DAY},5\n" * 2,
        (4, 2, 0, 2),
        feed="ad_spend",
    ),
    # Unusual but right: loaded, normalised.
    Case("header-only", ORDERS, (0, 0, 0, 0)),
    Case("blank-lines", "\n" + ORDERS + "\n" + order("bl-1") + "\r\n\n" + order("bl-2") + "\n", (2, 2, 0, 0)),
    Case("no-last-newline", ORDERS + order("nl-1") + order("nl-2").rstrip("\n"), (2, 2, 0, 0)),
    one_good("bom", order("bom-1"), "order_id", "bom-1", encoding="utf-8-sig"),
    one_good(
        "bom-quoted", order("bom-2"), "order_id", "bom-2", '"order_id"' + ORDERS[8:], encoding="utf-8-sig"
    ),
    one_good("utf16", order("u16-张伟"), "order_id", "u16-张伟", encoding="utf-16"),
    Case(
        "utf16-be",
        b"\xfe\xff" + (ORDERS + order("u16be-张")).encode("utf-16-be"),
        (1, 1, 0, 0),
        sees={"order_id": ["u16be-张"]},
        encoding="utf-16",
    ),
    Case("crlf", (ORDERS + order("crlf-1") + order("crlf-2")).replace("\n", "\r\n"), (2, 2, 0, 0)),
    Case("cr", (ORDERS + order("cr-1") + order("cr-2")).replace("\n", "\r"), (2, 2, 0, 0)),
    Case(
        "mixed-newlines",
        ORDERS + order("mx-1").replace("\n", "\r\n") + order("mx-2").replace("\n", "\r") + order("mx-3"),
        (3, 3, 0, 0),
    ),
    Case(
        "quotes",
        ORDERS + f'"q,1\n\r\n""x""",c,{NOON},"paid",CNY,"1,234.50",,\n',
        (1, 1, 0, 0),
        sees={"order_id": ['q,1\n\r\n"x"'], "order_discount": [Decimal("1234.5000")]},
    ),
    Case("trailing-column", ORDERS + order("tc-1").strip() + ",\n" + order("tc-2"), (2, 2, 0, 0)),
    Case("trailing-header", ORDERS.strip() + ",\n" + order("th-1").strip() + ",\n", (1, 1, 0, 0)),
    Case(
        "reordered",
        "status,ordered_at,order_id\npaid," + NOON + ",re-1\n",
        (1, 1, 0, 0),
        sees={"order_id": ["re-1"], "status": ["paid"]},
    ),
    Case(
        "padded-header",
        " Order_ID , ORDERED_AT,status\u00a0\nph-1," + NOON + ",paid\n",
        (1, 1, 0, 0),
        sees={"order_id": ["ph-1"]},
    ),
    Case(
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
        "gb18030",
        "订单号,下单时间,状态,门店编号\ngb-1," + NOON + ",paid,龘店\U00020000\n",
        (1, 1, 0, 0),
        sees={"store_id": ["龘店\U00020000"]},
        source="store_pos",
        encoding="gb18030",
    ),
    one_good("leading-zeros", order("000123"), "order_id", "000123"),
    one_good("twenty-digits", order("12345678901234567890"), "order_id", "12345678901234567890"),
    one_good("chinese-date", order("cd-1", "2024年5月6日"), "ordered_at", datetime(2024, 5, 5, 16)),
    one_good("offset", order("of-1", "2024-05-06T10:00:00+02:00"), "ordered_at", datetime(2024, 5, 6, 8)),
    one_good(
        "offset-apart", order("of-2", "2024-05-06 10:00:00 +0200"), "ordered_at", datetime(2024, 5, 6, 8)
    ),
    one_good("zulu", order("of-3", "2024-05-06T10:00:00Z"), "ordered_at_offset_minutes", 0),
    one_good("local", order("of-4"), "ordered_at_offset_minutes", 480),
    one_good(
        "five-minutes-late", order("fm-1", "2024-05-07 00:04:00"), "ordered_at", datetime(2024, 5, 6, 16, 4)
    ),
    one_good("yen", order("yen-1", discount='"¥1,234.50"'), "order_discount", Decimal("1234.5")),
    one_good("full-width", order("fw-1", discount="１２３．５元"), "order_discount", Decimal("123.5")),
    one_good(
        "parentheses",
        a_line("pa-1", "1", "(5.00)"),
        "unit_price_paid",
        Decimal("-5"),
        LINES,
        feed="order_lines",
    ),
    one_good("stock-movement", a_line("sm-1", "-4", "0"), "qty", Decimal("-4"), LINES, feed="order_lines"),
    one_good("whole-as-decimal", order("wd-1", promise="30.0"), "delivery_promise_min", 30),
    one_good("chinese-boolean", order("zb-1", test="是"), "is_test", True),
    one_good("null-spelling", order("ns-1", discount="\\N"), "order_discount", None),
    one_good("zero-width", order("zw\u200b-\ufeff1"), "order_id", "zw-1"),
    one_good("no-break", order("nb\u00a01"), "order_id", "nb 1"),
    one_good("nfc", order("cafe\u0301"), "order_id", "café"),
    one_good("formula", order("=cmd()"), "order_id", "=cmd()"),
    one_good("sql-text", order("'; drop table x; -- {{ x }}"), "order_id", "'; drop table x; -- {{ x }}"),
    Case(
        "extra-column",
        ORDERS.strip() + ",天气\n" + order("ec-1").strip() + ",rain\n",
        (1, 1, 0, 0),
        extra="天气",
    ),
    Case(
        "json",
        json_line(order_id="js-1", order_discount=0.1, source_customer_id=12345678901234567890)
        + "\n"
        + json_line(order_id="js-2", weather="rain"),
        (2, 2, 0, 0),
        ext="jsonl",
        counted="jsonl",
        extra="weather",
        sees={"order_discount": [Decimal("0.1"), None], "source_customer_id": ["12345678901234567890", None]},
    ),
    Case(
        "workbook",
        workbook([DEALER, ["wb-1", 1, 40001, 2, 59.97], ["wb-2", 1, "p", 1, datetime(2024, 1, 1)]]),
        (2, 1, 1, 0),
        rejects=((2, "bad_number"),),
        sees={"product_id": ["40001"], "unit_price_paid": [Decimal("59.97")]},
        feed="order_lines",
        ext="xlsx",
        counted="none",
    ),
    Case(
        "workbook-notes",
        workbook([DEALER, ["wn-1", 1, "p", 1, 5]], ([["how to read this"]],)),
        (1, 1, 0, 0),
        feed="order_lines",
        ext="xlsx",
        counted="none",
    ),
    Case(
        "parquet",
        parquet(A_PARQUET | {"source_customer_id": [17850.0, None]}),
        (2, 2, 0, 0),
        ext="parquet",
        counted="none",
        sees={"source_customer_id": ["17850", None]},
    ),
    Case(
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
        counted="none",
    ),
]


def _bytes(case: Case) -> bytes:
    """The cases about broken UTF-8 carry their bytes as surrogates."""
    if isinstance(case.content, str) and case.encoding == "utf-8":
        return case.content.encode(
            "utf-8", "surrogateescape" if "\udcff" in case.content else "surrogatepass"
        )
    return case.data


@dataclass(frozen=True)
class Day:
    settings: Settings
    entries: Mapping[str, Entry]

    def quarantine(self, entry: Entry) -> list[dict[str, Any]]:
        path = self.settings.quarantine / f"{entry.delivery}.parquet"
        return pq.read_table(path).to_pylist() if path.exists() else []

    @cached_property
    def _raw(self) -> Mapping[str, list[dict[str, Any]]]:
        rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for file in self.settings.raw.glob("[!_]*/*/*/*/*.parquet"):
            for row in pq.read_table(file).to_pylist():
                rows[row["_delivery"]].append(row)
        return rows

    def raw(self, entry: Entry) -> list[dict[str, Any]]:
        """The loaded records in file order, wherever they were written."""
        return sorted(self._raw.get(entry.delivery, []), key=lambda row: row["_row"])


@pytest.fixture(scope="module")
def bad_day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    folder = tmp_path_factory.mktemp("bad_day")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STRATA_HOME", str(folder / "home"))
        patch.setenv("STRATA_LANDING", str(folder / "landing"))
        patch.setenv("STRATA_TOKEN_KEY", "ab" * 32)
        patch.delenv("STRATA_TIMEZONE", raising=False)
        settings = settings_module.load()
        for case in CASES:
            path = settings.landing / case.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_bytes(case))
        sweep(settings, AS_OF, run_id="test", released=None)
    return Day(settings, {entry.file: entry for entry in ledger.read(settings)})


def records_in(case: Case) -> int:
    """Records of the file below its header, counted without the reader."""
    if case.counted == "jsonl":
        return sum(1 for line in _bytes(case).split(b"\n") if line.strip())
    if case.counted == "lines":
        return sum(1 for line in _bytes(case).split(b"\n") if line.strip()) - 1
    text = _bytes(case).decode("utf-16" if "utf16" in case.name else case.encoding)
    rows = [
        row for row in csv.reader(io.StringIO(text, newline="")) if row and any(cell.strip() for cell in row)
    ]
    return len(rows) - 1


def test_case_names_are_unique() -> None:
    assert len({case.file for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_outcome(case: Case, bad_day: Day) -> None:
    entry = bad_day.entries[case.file]
    assert (entry.status, entry.reject_code) == ("rejected" if case.code else "loaded", case.code), (
        entry.reject_detail
    )
    assert case.detail in (entry.reject_detail or "")
    counts = (entry.rows_read, entry.rows_loaded, entry.rows_rejected, entry.rows_duplicate)
    assert counts == case.counts
    assert tuple((q["record_no"], q["code"]) for q in bad_day.quarantine(entry)) == case.rejects
    assert entry.extra_columns == case.extra
    raw = bad_day.raw(entry)
    assert len(raw) == case.counts[1]
    for column, values in case.sees.items():
        assert [row[column] for row in raw] == values


@pytest.mark.parametrize("case", [c for c in CASES if not c.code], ids=[c.name for c in CASES if not c.code])
def test_every_record_is_accounted_for(case: Case, bad_day: Day) -> None:
    entry = bad_day.entries[case.file]
    assert entry.rows_read == entry.rows_loaded + entry.rows_rejected + entry.rows_duplicate
    if case.counted != "none":
        assert entry.rows_read == records_in(case)
    if case.ext in ("csv", "jsonl"):
        data = _bytes(case)
        # UTF-16 is read as UTF-8, and its spans count the bytes of that.
        size = len(data.decode("utf-16").encode()) if "utf16" in case.name else len(data)
        assert (entry.header_bytes or 0) + (entry.blank_bytes or 0) + (entry.record_bytes or 0) == size


def test_rejected_csv_records_can_be_found_again(bad_day: Day) -> None:
    case = next(c for c in CASES if c.name == "short-row")
    row = bad_day.quarantine(bad_day.entries[case.file])[0]
    assert case.data[row["byte_start"] : row["byte_end"]] == b"sr-bad,c,2024-05-06\n"


def test_rejected_values_are_shown_as_delivered(bad_day: Day) -> None:
    entry = bad_day.entries[next(c for c in CASES if c.name == "unknown-currency").file]
    assert [(q["column"], q["value"]) for q in bad_day.quarantine(entry)] == [("currency", "XXX")]


Land = Callable[[str, bytes | str], Path]


def outcome(settings: Settings, file: str) -> tuple[str, str | None]:
    sweep(settings, AS_OF, run_id="test", released=None)
    entry = next(e for e in ledger.read(settings) if e.file == file)
    return entry.status, entry.reject_code


def test_a_link_is_refused(settings: Settings, land: Land, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.csv").write_text(ORDERS + order("ln-1"))
    land("shop/orders/.keep", "")
    (settings.landing / f"shop/orders/{DAY}.csv").symlink_to(tmp_path / "elsewhere.csv")
    assert outcome(settings, f"shop/orders/{DAY}.csv") == ("rejected", "not_a_regular_file")


def test_a_pipe_is_refused_and_does_not_hang(settings: Settings, land: Land) -> None:
    land("shop/orders/.keep", "")
    os.mkfifo(settings.landing / f"shop/orders/{DAY}.csv")
    assert outcome(settings, f"shop/orders/{DAY}.csv") == ("rejected", "not_a_regular_file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused_and_taken_in_once_it_has_it(
    settings: Settings, land: Land
) -> None:
    path = land(f"shop/orders/{DAY}.csv", ORDERS + order("np-1"))
    path.chmod(0)
    assert outcome(settings, f"shop/orders/{DAY}.csv") == ("rejected", "no_permission")
    path.chmod(0o600)
    sweep(settings, AS_OF, run_id="test", released=None)
    assert [(e.rev, e.status) for e in ledger.read(settings)] == [(1, "rejected"), (2, "loaded")]


def test_a_delivery_dated_after_tomorrow_is_refused(settings: Settings, land: Land) -> None:
    land("shop/orders/2999-01-01.csv", ORDERS + order("fd-1"))
    assert outcome(settings, "shop/orders/2999-01-01.csv") == ("rejected", "future_delivery")


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("2024-05-06.csv", "<source>/<feed>/<YYYY-MM-DD>[.<part>].<csv|jsonl|parquet|xlsx>"),
        ("shop/2024-05-06.csv", "<source>/<feed>/"),
        ("shop/orders/deep/2024-05-06.csv", "<source>/<feed>/"),
        ("shop/orders/orders_20240506.csv", "shop/orders/<YYYY-MM-DD>[.<part>].<csv|jsonl|parquet|xlsx>"),
        ("shop/orders/2024-05-06.CSV", "shop/orders/<YYYY-MM-DD>[.<part>].<csv|jsonl|parquet|xlsx>"),
        ("shop/orders/2024-05-06.csv.gz", "shop/orders/<YYYY-MM-DD>[.<part>].<csv|jsonl|parquet|xlsx>"),
        ("shop/orders/2024-02-30.csv", "shop/orders/ a day that exists in place of 2024-02-30"),
        ("shop/oders/2024-05-06.csv", "shop/<feed>/2024-05-06.csv with a feed of: "),
        ("app/oders/2024-05-06.csv", "app/<feed>/2024-05-06.csv with a feed of: customers, orders"),
        ("shop/orders/2024-05-06.a\nb.csv", "shop/orders/<YYYY-MM-DD>"),
    ],
)
def test_a_misplaced_file_is_named_with_the_path_that_was_expected(
    settings: Settings, land: Land, file: str, expected: str
) -> None:
    land(file, ORDERS + order("mp-1"))
    assert outcome(settings, file) == ("rejected", "unexpected_path")
    assert expected in ledger.read(settings)[0].reject_detail
    assert sweep(settings, AS_OF, run_id="again", released=None).entries == (), "it is named once"


def test_a_file_name_that_is_no_text_is_named_too(settings: Settings, land: Land) -> None:
    land("shop/orders/.keep", "")
    with open(os.fsencode(settings.landing / "shop/orders") + b"/\xff.csv", "wb") as file:  # noqa: PTH123 (a path of bytes)
        file.write(b"x")
    assert outcome(settings, "shop/orders/\\udcff.csv") == ("rejected", "unexpected_path")


def test_hidden_and_underscored_names_are_not_deliveries(settings: Settings, land: Land) -> None:
    land("shop/orders/.2024-05-06.csv", ORDERS)
    land("_truth/persons/2024-05-06.csv", ORDERS)
    assert sweep(settings, AS_OF, run_id="test", released=None).entries == ()
