"""The forecasts that a model must beat: two naive ones and the transparent formula of M-09."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.clv.arrays import Array
from pipeline.clv.histories import Histories
from pipeline.clv.rhythm import STAGES, rhythm_of

_YEAR = 365
# The same limits that score recency in a home with few buyers.
_BUCKETS = (
    "rfm_absolute_recency_4",
    "rfm_absolute_recency_3",
    "rfm_absolute_recency_2",
    "rfm_absolute_recency_1",
)


@dataclass(frozen=True)
class Forecast:
    """Purchases and money of each customer in the days ahead."""

    purchases: Array
    money: Array


def last_period(seen: Histories) -> Forecast:
    """Each customer does again what he did in the last period of the same length."""
    return Forecast(seen.period_purchases, seen.period_money)


def mean_of_all(seen: Histories) -> Forecast:
    """Each customer does what the average customer did in the last period of the same length."""
    ones = np.ones(len(seen))
    return Forecast(ones * seen.period_purchases.mean(), ones * seen.period_money.mean())


def return_window(history_days: int) -> int:
    """Days over which returning is measured: a year, or half of the history where that is shorter."""
    return min(_YEAR, history_days // 2)


def formula(seen: Histories, earlier: Histories, days: int, policy: Mapping[str, float]) -> Forecast:
    """M-09: days / g × p_active purchases at the customer's own mean.

    Args:
        earlier: the state one return window before, with what came in that window.

    p_active is the share of those who stood in the same stage and recency bucket then and came back; a cell of fewer
    than `low_n` people takes the rate of its stage, then that of all.
    """
    past, now = rhythm_of(earlier, policy), rhythm_of(seen, policy)
    limits = [policy[key] for key in _BUCKETS]
    width = len(limits) + 1
    returned = (earlier.next_purchases > 0).astype(float)

    def rate(cells: Array, size: int, otherwise: Array) -> Array:
        people = np.bincount(cells, minlength=size)
        back = np.bincount(cells, returned, minlength=size)
        return np.where(people >= policy["low_n"], back / np.maximum(people, 1), otherwise)

    overall = float(returned.mean()) if len(returned) else 0.0
    by_stage = rate(past.stage, len(STAGES), np.full(len(STAGES), overall))
    cell_then = past.stage * width + np.searchsorted(limits, earlier.recency)
    by_cell = rate(cell_then, len(STAGES) * width, np.repeat(by_stage, width))
    p_active = by_cell[now.stage * width + np.searchsorted(limits, seen.recency)]
    purchases = days / now.expected_gap * p_active
    return Forecast(purchases, purchases * seen.own_mean)
