"""The suite that a contract makes: it passes what the contract allows and names what it does not."""

from typing import Any

import pandas as pd
import pytest

from pipeline.ingest.contracts import load_contracts
from pipeline.quality.contract_suite import contract_suite, source_suites
from pipeline.quality.gates import GATES
from pipeline.quality.suites import load_suites, run_suite

CLEAN = pd.DataFrame(
    {
        "rows_n": [40] * 3,
        "order_id__nulls": [40] * 3,
        "review_id__nulls": [0] * 3,
        "product_id__nulls": [0] * 3,
        "rating__nulls": [0] * 3,
        "created_at__nulls": [0] * 3,
        "rating__min": [1.0, 1.0, None],
        "rating__max": [5.0, 5.0, None],
        "photos__min": [0, 0, None],
    }
)


def _failed(frame: pd.DataFrame) -> list[str]:
    checks = run_suite(contract_suite(load_contracts()["reviews"]), frame)
    assert all(c.level == "block" and c.gate in GATES for c in checks)
    return [c.check for c in checks if not c.passed]


def test_deliveries_that_keep_the_contract_pass() -> None:
    assert _failed(CLEAN) == []


@pytest.mark.parametrize(
    ("column", "value", "check"),
    [
        ("review_id__nulls", 1, "required_filled"),
        ("rating__nulls", 40, "required_filled"),
        ("rating__min", 0.5, "rating_min_kept"),
        ("rating__max", 5.5, "rating_max_kept"),
        ("photos__min", -1, "photos_min_kept"),
    ],
)
def test_a_broken_promise_is_named(column: str, value: Any, check: str) -> None:
    frame = CLEAN.copy()
    frame[column] = frame[column].astype(float)
    frame.loc[1, column] = value
    assert _failed(frame) == [check]


def test_every_feed_has_a_suite_and_a_written_one_goes_first() -> None:
    written = {feed: s for feed, s in load_suites("expectations.sources").items() if s.expectations}
    suites = source_suites()
    assert set(suites) == set(load_contracts())
    assert all(s.expectations for s in suites.values())
    assert {feed: suites[feed] for feed in written} == written


def test_no_feed_costs_a_run_more_than_a_few_expectations() -> None:
    assert max(len(contract_suite(c).expectations) for c in load_contracts().values()) <= 8
