"""The gates over the built tables (Q-02, Q-04, Q-05, Q-07 … Q-09, Q-11 … Q-14, Q-16 … Q-22, Q-28): clean tables pass, a defect is named.

dbt compiles each singular test once; its SQL then runs on a few hand-made rows under the names of the real tables.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipeline.settings import DBT_PROJECT_DIR
from pipeline.transform.invoke import invoke
from tests.quality import class_cases, published_cases

D = date(2024, 5, 7)
BEFORE = date(2024, 5, 6)
Rows = Sequence[Mapping[str, Any]]
TESTS = (
    "keys_have_one_content",
    "refunds_stay_below_payments",
    "discounts_stay_below_sales",
    "answers_lie_on_their_scale",
    "order_lines_have_their_order",
    "orders_name_known_customers",
    "order_lines_name_known_products",
    "taxed_prices_have_their_rate",
    "channel_revenue_reconciles_with_orders",
    "customer_revenue_reconciles_with_orders",
    "order_revenue_reconciles_with_row_balance",
    "control_totals_agree",
    "control_sessions_agree",
    "nothing_of_the_as_of_day_counts",
    "no_stale_contact_is_published",
    "nobody_is_published_without_consent",
    "no_withdrawal_is_still_published",
    "requests_are_done_in_time",
    "requests_are_done_before_the_last_day",
    "minors_are_left_out",
    "population_adds_up",
    "few_pairs_wait_for_review",
    "no_oversized_person_waits_for_review",
    "profiles_hide_small_groups",
    "published_figures_are_in_bounds",
    "equal_values_have_equal_classes",
    "every_class_has_label_and_action",
    "every_customer_has_one_class_per_scheme",
    "currencies_have_their_rate",
    "few_rows_lack_their_rate",
    "life_scenes_are_sound",
    "profile_fields_are_sound",
    "policy_windows_agree",
    *(f"{table}_is_sound" for table in ("customer_360", "contact_pressure", "persona")),
    *(f"{table}_segment_is_sound" for table in ("market", "behaviour", "custom")),
)
POLICY = {
    "as_of_date": D,
    "currency_digits": 2,
    "channel_window_start": date(2023, 5, 8),
    "rfm_window_start": date(2023, 5, 8),
    "key_conflict_share_max": Decimal("0.005"),
    "key_conflict_rows_min": 5,
    "refund_excess_share_max": Decimal("0.01"),
    "discount_excess_share_max": Decimal("0.01"),
    "off_scale_share_max": Decimal("0.01"),
    "doubtful_rows_min": 5,
    "orphan_line_share_max": Decimal("0.001"),
    "orphan_customer_share_max": Decimal("0.001"),
    "orphan_product_share_max": Decimal("0.001"),
    "orphan_rows_min": 5,
    "default_tax_rate": Decimal("0"),
    "revenue_gap_share_max": Decimal("0.001"),
    "control_sessions_share_max": Decimal("0.05"),
    "adult_age": 18,
    "profiling_min_age": 14,
    "request_warn_days": 1,
    "identity_unresolved_share_max": Decimal("0.01"),
    "k_anon_min": 10,
}


# Where a test reads delivered rows itself.
_RAW = re.compile(r"read_parquet\('[^']*/raw/\*/(\w+)/[^)]*\)")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tests' and of int_control_totals' SQL as dbt writes it."""
    folder = tmp_path_factory.mktemp("compiled")
    home = folder / "home"
    (home / "warehouse").mkdir(parents=True)
    others = ("rfm_grids_are_total_and_disjoint", "int_control_totals")
    invoke(["compile", "--select", *TESTS, *others], home, folder / "target")
    return folder / "target" / "compiled" / "strata"


def offences(compiled: Path, name: str, tables: Mapping[str, Rows]) -> list[dict[str, Any]]:
    """Rows that a test returns on these tables; `tables` are named <schema>.<table>."""
    con = _database({"intermediate.int_run_policy": [POLICY], **tables})
    (path,) = (p for kind in ("tests", "models", "seeds") for p in (compiled / kind).rglob(f"{name}.sql"))
    result = con.execute(_RAW.sub(r"warehouse.raw.\1", path.read_text()))
    columns = [c[0] for c in result.description]
    return [dict(zip(columns, row, strict=True)) for row in result.fetchall()]


