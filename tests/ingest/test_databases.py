"""Tables of a real PostgreSQL server: what is read, what is read again, what is never read twice."""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest

from pipeline.errors import StrataError
from pipeline.ingest import ledger
from pipeline.ingest.database.days import read_again, read_tables, tables
from pipeline.ingest.load import sweep
from pipeline.settings import Settings
from tests import postgres
from tests.postgres import MARK, PASSWORD, URL_ENV, Database

server_fixture, database_fixture = postgres.server_fixture, postgres.database_fixture
declare_fixture = postgres.declare_fixture

Declare = Callable[[dict[str, str]], None]

SHOP = """
source: shop
zone: Asia/Shanghai
currency: CNY
feeds:
  orders: {}
  order_lines: {}
database:
  url_env: STRATA_SHOP_DATABASE_URL
  tables:
    orders: {table: public.orders, cursor: updated_at}
    order_lines: {table: public.order_lines, cursor: changed_at}
"""
TABLES = (
    """create table orders (
        order_id text primary key, ordered_at timestamptz, status text, currency text, shipping_fee numeric,
        updated_at timestamptz)""",
    """create table order_lines (
        order_id text, line_no int, product_id text, qty numeric, unit_price_paid numeric(12, 2),
        changed_at timestamptz not null, primary key (order_id, line_no))""",
)


def order(order_id: str, at: str, status: str = "paid", fee: str = "1.50") -> str:
    """SQL of one order whose moments are `at`, local time in Shanghai."""
    stamp = f"'{at}+08'"
    return (
        f"insert into orders values ('{order_id}', {stamp}, '{status}', 'CNY', {fee}, {stamp}) "
        "on conflict (order_id) do update set status = excluded.status, updated_at = excluded.updated_at"
    )


@pytest.fixture
def shop(
    settings: Settings,
    database: Database,
    declare: Declare,
    monkeypatch: pytest.MonkeyPatch,
) -> Database:
    """A shop with empty tables `orders` and `order_lines`."""
    declare({"shop/source.yml": SHOP})
    database.run(*TABLES)
    monkeypatch.setenv(URL_ENV, database.url())
    (settings.landing / "shop").mkdir()
    return database


def take_in(settings: Settings, as_of: date) -> list[str]:
    """Read and load for one as-of date; the lines that a person sees."""
    lines: list[str] = []
    read_tables(settings, as_of, log=lines.append)
    sweep(settings, as_of, run_id="test", released=None)
    return lines


