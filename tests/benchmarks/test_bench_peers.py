"""The hand-written script and pandas do the same work, and it is the work of domain.md."""

import datetime as dt
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import compare, data, pandas_peer, script

PEERS = {"script": script.run, "pandas": pandas_peer.run}
NOON = dt.datetime(2025, 12, 1, 4, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bench")
    data.write(data.Plan(rows=20_000), folder / "landing")
    for name, run in PEERS.items():
        run(folder / "landing", data.AS_OF, folder / f"{name}.parquet")
    return {name: folder / f"{name}.parquet" for name in PEERS}


def test_script_equals_pandas_customer_by_customer(results):
    one, other = (f"from '{results[name]}'" for name in PEERS)
    with duckdb.connect() as connection:
        assert connection.execute(f"select count(*) from ({one})").fetchone()[0] > 900
        for left, right in ((one, other), (other, one)):
            assert connection.execute(f"({left}) except all ({right})").fetchall() == []


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize(
    ("measure", "score"), [("recency", "r_score"), ("frequency", "f_score"), ("monetary", "m_score")]
)
def test_equal_values_get_equal_scores(results, name, measure, score):
    split = f"""select {measure} from '{results[name]}' where {measure} is not null
                group by {measure} having count(distinct {score}) > 1"""
    ties = f"select count(*) - count(distinct {measure}) from '{results[name]}' where {measure} is not null"
    with duckdb.connect() as connection:
        assert connection.execute(split).fetchall() == []
        assert connection.execute(ties).fetchone()[0] > 0 or measure == "monetary"


@pytest.mark.parametrize("name", PEERS)
def test_every_class_is_reached_and_class_a_holds_no_more_than_a_fifth(results, name):
    with duckdb.connect() as connection:
        buyers, a, segments, stages = connection.execute(
            f"""select count(recency), count(*) filter (abc_class = 'A'), count(distinct rfm_segment),
                       count(distinct stage) from '{results[name]}'"""
        ).fetchone()
    assert a <= -(-buyers // 5)
    assert (segments, stages) == (12, 6)


def order(number: int, customer: str | None = "C1", when: dt.datetime = NOON, **changes) -> dict:
    row = dict.fromkeys(data.ORDERS.names)
    row |= {"order_id": f"O{number}", "source_customer_id": customer, "ordered_at": when, "paid_at": when}
    return (
        row
        | {"status": "completed", "order_discount": Decimal(0), "is_test": False, "updated_at": when}
        | changes
    )


def line(number: int, line_no: int = 1, qty: int = 1, price: str = "10") -> dict:
    row = dict.fromkeys(data.ORDER_LINES.names)
    return row | {
        "order_id": f"O{number}",
        "line_no": line_no,
        "qty": Decimal(qty),
        "unit_price_paid": Decimal(price),
    }


def refund(number: int | None, line_no: int | None, qty: int, amount: str, when: dt.datetime = NOON) -> dict:
    row = dict.fromkeys(data.RETURNS.names)
    row |= {"order_id": f"O{number}" if number else None, "line_no": line_no, "source_customer_id": "C1"}
    return row | {
        "qty": Decimal(qty),
        "refund_amount": Decimal(amount),
        "refunded_at": when,
        "type": "refund",
    }


def facts(folder: Path, name: str, orders: list[dict], lines: list[dict], returns: list[dict] = ()) -> tuple:
    """(rfm_segment, recency, frequency, monetary) of customer C1 among buyers who only fill the
    population."""
    orders = [*orders, *(order(1_000 + i, f"X{i}", NOON - dt.timedelta(days=i)) for i in range(5))]
    lines = [*lines, *(line(1_000 + i) for i in range(5))]
    for feed, content in (("orders", orders), ("order_lines", lines), ("returns", returns)):
        (folder / "bench" / feed).mkdir(parents=True)
        table = pa.Table.from_pylist(list(content), schema=data.SCHEMAS[feed])
        pq.write_table(table, folder / "bench" / feed / "2025-12-31.parquet")
    PEERS[name](folder, data.AS_OF, folder / "out.parquet")
    with duckdb.connect() as connection:
        return connection.execute(
            f"""select case when recency is null then rfm_segment end, recency, frequency, monetary::double
                from '{folder}/out.parquet' where customer = 'C1'"""
        ).fetchone()


@pytest.mark.parametrize("name", PEERS)
class TestTheRules:
    def test_a_line_delivered_twice_counts_once(self, tmp_path, name):
        assert facts(tmp_path, name, [order(1)], [line(1), line(1), line(1, 2)]) == (None, 31, 1, 20.0)

    def test_line_numbers_beyond_the_bits_of_a_word_are_told_apart(self, tmp_path, name):
        lines = [line(1, 1), line(1, 65), line(1, 129), line(1, 129)]
        assert facts(tmp_path, name, [order(1)], lines) == (None, 31, 1, 30.0)

    def test_the_newest_state_of_an_order_holds_whatever_its_place_in_the_file(self, tmp_path, name):
        newer = order(1, status="cancelled", updated_at=NOON + dt.timedelta(hours=1))
        assert facts(tmp_path, name, [newer, order(1)], [line(1)]) == ("prospects", None, None, None)

    def test_two_orders_of_a_local_day_are_one_purchase_day(self, tmp_path, name):
        night = dt.datetime(2025, 11, 30, 17, tzinfo=dt.UTC)
        assert facts(tmp_path, name, [order(1), order(2, when=night)], [line(1), line(2)]) == (
            None,
            31,
            1,
            20.0,
        )

    def test_cancelled_unpaid_and_test_orders_never_count(self, tmp_path, name):
        orders = [order(1), order(2, status="cancelled"), order(3, status="created"), order(4, is_test=True)]
        lines = [line(number) for number in range(1, 5)]
        assert facts(tmp_path, name, orders, lines) == (None, 31, 1, 10.0)

    def test_adjustments_stock_movements_and_empty_lines_do_not_touch_a_customer(self, tmp_path, name):
        lines = [line(1), line(1, 2, qty=0), line(1, 3, qty=-2, price="0"), line(1, 4, price="-5")]
        assert facts(tmp_path, name, [order(1)], lines) == (None, 31, 1, 10.0)

    def test_the_discount_of_an_order_lowers_its_revenue(self, tmp_path, name):
        assert facts(tmp_path, name, [order(1, order_discount=Decimal("2.5"))], [line(1)]) == (
            None,
            31,
            1,
            7.5,
        )

    def test_a_part_that_came_back_lowers_money_and_not_frequency(self, tmp_path, name):
        lines = [line(1, qty=2), line(1, 2)]
        returns = [refund(1, 1, 1, "10"), refund(1, 2, 1, "10")]
        assert facts(tmp_path, name, [order(1)], lines, returns) == (None, 31, 1, 10.0)

    def test_an_order_that_came_back_whole_is_no_purchase_day(self, tmp_path, name):
        early = NOON - dt.timedelta(days=10)
        orders, lines = [order(1), order(2, when=early)], [line(1), line(1, 2), line(1, 2), line(2)]
        returns = [refund(1, 1, 1, "10"), refund(1, 2, 1, "10")]
        assert facts(tmp_path, name, orders, lines, returns) == (None, 41, 1, 10.0)

    def test_a_return_without_its_order_lowers_money_only(self, tmp_path, name):
        assert facts(tmp_path, name, [order(1)], [line(1)], [refund(None, None, 1, "10")]) == (
            None,
            31,
            1,
            0.0,
        )

    def test_the_window_holds_its_first_day_and_not_the_as_of_day(self, tmp_path, name):
        first = dt.datetime(2024, 12, 31, 16, tzinfo=dt.UTC)
        orders = [order(1, when=first), order(2, when=first - dt.timedelta(microseconds=1))]
        orders.append(order(3, when=first + dt.timedelta(days=365)))
        assert facts(tmp_path, name, orders, [line(1), line(2), line(3)]) == (None, 365, 1, 10.0)


def test_a_result_that_does_less_is_named(results, tmp_path):
    worse = tmp_path / "worse.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            f"copy (select * replace (case when abc_class = 'B' then 'C' else abc_class end as abc_class) "
            f"from '{results['script']}') to '{worse}'"
        )
    same = compare.differences(
        "pandas", compare.peer_rows(results["pandas"]), compare.peer_rows(results["script"])
    )
    lines = compare.differences("worse", compare.peer_rows(worse), compare.peer_rows(results["script"]))
    assert same == []
    assert [text.split(":")[0] for text in lines[:3]] == ["abc_class=C", "hash of all rows", "abc_class=B"]
