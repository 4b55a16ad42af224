"""Damaged deliveries: valid files of several feeds and formats, changed by a seeded generator.

A file is a function of (seed, number) alone, so that one that fails can be made again.
"""

import gzip
import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq

ORDERS = ["order_id", "source_customer_id", "ordered_at", "status", "currency", "order_discount"]
LINES = ["order_id", "line_no", "product_id", "qty", "unit_price_paid"]
PEOPLE = ["source_customer_id", "name", "phone", "email", "birth_date", "city"]
RETURNS = ["return_id", "order_id", "product_id", "qty", "refund_amount", "refunded_at", "type"]
TILL = ["订单号", "下单时间", "状态", "门店编号", "整单优惠"]
WORDS = [
    "张伟",
    "龘",
    "café",
    "a,b",
    'say "x"',
    "two\nlines",
    "",
    "NULL",
    "=1+1",
    "'; drop table x; --",
    "{{ x }}",
    "😀",
]


@dataclass(frozen=True)
class Fuzzed:
    """One file: where it is delivered, its bytes, how its source writes, and what was done to it."""

    source: str
    feed: str
    ext: str
    encoding: str
    data: bytes
    done: tuple[str, ...]


def fuzzed(seed: int, number: int, day: str) -> Fuzzed:
    """File `number` of `seed`. One in ten is left as it was made."""
    rnd = random.Random(f"{seed}/{number}")
    source, feed, header, encoding = rnd.choice(
        [
            ("shop", "orders", ORDERS, "utf-8"),
            ("shop", "order_lines", LINES, "utf-8"),
            ("crm", "customers", PEOPLE, "utf-8"),
            ("app", "returns", RETURNS, "utf-8"),
            ("store_pos", "orders", TILL, "gb18030"),
        ]
    )
    ext = rnd.choices(["csv", "csv.gz", "jsonl", "jsonl.gz", "xlsx", "parquet"], [50, 12, 14, 4, 8, 12])[0]
    rows = [[_value(rnd, name, f"{number}-{i}", day) for name in header] for i in range(rnd.randrange(25))]
    done: list[str] = []
    harm = rnd.random() < 0.9
    if ext.startswith("csv"):
        text = _csv(rnd, header, rows)
        codec = encoding if encoding != "utf-8" else rnd.choice(["utf-8"] * 6 + ["utf-8-sig", "utf-16"])
        data = text.encode(codec, "replace")
    elif ext.startswith("jsonl"):
        lines = (
            json.dumps(dict(zip(header, row, strict=True)), ensure_ascii=rnd.random() < 0.3) for row in rows
        )
        data = "".join(f"{one}\n" for one in lines).encode()
    elif ext == "xlsx":
        data = _workbook(header, rows)
    else:
        table = pa.table(
            {name: pa.array([row[i] for row in rows], pa.string()) for i, name in enumerate(header)}
        )
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression=rnd.choice(["none", "snappy", "zstd"]))
        data = buffer.getvalue()
    packed = ext.endswith(".gz")
    # A packed file is damaged before it is packed as often as after.
    if packed and rnd.random() < 0.5:
        if harm:
            data = _harmed(rnd, data, done)
        data, harm = gzip.compress(data, mtime=0), False
    elif packed:
        data = gzip.compress(data, mtime=0)
    if harm:
        data = _harmed(rnd, data, done)
    return Fuzzed(source, feed, ext, encoding, data, tuple(done))


def _value(rnd: random.Random, name: str, key: str, day: str) -> str:
    low = name.lower()
    if low.endswith("_id") or name == "订单号":
        return rnd.choice([key, key, key, rnd.choice(WORDS) + key])
    clean = rnd.random() < 0.95
    if low.endswith("_at") or name == "下单时间":
        good = [f"{day} 10:0{rnd.randrange(10)}:00", f"{day}T08:00:00+08:00", day, "2024年1月5日"]
        return rnd.choice(good if clean else ["soon", "2024-02-30", "45418", ""])
    good, bad = {
        "status": (["paid", "completed"], ["odd", ""]),
        "状态": (["paid", "completed"], ["odd", ""]),
        "currency": (["CNY", "GBP", ""], ["XXX"]),
        "type": (["refund", "exchange"], ["odd"]),
        "phone": (["13800138000", "138****0000", ""], ["x"]),
        "email": (["a@example.com", ""], ["x"]),
        "birth_date": (["1980-01-02", "9999-12-31", "1900-01-01", ""], ["soon"]),
        "line_no": ([str(rnd.randrange(1_000))], ["x", "1.5"]),
        "name": (WORDS, [""]),
        "city": (WORDS, [""]),
    }.get(low, (["5", "12.50", "¥1,234.50", "１２"], ["NaN", "1e400", "x", *WORDS]))
    return rnd.choice(good if clean else bad)