def _database(tables: Mapping[str, Rows]) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute("attach ':memory:' as warehouse")
    for table, rows in tables.items():
        con.execute(f"create schema if not exists warehouse.{table.split('.')[0]}")
        columns = ", ".join(f'"{name}" {_kind(rows, name)}' for name in rows[0])
        con.execute(f"create table warehouse.{table} ({columns})")
        for row in rows:
            con.execute(
                f"insert into warehouse.{table} values ({', '.join('?' * len(row))})", list(row.values())
            )
    return con


def _kind(rows: Rows, name: str) -> str:
    """SQL type of a column by its first value that is not null."""
    value = next((row[name] for row in rows if row[name] is not None), None)
    kinds = {bool: "boolean", int: "bigint", float: "double", Decimal: "decimal(18, 4)"}
    kinds |= {datetime: "timestamp", date: "date"}
    return kinds.get(type(value), "varchar")


def many(n: int, **values: Any) -> list[dict[str, Any]]:
    """n rows; a value with `{i}` in it is numbered."""
    return [{k: v.format(i=i) if isinstance(v, str) else v for k, v in values.items()} for i in range(n)]


def with_first(rows: Rows, n: int, **values: Any) -> list[dict[str, Any]]:
    """The rows with other values in the first n."""
    return [{**row, **(values if i < n else {})} for i, row in enumerate(rows)]


@dataclass(frozen=True)
class Case:
    """Clean tables, and what of them a defect replaces. `says`: values that the offending row must hold."""

    test: str
    clean: Mapping[str, Rows]
    planted: Mapping[str, Rows]
    says: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""


