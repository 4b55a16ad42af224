"""A Parquet delivery that has raw's own values is copied chunk by chunk, and comes to the same as one written anew."""

import hashlib
import io
import json
import os
import random
import sys
import threading
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.ingest import large_files, ledger, loader, parquet_copy, pending, take_over
from pipeline.ingest.cast import _cleaned
from pipeline.ingest.load import sweep
from pipeline.ingest.parquet_copy import Taken
from pipeline.ingest.reading import csv_chunks
from pipeline.ingest.reading.content import FileRejected
from pipeline.ingest.reading.texts import are_clean, texts_of
from pipeline.settings import Settings
from tests.ingest.bad_inputs import DAY
from tests.ingest.counter import count
from tests.ingest.test_large_files import taken_in
from tests.kills import killed_at

Land = Callable[[str, bytes | str], Path]
ROWS = 60
MONEY = pa.decimal128(18, 4)
FILE = f"shop/order_lines/{DAY}.parquet"


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "_STREAM_ROWS", 20)
    monkeypatch.setattr(pending, "SPOOL_BYTES", 0)
    monkeypatch.setattr(large_files, "_PROBED_ROWS", 3)
    monkeypatch.setattr(take_over, "_FEWEST_ROWS", 10)
    monkeypatch.setattr(take_over, "_BATCH_ROWS", 16)


