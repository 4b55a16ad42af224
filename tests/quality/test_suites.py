"""Every expectation passes on clean data and fails, by its own name, on the defect that it is there for."""

import subprocess
import sys
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from pipeline.quality.checks import Check
from pipeline.quality.policy import classes, k_anonymity, schemes
from pipeline.quality.scan import scan_suite
from pipeline.quality.suites import load_suites, run_suite
from pipeline.settings import PROJECT_ROOT

MEMBERSHIP = pd.DataFrame(
    {
        "customer_key": [f"{n:032x}" for n in range(1, 5)],
        "scheme": ["rfm", "rfm", "rfm", "rfm"],
        "class": ["champions", "loyal", "new", "champions"],
        "class_label_zh": ["冠军客户", "忠诚客户", "新客户", "冠军客户"],
        "reason_zh": ["365 天内购买 5 天"] * 4,
        "pricing_use_allowed": [False] * 4,
    }
)
SUMMARY = pd.DataFrame(
    {
        "scheme": ["rfm", "rfm", "rfm"],
        "class": ["champions", "loyal", "new"],
        "customers": [40, k_anonymity(), 0],
        "share": [0.8, 0.2, 0.0],
        "action_zh": ["专人联系", "会员权益", "首单关怀"],
    }
)
N = 40
ORDERS = pd.DataFrame({"paid_share": [0.9] * N, "order_discount__max": [5.0] * (N - 1) + [None]})
LINES = pd.DataFrame(
    {"qty__max": [10.0] * N, "unit_price_paid__max": [99.0] * N, "list_price_share": [1.0] * N}
)
RETURNS = pd.DataFrame(
    {"qty__max": [10.0] * N, "refund_amount__max": [99.0] * N, "refunded_share": [1.0] * N}
)
ANSWERS = pd.DataFrame({"person_share": [0.9] * N})
CLEAN = {
    "audiences.segment_membership": MEMBERSHIP,
    "audiences.segment_summary": SUMMARY,
    "orders": ORDERS,
    "order_lines": LINES,
    "returns": RETURNS,
    "survey_responses": ANSWERS,
}
LAST, THREE = [0], [0, 1, 2]

# (suite, column, rows, planted value, the check that must fail)
DEFECTS: list[tuple[str, str, list[int], Any, str]] = [
    ("audiences.segment_membership", "customer_key", LAST, f"{4:032x}", "one_class_per_customer_and_scheme"),
    ("audiences.segment_membership", "customer_key", LAST, "13812345678", "keys_are_tokens"),
    ("audiences.segment_membership", "customer_key", LAST, "A" * 32, "keys_are_tokens"),
    ("audiences.segment_membership", "scheme", LAST, "horoscope", "known_schemes"),
    ("audiences.segment_membership", "class", LAST, "chamipons", "known_classes"),
    (
        "audiences.segment_membership",
        "class_label_zh",
        LAST,
        "一二三四五六七八九十一",
        "labels_fit_vendor_limits",
    ),
    ("audiences.segment_membership", "class_label_zh", LAST, "", "labels_fit_vendor_limits"),
    ("audiences.segment_membership", "reason_zh", LAST, None, "every_row_has_a_reason"),
    ("audiences.segment_membership", "pricing_use_allowed", LAST, True, "no_class_sets_a_price"),
    *[
        ("audiences.segment_membership", column, LAST, None, f"{column}_stated")
        for column in ("customer_key", "scheme", "class", "class_label_zh", "pricing_use_allowed")
    ],
    ("audiences.segment_summary", "class", [1], "champions", "one_row_per_class"),
    ("audiences.segment_summary", "scheme", LAST, "horoscope", "known_schemes"),
    ("audiences.segment_summary", "class", LAST, "chamipons", "known_classes"),
    ("audiences.segment_summary", "share", LAST, 1.01, "shares_are_fractions"),
    ("audiences.segment_summary", "share", LAST, -0.01, "shares_are_fractions"),
    ("audiences.segment_summary", "customers", LAST, 1, "no_small_cells"),
    ("audiences.segment_summary", "customers", LAST, 9, "no_small_cells"),
    ("audiences.segment_summary", "action_zh", LAST, None, "every_class_has_an_action"),
    ("orders", "paid_share", THREE, 0.1, "orders_mostly_paid"),
    ("orders", "order_discount__max", LAST, 10_000_001.0, "discounts_plausible"),
    ("order_lines", "qty__max", LAST, 6_901_234_567_892.0, "quantities_plausible"),
    ("order_lines", "unit_price_paid__max", LAST, 10_000_001.0, "prices_plausible"),
    ("order_lines", "list_price_share", THREE, 0.1, "list_prices_present"),
    ("returns", "qty__max", LAST, 1_000_001.0, "returned_quantities_plausible"),
    ("returns", "refund_amount__max", LAST, 10_000_001.0, "refunds_plausible"),
    ("returns", "refunded_share", THREE, 0.1, "refunds_dated"),
    ("survey_responses", "person_share", THREE, 0.0, "answers_name_their_person"),
]