M = Decimal
FCT_ORDER = dict(
    customer_key="k", source="shop", order_id="o{i}", paid_date=BEFORE, is_paid=True, is_valid=True, net_revenue=M("90"),
    sale_amount=M("100"), order_discount=M("10"), shipping_fee=M("0"), exchange_rate=M("1"),
)  # fmt: skip
FCT_RETURN = dict(
    customer_key="k", source="shop", return_id="r{i}", order_id="o{i}", return_date=BEFORE, is_booked=True, is_valid=True,
    refund_amount=M("40"), refund_net=M("40"), exchange_rate=M("1"),
)  # fmt: skip
ORDERS, RETURNS = many(100, **FCT_ORDER), many(20, **FCT_RETURN)
UNTOLD = dict.fromkeys(("account_id", "dealer_id", "coupon_id", "campaign_code", "device", "fulfilment_type"))
HEADERS = many(
    200, order_id="o{i}", updated_at=datetime(2024, 5, 6, 10), source_customer_id="c", channel_id="web", store_id="s",
    status="paid", currency="CNY", order_discount=M("0"), shipping_fee=M("0"), ordered_at=datetime(2024, 5, 6, 9),
    paid_at=datetime(2024, 5, 6, 10), is_test=False, delivery_promise_min=30, **UNTOLD, _delivery="in force", _row=1,
)  # fmt: skip
LINES = many(
    200, order_id="o{i}", line_no=1, product_id="p", promotion_id=None, qty=M("1"), unit_price_paid=M("9"),
    list_price=M("10"), line_discount=M("0"), is_gift=False, _delivery="in force", _row=1,
)  # fmt: skip
STG_RETURNS = many(
    50,
    source="shop",
    return_id="r{i}",
    order_id="o{i}",
    product_id="p",
    qty=M("1"),
    refund_amount=M("9"),
    is_in_force=True,
)
DELIVERY = dict(
    source="shop",
    zone="Asia/Shanghai",
    currency="CNY",
    price_includes_tax=True,
    dt=D,
    rev=1,
    was_in_force=True,
)
KEYS: dict[str, Rows] = {
    "raw.orders": HEADERS,
    "raw.order_lines": LINES,
    "staging.deliveries_in_force": [
        {**DELIVERY, "delivery": "in force", "is_in_force": True},
        {**DELIVERY, "delivery": "withdrawn", "is_in_force": False},
    ],
    "staging.local_days": many(
        1,
        zone="Asia/Shanghai",
        utc_day=D,
        local_day=D,
        next_local_day=D,
        next_midnight=datetime(2024, 5, 7),
        second_midnight=datetime(2024, 5, 8),
    ),
    "staging.stg_sales__returns": STG_RETURNS,
    "intermediate.int_orders": many(200, source="shop", order_id="o{i}", is_current=True, versions_n=1),
    "intermediate.int_order_sums": many(200, source="shop", order_id="o{i}", is_suspect=False),
    "intermediate.int_order_totals": many(200, source="shop", order_id="o{i}", is_current=True, sale_n=1),
    "intermediate.int_returns": many(50, source="shop", is_current=True),
}
DISCOUNTED = {
    "intermediate.int_orders": many(
        100, source="shop", order_id="o{i}", is_current=True, is_paid=True, sale_n=1, sale_amount=M("100"), order_discount=M("100"),
    )
}  # fmt: skip
AGAIN = with_first(HEADERS[:8], 8, status="cancelled")
NEWER = with_first(AGAIN, 8, updated_at=datetime(2024, 5, 6, 12))
KNOWN = {
    "staging.stg_customers__customers": many(100, source="crm", source_customer_id="c{i}", is_in_force=True),
    "intermediate.int_customer_links": many(
        100, source="crm", source_customer_id="c{i}", customer_key="k{i}", is_current=True
    ),
    "intermediate.int_orders": many(
        100, source="till", order_id="o{i}", source_customer_id="c{i}", customer_key="k{i}", is_current=True
    ),
}
PRODUCTS = many(50, product_id="p{i}", is_in_master=True)
SOLD = {
    "core.dim_products": PRODUCTS,
    "core.fct_order_lines": many(100, source="shop", product_id="p1"),
    "intermediate.int_order_totals": many(100, source="shop", is_current=True, sale_n=1),
}
TAXED = {
    "core.dim_products": many(50, product_id="p{i}", is_merchandise=True, tax_rate=M("0.13")),
    "core.fct_order_lines": many(
        100, source="shop", product_id="p1", kind="sale", price_includes_tax=True, line_amount=M("113")
    ),
}
ANSWERS = many(100, source="crm", survey_id="nps", score=M("9"), scale_min=0, scale_max=10)
FACTS = {
    "intermediate.int_persons_excluded": [{"customer_key": "somebody else"}],
    "core.fct_orders": ORDERS,
    "core.fct_returns": RETURNS,
    "marts.channel_performance": [
        {"channel_id": "web", "day": BEFORE, "sales": M("9000"), "refunds": M("800")}
    ],
    "segments.customer_rfm": [{"monetary": M("8200")}],
}
IDENTITY = {"pairs_made_n": 990, "pairs_unresolved_n": 10, "oversized_unreviewed_n": 0}
TOTALS = [
    dict(metric_id="control_orders", source="shop", period="2024-05-06", is_period_known=True, control_total=M("100"), fact_total=M("100"), orders_n=100),
    dict(metric_id="control_net_revenue", source="shop", period="2024-05-06", is_period_known=True, control_total=M("90000"), fact_total=M("90000.50"), orders_n=100),
    dict(metric_id="control_sessions", source="app", period="2024-05-06", is_period_known=True, control_total=M("1000"), fact_total=M("960"), orders_n=0),
]  # fmt: skip
LINE_TOTALS = many(100, source="shop", order_id="o{i}", is_current=True, sale_n=1, sale_amount=M("100"))
HAVE_ORDERS = {
    "intermediate.int_order_totals": LINE_TOTALS,
    # Another source's: each test is about one source at a time.
    "intermediate.int_lines_without_order": many(1, source="app", sale_n=1, sale_amount=M("100")),
    "core.fct_orders": ORDERS,
    "operations.row_balance": [{"source": "shop", "kind": "sale", "amount": M("10000")}],
}
WINDOWS = {
    "core.fct_orders": ORDERS,
    "core.fct_returns": RETURNS,
    "core.fct_sessions": many(3, source="app", session_id="s{i}", session_date=BEFORE),
    "core.fct_tickets": many(3, source="crm", ticket_id="t{i}", created_date=BEFORE),
    "core.fct_survey_responses": many(3, source="crm", response_id="a{i}", answered_date=BEFORE),
    "marts.channel_performance": FACTS["marts.channel_performance"],
}

MEMBER = dict(customer_key="k{i}", consent_email=True, consent_sms=False, consent_ads=False)
MEMBERS = many(20, **MEMBER)
PERSONS = many(20, customer_key="k{i}", contact_status="fresh", is_test=False, is_employee=False)
RECORDS = [
    dict(is_current=True, source=s, source_customer_id=f"{s}{i}", customer_key=f"k{i}")
    for s in ("app", "crm")
    for i in range(20)
]