@pytest.fixture
def taken_over(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What each large file came to that was asked."""
    seen: list[bool] = []
    real = large_files.LargeFiles._take_over

    def watched(self: large_files.LargeFiles, *given: Any) -> bool:
        seen.append(False)
        seen[-1] = real(self, *given)
        return seen[-1]

    monkeypatch.setattr(large_files.LargeFiles, "_take_over", watched)
    return seen


def lines(**changed: pa.Array) -> pa.Table:
    columns = {
        "order_id": pa.array([f"order-{i // 3:04}" for i in range(ROWS)]),
        "line_no": pa.array([i % 3 + 1 for i in range(ROWS)], pa.int64()),
        "product_id": pa.array([f"SKU-{i % 7}" for i in range(ROWS)]),
        "qty": pa.array([Decimal(i % 5 + 1) for i in range(ROWS)], pa.decimal128(18, 3)),
        "unit_price_paid": pa.array([Decimal(i) / 4 for i in range(ROWS)], MONEY),
        "is_gift": pa.array([None if i % 4 else i % 3 == 0 for i in range(ROWS)], pa.bool_()),
    }
    return pa.table(columns | changed)


def written(table: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **({"row_group_size": 25} | options))
    return file.getvalue()


def with_text(name: str, at: int, text: str | None) -> pa.Table:
    values: list[str | None] = lines()[name].to_pylist()
    values[at] = text
    return lines(**{name: pa.array(values, pa.string())})


def shuffled() -> pa.Table:
    order = list(range(ROWS))
    random.Random(5).shuffle(order)
    return lines().take(order)


@pytest.mark.parametrize(
    ("data", "is_taken"),
    [
        (written(lines()), True),
        (written(lines(), compression="zstd", use_dictionary=False), True),
        (written(lines(), compression="none", data_page_version="2.0"), True),
        (written(lines().select(lines().column_names[::-1])), True),
        (written(lines().rename_columns(["订单号", *lines().column_names[1:]])), True),
        (written(lines().append_column("till", pa.array(["张伟 13800000000"] * ROWS))), True),
        (written(lines(order_id=lines()["order_id"].cast(pa.large_string()))), True),
        (written(with_text("product_id", 7, "a b")), True),
        (written(shuffled()), True),
        (written(lines().append_column("tags", pa.array([["a", "b"]] * ROWS))), False),
        (written(lines(), compression="gzip"), False),
        (written(lines(), row_group_size=5), False),
        (written(with_text("product_id", 41, "商品")), True),
        (written(with_text("product_id", 59, "红　富士 É")), True),
        (written(with_text("order_id", 59, "订单-9999")), True),
        (written(with_text("product_id", 59, None)), False),
        (written(with_text("product_id", 41, "É")), False),
        (written(with_text("product_id", 41, "红 茶")), False),
        (written(with_text("product_id", 41, "红​茶")), False),
        (written(with_text("product_id", 41, "红茶　")), False),
        (written(with_text("product_id", 41, " SKU-1")), False),
        (written(with_text("product_id", 41, "")), False),
        (written(with_text("order_id", 4, "order-0000")), False),
        (written(lines(line_no=lines()["line_no"].cast(pa.int32()))), False),
        (written(lines(unit_price_paid=lines()["unit_price_paid"].cast(pa.float64()))), False),
        (written(lines(qty=pa.array([Decimal(i != 41) for i in range(ROWS)], pa.decimal128(18, 3)))), False),
    ],
    ids=[
        "plain",
        "zstd",
        "pages of version 2",
        "other order",
        "other names",
        "extra column",
        "large texts",
        "blank inside",
        "in no order",
        "nested column",
        "gzip",
        "small groups",
        "Chinese",
        "wide blank inside",
        "Chinese key",
        "null",
        "not composed",
        "no-break space",
        "zero width",
        "wide blank behind",
        "padded",
        "null spelled",
        "key twice",
        "other integer",
        "float",
        "rule",
    ],
)
def test_chunks_are_copied_where_they_are_what_raw_holds(
    settings: Settings,
    land: Land,
    small_limits: None,
    taken_over: list[bool],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    data: bytes,
    is_taken: bool,
) -> None:
    """Either way counts, values, rejects and profile are those of a file that is written anew."""
    land(FILE, data)
    ((ledger_row, rows, *rest),) = taken_in(settings).values()
    assert taken_over == [True] if is_taken else not any(taken_over)
    monkeypatch.setattr(take_over, "_CODECS", ())
    monkeypatch.setattr(large_files, "columns_to_copy", lambda *_: None)
    other = Settings(**{**vars(settings), "home": tmp_path / "other"})
    ((other_row, other_rows, *other_rest),) = taken_in(other).values()
    assert (ledger_row, rows, rest) == (other_row, other_rows, other_rest)
    if is_taken:
        path = settings.raw / "shop/order_lines" / f"dt={DAY}/rev=1/{DAY}.parquet"
        assert len(rows) == ROWS
        assert b"13800000000" not in path.read_bytes()
        engine = duckdb.sql(f"select _row, product_id, is_gift from '{path}' order by _row").fetchall()
        table = pq.read_table(path)
        assert engine == list(
            zip(*(table[n].to_pylist() for n in ("_row", "product_id", "is_gift")), strict=True)
        )
        assert not list((settings.vault / "spill").glob("*.parquet"))


def test_what_another_program_says_of_the_values_is_not_passed_on(tmp_path: Path) -> None:
    """A wrong smallest value would let a reader pass rows over."""
    data = written(lines(), write_page_index=True)
    given, made = tmp_path / "given.parquet", tmp_path / "made.parquet"
    given.write_bytes(data)
    footer = parquet_copy.read_footer(given)
    groups = range(len(footer.rows))
    taken = {"number": Taken(footer, "line_no", groups), "id": Taken(footer, "order_id", groups)}
    parquet_copy.write_from(made, taken, {"a": "b"})
    found = pq.read_metadata(made)
    columns = [found.row_group(g).column(c) for g in range(found.num_row_groups) for c in range(2)]
    assert pq.read_metadata(given).row_group(0).column(0).statistics is not None
    assert all(c.statistics is None and not c.has_column_index and not c.has_offset_index for c in columns)
    assert found.metadata == {b"a": b"b"}
    assert pq.read_table(made).to_pydict() == {
        "number": lines()["line_no"].to_pylist(),
        "id": lines()["order_id"].to_pylist(),
    }


def test_a_footer_is_written_as_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "file.parquet"
    path.write_bytes(written(lines()))
    footer = parquet_copy.read_footer(path)
    data = path.read_bytes()
    assert parquet_copy._written(footer.fields) == data[footer.data_end : -8]


def test_a_broken_footer_is_refused(tmp_path: Path) -> None:
    """Any byte of it changed: refused, or read as some footer; chunks outside the data are never copied."""
    data = written(lines())
    path = tmp_path / "file.parquet"
    path.write_bytes(data)
    end = parquet_copy.read_footer(path).data_end
    rnd, refused = random.Random(3), 0
    for _ in range(300):
        broken = bytearray(data)
        broken[rnd.randrange(end, len(data))] = rnd.randrange(256)
        path.write_bytes(broken)
        try:
            parquet_copy.read_footer(path)
        except FileRejected:
            refused += 1
    assert refused > 20
    path.write_bytes(data)
    footer = parquet_copy.read_footer(path)
    footer.row_groups[1][1][1][1][0][3][1][7] = (6, end)
    taken = {"id": Taken(footer, "order_id", range(len(footer.rows)))}
    with pytest.raises(FileRejected, match="outside the data"):
        parquet_copy.write_from(tmp_path / "made.parquet", taken, {})


def lines_with(name: str, at: int, value: object) -> pa.Table:
    column = lines()[name]
    values = column.to_pylist()
    values[at] = value
    return lines(**{name: pa.array(values, column.type)})


BROKEN = [
    ("missing_value", "order_id", None),
    ("scientific_id", "order_id", "1.5E+12"),
    ("missing_value", "line_no", None),
    ("out_of_range", "line_no", -1),
    ("missing_value", "product_id", None),
    ("scientific_id", "product_id", "6.9E+12"),
    ("missing_value", "qty", None),
    ("zero_quantity", None, ("qty", Decimal(0))),
    ("negative_quantity", None, ("qty", Decimal(-1))),
    ("amount_too_large", None, ("qty", Decimal(10**9))),
    ("missing_value", "unit_price_paid", None),
]


@pytest.mark.parametrize("at", [4, ROWS - 1], ids=["first group", "last group"])
@pytest.mark.parametrize(
    ("code", "column", "value"), BROKEN, ids=[f"{code} {column or ''}" for code, column, _ in BROKEN]
)
def test_a_row_that_breaks_a_rule_is_told_wherever_it_stands(
    settings: Settings,
    land: Land,
    small_limits: None,
    taken_over: list[bool],
    code: str,
    column: str | None,
    value: Any,
    at: int,
) -> None:
    name, planted = (column, value) if column else value
    path = land(FILE, written(lines_with(name, at, planted)))
    ((ledger_row, rows, rejects, _),) = taken_in(settings).values()
    assert taken_over == [False]
    assert tuple(ledger_row[3:7]) == (ROWS, ROWS - 1, 1, 0)
    assert rejects == [(at + 1, code, column)] and len(rows) == ROWS - 1
    assert not list(settings.raw.glob("shop/**/.*"))
    counted = count(path.read_bytes(), "parquet")
    assert counted and counted.records == ROWS


def test_a_file_whose_first_rows_have_dirt_is_not_asked_whether_it_could_be_copied(
    settings: Settings,
    land: Land,
    small_limits: None,
    taken_over: list[bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DuckDB looks at the first rows that its threads come to, so here at all of them."""
    monkeypatch.setattr(large_files, "_PROBED_ROWS", ROWS)
    land(FILE, written(lines_with("qty", 1, Decimal(0))))
    ((ledger_row, rows, rejects, _),) = taken_in(settings).values()
    assert taken_over == []
    assert tuple(ledger_row[3:7]) == (ROWS, ROWS - 1, 1, 0)
    assert rejects == [(2, "zero_quantity", None)] and len(rows) == ROWS - 1


def orders(name: str = "", at: int = 0, value: Any = None) -> pa.Table:
    """Orders with their moments, as a system exports them."""
    noon = datetime(2024, 5, 6, 4, tzinfo=UTC)
    rows: list[dict[str, Any]] = [
        {"order_id": f"order-{i:04}", "source_customer_id": f"C{i % 9}", "status": "paid", "ordered_at": noon}
        for i in range(ROWS)
    ]
    if name:
        rows[at][name] = value
    schema = pa.schema({n: pa.string() for n in rows[0]} | {"ordered_at": pa.timestamp("us", "UTC")})
    return pa.Table.from_pylist(rows, schema)


def told_twice(table: pa.Table) -> pa.Table:
    """Its second row stands twice, its third another time with something else in it."""
    again = [table.slice(1, 1).to_pylist()[0], table.slice(2, 1).to_pylist()[0]]
    last = table.column_names[2]
    again[1][last] = "completed" if last == "status" else "SKU-other"
    return pa.concat_tables([table, pa.Table.from_pylist(again, table.schema)])


@pytest.mark.parametrize(
    ("feed", "table", "is_dirty"),
    [
        ("orders", orders(), False),
        ("orders", orders("order_id", 7), True),
        ("orders", orders("status", ROWS - 1, "no status"), True),
        ("orders", orders("ordered_at", ROWS - 1, datetime(2031, 1, 1, tzinfo=UTC)), True),
        ("orders", orders("source_customer_id", 20, " C1"), False),
        ("order_lines", lines(), False),
        ("order_lines", lines_with("qty", 50, Decimal(0)), True),
    ],
)
@pytest.mark.parametrize("is_told_twice", [False, True])
@pytest.mark.parametrize("probed_rows", [0, 2 * ROWS])
def test_a_file_with_rows_to_leave_out_is_typed_once(
    settings: Settings,
    land: Land,
    small_limits: None,
    monkeypatch: pytest.MonkeyPatch,
    feed: str,
    table: pa.Table,
    is_dirty: bool,
    is_told_twice: bool,
    probed_rows: int,
) -> None:
    """Where its texts are raw's own it comes to the same, whether the rules are asked once or it is put down first."""
    land(f"shop/{feed}/{DAY}.parquet", written(told_twice(table) if is_told_twice else table))
    monkeypatch.setattr(large_files, "_PROBED_ROWS", probed_rows)
    put_down: list[Path] = []
    real = large_files.LargeFiles.put_down

    def watched(self: large_files.LargeFiles, *given: Any) -> None:
        real(self, *given)
        put_down.extend(self.typed)

    monkeypatch.setattr(large_files.LargeFiles, "put_down", watched)
    judged = taken_in(settings)
    has_spaces = " C1" in table.column(1).to_pylist()
    has_times = feed == "orders"
    has_to_tell = is_dirty or is_told_twice
    assert bool(put_down) == (has_to_tell and (has_spaces or has_times and not probed_rows))
    put_down.clear()
    for way in ("_look", "_take_over"):
        monkeypatch.setattr(large_files.LargeFiles, way, lambda *_: False)
    other = replace(settings, home=settings.home.with_name("other"))
    assert taken_in(other) == judged
    assert bool(put_down) == has_to_tell


@pytest.mark.parametrize("broken_max", [ROWS, ROWS - 1])
def test_a_file_with_more_broken_rows_than_are_kept_is_put_down(
    settings: Settings, land: Land, small_limits: None, monkeypatch: pytest.MonkeyPatch, broken_max: int
) -> None:
    """Else the rows beyond them would count as good."""
    for module in (large_files, take_over):
        monkeypatch.setattr(module, "BROKEN_MAX", broken_max)
    land(FILE, written(lines(qty=pa.array([Decimal(0)] * ROWS, pa.decimal128(18, 3)))))
    ((ledger_row, rows, rejects, _),) = taken_in(settings).values()
    assert tuple(ledger_row[3:7]) == (ROWS, 0, ROWS, 0)
    assert len(rejects) == ROWS and not rows


STOCK = {
    "location_id": pa.array([f"仓库-{i // 10}" for i in range(ROWS)]),
    "product_id": pa.array([f"SKU-{i % 10}" for i in range(ROWS)]),
    "snapshot_date": pa.array([date.fromisoformat(DAY)] * ROWS),
    "on_hand": pa.array([Decimal(i) for i in range(ROWS)], pa.decimal128(18, 3)),
}


@pytest.mark.parametrize(
    ("day", "code"),
    [(date.fromisoformat(DAY), None), (date(2024, 5, 8), "future_date"), (date(1999, 12, 31), "before_2000")],
)
def test_a_day_that_cannot_be_is_told(
    settings: Settings, land: Land, small_limits: None, taken_over: list[bool], day: date, code: str | None
) -> None:
    days = pa.array([date.fromisoformat(DAY)] * (ROWS - 1) + [day])
    land(f"erp/inventory/{DAY}.parquet", written(pa.table(STOCK | {"snapshot_date": days})))
    ((ledger_row, rows, rejects, _),) = taken_in(settings).values()
    assert taken_over == [code is None]
    assert rejects == ([(ROWS, code, "snapshot_date")] if code else [])
    assert tuple(ledger_row[3:7]) == (ROWS, len(rows), len(rejects), 0)


def with_footer(path: Path, change: Callable[[parquet_copy.Struct], Any]) -> bytes:
    """The file with a footer that was changed."""
    footer = parquet_copy.read_footer(path)
    change(footer.fields)
    made = parquet_copy._written(footer.fields)
    return path.read_bytes()[: footer.data_end] + made + len(made).to_bytes(4, "little") + b"PAR1"


def in_all(rows: int) -> Callable[[parquet_copy.Struct], None]:
    return lambda fields: fields.update({3: (parquet_copy._I64, rows)})


def in_the_last_group(rows: int) -> Callable[[parquet_copy.Struct], None]:
    return lambda fields: fields[4][1][1][-1].update({3: (parquet_copy._I64, rows)})


def in_both(fields: parquet_copy.Struct) -> None:
    in_the_last_group(5)(fields)
    in_all(55)(fields)


def without_the_last_group(fields: parquet_copy.Struct) -> None:
    fields[4][1][1].pop()


@pytest.mark.parametrize("is_large", [True, False])
@pytest.mark.parametrize(
    "change",
    [in_all(50), in_all(70), in_the_last_group(5), in_both, without_the_last_group],
    ids=["fewer in all", "more in all", "fewer in a group", "fewer in both", "without a group"],
)
def test_a_footer_that_contradicts_itself_refuses_the_file_and_no_other(
    settings: Settings,
    land: Land,
    small_limits: None,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[parquet_copy.Struct], Any],
    is_large: bool,
) -> None:
    """Who counts by the one number loses rows that who counts by the other has."""
    if not is_large:
        monkeypatch.setattr(pending, "_STREAM_ROWS", 1000)
    path = land(FILE, written(lines()))
    path.write_bytes(with_footer(path, change))
    land(f"shop/order_lines/{DAY}.good.parquet", written(shuffled()))
    found = taken_in(settings)
    assert found[FILE][0][:2] == ["rejected", "wrong_format"] and not found[FILE][1]
    assert len(found[f"shop/order_lines/{DAY}.good.parquet"][1]) == ROWS


