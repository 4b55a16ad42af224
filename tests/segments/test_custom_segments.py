"""The rules of custom_segments.csv: what is said of a bad line, and that their rows mean what the rule means."""

import csv
import shutil
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from pipeline.errors import StrataError
from pipeline.publish.audiences import policy
from pipeline.publish.audiences.rules import Everyone, InRange, IsIn, IsText, Join, Not, Rule, parse
from pipeline.segments import custom
from pipeline.segments.custom import SEEDS, Segment, _alternatives, compile_rows, load

DAY = date(2026, 7, 1)
KNOWN = {"rfm": {"loyal", "new"}, "abc": {"A", "B"}}
FACTS = {"age": "number", "city": "text"}


def _seeds(folder: Path, **changed: str) -> Path:
    """The seeds with one custom segment, changed as given."""
    for name in ("segment_labels", "rule_facts"):
        shutil.copy(SEEDS / f"{name}.csv", folder)
    with (SEEDS / "custom_segments.csv").open(encoding="utf-8") as file:
        row = next(csv.DictReader(file)) | changed
    with (folder / "custom_segments.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    return folder


def test_the_seeds_of_the_project_are_sound_and_audiences_know_them() -> None:
    names = {segment.name for segment in load()}
    assert names == {"worth_a_call", "young_families"}
    known = policy.load(DAY).schemes
    assert known["custom:worth_a_call"] == set(custom.CLASSES)
    assert "custom" not in known


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (
            {"rule": "valu = high"},
            "rule, character 1: there is no scheme or fact valu; there are: abc, affinity, behaviour",
        ),
        ({"rule": "value = hihg"}, "rule, character 9: value has no class hihg; it has: high, low, mid"),
        ({"rule": "age > high"}, "rule, character 7: expected a figure such as 30 or -2.5, found `high`"),
        (
            {"rule": "age in (3)"},
            "rule, character 5: expected =, !=, <, <=, >, >= or `between` (age is a number)",
        ),
        (
            {"rule": "city > 3"},
            "rule, character 6: expected =, !=, `in` or `not in` (city is a text), found `>`",
        ),
        # A reason prints its rule, and data of children are told nowhere (S0-38).
        ({"rule": "has_children = yes"}, "there is no scheme or fact has_children"),
        ({"rule": "custom:young_families = member"}, "there is no scheme or fact custom:young_families"),
        ({"rule": "age > 3; drop table people"}, "rule, character 8: ';' has no meaning here"),
        ({"rule": "city = 'x' or 1=1 --'"}, "rule, character 19: '-' has no meaning here"),
        ({"rule": "city = 'x' or 1 = 1"}, "rule, character 15: expected a scheme, `not`, `all` or `(`"),
        ({"rule": "age > 1e9"}, "rule, character 7: '1' has no meaning here"),
        ({"segment": "Bad Name"}, "segment 'Bad Name' is no name"),
        ({"label_zh": "一二三四五六七八九十一"}, "label_zh has more than 10 characters"),
        ({"service_level": "gold"}, "service_level 'gold' is none of dedicated, preferred"),
        ({"owner": ""}, "owner is empty"),
        ({"rule": " and ".join(["(age = 1 or age = 2)"] * 7)}, ""),
        ({"rule": " and ".join(f"(age = {k} or age = -{k})" for k in range(1, 8))}, "128 alternatives"),
        (
            {"rule": " and ".join(f"(age = {k} or age = -{k})" for k in range(1, 20))},
            "more than 3968 alternatives",
        ),
    ],
)
def test_a_bad_line_is_told_with_its_file_and_line(
    tmp_path: Path, changed: dict[str, str], says: str
) -> None:
    folder = _seeds(tmp_path, **changed)
    if not says:
        assert len(load(folder)[0].alternatives) <= 62
        return
    with pytest.raises(StrataError) as raised:
        load(folder)
    assert str(raised.value).startswith("custom_segments.csv line 2: ")
    assert says in str(raised.value)


