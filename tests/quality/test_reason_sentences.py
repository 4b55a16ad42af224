"""English sentences of the policy seeds read right for a figure of 1: no plural noun follows a figure that can be 1."""

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
