"""`strata feeds`: a file is judged as the loader would judge it, record by record, and the home is left alone."""

import gzip
import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.ingest import ledger, quarantine
from pipeline.ingest.contracts import load_contracts
from pipeline.ingest.load import sweep
from pipeline.settings import Settings

DAY = "2024-05-06"
HEAD = "订单号,Customer-ID,ordered_at,status,currency,order_discount,bonus\n"
GOOD = f"A1,17850,{DAY} 10:00,paid,CNY,1.00,x\n"
ORDERS = (
    HEAD
    + GOOD
    + "A2,17850,2024-05-07 10:00,paid,CNY,1.00,x\n"
    + f"A3,1,{DAY} 10:00,bezahlt,CNY,1.00,x\n"
    + "\n"
    + "A4,1\n"
    + GOOD
    + f'A5,"17\r\n850",{DAY} 10:00,paid,XYZ,1.00,x\n'
    + f"A6,17850,{DAY} 10:00,paid,CNY,-1,x\n"
)
# (record, line, code, column, value)
FOUND = [
    (2, 3, "future_date", "ordered_at", "2024-05-07 10:00"),
    (3, 4, "unknown_value", "status", "bezahlt"),
    (4, 6, "short_row", None, None),
    (6, 8, "unknown_currency", "currency", "XYZ"),
    (7, 10, "out_of_range", "order_discount", "-1"),
]