def test_a_segment_holds_on_its_days_only(tmp_path: Path) -> None:
    folder = _seeds(tmp_path, valid_from="2026-01-01", valid_to="2026-07-01")
    assert [len(load(folder, day)) for day in (date(2025, 12, 31), date(2026, 6, 30), DAY)] == [0, 1, 0]


def test_a_text_with_quotes_and_sql_is_a_value_of_a_row() -> None:
    rule = parse("city = '\"; drop table people; --'", KNOWN, FACTS)
    tables = compile_rows([Segment("s", "", tuple(_alternatives(rule)))])
    assert tables["custom_values"].to_pylist() == [{"test_no": 0, "value": '"; drop table people; --'}]


_TESTS = st.one_of(
    st.builds(IsIn, st.just("rfm"), st.lists(st.sampled_from(["loyal", "new"]), min_size=1).map(tuple)),
    st.builds(IsText, st.just("city"), st.lists(st.sampled_from(["X", "Y"]), min_size=1).map(tuple)),
    st.builds(
        InRange,
        st.just("age"),
        st.none() | st.integers(0, 3).map(Decimal),
        st.none() | st.integers(0, 3).map(Decimal),
        st.booleans(),
        st.booleans(),
    ),
    st.just(Everyone()),
)
_RULES = st.recursive(
    _TESTS,
    lambda inner: st.one_of(
        inner.map(Not),
        st.builds(Join, st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)


def _meaning(rule: Rule, facts: dict[str, object]) -> bool | None:
    """Logic of three values (Kleene): a test of a missing fact is None."""
    match rule:
        case Everyone():
            return True
        case Not(inner):
            held = _meaning(inner, facts)
            return None if held is None else not held
        case Join(word, parts):
            each = [_meaning(part, facts) for part in parts]
            decisive = word == "or"
            return decisive if decisive in each else None if None in each else not decisive
        case IsIn(name, values) | IsText(name, values):
            return None if facts[name] is None else facts[name] in values
        case InRange(name, low, high, is_low_open, is_high_open):
            value = facts[name]
            if value is None:
                return None
            above = low is None or value > low or (value == low and not is_low_open)
            below = high is None or value < high or (value == high and not is_high_open)
            return above and below


@effort(max_examples=150, deadline=None)
@given(
    rules=st.lists(_RULES, min_size=1, max_size=3),
    facts=st.fixed_dictionaries(
        {
            "rfm": st.sampled_from(["loyal", "new"]),
            "city": st.sampled_from(["X", "Y", "Z", None]),
            "age": st.sampled_from([*map(Decimal, range(4)), None]),
        }
    ),
)
def test_the_bits_say_what_the_rules_say(rules: list[Rule], facts: dict[str, object]) -> None:
    alternatives = [tuple(_alternatives(rule)) for rule in rules]
    if any(len(some) > custom._BITS for some in alternatives):
        return
    tables = compile_rows(Segment(f"s{k}", "", some) for k, some in enumerate(alternatives))
    accepted = {(row["test_no"], row["value"]) for row in tables["custom_values"].to_pylist()}
    failed: dict[int, int] = {}
    undecided: dict[int, int] = {}
    for test in tables["custom_tests"].to_pylist():
        value = facts[test["fact"]]
        if test["kind"] == "number":
            ends = (test["low"], test["high"], test["is_low_open"], test["is_high_open"])
            held = _meaning(InRange(test["fact"], *ends), facts)
        else:
            held = None if value is None else (test["test_no"], value) in accepted
        if held is None:
            undecided[test["word"]] = undecided.get(test["word"], 0) | test["alternatives"]
        elif held == test["is_negated"]:
            failed[test["word"]] = failed.get(test["word"], 0) | test["alternatives"]
    for row, rule in zip(tables["custom_segments"].to_pylist(), rules, strict=True):
        left = row["alternatives"] & ~failed.get(row["word"], 0)
        found = True if left & ~undecided.get(row["word"], 0) else None if left else False
        assert found is _meaning(rule, facts)