def word(
    i: int, purpose: str, action: str, day: int, *, source: str = "app", channel: str = "all"
) -> dict[str, Any]:
    """A word of consent of person i on a day of April 2024."""
    return dict(
        source=source, source_customer_id=f"{source}{i}", purpose=purpose, channel=channel, action=action,
        consented_at=datetime(2024, 4, day, 10), consent_date=date(2024, 4, day),
    )  # fmt: skip


WORDS = [word(i, purpose, "grant", 2) for i in range(20) for purpose in ("marketing", "profiling")]
CONSENTED = {
    "audiences.segment_membership": MEMBERS,
    "core.dim_customers": PERSONS,
    "intermediate.int_customer_links": RECORDS,
    "staging.stg_customers__consents": [
        *WORDS,
        # Taken back by the same record; of another purpose; of a channel that nobody is marked for.
        word(3, "profiling", "withdraw", 1),
        word(4, "survey", "withdraw", 3),
        word(5, "marketing", "withdraw", 3, channel="sms"),
    ],
}


def consented(*more: dict[str, Any]) -> dict[str, Rows]:
    return {"staging.stg_customers__consents": [*WORDS, *more]}


CLASSED = {
    "audiences.segment_membership": MEMBERS,
    "segments.customer_rfm": MEMBERS,
    "segments.customer_abc": MEMBERS,
    "segments.customer_value": MEMBERS,
    "segments.customer_lifecycle": [*MEMBERS, {**MEMBER, "customer_key": "young"}],
    "intermediate.int_customer_ages": [
        dict(customer_key="k1", youngest_age=18),
        dict(customer_key="young", youngest_age=14),
    ],
}
REQUEST = dict(source="app", kind="access", as_of_date=D, done_date=None)
REQUESTS = [
    {**REQUEST, "request_id": "done late", "due_date": date(2024, 4, 1), "done_date": date(2024, 4, 20)},
    {**REQUEST, "request_id": "open", "due_date": date(2024, 5, 9)},
]
COVERED = dict(is_suppressed=False, customers=None, orders_n=0, revenue=M("0"))
POPULATION = {
    "core.dim_customers": [*PERSONS, {**PERSONS[0], "customer_key": "left out"}],
    "segments.customer_rfm": MEMBERS,
    "intermediate.int_persons_excluded": [{"customer_key": "left out"}],
    "core.fct_orders": ORDERS,
    "audiences.segment_coverage": [
        {**COVERED, "population_group": "classified", "customers": 20, "orders_n": 90, "revenue": M("8100")},
        {**COVERED, "population_group": "guests", "orders_n": 10, "revenue": M("900")},
    ],
}
CASES = (
    Case("keys_have_one_content", KEYS, {
        "intermediate.int_orders": with_first(KEYS["intermediate.int_orders"], 8, versions_n=2),
        "raw.orders": [*HEADERS, *AGAIN],
    }, {"feed": "orders", "source": "shop", "conflicts_n": 8, "keys_n": 200}, "orders"),
    Case("keys_have_one_content", KEYS, {
        "raw.order_lines": [*LINES, *with_first(LINES[:6], 6, qty=M("2"))],
        "intermediate.int_order_sums": with_first(KEYS["intermediate.int_order_sums"], 6, is_suspect=True),
    }, {"feed": "order_lines", "conflicts_n": 6}, "lines"),
    Case("keys_have_one_content", KEYS, {
        "staging.stg_sales__returns": [*STG_RETURNS, *with_first(STG_RETURNS[:6], 6, refund_amount=M("90"))],
    }, {"feed": "returns", "conflicts_n": 6}, "returns"),
    Case("refunds_stay_below_payments", FACTS, {
        "core.fct_returns": with_first(RETURNS, 6, refund_amount=M("4000")),
    }, {"source": "shop", "excess_n": 6, "orders_n": 20}),
    Case("discounts_stay_below_sales", DISCOUNTED, {
        "intermediate.int_orders": with_first(DISCOUNTED["intermediate.int_orders"], 6, order_discount=M("101")),
    }, {"source": "shop", "excess_n": 6, "orders_n": 100, "example": "o0"}),
    Case("answers_lie_on_their_scale", {"core.fct_survey_responses": ANSWERS}, {
        "core.fct_survey_responses": with_first(ANSWERS, 6, score=M("55")),
    }, {"survey_id": "nps", "off_scale_n": 6, "answers_n": 100}),
    Case("order_lines_have_their_order", HAVE_ORDERS, {
        "intermediate.int_lines_without_order": many(6, source="shop", sale_n=1, sale_amount=M("100")),
    }, {"source": "shop", "orphans_n": 6}),
    Case("orders_name_known_customers", KNOWN, {
        "staging.stg_customers__customers": KNOWN["staging.stg_customers__customers"][6:],
    }, {"source": "till", "orphans_n": 6, "orders_n": 100}),
    Case("order_lines_name_known_products", SOLD, {
        "core.dim_products": with_first(PRODUCTS, 2, is_in_master=False),
    }, {"source": "shop", "orphans_n": 100, "example": "p1"}),
    Case("taxed_prices_have_their_rate", TAXED, {
        "core.dim_products": with_first(TAXED["core.dim_products"], 2, tax_rate=None),
    }, {"source": "shop", "untaxed_n": 100, "amount": M("11300"), "example": "p1"}),
    Case("channel_revenue_reconciles_with_orders", FACTS, {
        "marts.channel_performance": [{"channel_id": "web", "day": BEFORE, "sales": M("8910"), "refunds": M("800")}],
    }, {"facts_sales": M("9000"), "sales": M("8910")}),
    Case("customer_revenue_reconciles_with_orders", FACTS, {
        "segments.customer_rfm": [{"monetary": M("8110")}],
    }, {"facts_amount": M("8200"), "customers_amount": M("8110")}),
    Case("order_revenue_reconciles_with_row_balance", HAVE_ORDERS, {
        "operations.row_balance": [{"source": "shop", "kind": "sale", "amount": M("10100")}],
    }, {"source": "shop", "amount": M("10100"), "orders_amount": M("10000")}),
    Case("control_totals_agree", {"intermediate.int_control_totals": TOTALS}, {
        "intermediate.int_control_totals": with_first(TOTALS, 1, fact_total=M("99")),
    }, {"metric_id": "control_orders", "control_total": M("100"), "fact_total": M("99")}, "one order of a hundred"),
    Case("control_totals_agree", {"intermediate.int_control_totals": TOTALS}, {
        "intermediate.int_control_totals": [{**TOTALS[1], "fact_total": M("90001.10")}],
    }, {"metric_id": "control_net_revenue"}, "more than a cent per order"),
    Case("control_totals_agree", {"intermediate.int_control_totals": TOTALS}, {
        "intermediate.int_control_totals": [{**TOTALS[1], "period": "06.05.2024", "is_period_known": False}],
    }, {"period": "06.05.2024"}, "a period that nobody compares"),
    Case("control_sessions_agree", {"intermediate.int_control_totals": TOTALS}, {
        "intermediate.int_control_totals": [{**TOTALS[2], "fact_total": M("940")}],
    }, {"metric_id": "control_sessions", "source": "app"}),
    Case("few_pairs_wait_for_review", {"intermediate.int_identity_quality": [IDENTITY]}, {
        "intermediate.int_identity_quality": [{**IDENTITY, "pairs_unresolved_n": 11}],
    }, {"pairs_unresolved_n": 11}, "eleven of a thousand"),
    Case("no_oversized_person_waits_for_review", {"intermediate.int_identity_quality": [IDENTITY]}, {
        "intermediate.int_identity_quality": [{**IDENTITY, "oversized_unreviewed_n": 1}],
    }, {"oversized_unreviewed_n": 1}),
    *(
        Case("nothing_of_the_as_of_day_counts", WINDOWS, {
            table: with_first(WINDOWS[table], 1, **{column: D}),
        }, {"what": what}, what)
        for table, column, what in (
            ("core.fct_orders", "paid_date", "paid order"),
            ("core.fct_returns", "return_date", "booked return"),
            ("core.fct_sessions", "session_date", "session"),
            ("core.fct_tickets", "created_date", "ticket"),
            ("core.fct_survey_responses", "answered_date", "answer"),
            ("marts.channel_performance", "day", "channel day"),
        )
    ),
    Case("no_stale_contact_is_published", CONSENTED, {
        "core.dim_customers": with_first(PERSONS, 1, contact_status="stale"),
    }, {"customer_key": "k0", "contact_status": "stale"}),
    Case("nobody_is_published_without_consent", CONSENTED, {
        "staging.stg_customers__consents": WORDS[1:],
    }, {"customer_key": "k0"}, "no word is no consent"),
    Case("nobody_is_published_without_consent", CONSENTED, consented(
        word(7, "profiling", "withdraw", 1, source="crm"),
    ), {"customer_key": "k7"}, "another record of the person refuses"),
    Case("nobody_is_published_without_consent", CONSENTED, consented(
        word(8, "marketing", "withdraw", 2),
    ), {"customer_key": "k8"}, "a withdrawal wins a tie"),
    Case("no_withdrawal_is_still_published", CONSENTED, consented(
        word(9, "marketing", "withdraw", 3, channel="email"),
    ), {"customer_key": "k9", "channel": "email", "withdrawn_on": date(2024, 4, 3)}),
    Case("requests_are_done_in_time", {"intermediate.int_requests": REQUESTS}, {
        "intermediate.int_requests": [*REQUESTS, {**REQUEST, "request_id": "late", "due_date": BEFORE}],
    }, {"request_id": "late", "due_date": BEFORE}),
    Case("requests_are_done_before_the_last_day", {"intermediate.int_requests": REQUESTS}, {
        "intermediate.int_requests": [*REQUESTS, {**REQUEST, "request_id": "tomorrow", "due_date": date(2024, 5, 8)}],
    }, {"request_id": "tomorrow"}),
    Case("minors_are_left_out", CLASSED, {
        "intermediate.int_customer_ages": [dict(customer_key="k1", youngest_age=17)],
    }, {"rule": "a minor is published", "customer_key": "k1"}, "in marketing"),
    Case("minors_are_left_out", CLASSED, {
        "intermediate.int_customer_ages": [dict(customer_key="young", youngest_age=13)],
    }, {"rule": "a child is classed", "customer_key": "young"}, "in a class"),
    Case("population_adds_up", POPULATION, {
        "core.dim_customers": [*POPULATION["core.dim_customers"], {**PERSONS[0], "customer_key": "nobody's"}],
    }, {"rule": "people", "expected": 22, "found": 21}, "somebody is in no class and for no reason"),
    Case("population_adds_up", POPULATION, {
        "core.fct_orders": ORDERS[1:],
    }, {"rule": "paid orders", "expected": 99, "found": 100}, "an order counts twice"),
    *(Case(*case) for case in (*published_cases.CASES, *class_cases.CASES)),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.test} {c.name}".strip())