@pytest.mark.parametrize("is_large", [True, False])
@pytest.mark.parametrize(
    ("column", "value", "code"), [("line_no", -1, "out_of_range"), ("line_no", None, "missing_value")]
)
def test_what_a_footer_says_of_the_values_answers_for_no_rule(
    settings: Settings,
    land: Land,
    small_limits: None,
    monkeypatch: pytest.MonkeyPatch,
    column: str,
    value: int | None,
    code: str,
    is_large: bool,
) -> None:
    """Statistics say that every line number is between 1 and 3 and none is null: it is asked of the rows all the same."""
    if not is_large:
        monkeypatch.setattr(pending, "_STREAM_ROWS", 1000)
    path = land(FILE, written(lines_with(column, 41, value), row_group_size=ROWS))
    at = lines().column_names.index(column)
    said = {
        key: (parquet_copy._BINARY, n.to_bytes(8, "little")) for key, n in ((1, 3), (2, 1), (5, 3), (6, 1))
    }
    nulls = {3: (parquet_copy._I64, 0)}

    def lie(fields: parquet_copy.Struct) -> None:
        fields[4][1][1][0][1][1][1][at][3][1][12] = (parquet_copy._STRUCT, said | nulls)

    path.write_bytes(with_footer(path, lie))
    stats = pq.read_metadata(path).row_group(0).column(at).statistics
    assert (stats.min, stats.max, stats.null_count) == (1, 3, 0)
    ((ledger_row, rows, rejects, _),) = taken_in(settings).values()
    assert tuple(ledger_row[3:7]) == (ROWS, ROWS - 1, 1, 0)
    assert rejects == [(42, code, column)] and len(rows) == ROWS - 1