def _csv(rnd: random.Random, header: list[str], rows: list[list[str]]) -> str:
    newline = rnd.choice(["\n", "\n", "\r\n", "\r"])
    always = rnd.random() < 0.2

    def written(value: str) -> str:
        quoted = always or any(c in value for c in ',"\n\r')
        return '"' + value.replace('"', '""') + '"' if quoted else value

    lines = [",".join(map(written, header)), *(",".join(map(written, row)) for row in rows)]
    return newline.join(lines) + (newline if rnd.random() < 0.9 else "")


def _workbook(header: list[str], rows: list[list[str]]) -> bytes:
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    for row in (header, *rows):
        sheet.append(row)
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def _harmed(rnd: random.Random, data: bytes, done: list[str]) -> bytes:
    for _ in range(rnd.choice([1, 1, 1, 2, 3])):
        name = rnd.choice(list(HARMS))
        done.append(name)
        data = HARMS[name](rnd, data)
    return data


def _flip(rnd: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rnd.choice([1, 1, 2, 8])):
        if out:
            out[rnd.randrange(len(out))] ^= 1 << rnd.randrange(8)
    return bytes(out)


def _insert(rnd: random.Random, data: bytes, what: bytes) -> bytes:
    at = rnd.randrange(len(data) + 1)
    return data[:at] + what + data[at:]


def _cut(rnd: random.Random, data: bytes) -> bytes:
    return data[: rnd.randrange(len(data) + 1)]


def _drop(rnd: random.Random, data: bytes) -> bytes:
    at = rnd.randrange(len(data) + 1)
    return data[:at] + data[at + rnd.randrange(1, 40) :]


def _repeat(rnd: random.Random, data: bytes) -> bytes:
    at, size = rnd.randrange(len(data) + 1), rnd.randrange(1, 200)
    return data[:at] + data[at : at + size] * rnd.randrange(2, 5) + data[at + size :]


def _lines(rnd: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    rnd.shuffle(lines)
    return b"\n".join(lines)


def _columns(rnd: random.Random, data: bytes) -> bytes:
    """Header cells in another order, which the rows do not follow."""
    head, newline, rest = data.partition(b"\n")
    cells = head.split(b",")
    rnd.shuffle(cells)
    return b",".join(cells) + newline + rest


def _recoded(rnd: random.Random, data: bytes) -> bytes:
    try:
        text = data.decode("utf-8")
        return text.encode(rnd.choice(["gb18030", "utf-16", "utf-16-be", "latin-1", "utf-8-sig"]), "replace")
    except UnicodeDecodeError:
        return data


HARMS: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "flip": _flip,
    "cut": _cut,
    "drop": _drop,
    "repeat": _repeat,
    "shuffle lines": _lines,
    "shuffle columns": _columns,
    "recode": _recoded,
    "quote": lambda rnd, data: _insert(rnd, data, b'"' * rnd.choice([1, 1, 2, 3])),
    "newline": lambda rnd, data: _insert(rnd, data, rnd.choice([b"\n", b"\r", b"\r\n", b"\n\n", b" \n"])),
    "NUL": lambda rnd, data: _insert(rnd, data, rnd.choice([b"\0", b"\x1a", b"\0" * 9])),
    "noise": lambda rnd, data: _insert(rnd, data, rnd.randbytes(rnd.randrange(1, 30))),
    "delimiter": lambda rnd, data: _insert(rnd, data, rnd.choice([b",", b";", b",,,", b"\t"])),
    "long field": lambda rnd, data: _insert(
        rnd, data, rnd.choice([b"x", "张".encode()]) * rnd.choice([300, 70_000])
    ),
    "append": lambda rnd, data: data + rnd.choice([b"\x1a", b"Total: 5\n", b"\n\n\n", b"\xff", b'"', data]),
    "prepend": lambda rnd, data: (
        rnd.choice([b"\n", b"Exported\n", b"\xef\xbb\xbf", b" ", b"\xff\xfe", b"{"]) + data
    ),
}
