"""Maximum likelihood over positive parameters, started from several points and checked before it is believed."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize

from pipeline.clv.arrays import Array
from pipeline.clv.said import Said, say
from pipeline.errors import StrataError

# exp(±14): beyond it a parameter stands for "no variation", which floats cannot tell apart any more.
_BOUND = 14.0
_SAMPLE = 4_000


class NoFit(StrataError):
    """The data do not decide the parameters; the message says which part of them and what to do."""

    def __init__(self, said: Said) -> None:
        super().__init__(said)
        self.said = said


def total(weights: Array, values: Array) -> float:
    """Σ weights · values in one order of summation: BLAS would split it by threads, and a run would differ from the next."""
    return float(np.multiply(weights, values).sum())


def maximise(
    likelihood: Callable[..., tuple[float, Array]],
    starts: Sequence[Sequence[float]],
    data: tuple[Array, ...],
    name: str,
) -> tuple[Array, float]:
    """(parameters, log-likelihood of all customers) at the best of the maxima reached from `starts`.

    Args:
        likelihood: (parameters, *data) → (weighted log-likelihood, its gradient by the parameters).
        starts: positive starting points in the order of the parameters.
        data: arrays of one length; the last is the weight, customers per group of equal histories.

    Raises:
        NoFit: no start ends where the gradient vanishes.
    """

    def cost(logs: Array, *used: Array) -> tuple[float, Array]:
        parameters, count = np.exp(logs), used[-1].sum()
        value, gradient = likelihood(parameters, *used)
        if not np.isfinite(value) or not np.isfinite(gradient).all():
            return np.inf, np.zeros_like(logs)
        return -value / count, -gradient * parameters / count

    # The starts compete on a part of the customers; only the best one is followed on all of them.
    part = data
    if len(data[-1]) > _SAMPLE:
        chosen = np.random.default_rng(0).choice(len(data[-1]), _SAMPLE, replace=False)
        part = tuple(column[chosen] for column in data)
    bounds = [(-_BOUND, _BOUND)] * len(starts[0])
    candidates = [
        minimize(
            cost, np.log(start), part, "L-BFGS-B", jac=True, bounds=bounds,
            options={"maxiter": 200, "ftol": 1e-8},
        )
        for start in starts
    ]  # fmt: skip
    best = min(candidates, key=lambda found: found.fun)
    last = minimize(
        cost, best.x, data, "L-BFGS-B", jac=True, bounds=bounds,
        options={"maxiter": 1000, "ftol": 1e-15, "gtol": 1e-9},
    )  # fmt: skip
    _, gradient = cost(last.x, *data)
    inside = np.abs(last.x) < _BOUND - 1e-9
    steepest = np.abs(gradient[inside]).max(initial=0.0)
    if not np.isfinite(last.fun) or steepest > 1e-5:
        # The optimiser's own word may be that all is well: it stops where the value no longer falls.
        raise NoFit(say("no_convergence", model=name, detail=f"|∇| = {steepest:.1e}"))
    return np.exp(last.x), -float(last.fun * data[-1].sum())
