"""An order file as a relation: every row is an order or is skipped for a counted reason, in every format alike."""

import gzip
import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import StrataError
from pipeline.order_file import RELATION, OrderColumns, OrderFile, open_orders

AS_OF = date(2026, 3, 1)
COLUMNS = OrderColumns("customer", "day", "amount")
HEADER = ("customer", "day", "amount", "note")
ROWS = [
    ("007", "2026-01-05", "12.10", "a"),
    ("007", "20260106", "-12.10", "b"),
    ("王", "2026-01-07 23:59:00", "0.0001", "c"),
    ("", "2026-01-07", "1", "d"),
    ("8", "yesterday", "1", "e"),
    ("8", "2026-01-07", "one", "f"),
    ("8", "2026-03-01", "1", "g"),
]
ORDERS = [
    ("007", date(2026, 1, 5), Decimal("12.1000")),
    ("007", date(2026, 1, 6), Decimal("-12.1000")),
    ("王", date(2026, 1, 7), Decimal("0.0001")),
]
SKIPPED = {"no_customer": 1, "no_date": 1, "no_amount": 1, "not_before_as_of": 1}


def _write(path: Path, rows: list[tuple[str, ...]]) -> Path:
    kind = path.name.partition(".")[2]
    if kind == "xlsx":
        book = openpyxl.Workbook()
        for row in (HEADER, *rows):
            book.active.append([cell or None for cell in row])
        book.save(path)
    elif kind == "parquet":
        pq.write_table(pa.table(dict(zip(HEADER, map(list, zip(*rows, strict=True)), strict=True))), path)
    else:
        text = (
            "\n".join(json.dumps(dict(zip(HEADER, row, strict=True))) for row in rows)
            if "json" in kind
            else "\n".join(",".join(row) for row in (HEADER, *rows))
        )
        path.write_bytes(gzip.compress(text.encode()) if kind.endswith("gz") else text.encode())
    return path


def _orders(file: OrderFile) -> list[tuple]:
    return file.con.execute(
        f"select customer_id, ordered_on, amount from {RELATION} where skipped is null order by all"
    ).fetchall()


@pytest.mark.parametrize("name", ["o.csv", "o.csv.gz", "o.jsonl", "o.jsonl.gz", "o.parquet", "o.xlsx"])
def test_every_format_gives_the_same_orders_and_counts(tmp_path: Path, name: str) -> None:
    with open_orders(_write(tmp_path / name, ROWS), COLUMNS, AS_OF) as file:
        assert _orders(file) == ORDERS
        assert file.skipped == SKIPPED
        assert (file.rows, file.orders) == (7, 3)
        assert (file.first_day, file.last_day) == (date(2026, 1, 5), date(2026, 1, 7))
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_typed_columns_keep_the_type_of_the_customer(tmp_path: Path) -> None:
    table = {
        "customer": pa.array([7, 7, None]),
        "day": pa.array([date(2026, 1, 5), date(2026, 1, 6), date(2026, 1, 7)]),
        "amount": pa.array([0.1, 29.33, 1.0]),
    }
    pq.write_table(pa.table(table), tmp_path / "o.parquet")
    with open_orders(tmp_path / "o.parquet", COLUMNS, AS_OF) as file:
        assert _orders(file) == [
            (7, date(2026, 1, 5), Decimal("0.1")),
            (7, date(2026, 1, 6), Decimal("29.33")),
        ]
        assert file.skipped == {"no_customer": 1}


def test_cells_of_a_workbook_are_read_as_they_are_shown(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["customer", "day", "amount"])
    book.active.append([17850, datetime(2026, 1, 5, 8, 26), 2.55])
    book.save(tmp_path / "o.xlsx")
    with open_orders(tmp_path / "o.xlsx", COLUMNS, AS_OF) as file:
        assert _orders(file) == [("17850", date(2026, 1, 5), Decimal("2.55"))]


