"""Presets and policy as the seeds have them."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipeline.errors import StrataError
from pipeline.score.grid import Box, Compiled, compile_grid
from pipeline.transform.context import POLICY_DIR

# The preset whose labels are those of the job's own scheme, and the two classes of customers without a score.
JOB_PRESET = "rf25"
UNSCORED = ("lapsed", "prospects")
_ALLOWED = {
    "frequency_unit": ("day", "order"),
    "monetary_unit": ("total", "mean"),
    "refresh": ("month", "as_of"),
    "cut_rule": ("quantile", "mean"),
    "recency_at_cut": ("lower", "upper"),
    "amount_at_cut": ("lower", "upper"),
    "repeated_cuts": ("kept", "dropped"),
    "matching": ("disjoint", "first_match"),
}


@dataclass(frozen=True)
class Preset:
    """One row of rfm_presets with its grid and its labels.

    Attributes:
        row: the columns of the seed as text.
        boxes: of the grid, in order of priority.
        labels: segment → (Chinese, English), in the order in which they are shown; the unscored classes are last.
    """

    name: str
    row: Mapping[str, str]
    boxes: tuple[Box, ...]
    labels: Mapping[str, tuple[str, str]]

    scores = property(lambda self: int(self.row["scores"]))
    others = property(lambda self: self.row["others"] or None)
    is_first_match = property(lambda self: self.row["matching"] == "first_match")
    is_frozen = property(lambda self: self.row["refresh"] == "month")
    window_days = property(lambda self: int(self.row["window_days"]) if self.row["window_days"] else None)

    @cached_property
    def compiled(self) -> Compiled:
        return compile_grid(self.boxes, self.scores, first_match=self.is_first_match, others=self.others)

    @property
    def cut_parameters(self) -> dict[str, Any]:
        """Arguments of the macro rfm_cut_points."""
        return {
            "scores": self.scores,
            "cut_rule": self.row["cut_rule"],
            "cut_offset": int(self.row["cut_offset"]),
            "repeated_cuts": self.row["repeated_cuts"],
            "absolute_cuts": [int(k) for k in self.row["absolute_cuts"].split("|")],
        }

    @property
    def score_parameters(self) -> dict[str, str]:
        """Arguments of the macro rfm_scores."""
        return {key: self.row[key] for key in ("recency_at_cut", "amount_at_cut")}

    def problems(self) -> list[str]:
        """Everything that makes the preset unsound, one sentence each."""
        found = [
            f"{column} {self.row[column]!r} is none of {', '.join(allowed)}"
            for column, allowed in _ALLOWED.items()
            if self.row[column] not in allowed
        ]
        cuts = self.row["absolute_cuts"].split("|")
        if len(cuts) != self.scores - 1 or not set(cuts) <= set("1234") or sorted(cuts) != cuts:
            found.append(
                f"absolute_cuts {self.row['absolute_cuts']!r} must name {self.scores - 1} of 1|2|3|4"
            )
        found += self.compiled.problems
        unlabelled = sorted(set(self.compiled.cells.values()) - set(self.labels))
        if unlabelled:
            found.append(f"segments without a label: {', '.join(unlabelled)}")
        return found


@dataclass(frozen=True)
class Policy:
    """What the thresholds say on one day: key → value, and the version's name."""

    values: Mapping[str, Decimal]
    version: str


def _rows(folder: Path, seed: str) -> list[dict[str, str]]:
    try:
        with (folder / f"{seed}.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        raise StrataError(f"the policy seed {seed}.csv is not in {folder}") from None


def load(folder: Path = POLICY_DIR) -> dict[str, Preset]:
    """Every preset of the seeds, by name. Raises StrataError for a value that is no number."""
    common = {
        row["class"]: (row["label_zh"], row["label_en"])
        for row in sorted(_rows(folder, "segment_labels"), key=lambda row: int(row["sort"]))
        if row["scheme"] == "rfm"
    }
    unscored = {name: common[name] for name in UNSCORED if name in common}
    grids, labels = _rows(folder, "rfm_grids"), _rows(folder, "rfm_preset_segments")
    presets = {}
    for row in _rows(folder, "rfm_presets"):
        name = row["preset"]
        try:
            int(row["scores"]), int(row["cut_offset"]), int(row["window_days"] or 0)
            boxes = tuple(
                Box(g["rfm_segment"], *((int(g[f"{k}_from"]), int(g[f"{k}_to"])) for k in "rfm"))
                for g in sorted(grids, key=lambda g: int(g["priority"]))
                if g["preset"] == name
            )
        except ValueError as error:
            raise StrataError(f"preset {name} in the policy seeds: {error}") from None
        own = {
            s["rfm_segment"]: (s["label_zh"], s["label_en"])
            for s in sorted(labels, key=lambda s: int(s["sort"]))
            if s["preset"] == name
        }
        known = common if name == JOB_PRESET else own
        presets[name] = Preset(
            name, row, boxes, {k: v for k, v in known.items() if k not in unscored} | unscored
        )
    return presets


def find(name: str, folder: Path = POLICY_DIR) -> Preset:
    """The sound preset of that name. Raises StrataError where there is none, or it is unsound."""
    presets = load(folder)
    if name not in presets:
        raise StrataError(
            f"no preset {name!r}; there are {', '.join(presets)} (see `strata score --list-presets`)"
        )
    problems = presets[name].problems()
    if problems:
        raise StrataError(f"preset {name} is unsound: {problems[0]} (see `strata policy check`)")
    return presets[name]


def policy_on(day: date, folder: Path = POLICY_DIR) -> Policy:
    """The thresholds in force on a day, of an earlier one those of the first. Raises StrataError where none is.

    Public data sets are older than the first policy.
    """
    day = max(day, date.fromisoformat(min(row["valid_from"] for row in _rows(folder, "thresholds"))))
    if doubled := [line for line in double_thresholds(folder) if line.holds(day)]:
        raise StrataError(str(doubled[0]))
    values = {row["key"]: Decimal(row["value"]) for row in _rows(folder, "thresholds") if _holds(row, day)}
    versions = [row for row in _rows(folder, "policy_versions") if _holds(row, day)]
    if not values or not versions:
        raise StrataError(f"no policy is in force on {day}: give its rows in {folder} an earlier valid_from")
    return Policy(values, max(versions, key=lambda row: row["valid_from"])["version"])


def _holds(row: Mapping[str, str], day: date) -> bool:
    return row["valid_from"] <= day.isoformat() and (not row["valid_to"] or row["valid_to"] > day.isoformat())


@dataclass(frozen=True)
class DoubleThreshold:
    """A key of thresholds.csv of which two rows are in force on the days from `first` to the day before `end`."""

    key: str
    first: str
    end: str

    def holds(self, day: date) -> bool:
        return self.first <= day.isoformat() and (not self.end or day.isoformat() < self.end)

    def __str__(self) -> str:
        return f"thresholds.csv has two rows of {self.key} in force on {self.first}: end the older one (valid_to)"


def double_thresholds(folder: Path = POLICY_DIR) -> list[DoubleThreshold]:
    """Every day from which on a key has two values: no reader could say which of them is meant."""
    found = []
    by_key = sorted(_rows(folder, "thresholds"), key=lambda row: (row["key"], row["valid_from"]))
    for before, after in pairwise(by_key):
        if before["key"] == after["key"] and (
            not before["valid_to"] or before["valid_to"] > after["valid_from"]
        ):
            ends = [end for end in (before["valid_to"], after["valid_to"]) if end]
            found.append(DoubleThreshold(after["key"], after["valid_from"], min(ends, default="")))
    return found
