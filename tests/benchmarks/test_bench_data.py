"""The generated landing folder: the same for everybody, in the shape of the contracts."""

import hashlib
import json
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
import yaml

from benchmarks import data

PLAN = data.Plan(rows=20_000)
CONTRACTS = Path(__file__).resolve().parents[2] / "pipeline" / "ingest" / "contracts" / "sales"
KINDS = {
    "s": pa.string(),
    "i": pa.int64(),
    "b": pa.bool_(),
    "m": pa.decimal128(18, 4),
    "q": pa.decimal128(18, 3),
    "ts": pa.timestamp("us", tz="UTC"),
}


@pytest.fixture(scope="module")
def landing(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "landing"
    data.write(PLAN, folder)
    return folder


def rows(table: pa.Table) -> list[str]:
    return sorted(map(repr, table.to_pylist()))


def test_a_seed_gives_the_same_rows_on_every_machine():
    digest = hashlib.sha256()
    for tables in data.chunks(data.Plan(rows=2_000)):
        for feed in data.FEEDS:
            digest.update(json.dumps(tables[feed].to_pylist(), default=str).encode())
    assert digest.hexdigest() == "2ed901944ca0a71e925315a261006cf5aeca4e6bf501dfe0292cd6276da30fe6"


def test_another_seed_gives_other_rows():
    one, other = (next(data.chunks(data.Plan(rows=2_000, seed=seed))) for seed in (1, 2))
    assert all(not one[feed].equals(other[feed]) for feed in data.FEEDS)


def test_values_do_not_depend_on_the_chunking():
    whole = data.chunk(PLAN, 0, 600)
    parts = [data.chunk(PLAN, 0, 250), data.chunk(PLAN, 250, 600)]
    for feed in data.FEEDS:
        assert rows(whole[feed]) == rows(pa.concat_tables([part[feed] for part in parts]))


def test_the_files_are_byte_identical_and_kept_when_the_plan_is_the_same(landing, tmp_path):
    again = tmp_path / "landing"
    assert data.write(PLAN, again) == data.write(PLAN, landing)
    for feed in data.FEEDS:
        name = f"{data.SOURCE}/{feed}/2025-12-31.parquet"
        assert (again / name).read_bytes() == (landing / name).read_bytes()


@pytest.mark.parametrize("feed", data.FEEDS)
def test_the_columns_are_those_of_the_contract(feed):
    columns = yaml.safe_load((CONTRACTS / f"{feed}.yml").read_text())["columns"]
    expected = {name: KINDS[column["type"]] for name, column in columns.items() if "same_as" not in column}
    assert dict(zip(data.SCHEMAS[feed].names, data.SCHEMAS[feed].types, strict=True)) == expected


def test_the_planted_shares_are_the_announced_ones(landing):
    with duckdb.connect() as connection:
        for feed in data.FEEDS:
            connection.execute(f"create view {feed} as from '{landing}/bench/{feed}/*.parquet'")

        def one(query: str) -> float:
            return connection.execute(query).fetchone()[0]

        assert one("select count(*) from order_lines") == pytest.approx(20_000, rel=0.02)
        assert one("select avg((source_customer_id is null)::int) from orders") == pytest.approx(
            0.05, abs=0.01
        )
        assert one("select avg((status = 'cancelled')::int) from orders") == pytest.approx(0.02, abs=0.006)
        assert one("select count(*) / (select count(*) from order_lines) from returns") == pytest.approx(
            0.02, abs=0.006
        )
        twice = "select count(*) - count(distinct (order_id, line_no)) from order_lines"
        assert one(twice) == pytest.approx(200, rel=0.3)
        assert one("select count(distinct source_customer_id) from orders") == pytest.approx(1_000, rel=0.1)


def test_nothing_happens_on_or_after_the_as_of_day_and_payment_keeps_the_day_of_the_order(landing):
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'Asia/Shanghai'")
        late, moved = connection.execute(
            f"""select count(*) filter (greatest(ordered_at, paid_at, updated_at)::date >= '2026-01-01'),
                       count(*) filter (ordered_at::date <> paid_at::date)
                from '{landing}/bench/orders/*.parquet'"""
        ).fetchone()
        refunds = connection.execute(
            f"""select count(*) from '{landing}/bench/returns/*.parquet'
                where refunded_at::date >= '2026-01-01'"""
        ).fetchone()[0]
    assert (late, moved, refunds) == (0, 0, 0)


def test_the_next_day_is_a_thousandth_and_leaves_the_history_alone(landing):
    tables = data.increment(data.Plan(rows=200_000))
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'Asia/Shanghai'")
        orders, lines, returns = (tables[feed] for feed in data.FEEDS)
        assert lines.num_rows == pytest.approx(140, rel=0.4) and returns.num_rows >= 4
        told = connection.execute(
            """select count(*) filter (ordered_at::date = '2026-01-01'), count(*) filter (status = 'cancelled'),
                      max(greatest(ordered_at, updated_at))::date::varchar, count(*) - count(distinct order_id)
               from orders"""
        ).fetchone()
        known = connection.execute(
            "select count(*) from orders where order_id <= (select 'B' || lpad(49505::varchar, 10, '0'))"
        ).fetchone()[0]
    assert told[0] == pytest.approx(24, abs=2) and told[1] >= 4 and told[2] == "2026-01-01"
    assert known == 8