def suites() -> dict[str, Any]:
    return {**load_suites("expectations.sources"), **load_suites("expectations.audiences")}


def scanned(target: str, frame: pd.DataFrame) -> list[Check]:
    """The same suite as publication asks it, of a table."""
    with duckdb.connect() as con:
        con.register("released", pa.Table.from_pandas(frame, preserve_index=False))
        return scan_suite(con, suites()[target], "released")


def failed(checks: list[Check]) -> list[str]:
    return [c.check for c in checks if not c.passed]


@pytest.mark.parametrize("target", CLEAN)
def test_clean_data_pass(target: str) -> None:
    assert failed(run_suite(suites()[target], CLEAN[target])) == []
    if target.startswith("audiences."):
        assert failed(scanned(target, CLEAN[target])) == []


@pytest.mark.parametrize(
    ("target", "column", "rows", "value", "name"), DEFECTS, ids=[f"{d[4]}-{d[3]}" for d in DEFECTS]
)
def test_a_planted_defect_fails_its_own_check_alone(
    target: str, column: str, rows: list[int], value: Any, name: str
) -> None:
    frame = CLEAN[target].astype(object) if value is None else CLEAN[target].copy()
    frame.loc[rows, column] = value
    checks = run_suite(suites()[target], frame)
    assert failed(checks) == [name]
    check = next(c for c in checks if c.check == name)
    assert check.description.split("\n")[0].endswith(".")
    assert check.target == target
    if target.startswith("audiences."):
        found = scanned(target, frame)
        assert failed(found) == [name]
        asked = next(c for c in found if c.check == name)
        assert (asked.limit, asked.level, asked.gate) == (check.limit, check.level, check.gate)
        # Clear data that stand where a token should are not told.
        assert asked.examples and (name != "keys_are_tokens" or str(value) not in str(asked.examples))


def test_every_expectation_has_its_defect_here() -> None:
    known = {(target, e.check) for target, suite in suites().items() for e in suite.expectations}
    assert {(d[0], d[4]) for d in DEFECTS} == known


def test_an_empty_membership_passes() -> None:
    """A source without consents publishes nobody, which is no defect."""
    assert failed(run_suite(suites()["audiences.segment_membership"], MEMBERSHIP.head(0))) == []
    assert failed(scanned("audiences.segment_membership", MEMBERSHIP.head(0))) == []


def test_a_missing_column_fails_and_does_not_crash() -> None:
    checks = run_suite(suites()["audiences.segment_membership"], MEMBERSHIP.drop(columns="reason_zh"))
    assert "every_row_has_a_reason" in failed(checks)
    found = scanned("audiences.segment_membership", MEMBERSHIP.drop(columns="reason_zh"))
    assert failed(found) == ["every_row_has_a_reason"] and "reason_zh" in str(found)


def test_policy_value_sets_are_not_empty() -> None:
    assert "rfm" in schemes() and "champions" in classes() and k_anonymity() == 10


def test_scipy_stats_waits_until_it_is_asked_and_then_works() -> None:
    """In a process of its own: another test may have loaded it already."""
    script = (
        "import sys, types, scipy, pipeline.quality.suites as s\n"
        "s._on_first_use('scipy', 'stats')\n"
        "from scipy import stats\n"
        "assert type(stats) is not types.ModuleType and 'scipy.stats._distn_infrastructure' not in sys.modules\n"
        "assert abs(stats.norm.cdf(0) - 0.5) < 1e-12 and type(stats) is types.ModuleType\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=PROJECT_ROOT)
