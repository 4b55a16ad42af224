"""A grid of named segments, proved: every cell has one segment, and every segment can be reached."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby, product

Cell = tuple[int, int, int]


@dataclass(frozen=True)
class Box:
    """The cells of one row of a grid: scores from…to of R, F and M, both ends included."""

    segment: str
    r: tuple[int, int]
    f: tuple[int, int]
    m: tuple[int, int]

    def holds(self, cell: Cell) -> bool:
        return all(low <= score <= high for score, (low, high) in zip(cell, self._sides, strict=True))

    @property
    def _sides(self) -> tuple[tuple[int, int], ...]:
        return self.r, self.f, self.m

    def problem(self, scores: int) -> str | None:
        """What is wrong with the box by itself, if anything."""
        for name, (low, high) in zip("RFM", self._sides, strict=True):
            if low > high:
                return f"segment {self.segment}: {name} goes from {low} to {high}; put the lower score first"
            if low < 1 or high > scores:
                return f"segment {self.segment}: {name} {low}-{high} lies outside the scores 1 to {scores}"
        return None


@dataclass(frozen=True)
class Compiled:
    """What a grid does to every cell.

    Attributes:
        cells: segment of each cell; cells that no box holds have the segment of the rest, if one is declared.
        uncovered: cells that no box holds.
        overlaps: (cell, segments in order) where boxes of different segments meet.
        unreachable: segments that no cell leads to.
        problems: one sentence for each thing that makes the grid unsound, empty where it is sound.
    """

    cells: Mapping[Cell, str]
    uncovered: tuple[Cell, ...]
    overlaps: tuple[tuple[Cell, tuple[str, ...]], ...]
    unreachable: tuple[str, ...]
    problems: tuple[str, ...]


def compile_grid(
    boxes: Iterable[Box], scores: int, *, first_match: bool = False, others: str | None = None
) -> Compiled:
    """Look at each of the scores³ cells.

    Args:
        boxes: in the order in which they are asked.
        first_match: overlapping boxes are meant, and the first one wins. Otherwise an overlap is an error.
        others: declared segment of all cells in no box. Otherwise a cell in no box is an error.
    """
    boxes = list(boxes)
    problems = [problem for box in boxes if (problem := box.problem(scores))]
    cells: dict[Cell, str] = {}
    uncovered: list[Cell] = []
    overlaps: list[tuple[Cell, tuple[str, ...]]] = []
    each = range(1, scores + 1)
    for cell in product(each, each, each):
        met = tuple(dict.fromkeys(box.segment for box in boxes if box.holds(cell)))
        if met:
            cells[cell] = met[0]
            if len(met) > 1:
                overlaps.append((cell, met))
        else:
            uncovered.append(cell)
            if others is not None:
                cells[cell] = others
    reached = set(cells.values())
    named = list(dict.fromkeys([*(box.segment for box in boxes), *([] if others is None else [others])]))
    unreachable = tuple(segment for segment in named if segment not in reached)
    of = f"of {scores**3} cells"
    if uncovered and others is None:
        problems.append(f"{len(uncovered)} {of} in no segment: {told_cells(uncovered)}")
    if overlaps and not first_match:
        by_segments = sorted(overlaps, key=lambda overlap: overlap[1])
        for segments, group in groupby(by_segments, key=lambda overlap: overlap[1]):
            met_in = [cell for cell, _ in group]
            problems.append(f"{len(met_in)} {of} in {' and '.join(segments)} at once: {told_cells(met_in)}")
    if unreachable:
        problems.append(
            f"{len(unreachable)} segment{'s' * (len(unreachable) > 1)} that no customer can reach: "
            f"{', '.join(unreachable)}"
        )
    return Compiled(cells, tuple(uncovered), tuple(overlaps), unreachable, tuple(problems))


def told_cells(cells: Iterable[Cell]) -> str:
    """Cells as text, those that differ in M alone together: `R1 F2 M1-3, R4 F4 M1`."""
    told = []
    for (r, f), group in groupby(sorted(cells), key=lambda cell: cell[:2]):
        scores = [m for _, _, m in group]
        runs: list[list[int]] = []
        for m in scores:
            if runs and runs[-1][-1] == m - 1:
                runs[-1].append(m)
            else:
                runs.append([m])
        listed = "/".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
        told.append(f"R{r} F{f} M{listed}")
    return ", ".join(told)