def test_clean_tables_pass_and_a_planted_defect_is_named(compiled: Path, case: Case) -> None:
    assert offences(compiled, case.test, case.clean) == []
    found = offences(compiled, case.test, {**case.clean, **case.planted})
    assert len(found) == 1
    assert {name: found[0][name] for name in case.says} == dict(case.says)


# Planted in tests/job/test_trace_and_chain.py and, cell by cell, in tests/score/test_commands.py.
ELSEWHERE = {"every_row_has_one_final_state", "rfm_grids_are_total_and_disjoint"}


def test_every_warehouse_gate_has_its_planted_defect_here() -> None:
    assert {case.test for case in CASES} == set(TESTS)
    singular = {path.stem for path in (DBT_PROJECT_DIR / "tests" / "singular").glob("*.sql")}
    assert singular <= set(TESTS) | ELSEWHERE


def test_a_newer_state_of_an_order_is_no_conflict(compiled: Path) -> None:
    tables = {
        "intermediate.int_orders": with_first(KEYS["intermediate.int_orders"], 8, versions_n=2),
        "raw.orders": [*HEADERS, *NEWER],
    }
    assert offences(compiled, "keys_have_one_content", {**KEYS, **tables}) == []


def test_what_is_no_longer_in_force_is_no_conflict(compiled: Path) -> None:
    tables = {
        "intermediate.int_orders": with_first(KEYS["intermediate.int_orders"], 8, versions_n=2),
        "intermediate.int_order_sums": with_first(KEYS["intermediate.int_order_sums"], 16, is_suspect=True),
        "raw.orders": [*HEADERS, *with_first(AGAIN, 8, _delivery="withdrawn")],
        "raw.order_lines": [*LINES, *with_first(LINES[:16], 16, qty=M("2"), _delivery="withdrawn")],
    }
    assert offences(compiled, "keys_have_one_content", {**KEYS, **tables}) == []


