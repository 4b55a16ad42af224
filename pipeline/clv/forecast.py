"""The two models together on one set of histories: purchases, money and discounted value ahead."""

from dataclasses import dataclass

import numpy as np

from pipeline.clv.arrays import Array
from pipeline.clv.fitting import NoFit
from pipeline.clv.histories import DAYS_PER_WEEK, Histories
from pipeline.clv.purchases import Kind, PurchaseModel, fit_purchases
from pipeline.clv.spend import SpendModel, fit_spend

_MONTH = 30
_YEAR = 365


@dataclass(frozen=True)
class Models:
    """What could be fitted; `why` has the reason where a model is None. `correlation` is of frequency and spend."""

    purchases: PurchaseModel | None
    spend: SpendModel | None
    why: dict[str, str]
    correlation: float | None

    def expected_purchases(self, seen: Histories, days: float) -> Array | None:
        if self.purchases is None:
            return None
        return self.purchases.expected(days / DAYS_PER_WEEK, seen.x, seen.t_x, seen.T)

    def expected_average(self, seen: Histories) -> Array | None:
        return self.spend.expected_average(*seen.spend) if self.spend else None

    def value(self, seen: Histories, days: int, discount_rate: float) -> Array | None:
        """Discounted money of the `days` ahead: each month's purchases count at the month's middle."""
        average = self.expected_average(seen)
        if self.purchases is None or average is None:
            return None
        ends = [*range(_MONTH, days, _MONTH), days]
        total, before, start = np.zeros(len(seen)), np.zeros(len(seen)), 0
        for end in ends:
            until = self.purchases.expected(end / DAYS_PER_WEEK, seen.x, seen.t_x, seen.T)
            total += (until - before) * (1 + discount_rate) ** (-(start + end) / 2 / _YEAR)
            before, start = until, end
        return total * average


def fit(seen: Histories, kind: Kind) -> Models:
    """Both models, each or none; never an error."""
    why: dict[str, str] = {}
    purchases = spend = None
    try:
        purchases = fit_purchases(seen.x, seen.t_x, seen.T, kind)
    except NoFit as error:
        why[kind] = error.said
    count, mean = seen.spend
    paid = count > 0
    try:
        spend = fit_spend(count[paid], mean[paid])
    except NoFit as error:
        why["gamma_gamma"] = error.said
    varies = paid.sum() > 2 and np.ptp(count[paid]) > 0 and np.ptp(mean[paid]) > 0
    correlation = float(np.corrcoef(count[paid], mean[paid])[0, 1]) if varies else None
    return Models(purchases, spend, why, correlation)
