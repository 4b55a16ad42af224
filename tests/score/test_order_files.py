"""What an analyst may hand over: forms, encodings, dates, amounts, and files that are wrong."""

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
from pipeline.order_file import open_orders
from pipeline.score.orders import Columns
from tests.score.conftest import AS_OF, Scoring, write_csv

ROWS = [
    ("007", date(2026, 3, 9), "10.10"),
    ("007", date(2026, 1, 5), "0.20"),
    ("李雷", date(2026, 2, 1), "1234.5678"),
]


def _text(rows: list, delimiter: str = ",") -> str:
    return "\n".join(delimiter.join(map(str, row)) for row in [("customer", "date", "amount"), *rows]) + "\n"


def _xlsx(path: Path) -> Path:
    book = openpyxl.Workbook()
    for row in [
        ("customer", "date", "amount"),
        *((c, datetime(d.year, d.month, d.day, 12, 30), float(a)) for c, d, a in ROWS),
    ]:
        book.active.append(row)
    book.save(path)
    return path


def _written(folder: Path, form: str) -> Path:
    path = folder / f"o.{form.split(' ')[0]}"
    records = [dict(zip(("customer", "date", "amount"), map(str, row), strict=True)) for row in ROWS]
    match form:
        case "xlsx":
            return _xlsx(path)
        case "parquet":
            pq.write_table(
                pa.table(
                    {
                        "customer": [c for c, *_ in ROWS],
                        "date": [d for _, d, _ in ROWS],
                        "amount": pa.array([Decimal(a) for *_, a in ROWS], pa.decimal128(18, 4)),
                    }
                ),
                path,
            )
        case "jsonl":
            # A number keeps its digits: 10.10 is no float on its way.
            lines = [
                json.dumps(r, ensure_ascii=False).replace(f'"{r["amount"]}"', r["amount"]) for r in records
            ]
            path.write_text("\n".join(lines), encoding="utf-8")
        case "csv.gz":
            path.write_bytes(gzip.compress(_text(ROWS).encode()))
        case "tsv":
            path.write_text(_text(ROWS, "\t"), encoding="utf-8")
        case "csv semicolons":
            path.write_text(_text(ROWS, ";"), encoding="utf-8")
        case "csv utf-16":
            path.write_text(_text(ROWS), encoding="utf-16")
        case "csv gb18030":
            path.write_text(_text(ROWS), encoding="gb18030")
        case "csv with_mark":
            path.write_text(_text(ROWS), encoding="utf-8-sig")
    return path


@pytest.mark.parametrize(
    "form",
    [
        "xlsx",
        "parquet",
        "jsonl",
        "csv.gz",
        "tsv",
        "csv semicolons",
        "csv utf-16",
        "csv gb18030",
        "csv with_mark",
    ],
)
def test_every_form_gives_the_same(scoring: Scoring, form: str) -> None:
    scored = scoring(_written(scoring.folder, form))
    assert {c: (r["recency_days"], r["frequency"], r["monetary"]) for c, r in scoring.rows.items()} == {
        "007": (1, 2, Decimal("10.3000")),
        "李雷": (37, 1, Decimal("1234.5678")),
    }
    assert (scored.file.rows, scored.file.bad) == (3, {})


def test_the_output_has_exactly_its_columns_and_keeps_a_number_a_number(scoring: Scoring) -> None:
    path = scoring.folder / "o.parquet"
    pq.write_table(
        pa.table({"customer": [12, 7], "date": [date(2026, 3, 1)] * 2, "amount": [1.5, 2.0]}), path
    )
    scoring(path)
    table = pq.read_table(scoring.out)
    assert table.column_names == [
        "customer_id", "recency_days", "frequency", "monetary", "r_score", "f_score", "m_score", "segment",
    ]  # fmt: skip
    assert table["customer_id"].to_pylist() == [7, 12]
    assert table.schema.field("monetary").type == pa.decimal128(18, 4)


@pytest.mark.parametrize(
    "written",
    [
        "2026-03-08", "2026-3-8", "2026/3/8", "2026/03/08 23:59", "2026.03.08", "20260308", "2026年3月8日", "8.3.2026",
        "2026-03-08 00:00:00", "2026-03-08T23:59:59+08:00", "2026-03-08 23:59:59.123456", " 2026-03-08 ",
    ],
)  # fmt: skip
def test_a_date_is_the_day_that_is_written_there(scoring: Scoring, written: str) -> None:
    scoring([("a", written, 1)])
    assert scoring.rows["a"]["recency_days"] == 2


@pytest.mark.parametrize(
    ("dates", "recency"),
    [(["1/31/2026", "3/4/2026"], 6), (["31/1/2026 10:00", "4/3/2026 09:00"], 6), (["13-02-2026"], 25)],
)
def test_the_column_tells_which_number_is_the_month(scoring: Scoring, dates: list[str], recency: int) -> None:
    scoring([("a", day, 1) for day in dates])
    assert scoring.rows["a"]["recency_days"] == recency


def test_what_the_column_does_not_tell_is_asked_and_not_guessed(scoring: Scoring) -> None:
    with pytest.raises(StrataError, match="say --day-first or --month-first"):
        scoring([("a", "3/4/2025", 1)])
    scoring([("a", "3/4/2025", 1)], day_first=True)
    assert scoring.rows["a"]["recency_days"] == (date(2026, 3, 10) - date(2025, 4, 3)).days
    with pytest.raises(StrataError, match="write its dates in one form"):
        scoring([("a", "31/1/2026", 1), ("b", "1/31/2026", 1)])