def test_few_conflicts_stop_nothing(compiled: Path) -> None:
    tables = {
        "intermediate.int_orders": with_first(KEYS["intermediate.int_orders"], 5, versions_n=2),
        "raw.orders": [*HEADERS, *AGAIN[:5]],
    }
    assert offences(compiled, "keys_have_one_content", {**KEYS, **tables}) == []


def test_a_source_without_a_customer_feed_is_not_judged(compiled: Path) -> None:
    nobody = with_first(KNOWN["intermediate.int_orders"], 100, customer_key="unheard of")
    assert (
        offences(compiled, "orders_name_known_customers", {**KNOWN, "intermediate.int_orders": nobody}) == []
    )


def test_a_home_without_a_product_feed_is_not_judged(compiled: Path) -> None:
    bare = with_first(PRODUCTS, 50, is_in_master=False)
    assert offences(compiled, "order_lines_name_known_products", {**SOLD, "core.dim_products": bare}) == []


def test_control_totals_are_set_beside_the_facts_of_their_days(compiled: Path) -> None:
    """A day, a month that is over, one that is not, and a spelling that is no period."""
    target = dict(source="finance", dimension="shop", dt=BEFORE, rev=1, delivery="f/1", delivery_row=1)
    tables = {
        "staging.stg_reference__targets": [
            {**target, "metric_id": "control_net_revenue", "period": "2024-05-06", "target": M("1")},
            {
                **target,
                "metric_id": "control_net_revenue",
                "period": "2024-05-06",
                "target": M("9000"),
                "rev": 2,
            },
            {**target, "metric_id": "control_orders", "period": "2024-04", "target": M("100")},
            {**target, "metric_id": "control_orders", "period": "2024-05", "target": M("5")},
            {**target, "metric_id": "control_refunds", "period": "May", "target": M("5")},
            {**target, "metric_id": "sales_target", "period": "2024-05-06", "target": M("5")},
        ],
        "core.fct_orders": [*ORDERS, *with_first(ORDERS[:40], 40, paid_date=date(2024, 4, 30))],
        "core.fct_returns": RETURNS,
        "core.fct_sessions": WINDOWS["core.fct_sessions"],
        "intermediate.int_run_policy": [POLICY],
    }
    sql = (compiled / "models" / "intermediate" / "int_control_totals.sql").read_text()
    found = _database(tables).execute(f"select metric_id, period, is_period_known, control_total, fact_total, orders_n from ({sql}) order by all").fetchall()  # fmt: skip
    assert found == [
        ("control_net_revenue", "2024-05-06", True, M("9000"), M("9000"), 100),
        ("control_orders", "2024-04", True, M("100"), M("40"), 40),
        ("control_refunds", "May", False, M("5"), M("0"), 0),
    ]