def test_texts_that_are_called_clean_are_stored_as_they_came() -> None:
    """Whatever characters they are of; and most texts that need no change are called so."""
    rnd = random.Random(7)
    alphabet = "ab 　红茶éÅ한̧́  ​‍﻿가ﬁ①Ａ😀"
    plain = "ab红茶éÅ한ﬁ①Ａ😀"
    called, changed, as_they_came = 0, 0, 0
    for n in range(400):
        of = plain if n % 2 else alphabet
        texts = ["".join(rnd.choices(of, k=rnd.randrange(5))) for _ in range(rnd.randrange(1, 4))]
        values = pa.array([*texts, None], pa.string())
        stored = duckdb.sql(f"select v, {_cleaned('v')} from (select unnest($1) as v)", params=[texts])
        same = all(a == b for a, b in stored.fetchall())
        is_clean = are_clean(values, *texts_of(values))
        assert same or not is_clean, texts
        chunk = ",".join(texts) + "\n"
        assert same or not csv_chunks._is_clean(chunk.encode(), b",", b""), texts
        called, changed, as_they_came = called + is_clean, changed + (not same), as_they_came + same
    assert called > 0.9 * as_they_came and changed > 100
    assert all(unicodedata.is_normalized("NFC", c) for c in plain)


@pytest.mark.parametrize(
    "parts", [[b"\xe7\xba", b"\xa2"], [b"\xff"], [b"a\xed\xa0\x80"]], ids=["cut", "no UTF-8", "surrogate"]
)
def test_bytes_that_are_no_text_are_not_called_clean(parts: list[bytes]) -> None:
    """Two halves of a character are UTF-8 where they stand one behind the other."""
    binary = pa.array(parts, pa.binary())
    values = pa.StringArray.from_buffers(len(binary), *binary.buffers()[1:])
    assert not are_clean(values, *texts_of(values))


