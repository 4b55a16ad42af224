"""The policy seeds as the Python gates read them: value sets, limits in force, and what a source usually fills."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Literal

from pipeline.errors import StrataError
from pipeline.transform.context import POLICY_DIR


def _rows(seed: str) -> Iterator[dict[str, str]]:
    with (POLICY_DIR / f"{seed}.csv").open(encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _column(seed: str, column: str) -> list[str]:
    return sorted({row[column] for row in _rows(seed)})


def schemes() -> list[str]:
    """Schemes with labels, sorted; custom segments each as their own."""
    custom = {f"custom:{name}" for name in _column("custom_segments", "segment")}
    return sorted({*_column("segment_labels", "scheme"), *custom} - {"custom"})


def classes() -> list[str]:
    """Classes with labels over all schemes, sorted."""
    return _column("segment_labels", "class")


def action_texts() -> dict[str, list[str]]:
    """`scheme|class` -> recommended action in Chinese and in English."""
    return {f"{r['scheme']}|{r['class']}": [r["action_zh"], r["action_en"]] for r in _rows("playbook")}


def reason_templates() -> dict[str, list[str]]:
    """`scheme|REASON_CODE` -> sentence in Chinese and in English with the places {1} to {5}; custom segments share theirs."""
    return {
        f"{r['scheme']}|{r['reason_code'].upper()}": [r["template_zh"], r["template_en"]]
        for r in _rows("class_reasons")
    }


@cache
def backtest_sentences() -> dict[str, tuple[str, str]]:
    """Code -> sentence of a back-test in Chinese and in English with {named} figures."""
    return {r["code"]: (r["template_zh"], r["template_en"]) for r in _rows("backtest_reasons")}


def largest(key: str) -> int:
    """The largest value that a threshold ever has: what a suite, which knows no day, can ask for."""
    return max(int(float(row["value"])) for row in _rows("thresholds") if row["key"] == key)


def k_anonymity() -> int:
    """Smallest group that a shared summary may show (P-30)."""
    return largest("k_anon_min")


def _in_force(seed: str, as_of: date) -> Iterator[dict[str, str]]:
    for row in _rows(seed):
        starts = date.fromisoformat(row["valid_from"]) if row["valid_from"] else date.min
        ends = date.fromisoformat(row["valid_to"]) if row["valid_to"] else date.max
        if starts <= as_of < ends:
            yield row


def days_of(seed: str) -> set[date]:
    """Days on which a row of the seed begins or ends to be in force."""
    return {
        date.fromisoformat(day) for row in _rows(seed) for day in (row["valid_from"], row["valid_to"]) if day
    }


def thresholds(as_of: date) -> dict[str, float]:
    """The policy thresholds in force on `as_of`, by key. Raises StrataError where two rows of a key are."""
    found: dict[str, float] = {}
    for row in _in_force("thresholds", as_of):
        if row["key"] in found:
            raise StrataError(
                f"thresholds.csv has two rows of {row['key']} in force on {as_of}: end the older one (valid_to)"
            )
        found[row["key"]] = float(row["value"])
    return found


@dataclass(frozen=True)
class Completeness:
    """How far the share of nulls of a column may move (Q-03). A limit of None is no limit."""

    level: Literal["block", "warn", "info"]
    shift_max: float | None
    both_ways: bool


def completeness(as_of: date) -> dict[tuple[str, str], Completeness]:
    """Limits in force on `as_of` by feed and column of raw; (`*`, `*`) is every other column."""
    return {
        (row["feed"], row["column_name"]): Completeness(
            row["level"],  # type: ignore[arg-type]
            float(row["shift_max"]) if row["shift_max"] else None,
            row["both_ways"] == "true",
        )
        for row in _in_force("completeness", as_of)
    }


@dataclass(frozen=True)
class ErasureRule:
    """What becomes of the rows of one feed that speak of an erased person.

    as_guest: the row stays as that of a guest, without ids and tokens; else it goes.
    follows: columns of ids that stand for the person in this feed, such as the visitor id of a browser.
    """

    as_guest: bool = False
    follows: tuple[str, ...] = ()


@cache
def erasure_rules() -> dict[str, ErasureRule]:
    """The rule of every feed that has its own; all others lose the rows that name the person."""
    return {
        row["feed"]: ErasureRule(row["treatment"] == "guest", tuple(row["follows"].split()))
        for row in _rows("erasure_rules")
    }


def erasure_rule(feed: str) -> ErasureRule:
    """The rule of one feed."""
    return erasure_rules().get(feed, ErasureRule())
