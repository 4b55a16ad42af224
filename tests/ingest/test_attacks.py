"""What a hostile reviewer got through once: each is refused, rejected or told now."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import StrataError
from pipeline.ingest import ledger, loader
from pipeline.ingest.feeds import check
from pipeline.ingest.load import sweep
from pipeline.ingest.quarantine import read
from pipeline.settings import Settings

Land = Callable[[str, bytes | str], Path]
DAY = "2024-05-06"
LINES = "order_id,line_no,product_id,qty,unit_price_paid\n"


def take_in(settings: Settings) -> list[ledger.Entry]:
    return list(sweep(settings, date(2024, 5, 10), run_id="test", released=None).entries)


def land_parquet(settings: Settings, feed: str, columns: dict[str, pa.Array]) -> None:
    path = settings.landing / "shop" / feed / f"{DAY}.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table(columns), path)


def codes(settings: Settings, entry: ledger.Entry) -> list[tuple[int, str]]:
    return [(r.record_no, r.code) for r in read(settings, entry.delivery)]


def test_a_broken_text_in_parquet_is_refused_without_a_word_of_it(settings: Settings) -> None:
    secret = b"Wang Fang 13812345678\xff"
    damaged = pa.Array.from_buffers(
        pa.string(),
        1,
        [None, pa.py_buffer(b"\0\0\0\0" + len(secret).to_bytes(4, "little")), pa.py_buffer(secret)],
    )
    land_parquet(settings, "customers", {"source_customer_id": pa.array(["1"]), "phone": damaged})
    (entry,) = take_in(settings)
    assert (entry.status, entry.reject_code) == ("rejected", "wrong_format")
    everywhere = b"".join(p.read_bytes() for p in settings.ledger.rglob("*") if p.is_file())
    assert "138" not in str(entry) and b"Wang" not in everywhere


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("product_id", pa.array([b"P1"], pa.binary()), "holds bytes"),
        ("unit_price_paid", pa.array([Decimal("12.5")], pa.decimal256(50, 5)), "more than 38 digits"),
    ],
)
def test_a_parquet_type_that_would_be_misread_refuses_the_file(
    settings: Settings, column: str, value: pa.Array, told: str
) -> None:
    good = {
        "order_id": pa.array(["1"]),
        "line_no": pa.array([1]),
        "product_id": pa.array(["P1"]),
        "qty": pa.array([1]),
        "unit_price_paid": pa.array([2]),
    }
    land_parquet(settings, "order_lines", good | {column: value})
    (entry,) = take_in(settings)
    assert (entry.status, entry.reject_code) == ("rejected", "wrong_format")
    assert column in entry.reject_detail and told in entry.reject_detail


def test_a_barcode_in_the_price_rejects_its_row_and_no_other(settings: Settings, land: Land) -> None:
    rows = "1,1,P1,1,6901234567892\n1,2,P1,1,2.50\n1,3,P1,-1,6901234567892\n"
    land(f"shop/order_lines/{DAY}.csv", LINES + rows)
    (entry,) = take_in(settings)
    assert codes(settings, entry) == [(1, "amount_too_large"), (3, "negative_quantity")]


@pytest.mark.parametrize("price", ["1 2", "3$50", "5 6.00", "¥1¥2", "1,2", "12 345 6"])
def test_a_cell_with_two_numbers_is_no_number(settings: Settings, land: Land, price: str) -> None:
    land(f"shop/order_lines/{DAY}.csv", f'{LINES}1,1,P1,1,"{price}"\n1,2,P1,1,2.50\n')
    (entry,) = take_in(settings)
    assert codes(settings, entry) == [(1, "bad_number")]


@pytest.mark.parametrize(
    ("price", "value"),
    [
        ("¥ 1,234.50", "1234.5"),
        ("$-5", "-5"),
        ("-¥5", "-5"),
        ("12 345.60", "12345.6"),
        ("９.５元", "9.5"),
        ("(¥5.00)", "-5"),
    ],
)
def test_one_number_with_its_currency_is_that_number(
    settings: Settings, land: Land, price: str, value: str
) -> None:
    land(f"shop/order_lines/{DAY}.csv", f'{LINES}1,1,P1,1,"{price}"\n')
    take_in(settings)
    (file,) = settings.raw.glob("shop/order_lines/*/*/*.parquet")
    assert pq.read_table(file)["unit_price_paid"].to_pylist() == [Decimal(value)]


@pytest.mark.parametrize("offset", ["+99:99", "+15:00", "-08:60"])
def test_an_offset_that_no_zone_has_is_no_time(settings: Settings, land: Land, offset: str) -> None:
    rows = f"order_id,ordered_at,status\n1,{DAY} 10:00:00{offset},paid\n2,{DAY} 10:00:00+08:00,paid\n"
    land(f"shop/orders/{DAY}.csv", rows)
    (entry,) = take_in(settings)
    assert codes(settings, entry) == [(1, "bad_timestamp")]


def test_a_date_beyond_every_calendar_rejects_its_row(settings: Settings) -> None:
    days = pa.array([-(2**31) + 10, 19849], pa.int32()).cast(pa.date32())
    columns = {"order_id": pa.array(["1", "2"]), "ordered_at": days, "status": pa.array(["paid", "paid"])}
    land_parquet(settings, "orders", columns)
    (entry,) = take_in(settings)
    assert [no for no, _ in codes(settings, entry)] == [1]


def test_a_folder_named_like_a_partition_says_nothing_about_the_rows(
    settings: Settings, tmp_path: Path
) -> None:
    there = replace(settings, landing=tmp_path / "status=completed")
    land_parquet(
        there,
        "orders",
        {
            "order_id": pa.array(["1"]),
            "ordered_at": pa.array([f"{DAY} 10:00:00"]),
            "status": pa.array(["paid"]),
            "shipping_fee": pa.array([1]),
        },
    )
    take_in(there)
    (file,) = there.raw.glob("shop/orders/*/*/*.parquet")
    assert pq.ParquetFile(file).read()["status"].to_pylist() == ["paid"]


def test_a_repeated_file_that_is_gone_is_asked_for_when_its_first_one_is_corrected(
    settings: Settings, land: Land
) -> None:
    text = LINES + "1,1,P1,1,2.50\n"
    land("shop/order_lines/2024-05-05.csv", text)
    again = land(f"shop/order_lines/{DAY}.csv", text)
    take_in(settings)
    again.unlink()
    land("shop/order_lines/2024-05-05.csv", LINES + "2,1,P1,1,2.50\n")
    with pytest.raises(StrataError, match=f"put shop/order_lines/{DAY}.csv back into landing"):
        take_in(settings)


def test_a_mix_up_of_two_sources_ends_when_the_wrong_file_is_corrected(
    settings: Settings, land: Land
) -> None:
    theirs = LINES + "1,1,P1,1,2.50\n"
    land(f"shop/order_lines/{DAY}.csv", theirs)
    take_in(settings)
    land(f"shop/order_lines/{DAY}.csv", LINES + "2,1,P1,1,2.50\n")
    take_in(settings)
    land(f"other/order_lines/{DAY}.csv", theirs)
    assert [(e.source, e.status) for e in take_in(settings)] == [("other", "loaded")]


def test_a_file_that_is_taken_away_while_the_sweep_runs_was_not_delivered(
    settings: Settings, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = land(f"shop/order_lines/{DAY}.csv", LINES + "1,1,P1,1,2.50\n")
    load = loader.Loader.load

    def without_it(self: loader.Loader, files: list) -> object:
        path.unlink(missing_ok=True)
        return load(self, files)

    monkeypatch.setattr(loader.Loader, "load", without_it)
    assert take_in(settings) == []


@pytest.mark.parametrize(
    ("source", "name"), [("../x", f"{DAY}.csv"), ("_shop", f"{DAY}.csv"), ("shop", f"_{DAY}.csv")]
)
def test_check_answers_odd_names_in_one_line(
    settings: Settings, tmp_path: Path, source: str, name: str
) -> None:
    path = tmp_path / name
    path.write_text(LINES + "1,1,P1,1,2.50\n")
    with pytest.raises(StrataError) if source != "shop" else nullcontext():
        assert check(settings, path, source=source, feed="order_lines", day=None).rows_read == 1
