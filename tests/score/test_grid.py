"""The grid compiler: what it proves and what it refuses."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.score import presets
from pipeline.score.grid import Box, compile_grid, told_cells

# Of the R package rfm, tests/testthat/test-rfm-segment.R: name, then lower and upper score of R, F and M.
R_TEST_GRID = [
    Box("Champions", (4, 5), (4, 5), (4, 5)),
    Box("Loyal Customers", (2, 5), (3, 5), (3, 5)),
    Box("Potential Loyalist", (3, 5), (1, 3), (1, 3)),
    Box("New Customers", (4, 5), (1, 1), (1, 1)),
    Box("Promising", (3, 4), (1, 1), (1, 1)),
    Box("Need Attention", (2, 3), (2, 3), (2, 3)),
    Box("About To Sleep", (2, 3), (1, 2), (1, 2)),
    Box("At Risk", (1, 2), (2, 5), (2, 5)),
    Box("Can't Lose Them", (1, 1), (4, 5), (4, 5)),
    Box("Lost", (1, 2), (1, 2), (1, 2)),
]


@pytest.mark.parametrize("name", presets.load())
def test_every_grid_of_the_seeds_is_sound(name: str) -> None:
    preset = presets.load()[name]
    assert preset.problems() == []
    assert len(preset.compiled.cells) == preset.scores**3


def test_the_test_grid_of_the_r_package_is_refused_by_name() -> None:
    compiled = compile_grid(R_TEST_GRID, 5, first_match=True)
    assert len(compiled.uncovered) == 36
    assert (1, 1, 3) in compiled.uncovered and (5, 4, 1) in compiled.uncovered
    assert compiled.unreachable == ("New Customers", "Promising", "Can't Lose Them")
    uncovered, unreachable = compiled.problems
    assert uncovered.startswith("36 of 125 cells in no segment: R1 F1 M3-5, ")
    assert "R5 F5 M1-2" in uncovered
    assert unreachable == "3 segments that no customer can reach: New Customers, Promising, Can't Lose Them"


def test_overlaps_are_errors_unless_the_first_match_is_declared_to_win() -> None:
    boxes = [
        Box("a", (1, 2), (1, 2), (1, 1)),
        Box("b", (2, 2), (1, 2), (1, 2)),
        Box("c", (1, 1), (1, 2), (2, 2)),
    ]
    assert compile_grid(boxes, 2).problems == ("2 of 8 cells in a and b at once: R2 F1 M1, R2 F2 M1",)
    assert compile_grid(boxes, 2, first_match=True).problems == ()


def test_a_rest_segment_must_be_reachable_too() -> None:
    whole = [Box("all", (1, 2), (1, 2), (1, 2))]
    assert compile_grid(whole, 2, others="rest").problems == ("1 segment that no customer can reach: rest",)


@pytest.mark.parametrize(
    ("box", "said"),
    [
        (Box("x", (2, 1), (1, 2), (1, 2)), "R goes from 2 to 1"),
        (Box("x", (1, 2), (0, 2), (1, 2)), "F 0-2 lies outside the scores 1 to 2"),
        (Box("x", (1, 2), (1, 2), (1, 3)), "M 1-3 lies outside the scores 1 to 2"),
    ],
)
def test_a_box_that_cannot_be_meant_is_told(box: Box, said: str) -> None:
    assert any(said in problem for problem in compile_grid([box], 2).problems)


def test_cells_that_differ_in_money_alone_are_told_together() -> None:
    assert told_cells([(1, 1, 1), (1, 1, 2), (1, 1, 4), (2, 1, 3)]) == "R1 F1 M1-2/4, R2 F1 M3"


_side = st.tuples(st.integers(1, 3), st.integers(1, 3)).map(lambda ends: (min(ends), max(ends)))
_boxes = st.lists(st.builds(Box, st.sampled_from("abcd"), _side, _side, _side), max_size=6)


@given(_boxes, st.booleans(), st.sampled_from([None, "rest"]))
def test_a_grid_without_a_problem_gives_every_cell_one_segment(
    boxes: list[Box], first: bool, rest: str | None
) -> None:
    compiled = compile_grid(boxes, 3, first_match=first, others=rest)
    holders = {cell: [b.segment for b in boxes if b.holds(cell)] for cell in product((1, 2, 3), repeat=3)}
    is_total = rest is not None or all(holders.values())
    is_disjoint = first or all(len(set(found)) < 2 for found in holders.values())
    firsts = {found[0] if found else rest for found in holders.values()}
    is_reached = {b.segment for b in boxes} | ({rest} if rest else set()) <= firsts
    assert (not compiled.problems) == (is_total and is_disjoint and is_reached)
    if not compiled.problems:
        assert compiled.cells == {cell: found[0] if found else rest for cell, found in holders.items()}