@pytest.mark.parametrize(
    ("written", "amount"),
    [("¥1,234.50", "1234.5"), ("(5.00)", "-5"), ("１２.５", "12.5"), ("12 元", "12"), ("1e2", "100"), (" 7 ", "7"), ("-0.01", "-0.01")],
)  # fmt: skip
def test_an_amount_is_read_as_people_write_it(scoring: Scoring, written: str, amount: str) -> None:
    scoring([("a", "2026-03-01", f'"{written}"')])
    assert scoring.rows["a"]["monetary"] == Decimal(amount)


def test_amounts_of_two_currencies_are_not_added_up(scoring: Scoring) -> None:
    """Without a rate there is no sum; one sign, however it is written, is one currency."""
    scoring(
        [
            ("a", "2026-03-01", "¥5"),
            ("a", "2026-03-02", "￥5"),
            ("a", "2026-03-03", "5元"),
            ("b", "2026-03-03", 7),
        ]
    )
    assert {c: r["monetary"] for c, r in scoring.rows.items()} == {"a": 15, "b": 7}
    mixed = [("a", "2026-03-01", "¥5"), ("b", "2026-03-02", "$5"), ("c", "2026-03-02", "7")]
    said = "column 'amount' has amounts in ¥ and \\$, and no rate is known; give amounts of one currency"
    with pytest.raises(StrataError, match=said):
        scoring(mixed)
    with (
        pytest.raises(StrataError, match=said),
        open_orders(scoring.folder / "orders.csv", Columns("customer", "date", "amount"), AS_OF),
    ):
        pass


def test_money_is_exact(scoring: Scoring) -> None:
    """Ten dimes are one unit, and a sum beyond the digits of a double keeps its cents."""
    scoring(
        [("a", "2026-03-01", "0.10")] * 10
        + [("b", "2026-03-01", "90071992547409.93"), ("b", "2026-03-01", "0.01")]
    )
    assert scoring.rows["a"]["monetary"] == 1
    assert scoring.rows["b"]["monetary"] == Decimal("90071992547409.94")


def test_bad_rows_are_counted_and_named_and_the_others_scored(scoring: Scoring) -> None:
    scored = scoring(
        [
            ("a", "2026-03-01", 5), ("", "2026-03-01", 1), ("b", "gestern", 1), ("b", "2026-02-30", 1), ("c", "", 1),
            ("d", "2026-03-01", "twelve"), ("e", "2026-03-01", "nan"),
        ]
    )  # fmt: skip
    assert scored.file.rows == 7
    assert scored.file.bad == {"missing_customer": 1, "unreadable_date": 3, "unreadable_amount": 2}
    assert scored.file.examples == {
        "unreadable_date": ["(empty)", "2026-02-30", "gestern"],
        "unreadable_amount": ["nan", "twelve"],
    }
    assert list(scoring.rows) == ["a"]


def test_a_broken_line_is_counted_and_the_others_scored(scoring: Scoring) -> None:
    path = scoring.folder / "o.csv"
    path.write_text("customer,date,amount\na,2026-03-01,1\nb,2026-03-01,1,extra,cells\nc,2026-03-01,1\n")
    scored = scoring(path)
    assert (scored.file.rows, scored.file.bad) == (3, {"broken_line": 1})
    assert list(scoring.rows) == ["a", "c"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("o.csv", "customer,date,amount\n", "no row below the header"),
        ("o.csv", "", "the file is empty"),
        ("o.csv", "Customer,date,total\na,2026-01-01,1\n", "has no column 'customer' (--customer); it has Customer, date, total. Did you mean 'Customer'?"),
        ("o.csv", "customer,date,amount\na,x,1\n", "none of its 1 rows can be read: no date that can be read: 1 (such as x)"),
        ("o.pdf", "x", "name the file .csv"),
        ("o.xlsx", "no workbook", "o.xlsx: "),
        ("o.parquet", "no parquet", "o.parquet: "),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_in_one_line(scoring: Scoring, name: str, content: str, said: str) -> None:
    path = scoring.folder / name
    path.write_text(content)
    with pytest.raises(StrataError) as raised:
        scoring(path)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_and_a_missing_folder_are_told(scoring: Scoring) -> None:
    with pytest.raises(StrataError, match="no such file"):
        scoring(scoring.folder / "none.csv")
    write_csv(scoring.folder / "o.csv", [("a", "2026-03-01", 1)])
    scoring.out = scoring.folder / "none" / "out.parquet"
    with pytest.raises(StrataError, match="does not exist"):
        scoring(scoring.folder / "o.csv")


def test_no_error_quotes_an_sql_or_leaves_a_half_written_file(scoring: Scoring) -> None:
    """A column may be called anything."""
    path = write_csv(scoring.folder / "o.csv", [("a", "2026-03-01", 1)], 'cu"st; drop,date,amount')
    path.write_text(path.read_text().replace('cu"st; drop', '"cu""st; drop"'))
    scoring(path, columns=('cu"st; drop', "date", "amount"))
    assert sorted(p.name for p in scoring.folder.iterdir()) == ["o.csv", "out.parquet"]
