"""Sentences and codes of the policy seeds: English ones read right for a figure of 1, and no code holds a figure that policy
may change."""

import csv
import re

import pytest

from pipeline.transform.context import POLICY_DIR

_PLURAL = re.compile(r"(?:(\w+) )?\{(\w+)\} (?:[a-z]+ )?(?!is\b|has\b|was\b)[a-z]+s\b")
# Windows, lines and horizons are lengths of policy, never 1; so is whatever a sentence calls {days}.
_BEFORE_A_LENGTH = {"in", "of", "last", "the", "than", "after"}


def plural_after_a_figure(sentence: str) -> list[str]:
    """The places at which a noun stands in the plural whatever the figure before it is."""
    return [
        found.group()
        for found in _PLURAL.finditer(sentence)
        if found[2] != "days" and found[1] not in _BEFORE_A_LENGTH
    ]


@pytest.mark.parametrize("seed", ["class_reasons", "backtest_reasons"])
def test_no_sentence_says_1_days(seed: str) -> None:
    with (POLICY_DIR / f"{seed}.csv").open(encoding="utf-8", newline="") as file:
        sentences = [row["template_en"] for row in csv.DictReader(file)]
    assert len(sentences) > 20
    assert [s for s in sentences if plural_after_a_figure(s)] == []


@pytest.mark.parametrize(
    ("sentence", "found"),
    [
        ("Last purchase {1} days ago, outside the window", ["purchase {1} days"]),
        ("{2} purchase days in {4} days, too few to be loyal", ["{2} purchase days"]),
        ("{observed} buyers ({limit} needed)", ["{observed} buyers"]),
        ("Purchase days in {4} days: {2}, too few to be loyal", []),
        ("{days} days ahead: {verdict}", []),
    ],
)
def test_a_plural_after_a_figure_is_found(sentence: str, found: list[str]) -> None:
    assert plural_after_a_figure(sentence) == found


def test_no_code_of_a_class_or_reason_has_a_figure_of_policy_in_its_name() -> None:
    """`lapsed_over_365d` was told of 180 days. Age bands are their own policy: a row names and bounds them."""
    codes = [
        (seed, row[column])
        for seed, column in (
            ("class_reasons", "reason_code"),
            ("backtest_reasons", "code"),
            ("segment_labels", "class"),
            ("playbook", "action_code"),
            ("class_conflicts", "conflict"),
        )
        for row in csv.DictReader((POLICY_DIR / f"{seed}.csv").open(encoding="utf-8", newline=""))
        if row.get("scheme") != "demographics"
    ]
    assert len(codes) > 200
    assert [code for code in codes if any(sign.isdigit() for sign in code[1])] == []