def loaded(settings: Settings, feed: str, source: str = "shop") -> list[dict[str, object]]:
    files = sorted((settings.raw / source / feed).rglob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def delivered(settings: Settings, feed: str = "orders") -> dict[str, list[str]]:
    """Order ids of each file in landing, in its order."""
    files = sorted((settings.landing / "shop" / feed).glob("*.parquet"))
    return {file.stem: pq.read_table(file)["order_id"].to_pylist() for file in files}


def test_a_first_reading_makes_one_delivery_a_business_day(settings: Settings, shop: Database) -> None:
    shop.run(
        order("a", "2024-03-01 00:00:00"),
        order("b", "2024-03-01 23:59:59.999999"),
        order("c", "2024-03-03 00:00:00"),
        order("d", "2024-03-04 00:00:00"),
    )
    lines = take_in(settings, date(2024, 3, 4))
    assert delivered(settings) == {"2024-03-01": ["a", "b"], "2024-03-02": [], "2024-03-03": ["c"]}
    assert delivered(settings, "order_lines") == {"2024-03-03": []}
    assert "shop/orders: 3 rows of 3 days (2024-03-01 to 2024-03-03) from public.orders" in lines
    (first, *_) = loaded(settings, "orders")
    assert str(first["ordered_at"]) == "2024-02-29 16:00:00"
    assert (first["ordered_at_offset_minutes"], str(first["shipping_fee"])) == (480, "1.5000")
    by_feed = {(e.feed, e.stem): (e.rows_read, e.rows_loaded) for e in ledger.read(settings)}
    assert by_feed[("orders", "2024-03-01")] == (2, 2)
    assert by_feed[("orders", "2024-03-02")] == (0, 0)


def test_the_next_day_brings_only_what_changed_and_the_same_day_brings_nothing(
    settings: Settings, shop: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.run(order("a", "2024-03-01 10:00:00"), order("b", "2024-03-01 11:00:00"))
    take_in(settings, date(2024, 3, 2))
    shop.run(order("a", "2024-03-02 09:00:00", status="shipped"), order("c", "2024-03-02 10:00:00"))
    take_in(settings, date(2024, 3, 3))
    assert delivered(settings) == {"2024-03-01": ["a", "b"], "2024-03-02": ["a", "c"]}
    states = [(r["order_id"], r["status"]) for r in loaded(settings, "orders")]
    assert states == [("a", "paid"), ("b", "paid"), ("a", "shipped"), ("c", "paid")], (
        "both states are accounted"
    )
    before = ledger.read(settings)
    # Nothing is due, so the server is not even asked.
    monkeypatch.setenv(URL_ENV, "postgresql://127.0.0.1:1/gone")
    assert take_in(settings, date(2024, 3, 3)) == []
    assert ledger.read(settings) == before


def test_a_past_day_holds_no_row_of_the_future(settings: Settings, shop: Database) -> None:
    shop.run(*(order(str(day), f"2024-03-0{day} 10:00:00") for day in range(1, 8)))
    take_in(settings, date(2024, 3, 3))
    assert list(delivered(settings)) == ["2024-03-01", "2024-03-02"]
    take_in(settings, date(2024, 3, 8))
    assert [ids for ids in delivered(settings).values()] == [[str(day)] for day in range(1, 8)]


def test_a_day_that_is_not_over_is_not_read(settings: Settings, shop: Database) -> None:
    shop.run(
        "insert into orders select id, at, 'paid', 'CNY', 0, at from (values "
        "('yesterday', (date_trunc('day', now() at time zone 'Asia/Shanghai') - interval '1 s')), "
        "('today', date_trunc('day', now() at time zone 'Asia/Shanghai'))) as v (id, at_local), "
        "lateral (select at_local at time zone 'Asia/Shanghai' as at) as l"
    )
    far = date.today() + timedelta(days=3)
    read_tables(settings, far)
    # Within `lag_minutes` after midnight yesterday itself is not yet read.
    assert [ids for ids in delivered(settings).values() if ids] in ([["yesterday"]], [])


def test_ties_at_the_cursor_are_read_together(settings: Settings, shop: Database) -> None:
    """Ten thousand rows with one cursor, which a page of the server's cursor cuts in two."""
    shop.run(
        "insert into orders select 'n' || n, t, 'paid', 'CNY', 0, t from generate_series(1, 10000) as n, "
        "(values (timestamptz '2024-03-01 12:00:00+08')) as v (t)",
    )
    take_in(settings, date(2024, 3, 2))
    assert len(loaded(settings, "orders")) == 10000
    take_in(settings, date(2024, 3, 3))
    assert len(loaded(settings, "orders")) == 10000


def test_rows_committed_late_come_once(settings: Settings, shop: Database) -> None:
    shop.run(order("in time", "2024-03-01 23:30:00"))
    with psycopg.connect(shop.url()) as slow:
        slow.execute(order("late", "2024-03-01 23:30:00"))
        take_in(settings, date(2024, 3, 2))
        assert delivered(settings) == {"2024-03-01": ["in time"]}
    lines = take_in(settings, date(2024, 3, 3))
    assert delivered(settings)["2024-03-02"] == ["late"]
    assert "shop/orders: 1 rows were committed after their day had been read" in lines
    take_in(settings, date(2024, 3, 4))
    take_in(settings, date(2024, 3, 5))
    assert [r["order_id"] for r in loaded(settings, "orders")] == ["in time", "late"]


def test_rows_committed_within_a_longer_overlap_come_once(
    settings: Settings,
    shop: Database,
    declare: Declare,
) -> None:
    """The overlap may grow and reach over several days: what was not kept yet is not taken for new."""
    shop.run(*(order(f"{day}", f"2024-03-0{day} 01:00:00") for day in range(1, 6)))
    take_in(settings, date(2024, 3, 2))
    declare({"shop/source.yml": SHOP.replace("updated_at}", "updated_at, overlap_minutes: 4320}")})
    for day in range(3, 6):
        take_in(settings, date(2024, 3, day))
    shop.run(order("late", "2024-03-02 01:00:00"))
    take_in(settings, date(2024, 3, 6))
    assert delivered(settings)["2024-03-05"] == ["late", "5"]
    assert len(loaded(settings, "orders")) == 6


def test_equal_rows_count_as_often_as_they_stand_there(
    settings: Settings,
    shop: Database,
    declare: Declare,
) -> None:
    mapped = SHOP.replace("  orders: {}\n  order_lines: {}", LINES_OF_A_TILL).split("    orders: {table")[0]
    declare(
        {
            "shop/source.yml": mapped + "    tills: {table: till, cursor: at}\n",
            "shop/products.sql": "select _delivery, _row, sku as product_id from delivered",
        }
    )
    shop.run(
        "create table till (sku text, at timestamp)", "insert into till values ('x', '2024-03-01 23:59')"
    )
    take_in(settings, date(2024, 3, 2))
    shop.run("insert into till values ('x', '2024-03-01 23:59')")
    take_in(settings, date(2024, 3, 3))
    take_in(settings, date(2024, 3, 4))
    assert [e.rows_loaded for e in ledger.read(settings)] == [1, 1, 0]


LINES_OF_A_TILL = """  tills:
    cadence: daily
    columns: {sku: {type: s, required: true}, at: {type: ts}}
    maps_to: [products]"""


def test_an_emptied_landing_and_a_new_home_bring_nothing_twice(
    settings: Settings, shop: Database, tmp_path: Path
) -> None:
    shop.run(order("a", "2024-03-01 23:30:00"))
    take_in(settings, date(2024, 3, 2))
    for file in (settings.landing / "shop" / "orders").iterdir():
        file.unlink()
    shop.run(order("late", "2024-03-01 23:40:00"))
    take_in(settings, date(2024, 3, 3))
    assert delivered(settings) == {"2024-03-02": ["late"]}
    settings.home.rename(tmp_path / "lost")
    shop.run(order("later", "2024-03-02 23:50:00"))
    take_in(settings, date(2024, 3, 4))
    assert delivered(settings) == {"2024-03-02": ["late"], "2024-03-03": ["later"]}


def test_a_refused_delivery_is_read_again_once_it_is_removed(
    settings: Settings,
    shop: Database,
    declare: Declare,
) -> None:
    shop.run(order("a", "2024-03-01 10:00:00"))
    read_tables(settings, date(2024, 3, 2))
    path = settings.landing / "shop" / "orders" / "2024-03-01.parquet"
    path.write_bytes(b"PAR1 torn")
    take_in(settings, date(2024, 3, 2))
    assert [(e.feed, e.status) for e in ledger.read(settings)] == [
        ("order_lines", "loaded"),
        ("orders", "rejected"),
    ]
    assert take_in(settings, date(2024, 3, 2)) == [], (
        "a refused file that is still there waits for its mending"
    )
    path.unlink()
    take_in(settings, date(2024, 3, 2))
    last = ledger.read(settings)[-1]
    assert (last.stem, last.rev, last.status, last.rows_loaded) == ("2024-03-01", 2, "loaded", 1)


def test_rows_without_a_cursor_are_delivered_once_and_told(settings: Settings, shop: Database) -> None:
    shop.run(
        order("a", "2024-03-01 10:00:00"),
        *(
            f"insert into orders values ('{name}', '{at}', 'paid', 'CNY', 0, {cursor})"
            for name, at, cursor in (
                ("none", "2024-03-01 08:00+08", "null"),
                ("placeholder", "2024-03-01 08:00+08", "'1970-01-01'"),
                ("endless", "2024-03-01 08:00+08", "'infinity'"),
                ("tomorrow", "2024-03-02 08:00+08", "null"),
            )
        ),
    )
    lines = take_in(settings, date(2024, 3, 2))
    assert sorted(delivered(settings)["2024-03-01"]) == ["a", "endless", "none", "placeholder"]
    assert any("3 rows of public.orders have no updated_at" in line for line in lines)
    (entry,) = [e for e in ledger.read(settings) if e.feed == "orders"]
    assert (entry.rows_read, entry.rows_loaded) == (4, 2)
    assert entry.reject_codes == '{"bad_timestamp": 1, "before_2000": 1}'
    for day in range(3, 6):
        take_in(settings, date(2024, 3, day))
    assert delivered(settings)["2024-03-02"] == ["tomorrow"]
    assert sum(e.rows_read for e in ledger.read(settings)) == 5


def test_rows_of_the_future_are_told_and_wait(settings: Settings, shop: Database) -> None:
    shop.run(order("a", "2024-03-01 10:00:00"), order("b", "2999-03-01 10:00:00"))
    assert any(
        "1 rows of public.orders have a updated_at" in line for line in take_in(settings, date(2024, 3, 2))
    )
    assert delivered(settings) == {"2024-03-01": ["a"]}


def test_values_keep_their_digits_and_what_no_contract_can_hold_is_rejected(
    settings: Settings, shop: Database
) -> None:
    hostile = "'); drop table orders; -- %s {{ 1 }} \u2028 \U0001f9cb"
    with shop.connect() as con:
        for order_id, ordered_at, fee in (
            (hostile, "2024-03-01 10:00+08", "1234567.1234"),
            ("scale", "2024-03-01 01:00+05:30", "1.500000000000000000"),
            ("nan", "2024-03-01 10:00+08", "NaN"),
            ("infinite", "2024-03-01 10:00+08", "Infinity"),
            ("never", "infinity", "0"),
            ("caesar", "0044-03-15 BC", "0"),
            ("nothing", "2024-03-01 10:00+08", None),
        ):
            con.execute(
                "insert into orders values (%s, %s, 'paid', 'CNY', %s, '2024-03-01 20:00+08')",
                [order_id, ordered_at, fee],
            )
    take_in(settings, date(2024, 3, 2))
    rows = {r["order_id"]: r for r in loaded(settings, "orders")}
    assert set(rows) == {hostile, "scale", "nothing"}
    assert str(rows[hostile]["shipping_fee"]) == "1234567.1234"
    assert (str(rows["scale"]["shipping_fee"]), rows["nothing"]["shipping_fee"]) == ("1.5000", None)
    assert str(rows["scale"]["ordered_at"]) == "2024-02-29 19:30:00"
    (entry,) = [e for e in ledger.read(settings) if e.feed == "orders"]
    assert entry.reject_codes == '{"bad_number": 2, "bad_timestamp": 2}'


def test_names_are_names_whatever_stands_in_them(
    settings: Settings,
    shop: Database,
    declare: Declare,
) -> None:
    declare(
        {
            "shop/source.yml": SHOP.replace(
                "{table: public.orders, cursor: updated_at}",
                """{table: ["a.b", 'x"; drop table orders; --'], cursor: 'the "when" %s {}'}""",
            )
        }
    )
    shop.run(
        'create schema "a.b"',
        'create table "a.b"."x""; drop table orders; --" ("單號" text, "下单时间" timestamp, "状态" text, '
        '"the ""when"" %s {}" date, secret text, source text)',
        """insert into "a.b"."x""; drop table orders; --" values ('1', '2024-03-01 10:00', 'paid', '2024-03-01', 'x', 'web'),
        ('2', '2024-03-02 10:00', 'paid', '2024-03-02', 'x', 'web')""".replace("單號", "订单号"),
        'alter table "a.b"."x""; drop table orders; --" rename column "單號" to "订单号"',
    )
    take_in(settings, date(2024, 3, 3))
    assert [r["order_id"] for r in loaded(settings, "orders")] == ["1", "2"]
    file = settings.landing / "shop" / "orders" / "2024-03-01.parquet"
    assert pq.read_table(file)["secret"].to_pylist() == [None], (
        "what no contract asks for stays in the database"
    )
    shop.run("select count(*) from orders")


def test_a_whole_table_is_restated_so_that_a_deleted_row_is_gone(
    settings: Settings,
    shop: Database,
    declare: Declare,
) -> None:
    declare(
        {
            "shop/source.yml": "source: shop\nfeeds: {stores: {}}\ndatabase:\n  url_env: STRATA_SHOP_DATABASE_URL\n"
            "  tables: {stores: {table: stores, full: true}}\n"
        }
    )
    shop.run(
        "create table stores (store_id text, name text)", "insert into stores values ('1', 'a'), ('2', 'b')"
    )
    today = date.today() + timedelta(days=1)
    assert take_in(settings, today) == ["shop/stores: 2 rows, the whole of stores"]
    assert take_in(settings, today) == []
    assert take_in(settings, date(2024, 3, 1)) == [], "a table of now is no delivery of the past"
    shop.run("delete from stores where store_id = '2'")
    take_in(settings, today + timedelta(days=1))
    entries = ledger.read(settings)
    assert [(e.rev, e.rows_loaded) for e in entries] == [(1, 2), (2, 1)]
    assert len({e.stem for e in entries}) == 1


def test_a_landing_without_the_folder_of_the_source_draws_from_no_database(
    settings: Settings, shop: Database
) -> None:
    shop.run(order("a", "2024-03-01 10:00:00"))
    (settings.landing / "shop").rmdir()
    assert read_tables(settings, date(2024, 3, 2)) == []
    assert list(settings.landing.iterdir()) == []


def test_a_link_in_landing_leads_nowhere(settings: Settings, shop: Database, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (settings.landing / "shop" / "orders").symlink_to(tmp_path / "elsewhere")
    assert "is a link" in failure(settings)
    assert not list((tmp_path / "elsewhere").iterdir())


def failure(settings: Settings, as_of: date = date(2024, 3, 2)) -> str:
    with pytest.raises(StrataError) as error:
        read_tables(settings, as_of)
    assert "\n" not in str(error.value)
    told = error.value
    assert told.__cause__ is None and (told.__suppress_context__ or not told.__context__), (
        "a cause would reach Dagster's storage"
    )
    return str(error.value)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (None, "source shop: STRATA_SHOP_DATABASE_URL is not set"),
        ("host=127.0.0.1 hunter2", "STRATA_SHOP_DATABASE_URL holds no address"),
        (
            "postgresql://owner:hunter2@127.0.0.1:1/shop",
            "no connection to its database (STRATA_SHOP_DATABASE_URL)",
        ),
        ("{url}", "password authentication failed"),
    ],
)
def test_an_unreachable_database_is_told_in_one_line_without_the_password(
    settings: Settings,
    shop: Database,
    monkeypatch: pytest.MonkeyPatch,
    address: str | None,
    expected: str,
) -> None:
    monkeypatch.delenv(URL_ENV)
    if address:
        monkeypatch.setenv(URL_ENV, shop.url(password="hunter2") if address == "{url}" else address)
    text = failure(settings)
    assert expected in text and "hunter2" not in text


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("drop table orders", "shop/orders: the database has no table public.orders"),
        (
            "alter table orders drop updated_at",
            "has no column updated_at to serve as cursor; it has order_id",
        ),
        ("alter table orders drop status", "required column status is not in the header"),
        (
            "alter table orders alter updated_at type bigint using 0",
            "cursor updated_at of public.orders is int8; a cursor is a time",
        ),
        (
            "revoke all on orders from reader",
            "no permission to read public.orders: grant select on it to the reader",
        ),
        (
            "revoke all on orders from reader; grant select (order_id, status, updated_at) on orders to reader",
            "required column ordered_at is not in the header; no permission to read ordered_at",
        ),
        (
            "alter table orders rename to o; create view orders as select *, 1/(length(order_id)-1) as z, 1 as "
            "shipping from o; grant select on orders to reader",
            "",
        ),
    ],
)
def test_a_table_that_cannot_be_read_is_told_in_one_line(
    settings: Settings, shop: Database, monkeypatch: pytest.MonkeyPatch, statement: str, expected: str
) -> None:
    shop.run(order("a", "2024-03-01 10:00:00"))
    as_reader(shop, monkeypatch)
    shop.run(*statement.split("; "))
    if expected:
        assert expected in failure(settings)
        assert not list(settings.landing.rglob("*.parquet")) or not list(
            (settings.landing / "shop/orders").glob("*")
        )
    else:
        take_in(settings, date(2024, 3, 2))
        assert delivered(settings) == {"2024-03-01": ["a"]}, (
            "a view is a table, and what is not asked for is not computed"
        )