def test_integer_days_and_patterns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"customer": ["a"], "day": [20260105], "amount": [1]}), tmp_path / "o.parquet")
    with open_orders(tmp_path / "o.parquet", COLUMNS, AS_OF) as file:
        assert file.first_day == date(2026, 1, 5)
    (tmp_path / "o.csv").write_text("customer;day;amount\na;05/01/2026;1\n")
    with open_orders(
        tmp_path / "o.csv", OrderColumns("customer", "day", "amount", date_format="%d/%m/%Y"), AS_OF
    ) as file:
        assert file.first_day == date(2026, 1, 5)


def test_the_written_day_counts_whatever_the_zone(tmp_path: Path) -> None:
    (tmp_path / "o.csv").write_text("customer,day,amount\na,2026-01-05T00:30:00+08:00,1\n")
    with open_orders(tmp_path / "o.csv", COLUMNS, AS_OF) as file:
        assert file.first_day == date(2026, 1, 5)


def test_a_broken_record_of_a_csv_file_is_counted(tmp_path: Path) -> None:
    lines = [f"{i},2026-01-05,1.00" for i in range(500)]
    lines[400] = "400,2026-01-05,1.00,surplus,surplus"
    (tmp_path / "o.csv").write_text("customer,day,amount\n" + "\n".join(lines) + "\n")
    with open_orders(tmp_path / "o.csv", COLUMNS, AS_OF) as file:
        assert (file.rows, file.orders, file.skipped) == (500, 499, {"malformed": 1})


def test_a_declared_encoding_is_read_and_a_wrong_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "o.csv").write_bytes("客户,日期,金额\n王,2026-01-05,1\n".encode("gb18030"))
    columns = OrderColumns("客户", "日期", "金额")
    with open_orders(tmp_path / "o.csv", columns, AS_OF, encoding="gb18030") as file:
        assert _orders(file) == [("王", date(2026, 1, 5), Decimal("1"))]
    for encoding in ("utf-8", "ascii", "utf-16", "no-such"):
        with pytest.raises(StrataError), open_orders(tmp_path / "o.csv", columns, AS_OF, encoding=encoding):
            pass


@pytest.mark.parametrize("name", ["o.csv", "o.jsonl", "o.parquet", "o.xlsx"])
def test_an_unknown_column_is_told_with_those_that_are_there(tmp_path: Path, name: str) -> None:
    path = _write(tmp_path / name, ROWS)
    with (
        pytest.raises(
            StrataError, match=r"no column 'sum' \(--amount\); it has: customer, day, amount, note"
        ),
        open_orders(path, OrderColumns("customer", "day", "sum"), AS_OF),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("o.csv", b"customer,day,amount\n", "no data rows"),
        ("o.csv", b"", "no column|cannot be read"),
        ("o.csv", b"customer,day,amount\na,05.01.26,1\n", "--date-format"),
        ("o.csv", b"customer,day,amount\na,2026-03-01,1\n", "later --as-of"),
        ("o.csv", b"customer,day,amount\na,2026-01-01,x\n", "no number"),
        ("o.parquet", b"no parquet", "cannot be read as parquet"),
        ("o.xlsx", b"no workbook", "o.xlsx"),
        ("o.jsonl", b"{broken", "cannot be read as jsonl"),
        ("o.pdf", b"", "must end in"),
        ("o.parquet.gz", b"", "gzip"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_in_one_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StrataError, match=message) as told, open_orders(tmp_path / name, COLUMNS, AS_OF):
        pass
    assert "\n" not in str(told.value)
    with (
        pytest.raises(StrataError, match="no such file"),
        open_orders(tmp_path / "absent.csv", COLUMNS, AS_OF),
    ):
        pass


def test_names_and_values_that_look_like_sql_are_only_text(tmp_path: Path) -> None:
    odd = "o'; drop table orders; --.csv"
    (tmp_path / odd).write_text('"a""b","d\'y","--"\n"x\'; select 1; --",2026-01-05,1\n')
    with open_orders(tmp_path / odd, OrderColumns('a"b', "d'y", "--"), AS_OF) as file:
        assert _orders(file) == [("x'; select 1; --", date(2026, 1, 5), Decimal("1"))]
