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
from pipeline.ingest.quarantine import groups, read
from pipeline.quality.history import read_history
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
    assert not any(part in str(entry) for part in ("13812345678", "Wang"))
    assert not any(part in everywhere for part in (b"13812345678", b"Wang"))


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


# Names


def entries_of(settings: Settings) -> dict[str, ledger.Entry]:
    return {e.file: e for e in ledger.read(settings)}


def test_a_name_that_is_too_long_refuses_its_file_and_no_other(settings: Settings, land: Land) -> None:
    long, longest = f"{DAY}.{'x' * 240}.csv", f"{DAY}.{'y' * 190}.csv"
    for n, name in enumerate((long, longest, f"{DAY}.csv")):
        land(f"shop/order_lines/{name}", f"{LINES}{n},1,P1,1,2.50\n")
    take_in(settings)
    found = entries_of(settings)
    assert found[f"shop/order_lines/{long}"].reject_code == "name_too_long"
    assert found[f"shop/order_lines/{longest}"].status == "loaded", "all that is made of it has room"
    assert found[f"shop/order_lines/{DAY}.csv"].status == "loaded"


def test_folders_without_end_are_named_by_their_top(settings: Settings, land: Land) -> None:
    land("/".join("d" * 30) + f"/{DAY}.csv", LINES)
    land(f"shop/order_lines/{DAY}.csv", LINES + "1,1,P1,1,2.50\n")
    take_in(settings)
    assert {(e.file, e.reject_code) for e in ledger.read(settings)} == {
        ("/".join("d" * 8), "unexpected_path"),
        (f"shop/order_lines/{DAY}.csv", None),
    }


@pytest.mark.parametrize("part", ["13812345678", "call-13812345678", "11010519491231002X"])
def test_a_phone_in_a_delivery_name_reaches_no_ledger(settings: Settings, land: Land, part: str) -> None:
    land(f"shop/order_lines/{DAY}.{part}.csv", LINES + "1,1,P1,1,2.50\n")
    (entry,) = take_in(settings)
    assert (entry.reject_code, entry.stem) == ("unsafe_name", None)
    assert part[-11:] not in str(entry) and "‹" in entry.file
    (group,) = groups(settings)
    assert (group.state, group.code) == ("rejected", "unsafe_name"), "it still lies there"
    (settings.landing / f"shop/order_lines/{DAY}.{part}.csv").unlink()
    assert groups(settings) == []


def test_a_misplaced_name_is_masked_and_told_until_it_is_gone(settings: Settings, land: Land) -> None:
    path = land("shop/order_lines/我叫王芳 13812345678.csv", "x")
    (entry,) = take_in(settings)
    assert entry.file == "shop/order_lines/我叫‹name› ‹phone›.csv" and "1381234" not in str(entry)
    assert [g.state for g in groups(settings)] == ["rejected"] and take_in(settings) == []
    path.unlink()
    assert groups(settings) == []


def test_a_file_of_the_future_is_no_stray_once_it_was_taken_in(settings: Settings, land: Land) -> None:
    land("shop/order_lines/2999-01-01.csv", LINES + "1,1,P1,1,2.50\n")
    take_in(settings)
    assert [g.code for g in groups(settings)] == ["future_delivery"]
    sweep(settings, date(2999, 1, 2), run_id="test", released=None)
    assert groups(settings) == []


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("csv", LINES.strip() + ",天气\n1,1,P1,1,2,rain\n", "天气"),
        ("csv", LINES.strip() + ",天气,13812345678\n1,1,P1,1,2,a,b\n", "2 columns (not named"),
        ("csv", LINES.strip() + ",2024-05-06 10:00:00\n1,1,P1,1,2,a\n", "one column (not named"),
        ("csv", LINES.strip() + ",nana@example.com\n1,1,P1,1,2,a\n", "one column (not named"),
        ("csv", LINES.strip() + f",{'x' * 5_000}\n1,1,P1,1,2,a\n", "x" * 60),
        (
            "jsonl",
            "".join(
                f'{{"order_id": "{i}", "line_no": 1, "product_id": "p", "qty": 1, "unit_price_paid": 1, "k{i:03}": 1}}\n'
                for i in range(300)
            ),
            ", k019 and 80 more",
        ),
        (
            "jsonl",
            '{"order_id": "1", "line_no": 1, "product_id": "p", "qty": 1, "unit_price_paid": 1, "13812345678": "vip"}\n',
            "one column (not named",
        ),
    ],
)
def test_unknown_columns_are_named_unless_a_value_stands_among_them(
    settings: Settings, land: Land, name: str, content: str, told: str
) -> None:
    land(f"shop/order_lines/{DAY}.{name}", content)
    (entry,) = take_in(settings)
    assert entry.status == "loaded" and told in (entry.extra_columns or "")
    assert len(entry.extra_columns or "") < 1_000 and "1381234" not in str(entry)


