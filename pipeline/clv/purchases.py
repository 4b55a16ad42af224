"""BG/NBD and MBG/NBD: how often a customer buys while alive, and when he stops without saying so.

Sources:
    [FHL] Fader, Hardie, Lee 2005, "Counting Your Customers" the Easy Way, Marketing Science 24(2): BG/NBD.
    [BDF] Batislam, Denizel, Filiztekin 2007, Empirical validation and comparison of models for customer base
          analysis, IJRM 24(3): MBG/NBD. A customer may also stop right after the first purchase.

Both are one model with c = b + x (BG) or b + x + 1 (MBG): Gamma(r, alpha) over the rates, Beta(a, b) over the chance
to stop after a purchase; in BG nobody has stopped at x = 0.

A history is (x, t_x, T): repeat purchases, time of the last purchase and length of observation, both since the first
purchase and in one unit of time, which is also alpha's.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from scipy.special import betaincinv, betaln, digamma, gammaln, hyp2f1, roots_jacobi

from pipeline.clv.arrays import Array
from pipeline.clv.fitting import NoFit, maximise, total
from pipeline.clv.said import say

Kind = Literal["bgnbd", "mbgnbd"]
# Near a = 1 the closed forms are 0/0; the line between both sides is exact to the square of this.
_BESIDE_ONE = 1e-5
# Customers who are all alike send a or r far up. There 2F1 overflows, and the integral is smooth and easy.
_LARGE_A, _LARGE_SHAPE = 100.0, 1_000.0
_POINTS = 64
# Below it (1 − e^(−λpt)) / p has its limit λt in every digit.
_SMALLEST = 1e-100


@dataclass(frozen=True)
class PurchaseModel:
    """A fitted model. `log_likelihood` is over `customers`; NaN where the parameters were only given."""

    r: float
    alpha: float
    a: float
    b: float
    kind: Kind = "bgnbd"
    log_likelihood: float = float("nan")
    customers: int = 0

    @property
    def _offset(self) -> int:
        return 1 if self.kind == "mbgnbd" else 0

    def p_alive(self, x: Array, t_x: Array, T: Array) -> Array:
        """Chance that the customer has not stopped by T, in [0, 1]. [FHL] (10), its denominator; [BDF] (8)."""
        x, t_x, T = (np.asarray(v, float) for v in (x, t_x, T))
        return np.exp(-np.logaddexp(0.0, self._log_odds_stopped(x, t_x, T)))

    def _log_odds_stopped(self, x: Array, t_x: Array, T: Array) -> Array:
        c = self.b + x + self._offset
        with np.errstate(divide="ignore", invalid="ignore"):
            odds = (
                np.log(self.a)
                - np.log(c - 1)
                + (self.r + x) * (np.log(self.alpha + T) - np.log(self.alpha + t_x))
            )
        return odds if self._offset else np.where(x > 0, odds, -np.inf)

    def expected(self, t: Array | float, x: Array, t_x: Array, T: Array) -> Array:
        """Expected purchases in (T, T + t] of a customer with this history. [FHL] (10); [BDF] for MBG."""
        x, t_x, T = (np.asarray(v, float) for v in (x, t_x, T))
        alive = self._while_alive(np.asarray(t, float), self.r + x, self.alpha + T, self.b + x + self._offset)
        return alive * self.p_alive(x, t_x, T)

    def expected_new(self, t: Array | float) -> Array:
        """Expected repeat purchases in (0, t] of a customer of whom nothing is known yet. [FHL] (9)."""
        t = np.asarray(t, float)
        alive = self._while_alive(
            t, np.asarray(self.r), np.asarray(self.alpha), np.asarray(self.b + self._offset)
        )
        # MBG: a share b / (a + b) outlives the first purchase.
        return alive * (self.b / (self.a + self.b) if self._offset else 1.0)

    def _while_alive(self, t: Array, shape: Array, rate: Array, c: Array) -> Array:
        """E[(1 − e^(−λpt)) / p] for λ ~ Gamma(shape, rate), p ~ Beta(a, c).

        [FHL] (9), (10) after Euler's transformation of 2F1: its second argument does not grow with x then, and its
        value stays near 1.
        """

        def at(a: float) -> Array:
            share = t / (rate + t)
            tail = np.exp((a - 1) * np.log1p(-share))
            series = hyp2f1(a - 1, a + c - 1 - shape, a + c - 1, share)
            return (a + c - 1) / (a - 1) * (1 - tail * series)

        if self.a > _LARGE_A or np.max(shape, initial=0.0) > _LARGE_SHAPE:
            return self._by_quadrature(t, shape, rate, c)
        if abs(self.a - 1) < _BESIDE_ONE:
            above = (self.a - 1 + _BESIDE_ONE) / (2 * _BESIDE_ONE)
            return (1 - above) * at(1 - _BESIDE_ONE) + above * at(1 + _BESIDE_ONE)
        return np.maximum(at(self.a), 0.0)

    def _by_quadrature(self, t: Array, shape: Array, rate: Array, c: Array) -> Array:
        """The same expectation over 64 points of p, one set a distinct c: Gauss-Jacobi, whose weight is the Beta
        density itself, or Gauss-Legendre over quantiles where that density is too narrow for it."""
        t, shape, rate, c = np.broadcast_arrays(t, shape, rate, c)
        found = np.empty(c.shape)
        for value in np.unique(c):
            if max(self.a, value) <= _LARGE_A:
                points, weights = roots_jacobi(_POINTS, value - 1, self.a - 1)
                p = (1 + points) / 2
            else:
                points, weights = np.polynomial.legendre.leggauss(_POINTS)
                p = betaincinv(self.a, value, (1 + points) / 2)
            p = np.maximum(p, _SMALLEST)
            at = c == value
            inner = -np.expm1(-shape[at, None] * np.log1p(p * (t / rate)[at, None])) / p
            found[at] = (inner * weights).sum(axis=-1) / weights.sum()
        return found

    def probability(self, n: int, t: float) -> float:
        """Chance of exactly n repeat purchases in (0, t] of a new customer. [FHL] (8); BG/NBD only."""
        if self.kind != "bgnbd":
            raise ValueError("the distribution of counts is given for BG/NBD only")
        log_stay, log_go = np.log(self.alpha / (self.alpha + t)), np.log(t / (self.alpha + t))
        counts = np.arange(n + 1)
        log_poisson = (
            gammaln(self.r + counts)
            - gammaln(self.r)
            - gammaln(counts + 1)
            + self.r * log_stay
            + counts * log_go
        )
        start = betaln(self.a, self.b)
        still = np.exp(betaln(self.a, self.b + n) - start + log_poisson[n])
        if n == 0:
            return float(still)
        reached = max(0.0, 1 - float(np.exp(log_poisson[:n]).sum()))
        return float(still + np.exp(betaln(self.a + 1, self.b + n - 1) - start) * reached)


def log_likelihood(
    parameters: Array, x: Array, t_x: Array, T: Array, weights: Array, kind: Kind = "bgnbd"
) -> tuple[float, Array]:
    """(weighted log-likelihood, its gradient by r, alpha, a, b). [FHL] (6) in log space, [BDF] (7)."""
    r, alpha, a, b = parameters
    offset = 1 if kind == "mbgnbd" else 0
    # Functions of x alone are evaluated once a count; there are few.
    place = x.astype(np.int64)
    counts = np.arange(place.max() + 1)
    c = b + counts + offset
    may_have_stopped = (counts > 0) | bool(offset)
    log_c1 = np.log(np.where(may_have_stopped, c - 1, 1.0))
    of_count = gammaln(r + counts) - gammaln(r) + r * np.log(alpha) + betaln(a, c) - betaln(a, b)
    log_end, log_last = np.log(alpha + T), np.log(alpha + t_x)
    power = r + x
    alive = -power * log_end
    stopped = np.where(may_have_stopped[place], np.log(a) - log_c1[place] - power * log_last, -np.inf)
    both = np.logaddexp(alive, stopped)
    p_alive = np.exp(alive - both)
    p_stopped = np.exp(stopped - both)
    value = total(weights, of_count[place] + both)

    per_count = np.bincount(place, weights)
    stopped_per_count = np.bincount(place, weights * p_stopped)
    slope_ab = digamma(a + b) - digamma(a + c)
    gradient = np.array(
        [
            total(per_count, digamma(r + counts) - digamma(r) + np.log(alpha))
            - total(weights, p_alive * log_end + p_stopped * log_last),
            float(weights.sum()) * r / alpha
            - total(weights, power * (p_alive / (alpha + T) + p_stopped / (alpha + t_x))),
            total(per_count, slope_ab) + float(stopped_per_count.sum()) / a,
            total(per_count, slope_ab + digamma(c) - digamma(b))
            - total(stopped_per_count, np.where(may_have_stopped, 1 / np.exp(log_c1), 0.0)),
        ]
    )
    return value, gradient


def _alike(x: Array, t_x: Array, T: Array, weights: Array) -> tuple[list[Array], Array]:
    """The different histories, by x, t_x and T, and the weight of each: a sixth of the time of `np.unique` of columns."""
    order = np.lexsort((T, t_x, x))
    sorted_ = [column[order] for column in (x, t_x, T)]
    begins = np.ones(len(order), bool)
    begins[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in sorted_])
    return [column[begins] for column in sorted_], np.bincount(np.cumsum(begins) - 1, weights[order])


def fit_purchases(
    x: Array, t_x: Array, T: Array, kind: Kind = "bgnbd", weights: Array | None = None
) -> PurchaseModel:
    """The model that makes these histories most likely.

    Args:
        x, t_x, T: one entry a customer, or a group of equal histories with its size in `weights`.

    Raises:
        NoFit: nobody bought twice, histories that cannot be, or no maximum.
    """
    x, t_x, T = (np.asarray(v, float) for v in (x, t_x, T))
    weights = np.ones_like(x) if weights is None else np.asarray(weights, float)
    if not len(x) or not (x > 0).any():
        raise NoFit(say("nobody_twice", model=kind))
    wrong = (
        (x < 0)
        | (t_x < 0)
        | (t_x > T)
        | ((x == 0) & (t_x != 0))
        | ~np.isfinite(x + t_x + T)
        | (x != np.floor(x))
    )
    if wrong.any():
        raise NoFit(say("impossible_histories", model=kind, n=int(wrong.sum())))
    (x_, t_x_, T_), size = _alike(x, t_x, T, weights)
    # In units of the mean observation every parameter is near 1, whatever the file's unit.
    scale = total(weights, T) / float(weights.sum())
    t_x_, T_ = t_x_ / scale, T_ / scale
    rate = total(weights, x) / float(weights.sum())
    starts = [
        (r, r / (rate * more), a, b)
        for r, more, a, b in (
            (0.3, 2.0, 0.8, 2.4),
            (1.0, 1.2, 0.1, 1.0),
            (0.8, 3.0, 1.0, 1.0),
            (3.0, 1.0, 0.05, 2.0),
        )
    ]
    found, value = maximise(partial(log_likelihood, kind=kind), starts, (x_, t_x_, T_, size), kind)
    r, alpha, a, b = map(float, found)
    # The density of the purchase times has the unit 1 / time for each repeat purchase.
    value -= total(weights, x) * float(np.log(scale))
    return PurchaseModel(r, alpha * scale, a, b, kind, value, int(weights.sum()))