def as_reader(shop: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A role that may read the two tables and nothing else."""
    shop.run(
        "do $$ begin create role reader login; exception when duplicate_object then null; end $$",
        f"alter role reader password '{PASSWORD}'",
        "grant select on orders, order_lines to reader",
    )
    monkeypatch.setenv(URL_ENV, shop.url(user="reader"))


def test_a_server_that_does_not_answer_in_time_is_told(
    settings: Settings,
    shop: Database,
    declare: Declare,
) -> None:
    shop.run(
        order("a", "2024-03-01 10:00:00"),
        "alter table orders rename to o",
        "create view orders as select o.*, pg_sleep(3)::text as napped from o where pg_sleep(3) is not null",
    )
    declare({"shop/source.yml": SHOP.replace("  url_env", "  timeout_seconds: 1\n  url_env")})
    assert "did not answer within 1 s" in failure(settings)
    assert not list(settings.landing.rglob("*.tmp"))


def test_a_reader_needs_no_right_but_to_read(
    settings: Settings, shop: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.run(order("a", "2024-03-01 10:00:00"))
    as_reader(shop, monkeypatch)
    take_in(settings, date(2024, 3, 2))
    assert len(loaded(settings, "orders")) == 1
    held = b"".join(
        file.read_bytes()
        for root in (settings.home, settings.landing)
        for file in root.rglob("*.*")
        if file.is_file()
    )
    assert MARK not in held


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("orders: {table: public.orders}", "source.yml:11: database.tables.orders.table"),
        ("orders: {table: orders, cursor: a, full: true}", "say either cursor"),
        ("orders: {table: a.b.c, cursor: a}", "'a.b.c' is no name such as public.orders"),
        ("orders: {table: orders, full: true}", "full is for master data, and orders has moments"),
        ("stores: {table: stores, full: true}", "table stores fills no feed: declare stores under feeds"),
    ],
)
def test_a_table_that_cannot_be_meant_is_an_error_with_its_place(
    settings: Settings,
    declare: Declare,
    text: str,
    expected: str,
) -> None:
    head = SHOP.split("    orders: {table")[0]
    declare({"shop/source.yml": f"{head}    {text}\n"})
    (settings.landing / "shop").mkdir()
    with pytest.raises(StrataError) as error:
        read_tables(settings, date(2024, 3, 2))
    assert expected in str(error.value)


def test_a_day_that_was_changed_behind_the_cursor_can_be_read_again(
    settings: Settings, shop: Database
) -> None:
    shop.run(
        order("a", "2024-03-01 10:00:00"),
        order("b", "2024-03-02 10:00:00"),
        "insert into orders values ('none', '2024-03-01 08:00+08', 'paid', 'CNY', 0, null)",
    )
    take_in(settings, date(2024, 3, 2))
    take_in(settings, date(2024, 3, 4))
    shop.run(order("backdated", "2024-03-01 11:00:00"))
    take_in(settings, date(2024, 3, 5))
    assert len(loaded(settings, "orders")) == 3, "a cursor does not show it"
    assert read_again(settings, "shop", "orders", date(2024, 3, 1)).rows == 3
    sweep(settings, date(2024, 3, 5), run_id="test", released=None)
    last = ledger.read(settings)[-1]
    assert (last.stem, last.rev, last.rows_loaded) == ("2024-03-01", 2, 3)
    assert delivered(settings)["2024-03-01"] == ["a", "backdated", "none"]
    with pytest.raises(StrataError, match="2024-03-05 has not been read yet"):
        read_again(settings, "shop", "orders", date(2024, 3, 5))
    with pytest.raises(StrataError, match="no table is read by a cursor for shop/stores"):
        read_again(settings, "shop", "stores", date(2024, 3, 1))
    assert [(t["feed"], t["read_here"], t["read_to_the_end_of"]) for t in tables(settings)] == [
        ("shop/orders", True, date(2024, 3, 4)),
        ("shop/order_lines", True, date(2024, 3, 4)),
    ]


@pytest.mark.soak
def test_whatever_happens_each_state_that_was_read_comes_once_and_the_last_one_always(
    settings: Settings, shop: Database
) -> None:
    """Orders made, changed and committed late at random, read on some days and not on others."""
    for seed in range(100 if os.environ.get("STRATA_SOAK") else 4):
        here = replace(settings, home=settings.home / f"{seed}", landing=settings.landing / f"{seed}")
        (here.landing / "shop").mkdir(parents=True)
        shop.run("truncate orders")
        chance = random.Random(seed)
        for day in range(1, 13):
            with psycopg.connect(shop.url()) as slow, shop.connect() as quick:
                for n in range(chance.randint(0, 8)):
                    at = f"2024-03-{day:02d} {chance.choice((0, 8, 23)):02d}:{chance.randint(0, 59):02d}:00"
                    state = chance.choice(("paid", "shipped", "completed"))
                    # A slow transaction touches orders of its own, and only late enough to lie in the overlap.
                    late = at[11:13] == "23" and chance.random() < 0.5
                    number = f"slow {day}.{n}" if late else f"{chance.randint(1, 12)}"
                    (slow if late else quick).execute(order(number, at, status=state))
                if chance.random() < 0.7:
                    read_tables(here, date(2024, 3, day + 1))
        read_tables(here, date(2024, 3, 14))
        read: list[tuple[str, ...]] = []
        for file in sorted((here.landing / "shop" / "orders").glob("*.parquet")):
            table = pq.read_table(file)
            read += zip(
                *(table[name].to_pylist() for name in ("order_id", "updated_at", "status")), strict=True
            )
        assert len(read) == len(set(read)), seed
        with shop.connect() as con:
            con.execute("set timezone = 'Asia/Shanghai'")
            now = con.execute("select order_id, updated_at::text || ':00', status from orders").fetchall()
        assert {row[0]: row for row in read} == {row[0]: row for row in now}, seed


CHILD = """
import os, resource, signal, sys
from datetime import date
from pathlib import Path
from pipeline import settings
settings.MAPPINGS_DIR = Path(sys.argv[1])
from pipeline.ingest.database import days as databases
from pipeline.ingest.database.table_files import DurableFile
assert "psycopg" not in sys.modules
home = settings.load()
"""


def in_child(shop: Database, settings: Settings, code: str, *args: str) -> subprocess.CompletedProcess[str]:
    mappings = settings.home.parent / "mappings"
    return subprocess.run(
        [sys.executable, "-c", CHILD + code, str(mappings), *args],
        env={**os.environ, URL_ENV: shop.url()},
        capture_output=True,
        text=True,
        check=False,
    )


DIE = """
from dataclasses import replace
stand = DurableFile.stand
for case in sys.argv[2:]:
    if os.fork() == 0:
        nth, when = int(case[0]), case[1:]
        count = 0
        def deadly(file):
            global count
            count += 1
            if (count, when) == (nth, "before"):
                os.kill(os.getpid(), signal.SIGKILL)
            stand(file)
            if (count, when) == (nth, "after"):
                os.kill(os.getpid(), signal.SIGKILL)
        DurableFile.stand = deadly
        here = replace(home, home=home.home / case, landing=home.landing / case)
        databases.read_tables(here, date(2024, 3, 4))
        sys.exit()
    assert os.wait()[1] == signal.SIGKILL, case
"""


def test_a_reading_that_is_killed_loses_and_doubles_nothing(settings: Settings, shop: Database) -> None:
    """Each day of a table takes its place in two renames, its digests and then its rows: killed at each of them."""
    cases = {
        case: replace(settings, home=settings.home / case, landing=settings.landing / case)
        for case in ("1before", "1after", "2before", "2after", "4before")
    }
    shop.run(order("a", "2024-03-01 23:30:00"))
    for here in cases.values():
        (here.landing / "shop").mkdir(parents=True)
        read_tables(here, date(2024, 3, 2))
    shop.run(
        *(order(name, f"2024-03-0{day} 23:30:00") for name, day in (("late", 1), ("b", 2), ("c", 3))),
        "insert into orders values ('none', '2024-03-02 08:00+08', 'paid', 'CNY', 0, null)",
    )
    done = in_child(shop, settings, DIE, *cases)
    assert done.returncode == 0, done.stderr
    for case, here in cases.items():
        read_tables(here, date(2024, 3, 4))
        take_in(here, date(2024, 3, 5))
        assert sorted(str(r["order_id"]) for r in loaded(here, "orders")) == [
            "a",
            "b",
            "c",
            "late",
            "none",
        ], case
        assert sum(e.rows_read for e in ledger.read(here)) == 5, case
        assert not list(here.landing.rglob("*.tmp")), case


WEIGH = """
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
(reading, _) = databases.read_tables(home, date(2024, 3, 4))
print(reading.rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.soak
def test_memory_does_not_grow_with_the_table(settings: Settings, shop: Database) -> None:
    """300 MB of text in one day pass through; with STRATA_SOAK a million rows, 3 GB, within the same bound."""
    rows = 1_000_000 if os.environ.get("STRATA_SOAK") else 100_000
    shop.run(
        "insert into orders select n::text, t, repeat('x', 3000), 'CNY', 0, t from "
        f"generate_series(1, {rows}) as n, (values (timestamptz '2024-03-03 12:00:00+08')) as v (t)"
    )
    done = in_child(shop, settings, WEIGH)
    assert done.returncode == 0, done.stderr
    read, grown_kb = map(int, done.stdout.split())
    assert read == rows
    assert grown_kb < 250_000, f"{grown_kb:,} kB for {rows:,} rows"
