"""The real data set through the whole line, against figures computed elsewhere with plain DuckDB and pandas."""

import json
import resource
from decimal import Decimal
from pathlib import Path

import pytest

from benchmarks import guard
from tests.job.conftest import Line

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def facts(golden: Path) -> dict:
    return json.loads((golden / "online_retail_1_facts.json").read_text())


def test_every_row_is_in_one_kind_and_the_sum_is_the_files_sum(retail: Line, facts: dict) -> None:
    balance = dict(
        (kind, (rows, amount))
        for kind, rows, amount in retail.query(
            "select kind, rows_n, amount from operations.row_balance where source = 'online_retail'"
        )
    )
    assert sum(rows for rows, _ in balance.values()) == facts["row_count"]
    assert sum(amount for _, amount in balance.values()) == Decimal(str(facts["net_revenue_all_rows"]))
    assert balance["return"] == (facts["cancel_rows"], Decimal(str(facts["cancelled_value"])))
    assert balance["adjustment"][0] == facts["neg_price_rows"]
    assert balance["stock_movement"] == (facts["neg_qty_not_cancel_rows"], 0)
    assert balance["sale"][1] == Decimal(str(facts["gross_positive_revenue"]))


def test_the_ledger_accounts_for_every_delivered_row(retail: Line, facts: dict) -> None:
    rows = retail.query(
        "select count(*), sum(rows_read), sum(rows_loaded), sum(rows_rejected), sum(rows_duplicate) "
        "from operations.ingest_ledger"
    )
    assert rows == [(facts["files"], facts["row_count"], facts["row_count"], 0, 0)]


def _customer(line: Line, source_customer_id: str) -> tuple:
    found = line.query(
        "select recency_days, frequency_days, monetary from segments.customer_rfm "
        "join core.dim_identity_links using (customer_key) "
        f"where valid_to is null and source = 'online_retail' and source_customer_id = '{source_customer_id}'"
    )
    assert len(found) == 1
    return found[0]


def test_a_cancelled_giant_order_leaves_its_customer_with_nothing(retail: Line, facts: dict) -> None:
    """12346 bought for 77,183.60 and cancelled it the same day: gross is not net."""
    gross = next(c for c in facts["rfm_examples"] if c["cust"] == 12346)
    recency, _, monetary = _customer(retail, "12346")
    assert (recency, monetary) == (gross["r"], Decimal(0))


def test_the_best_customer_is_net_of_returns_and_by_purchase_day(retail: Line, facts: dict) -> None:
    gross = next(c for c in facts["rfm_examples"] if c["cust"] == 14646)
    recency, days, monetary = _customer(retail, "14646")
    assert recency == gross["r"]
    assert 0 < days <= gross["f"]
    assert 0 < monetary < Decimal(str(gross["m"]))


def test_every_customer_with_an_id_has_one_class_in_every_scheme(retail: Line, facts: dict) -> None:
    for table, column in (
        ("customer_rfm", "rfm_segment"),
        ("customer_abc", "abc_class"),
        ("customer_lifecycle", "stage"),
        ("customer_value", "value_tier"),
    ):
        rows = retail.query(
            f"select count(*), count(distinct customer_key), count({column}) from segments.{table}"
        )
        assert rows == [(facts["customers_with_id"],) * 3], table


def test_profit_is_marked_as_estimated_because_the_shop_gives_no_costs(retail: Line) -> None:
    assert retail.query(
        "select distinct profit_is_estimated from segments.customer_abc where revenue_365 > 0"
    ) == [(True,)]


def test_without_a_consents_feed_nobody_is_in_an_audience_and_that_is_said(retail: Line) -> None:
    manifest = retail.manifest()
    membership = manifest["tables"]["audiences.segment_membership"]
    assert (membership["rows"], membership["status"]) == (0, "not_enabled")
    assert manifest["tables"]["audiences.segment_summary"]["rows"] > 0
    assert manifest["currency"] == "GBP"


def test_business_days_are_london_days(retail: Line) -> None:
    """The source's zone decides the day, not the zone of the schedule."""
    assert retail.query(
        "select min(day), max(day) from marts.channel_performance where orders > 0"
    ) == retail.query("select cast('2010-12-10' as date), cast('2011-12-09' as date)")


@pytest.fixture(scope="module")
def rebuilt(retail: Line, tmp_path_factory: pytest.TempPathFactory) -> tuple[Line, float]:
    """The same days in another home, and the CPU seconds that the command took."""
    again = Line(retail.landing, tmp_path_factory.mktemp("rebuilt") / "home")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code, answer, errors = again.run("--as-of", "2011-12-10", "--full", fresh=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (code, answer["status"]) == (0, "published"), errors[-2000:]
    return again, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_full_rebuild_elsewhere_gives_the_same_bytes(retail: Line, rebuilt: tuple[Line, float]) -> None:
    assert rebuilt[0].table_hashes() == retail.table_hashes()


def test_a_build_costs_beside_the_script_what_it_is_known_to_cost(
    rebuilt: tuple[Line, float], facts: dict, tmp_path: Path
) -> None:
    line, cpu_s = rebuilt
    assert guard.broken(guard.of_home(line.home, facts["row_count"], tmp_path, cpu_s)) == []
