"""A Parquet delivery that has raw's own values is copied chunk by chunk, and comes to the same as one written anew."""

import io
import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.ingest import large_files, parquet_copy, pending, take_over
from pipeline.ingest.parquet_copy import Taken
from pipeline.ingest.reading.content import FileRejected
from pipeline.settings import Settings
from tests.ingest.bad_inputs import DAY
from tests.ingest.test_large_files import taken_in

Land = Callable[[str, bytes | str], Path]
ROWS = 60
MONEY = pa.decimal128(18, 4)
FILE = f"shop/order_lines/{DAY}.parquet"


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "_STREAM_ROWS", 20)
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
        (written(with_text("product_id", 41, " SKU-1")), False),
        (written(with_text("product_id", 41, "")), False),
        (written(with_text("product_id", 41, "商品")), True),
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
        "padded",
        "null spelled",
        "not ASCII",
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
