"""When is a customer lost? The personal rhythm against one fixed limit, decided by who came back (E-09).

A good limit splits customers into those who come back and those who do not. The split is measured by phi, the
correlation of "lost by the rule" with "did not come back": 1 is a perfect rule, 0 says nothing.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.clv.histories import Days, histories, of_each
from pipeline.clv.rhythm import STAGES, rhythm_of
from pipeline.clv.said import say

RULES = ("personal", "fixed")
WINDOWS = (90, 180)


@dataclass(frozen=True)
class Split:
    """People whom the rule calls active and lost, how many of each came back, and phi (None: all on one side)."""

    active: int
    active_back: int
    lost: int
    lost_back: int
    phi: float | None


@dataclass(frozen=True)
class Measured:
    """One origin and window; `stages` has (people, came back) by stage of M-05, `monotone` whether active stages
    come back more than declining ones and these more than churned ones."""

    origin: date
    window: int
    splits: dict[str, Split]
    stages: dict[str, tuple[int, int]]
    monotone: bool | None


@dataclass(frozen=True)
class Churn:
    """`rule` is the better of RULES by mean phi; `personal` without any measurement, as policy P-05 has it."""

    rule: str
    mean_phi: dict[str, float]
    measured: list[Measured]
    reason: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(days: Days, first: date, as_of: date, policy: Mapping[str, float]) -> Churn:
    """Both rules at past days, with one and a half fixed limits of history before and the whole window after.

    With less history hardly anybody can have been silent for longer than the fixed limit, and it would lose for that.
    """
    fixed = round(policy["churn_fixed_days"])
    least = fixed * 3 // 2
    origins = [
        (as_of - timedelta(days=window * k), window)
        for window in WINDOWS
        for k in range(1, round(policy["clv_backtest_origins_max"]) + 1)
    ]
    measured = of_each(
        lambda at: _at(days, *at, policy), (at for at in origins if (at[0] - first).days >= least)
    )
    usable = [m for m in measured if any(split.phi is not None for split in m.splits.values())]
    if not usable:
        return Churn("personal", {}, measured, say("limit_not_measured", days=least + min(WINDOWS)))
    phi = {rule: float(np.mean([m.splits[rule].phi or 0.0 for m in usable])) for rule in RULES}
    rule = max(RULES, key=lambda name: phi[name])
    told = {name: f"{value:.3f}" for name, value in phi.items()}
    reason = say("limit_measured", rule=say(f"rule_{rule}"), days=fixed, n=len(usable), **told)
    return Churn(rule, phi, measured, reason)


def _at(days: Days, origin: date, window: int, policy: Mapping[str, float]) -> Measured:
    seen = histories(days, origin, period=window, ahead=window)
    rhythm = rhythm_of(seen, policy)
    back = seen.next_purchases > 0
    splits = {
        "personal": split(seen.recency > rhythm.churn_days, back),
        "fixed": split(seen.recency > policy["churn_fixed_days"], back),
    }
    stages = {
        name: (int((rhythm.stage == i).sum()), int(back[rhythm.stage == i].sum()))
        for i, name in enumerate(STAGES)
    }
    return Measured(origin, window, splits, stages, _monotone(stages))


def split(lost: NDArray[np.bool_], back: NDArray[np.bool_]) -> Split:
    """The four counts and phi."""
    n = len(lost)
    lost_n, back_n, both = int(lost.sum()), int(back.sum()), int((lost & back).sum())
    spread = lost_n * (n - lost_n) * back_n * (n - back_n)
    phi = (lost_n * back_n - n * both) / float(np.sqrt(float(spread))) if spread else None
    return Split(n - lost_n, back_n - both, lost_n, both, phi)


def _monotone(stages: Mapping[str, tuple[int, int]]) -> bool | None:
    groups = [("new", "growing", "mature"), ("declining",), ("churned",)]
    rates = []
    for group in groups:
        people, back = (sum(stages[name][i] for name in group) for i in (0, 1))
        if people:
            rates.append(back / people)
    return all(a > b for a, b in zip(rates, rates[1:], strict=False)) if len(rates) > 1 else None
