"""What the difference of two releases gives away: of every published summary, and of the rule that hides its cells."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
from jinja2 import Environment

from pipeline.settings import DBT_PROJECT_DIR
from pipeline.transform.dbt import ensure_manifest
from pipeline.transform.history import _HIDING

# Shared with people who may not see single ones; `segments` has its lists beside its counts (decision 022).
SHARED = ("audiences", "marts")
PEOPLE = {"customers", "n", "buyers"}
# The day's trade of a channel, and rows of which each is one account: no classes of people.
NO_CLASSES = {"marts.channel_performance", "marts.b2b_profile"}
K = 4
Cells = tuple[int, ...]


def test_every_shared_summary_keeps_hidden_what_was_hidden() -> None:
    """What the release of an earlier day hid is read by the model, and the pipeline lays it out."""
    manifest = json.loads(ensure_manifest().read_text())
    summaries, of_persons = set(), set()
    for node in manifest["nodes"].values():
        columns = {
            name for name, c in node["columns"].items() if c.get("config", {}).get("meta", {}).get("publish")
        }
        key = f"{node['schema'].removeprefix('main_')}.{node['name']}"
        if node["resource_type"] != "model" or not columns or key.partition(".")[0] not in SHARED:
            continue
        (of_persons if "customer_key" in columns else summaries).add(key)
        if columns & PEOPLE and "customer_key" not in columns and key not in NO_CLASSES:
            assert f"source.strata.history.{node['name']}" in node["depends_on"]["nodes"], (
                f"{key} counts people and does not read what the release before hid"
            )
            assert key in _HIDING and "hidden_before" in node["raw_code"] + _macros(node["raw_code"])
    assert set(_HIDING) == summaries - NO_CLASSES - {"audiences.segment_delta"}
    assert of_persons >= {"audiences.segment_membership"}


def _macros(code: str) -> str:
    path = DBT_PROJECT_DIR / "macros" / "policy" / "survey_cells.sql"
    return path.read_text() if "survey_cells(" in code else ""


@pytest.fixture(scope="module")
def rule() -> str:
    """The rule of the models (macros/policy/rules.sql) as SQL over (day, class, people, was_hidden)."""
    text = Path(DBT_PROJECT_DIR / "macros" / "policy" / "rules.sql").read_text(encoding="utf-8")
    module = Environment().from_string(text).module
    return module.is_suppressed_cell("people", str(K), "day", "class", "was_hidden")  # type: ignore[attr-defined]


def hidden(rule: str, groups: Sequence[tuple[Cells, frozenset[int]]]) -> list[frozenset[int]]:
    """Which cells of each group are hidden, where some were before."""
    rows = [
        (day, place, people, place in before)
        for day, (cells, before) in enumerate(groups)
        for place, people in enumerate(cells)
    ]
    listed = ", ".join(f"({day}, {place}, {people}, {was})" for day, place, people, was in rows)
    sql = f"select day, class, {rule} from (values {listed}) as t (day, class, people, was_hidden)"
    found: list[set[int]] = [set() for _ in groups]
    for day, place, is_hidden in duckdb.sql(sql).fetchall():
        if is_hidden:
            found[day].add(place)
    return [frozenset(one) for one in found]


def one_person(cells: Cells) -> Iterator[Cells]:
    """Every group that is other by one person: gone (erased, withdrawn), new, or in another class."""
    steps = [(i, j) for i in (None, *range(len(cells))) for j in (None, *range(len(cells))) if i != j]
    for leaves, joins in steps:
        after = list(cells)
        if leaves is not None:
            after[leaves] -= 1
        if joins is not None:
            after[joins] += 1
        if min(after) >= 0:
            yield tuple(after)


def guesses(cells: Cells, masked: frozenset[int], was: frozenset[int]) -> Iterator[Cells]:
    """Every group that looks like this one: the shown cells and the total are known, at least one of the hidden is below k,
    and none of them is empty but one that was hidden before."""
    places = sorted(masked)
    total = sum(cells[i] for i in places)
    for some in itertools.product(range(total + 1), repeat=max(len(places) - 1, 0)):
        filled = dict(zip(places, (*some, total - sum(some)), strict=True)) if places else {}
        if all(n > 0 or (n == 0 and i in was) for i, n in filled.items()) and (
            not filled or any(0 < n < K for n in filled.values())
        ):
            yield tuple(filled.get(i, n) for i, n in enumerate(cells))


@dataclass(frozen=True)
class Shown:
    """A group of a release: its cells, which of them are hidden, and which were in the release before."""

    cells: Cells
    masked: frozenset[int]
    was: frozenset[int]


def told(before: Shown, after: Shown) -> list[str]:
    """Cells below k, hidden in both releases, that somebody knows who has both and knows that one person made the
    difference."""
    later = set(guesses(after.cells, after.masked, after.was))
    pairs = [
        (a, b) for a in guesses(before.cells, before.masked, before.was) for b in one_person(a) if b in later
    ]
    assert (before.cells, after.cells) in pairs
    return [
        f"{before.cells} -> {after.cells}: cell {i} of release {side} is {one.cells[i]}"
        for side, one in enumerate((before, after))
        for i in before.masked & after.masked
        if 0 < one.cells[i] < K and len({pair[side][i] for pair in pairs}) == 1
    ]


def test_one_person_more_or_fewer_gives_no_small_cell_away(rule: str) -> None:
    """Chains of releases, each other than the one before by one person.

    Two things it does not ask, as docs/bi.md says: a cell that is hidden on one of the two days has crossed k, and that is
    seen; and where all that is hidden is fewer than k people, nothing can hide them from who knows the total.
    """
    dice = random.Random(11)
    chains = [
        Shown(
            tuple(dice.choice((0, 1, 2, 3, 4, 5, 6)) for _ in range(dice.choice((3, 4)))), *(frozenset(),) * 2
        )
        for _ in range(120)
    ]
    masks = hidden(rule, [(one.cells, frozenset()) for one in chains])
    chains = [Shown(one.cells, mask, frozenset()) for one, mask in zip(chains, masks, strict=True)]
    judged, leaks, forgetful_leaks = 0, [], 0
    for _ in range(5):
        steps = [dice.choice(list(one_person(one.cells))) for one in chains]
        masks = hidden(rule, [(cells, one.masked) for cells, one in zip(steps, chains, strict=True)])
        forgetful = hidden(rule, [(cells, frozenset()) for cells in steps])
        after = [Shown(c, m, one.masked) for c, m, one in zip(steps, masks, chains, strict=True)]
        for before, now, forgot in zip(chains, after, forgetful, strict=True):
            enough = min(sum(one.cells[i] for i in one.masked) for one in (before, now)) >= K
            if not enough or sum(before.cells) > 16:
                continue
            judged += 1
            leaks += told(before, now)
            if forgot:
                forgetful_leaks += bool(told(before, Shown(now.cells, forgot, frozenset())))
        chains = after
    assert judged > 200
    assert leaks == []
    assert forgetful_leaks > 5, "a rule that forgets what was hidden gives cells away: the attack bites"