@pytest.mark.parametrize(
    ("window_of_the_preset", "window_of_the_job", "found"),
    [(365, 365, 0), (365, 180, 0), (90, 365, 1)],
    ids=["as shipped", "in a home of the trade grocery", "another window than the job's"],
)
def test_presets_have_the_window_of_the_policy_and_not_of_one_homes_trade(
    compiled: Path, window_of_the_preset: int, window_of_the_job: int, found: int
) -> None:
    cell = dict(rfm_segment="all", priority=1, r_from=1, r_to=5, f_from=1, f_to=5, m_from=1, m_to=5)
    preset = dict(scores=5, matching="disjoint", others=None, window_days=window_of_the_preset)
    tables = {
        "policy.rfm_presets": [{"preset": "rf25", **preset}],
        "policy.rfm_grids": [{"preset": "rf25", **cell}],
        "policy.segment_labels": [{"scheme": "rfm", "class": "all"}],
        "policy.thresholds": [
            {
                "key": "rfm_window_days",
                "value": Decimal(365),
                "valid_from": date(2000, 1, 1),
                "valid_to": date(2100, 1, 1),
            }
        ],
        "intermediate.int_run_policy": [{**POLICY, "rfm_window_days": window_of_the_job}],
    }
    assert len(offences(compiled, "rfm_grids_are_total_and_disjoint", tables)) == found