# Copies and leftovers inside the home


def test_a_copy_inside_the_ledger_is_an_error_that_names_it(settings: Settings, land: Land) -> None:
    land(f"shop/order_lines/{DAY}.csv", LINES + "1,1,P1,1,2.50\n")
    take_in(settings)
    file = settings.ledger / "000001.parquet"
    for name in ("000001 (copy).parquet", "000009.parquet"):
        copy = settings.ledger / name
        copy.write_bytes(file.read_bytes())
        with pytest.raises(StrataError, match=r"0000.*(take it away)"):
            ledger.read(settings)
        with pytest.raises(StrataError):
            take_in(settings)
        copy.unlink()
    assert take_in(settings) == []


@pytest.mark.parametrize(
    "to",
    [
        "shop/order_lines/dt=2024-05-06/rev=1/2024-05-06 (copy).parquet",
        "shop/order_lines/dt=2024-05-07/rev=1/2024-05-06.parquet",
        "shop/order_lines/dt=2024-05-06/rev=2/2024-05-06.parquet",
        "shop.old/order_lines/dt=2024-05-06/rev=1/2024-05-06.parquet",
    ],
)
def test_a_copy_inside_raw_is_an_error_that_names_it(settings: Settings, land: Land, to: str) -> None:
    land(f"shop/order_lines/{DAY}.csv", LINES + "1,1,P1,1,2.50\n")
    take_in(settings)
    copy = settings.raw / to
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes((settings.raw / f"shop/order_lines/dt={DAY}/rev=1/{DAY}.parquet").read_bytes())
    with pytest.raises(StrataError, match="it is a copy, take it away"):
        take_in(settings)
    copy.unlink()
    assert take_in(settings) == []


def test_what_a_dead_sweep_left_in_raw_is_no_copy(settings: Settings, land: Land) -> None:
    land(f"shop/order_lines/{DAY}.csv", LINES + "1,1,P1,1,2.50\n")
    take_in(settings)
    (settings.ledger / "000001.parquet").unlink()
    (settings.landing / f"shop/order_lines/{DAY}.csv").unlink()
    assert take_in(settings) == []


def test_a_profile_that_a_dead_sweep_left_is_not_taken_for_the_deliverys(
    settings: Settings, land: Land
) -> None:
    """Two files were one batch, and the ledger was never written; the second came again with other bytes and alone."""
    as_of = date(2024, 5, 10)
    land(f"shop/order_lines/{DAY}.csv", LINES + "1,1,P1,1,2.50\n")
    land("shop/order_lines/2024-05-07.csv", LINES + "2,1,P1,1,2.50\n2,2,P1,1,2.50\n")
    sweep(settings, as_of, run_id="dead", released=None)
    (settings.ledger / "000001.parquet").unlink()
    (settings.landing / f"shop/order_lines/{DAY}.csv").unlink()
    land("shop/order_lines/2024-05-07.csv", LINES + "3,1,P1,1,2.50\n")
    sweep(settings, as_of, run_id="alive", released=None)

    def rows() -> dict[str, float]:
        return {
            d.entry.delivery: d.rows for d in read_history(settings, as_of).feeds["order_lines"].deliveries
        }

    assert rows() == {"shop/order_lines/2024-05-07/rev=1": 1}
    own = settings.raw / "_profile" / "order_lines" / "shop~order_lines~2024-05-07~rev=1.parquet"
    kept = own.read_bytes()
    own.unlink()
    with pytest.raises(StrataError, match="no profile of shop/order_lines/2024-05-07/rev=1 as it was loaded"):
        rows()
    own.write_bytes(kept)
    assert rows() == {"shop/order_lines/2024-05-07/rev=1": 1}