def test_the_hash_is_taken_while_the_rows_are_read(
    settings: Settings,
    land: Land,
    small_limits: None,
    taken_over: list[bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Unless another file had the same size, which this one may repeat."""
    hashed: list[str] = []
    real = loader.sha256_of
    monkeypatch.setattr(loader, "sha256_of", lambda path: hashed.append(path.name) or real(path))
    data = {f"{DAY}.1": written(lines()), f"{DAY}.2": written(lines()), f"{DAY}.3": written(shuffled())}
    for stem, content in data.items():
        land(f"shop/order_lines/{stem}.parquet", content)
    taken_in(settings)
    found = {e.stem: e for e in ledger.read(settings)}
    assert {stem: e.sha256 for stem, e in found.items()} == {
        f"{stem}": hashlib.sha256(content).hexdigest() for stem, content in data.items()
    }
    assert [found[stem].status for stem in sorted(found)] == ["loaded", "duplicate", "loaded"]
    assert hashed == [f"{DAY}.2.parquet"] and taken_over == [True, True]
    assert all(e.rows_read == ROWS for e in found.values())


@pytest.mark.parametrize("said", [{"sha256": "0" * 64}, {"rows": ROWS - 1}])
def test_a_manifest_that_says_otherwise_refuses_the_file(
    settings: Settings, land: Land, small_limits: None, said: dict[str, Any]
) -> None:
    data = written(lines())
    land(FILE, data)
    land(f"{FILE}.manifest.json", json.dumps(said))
    ((ledger_row, rows, *_),) = taken_in(settings).values()
    assert (ledger_row[:2], rows) == (["rejected", "manifest_mismatch"], [])
    assert ledger_row[-1] == hashlib.sha256(data).hexdigest()
    assert not [p for p in settings.raw.glob("shop/**/*") if p.is_file()]


@pytest.mark.parametrize("change", ["other rows", "half of it", "gone"])
def test_a_file_that_changes_while_it_is_copied_is_refused(
    settings: Settings, land: Land, small_limits: None, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    path = land(FILE, written(lines()))
    real = large_files.write

    def write(*given: Any) -> int:
        rows = real(*given)
        if change == "gone":
            path.unlink()
        else:
            data = written(lines_with("line_no", 0, 7))
            path.write_bytes(data if change == "other rows" else data[: len(data) // 2])
        return rows

    monkeypatch.setattr(large_files, "write", write)
    ((ledger_row, rows, *_),) = taken_in(settings).values()
    assert (ledger_row[:2], rows) == (["rejected", "changed_while_read"], [])
    assert not [p for p in settings.raw.glob("shop/**/*") if p.is_file()]
    assert not list(settings.raw.glob("_profile/order_lines/*"))


ENDLESS = "select count(*) from range(10000000) a, range(10000000) b where a.range <> b.range"


@pytest.mark.parametrize("failing", ["ask_rules", "texts_as_they_are", "write", "sha256_of"])
def test_what_fails_in_one_thread_ends_the_others_and_leaves_nothing(
    settings: Settings, land: Land, small_limits: None, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """The others would go on for ever: they come to their end because they are told to."""
    works = {"ask_rules", "texts_as_they_are", "write", "sha256_of"}
    ended: set[str] = set()

    class Unheard(Exception):
        pass

    def fails(*_: Any, **__: Any) -> None:
        raise Unheard

    def goes_on(name: str) -> Callable[..., Any]:
        def work(*given: Any, **_: Any) -> Any:
            try:
                if name == "ask_rules":
                    given[0].execute(ENDLESS)
                while True:
                    given[-1]()
            finally:
                ended.add(name)

        return work

    for name in works:
        monkeypatch.setattr(large_files, name, fails if name == failing else goes_on(name))
    land(FILE, written(lines()))
    threads = threading.active_count()
    with pytest.raises(Unheard):
        sweep(settings, date(2024, 5, 7), run_id="test", released=None)
    assert ended == works - {failing}
    assert threading.active_count() == threads
    assert not ledger.read(settings)
    assert not [p for p in settings.raw.glob("shop/**/*") if p.is_file()]


def swept(settings: Settings) -> None:
    """A sweep that tells of every chunk that it copies."""
    real = parquet_copy._copied
    parquet_copy._copied = lambda *given: sys.audit("chunk") or real(*given)
    sweep(settings, date(2024, 5, 7), run_id="killed", released=None)


def test_killed_anywhere_no_row_is_lost_or_doubled(
    settings: Settings, land: Land, small_limits: None, taken_over: list[bool], tmp_path: Path
) -> None:
    land(FILE, written(lines()))
    n, unfinished = 0, 0
    while True:
        n += 1 if os.environ.get("STRATA_SOAK") else 5
        home = Settings(**{**vars(settings), "home": tmp_path / f"home{n}"})
        if not killed_at(n, partial(swept, home), also="chunk"):
            break
        unfinished += bool(list(home.raw.glob("shop/**/.*.tmp")))
        published = list(home.raw.glob("shop/**/[!.]*.parquet"))
        assert all(pq.read_metadata(p).num_rows == ROWS for p in published)
        ((ledger_row, rows, *_),) = taken_in(home).values()
        assert tuple(ledger_row[3:7]) == (ROWS, ROWS, 0, 0) and len(rows) == ROWS
        assert not list(home.raw.glob("shop/**/.*.tmp"))
    assert unfinished > 2 and all(taken_over)