def strata(*words: object) -> tuple[int, str]:
    """Exit code and output of `strata`, errors included."""
    result = CliRunner().invoke(main, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def checked(*words: object) -> tuple[int, dict[str, Any]]:
    code, output = strata("feeds", "check", "--json", *words)
    return code, json.loads(output)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_every_rejected_record_is_told_with_its_place_and_the_reason(
    land: Callable[[str, bytes | str], Path],
) -> None:
    path = land(f"shop/orders/{DAY}.csv", ORDERS)
    code, said = checked(path)
    assert (code, said["source"], said["feed"], said["day"], said["status"]) == (
        1,
        "shop",
        "orders",
        DAY,
        "loaded",
    )
    counts = [said[f"rows_{n}"] for n in ("read", "loaded", "rejected", "duplicate")]
    assert counts == [7, 1, 5, 1]
    assert said["extra_columns"] == "bonus"
    rows = said["rejected"]
    assert [(r["record_no"], r["line"], r["code"], r["column"], r["value"]) for r in rows] == FOUND
    data = ORDERS.encode()
    for row, start in zip(rows, (b"A2", b"A3", b"A4", b"A5", b"A6"), strict=True):
        assert data[row["byte_start"] : row["byte_end"]].startswith(start)
        assert row["why"] and row["do"]
    assert "one of created, paid, shipped, completed, cancelled" in rows[1]["why"]
    assert "at least 0" in rows[4]["why"]


def test_the_check_says_what_a_sweep_of_the_same_file_does(
    settings: Settings, land: Callable[[str, bytes | str], Path]
) -> None:
    path = land(f"shop/orders/{DAY}.csv", ORDERS)
    _, said = checked(path)
    (entry,) = sweep(settings, date.fromisoformat(DAY) + timedelta(days=1), run_id="t", released=None).entries
    for name in ("status", "rows_read", "rows_loaded", "rows_rejected", "rows_duplicate", "extra_columns"):
        assert said[name] == getattr(entry, name)
    swept = [(r.record_no, r.code, r.column, r.value) for r in quarantine.read(settings, entry.delivery)]
    assert [(r["record_no"], r["code"], r["column"], r["value"]) for r in said["rejected"]] == swept


def test_a_check_changes_nothing_in_home_and_landing(
    settings: Settings, land: Callable[[str, bytes | str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = land(f"shop/orders/{DAY}.csv", ORDERS)
    # Even a file that the ledger knows is read again, and a missing key is no matter of a check.
    sweep(settings, date.fromisoformat(DAY) + timedelta(days=1), run_id="t", released=None)
    before = tree(settings.home), tree(settings.landing)
    monkeypatch.delenv("STRATA_TOKEN_KEY")
    code, said = checked(path)
    assert (code, said["rows_read"]) == (1, 7)
    assert (tree(settings.home), tree(settings.landing)) == before


def _xlsx(path: Path) -> None:
    book = openpyxl.Workbook()
    for line in (HEAD + GOOD + f"A3,1,{DAY} 10:00,bezahlt,CNY,1.00,x").splitlines():
        book.active.append(line.split(","))
    book.save(path)


def _parquet(path: Path) -> None:
    rows = {"order_id": ["A1", "A3"], "ordered_at": [f"{DAY} 10:00"] * 2, "status": ["paid", "bezahlt"]}
    pq.write_table(pa.table(rows), path)


def _jsonl(path: Path) -> None:
    rows = [
        {"order_id": i, "ordered_at": f"{DAY} 10:00", "status": s}
        for i, s in (("A1", "paid"), ("A3", "bezahlt"))
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))


def _gzip(path: Path) -> None:
    path.write_bytes(gzip.compress((HEAD + GOOD + f"A3,1,{DAY} 10:00,bezahlt,CNY,1.00,x\n").encode()))


@pytest.mark.parametrize(
    ("ext", "write", "line"),
    [("xlsx", _xlsx, None), ("parquet", _parquet, None), ("jsonl", _jsonl, 2), ("csv.gz", _gzip, 3)],
)
def test_every_format_is_checked(
    settings: Settings, tmp_path: Path, ext: str, write: Callable[[Path], None], line: int | None
) -> None:
    path = tmp_path / f"export.{ext}"
    write(path)
    code, said = checked(path, "--source", "shop", "--feed", "orders", "--day", DAY)
    assert (code, said["rows_read"], said["rows_loaded"]) == (1, 2, 1)
    assert [(r["record_no"], r["line"], r["code"]) for r in said["rejected"]] == [(2, line, "unknown_value")]


def test_a_file_that_is_all_right_ends_with_0(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_text(HEAD + GOOD, encoding="utf-8")
    assert strata("feeds", "check", path, "--feed", "orders", "--day", DAY)[0] == 0


def test_a_newer_state_of_the_same_order_is_no_fault(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_text(
        f"order_id,ordered_at,status,updated_at\nA,{DAY} 09:00,created,{DAY} 09:00\nA,{DAY} 09:00,paid,{DAY} 10:00\n"
    )
    code, said = checked(path, "--feed", "orders", "--day", DAY)
    assert (code, said["rows_read"], [r["code"] for r in said["rejected"]]) == (0, 2, ["superseded"])


@pytest.mark.parametrize(
    ("file", "content", "code"),
    [
        (f"shop/orders/{DAY}.csv", "", "empty_file"),
        (f"shop/orders/{DAY}.csv", "order_id,status\nA,paid\n", "missing_column"),
        (f"shop/orders/{DAY}.csv", "a;b\n1;2\n", "wrong_delimiter"),
        (f"shop/orders/{DAY}.parquet", HEAD + GOOD, "wrong_format"),
        ("shop/orders/orders.csv", HEAD + GOOD, "unexpected_path"),
        ("shop/orders/2199-01-01.csv", HEAD + GOOD, "future_delivery"),
        (
            f"erp/orders/{DAY}.csv",
            "order_id,source,ordered_at,status\nA,app,2024-05-06,paid\n",
            "wrong_source",
        ),
    ],
)
def test_a_file_that_would_be_refused_is_told_with_the_code(
    land: Callable[[str, bytes | str], Path], file: str, content: str, code: str
) -> None:
    exit_code, said = checked(land(file, content))
    assert (exit_code, said["status"], said["refused"]["code"], said["rejected"]) == (1, "rejected", code, [])
    shown = strata("feeds", "check", land(file, content))[1]
    assert said["refused"]["why"] in shown and said["refused"]["do"] in shown


def test_a_link_is_not_followed(land: Callable[[str, bytes | str], Path], tmp_path: Path) -> None:
    target = land(f"shop/orders/{DAY}.csv", HEAD + GOOD)
    link = tmp_path / "link.csv"
    link.symlink_to(target)
    assert checked(link, "--feed", "orders")[1]["refused"]["code"] == "not_a_regular_file"


def test_a_source_is_asked_how_it_writes(land: Callable[[str, bytes | str], Path]) -> None:
    code, said = checked(land(f"store_pos/orders/{DAY}.csv", (HEAD + GOOD).encode("gb18030")))
    assert (code, said["rows_loaded"]) == (0, 1)


def test_a_mapped_feed_is_checked_by_its_source_and_by_what_it_fills(
    land: Callable[[str, bytes | str], Path],
) -> None:
    head = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
    line = "536365,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,17850,United Kingdom\n"
    code, said = checked(
        land("online_retail/transactions/2010-12-01.csv", head + line + line.replace(",6,", ",six,"))
    )
    assert (code, said["rows_loaded"]) == (1, 1)
    assert [(r["code"], r["column"], r["line"]) for r in said["rejected"]] == [("bad_integer", "Quantity", 3)]


def test_values_of_personal_feeds_are_not_shown(land: Callable[[str, bytes | str], Path]) -> None:
    path = land(f"shop/customers/{DAY}.csv", "source_customer_id,name,gender\n1,张三,13812345678\n")
    code, output = strata("feeds", "check", path)
    assert code == 1 and "unknown_value in gender" in output
    assert "13812345678" not in output and "张三" not in output


def test_long_lists_are_cut_for_people_and_whole_in_json(land: Callable[[str, bytes | str], Path]) -> None:
    path = land(f"shop/orders/{DAY}.csv", HEAD + "".join(f"B{n},1,{DAY},no,CNY,,\n" for n in range(50)))
    assert strata("feeds", "check", path)[1].count("  record ") == 20
    shown = strata("feeds", "check", path, "--limit", "3")[1]
    assert shown.count("  record ") == 3 and "47 more" in shown and "50 × unknown_value" in shown
    assert strata("feeds", "check", path, "--limit", "0")[1].count("  record ") == 50
    assert len(checked(path)[1]["rejected"]) == 50


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("check", "nowhere.csv"), "there is no file nowhere.csv"),
        (("check", "."), "is no file"),
        (("check", __file__, "--feed", "orders"), "must end with .csv"),
        (("check", "{file}"), "which feed is export.csv?"),
        (("check", "{file}", "--feed", "ordrs"), "did you mean orders"),
        (("show", "loyalty"), "did you mean loyalty_"),
    ],
)
def test_wrong_calls_end_with_1_and_one_line(
    settings: Settings, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    (tmp_path / "export.csv").write_text(HEAD + GOOD, encoding="utf-8")
    code, output = strata("feeds", *(w.format(file=tmp_path / "export.csv") for w in words))
    assert code == 1 and message in output
    assert len(output.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "offset", "line"),
    [(b"a\nb\nc", 4, 3), (b"a\r\nb\r\nc", 6, 3), (b"a\rb\rc", 4, 3), (b"a\r\n\rb\nc", 6, 4), (b"abc", 0, 1)],
)
def test_lines_are_counted_for_every_kind_of_line_end(
    tmp_path: Path, text: bytes, offset: int, line: int
) -> None:
    from pipeline.ingest.feeds import _lines

    path = tmp_path / "x.csv"
    path.write_bytes(text)
    assert _lines(path, "csv", "utf-8", [offset]) == {offset: line}


def test_list_knows_what_was_delivered(settings: Settings, land: Callable[[str, bytes | str], Path]) -> None:
    land(f"shop/orders/{DAY}.csv", ORDERS)
    land(f"shop/returns/{DAY}.csv", "no header\n")
    sweep(settings, date.fromisoformat(DAY) + timedelta(days=1), run_id="t", released=None)
    assert len(ledger.read(settings)) == 2
    code, output = strata("feeds", "list", "--json")
    feeds = {f["feed"]: f for f in json.loads(output)}
    assert code == 0 and set(feeds) == set(load_contracts())
    orders = feeds["orders"]
    assert [orders[k] for k in ("domain", "key", "cadence", "delivered", "sources", "files", "rows_loaded")] == [
        "sales", ["order_id"], "daily", True, ["shop"], 1, 1,
    ]  # fmt: skip
    assert not feeds["returns"]["delivered"] and not feeds["fx"]["delivered"]
    text = strata("feeds", "list")[1]
    assert "61 feeds, 1 delivered" in text and f"shop: 1 file to {DAY}, 1 row" in text


def test_show_prints_columns_names_and_rules() -> None:
    code, text = strata("feeds", "show", "reviews")
    assert code == 0
    for words in (
        "review_id",
        "评价编号",
        "personal (text)",
        "1 to 5",
        "ends_before_start",
        "1096 days",
        r"NULL, null, \N",
    ):
        assert words in text
    said = json.loads(strata("feeds", "show", "reviews", "--json")[1])
    assert said["columns"]["rating"] == {
        "type": "r", "required": True, "unit": "score", "min": 1.0, "max": 5.0, "aliases": ["评分", "評分", "星级", "星級", "stars"],
    }  # fmt: skip


def test_generate_says_that_everything_is_current() -> None:
    assert strata("feeds", "generate", "--check") == (0, "everything is current\n")


def test_staging_prints_a_model_to_begin_with() -> None:
    code, text = strata("feeds", "staging", "leads")
    assert code == 0
    assert "-- dbt_project/models/staging/leads/stg_leads__leads.sql" in text
    assert "source.phone_token" in text and "source.source as leads_source" in text
    assert "{name: stg_leads__leads, description:" in text
