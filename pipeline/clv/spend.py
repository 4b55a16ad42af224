"""Gamma-gamma: what a customer spends on average, with little weight on one or two purchases.

Source: [FH] Fader, Hardie 2013, The Gamma-Gamma Model of Monetary Value (brucehardie.com/notes/025). A purchase is
worth Gamma(p, ν), ν ~ Gamma(q, v); z̄ is the mean of x purchases. It is assumed that spend does not depend on frequency.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import betaln, digamma

from pipeline.clv.arrays import Array
from pipeline.clv.fitting import NoFit, maximise, total
from pipeline.clv.said import say


@dataclass(frozen=True)
class SpendModel:
    """A fitted model; v has the unit of money."""

    p: float
    q: float
    v: float
    log_likelihood: float = float("nan")
    customers: int = 0

    @property
    def population_mean(self) -> float:
        """Expected mean spend of a customer of whom nothing is known: p v / (q − 1). [FH] (3)."""
        return self.p * self.v / (self.q - 1)

    def expected_average(self, x: Array, mean: Array) -> Array:
        """E[spend per purchase | mean of x purchases]; x = 0 gives the population's mean. [FH] (5)."""
        x, mean = np.asarray(x, float), np.asarray(mean, float)
        seen = np.where(x > 0, x * mean, 0.0)
        return self.p * (self.v + seen) / (self.p * x + self.q - 1)


def log_likelihood(parameters: Array, x: Array, mean: Array, weights: Array) -> tuple[float, Array]:
    """(weighted log-likelihood, its gradient by p, q, v). [FH] (1a) in log space."""
    p, q, v = parameters
    # Functions of x alone are evaluated once a count; there are few.
    place = x.astype(np.int64)
    counts = np.arange(1, place.max() + 1)
    per_count = np.bincount(place, weights)[1:]
    spent = x * mean
    log_spent, log_sum = np.log(spent), np.log(v + spent)
    both = digamma(p * counts + q)
    value = total(per_count, q * np.log(v) - betaln(p * counts, q)) + total(
        weights, p * x * log_spent - (p * x + q) * log_sum - np.log(mean)
    )
    gradient = np.array(
        [
            total(per_count, counts * (both - digamma(p * counts)))
            + total(weights, x * (log_spent - log_sum)),
            total(per_count, both - digamma(q) + np.log(v)) - total(weights, log_sum),
            total(weights, q / v - (p * x + q) / (v + spent)),
        ]
    )
    return value, gradient


def fit_spend(x: Array, mean: Array) -> SpendModel:
    """The model that makes these mean spends most likely.

    Args:
        x: purchases with a value (> 0), one entry a customer; mean: their mean value, positive.

    Raises:
        NoFit: fewer than three customers, values that do not differ, no maximum, or q ≤ 1 (no finite mean).
    """
    x, mean = np.asarray(x, float), np.asarray(mean, float)
    if len(x) < 3 or np.ptp(mean) == 0:
        raise NoFit(say("few_spenders", model="gamma_gamma", n=len(x)))
    if not ((x > 0) & (x == np.floor(x)) & (mean > 0) & np.isfinite(x + mean)).all():
        raise NoFit(say("impossible_spend", model="gamma_gamma"))
    scale = float(mean.mean())
    starts = [(6.0, 4.0, 0.5), (1.0, 2.0, 1.0), (3.0, 10.0, 3.0), (20.0, 3.0, 0.1)]
    found, value = maximise(log_likelihood, starts, (x, mean / scale, np.ones_like(x)), "gamma_gamma")
    p, q, v = map(float, found)
    if q <= 1.01:
        raise NoFit(say("no_mean_spend", model="gamma_gamma", q=f"{q:.3f}"))
    return SpendModel(p, q, v * scale, value - len(x) * float(np.log(scale)), len(x))
