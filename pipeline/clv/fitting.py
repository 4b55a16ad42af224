"""Maximum likelihood over positive parameters, started from several points and checked before it is believed."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from pipeline.errors import StrataError

Array = NDArray[np.float64]
# exp(±14): beyond it a parameter stands for "no variation", which floats cannot tell apart any more.
_BOUND = 14.0
_SAMPLE = 20_000


class NoFit(StrataError):
    """The data do not decide the parameters; the message says which part of them and what to do."""


def maximise(
    likelihood: Callable[[Array, Array], tuple[float, Array]],
    starts: Sequence[Sequence[float]],
    weights: Array,
    name: str,
) -> tuple[Array, float]:
    """(parameters, log-likelihood of all customers) at the best of the maxima reached from `starts`.

    Args:
        likelihood: (parameters, weights) → (weighted log-likelihood, its gradient by the parameters).
        starts: positive starting points in the order of the parameters.
        weights: customers per group of equal histories.

    Raises:
        NoFit: no start ends where the gradient vanishes.
    """
    total = float(weights.sum())

    def cost(logs: Array, used: Array, count: float) -> tuple[float, Array]:
        parameters = np.exp(logs)
        value, gradient = likelihood(parameters, used)
        if not np.isfinite(value) or not np.isfinite(gradient).all():
            return np.inf, np.zeros_like(logs)
        return -value / count, -gradient * parameters / count

    # The starts compete on a part of the customers; only the best one is followed on all of them.
    rough = weights
    if len(weights) > _SAMPLE:
        rough = np.zeros_like(weights)
        chosen = np.random.default_rng(0).choice(len(weights), _SAMPLE, replace=False)
        rough[chosen] = weights[chosen]
    bounds = [(-_BOUND, _BOUND)] * len(starts[0])
    candidates = [
        minimize(
            cost, np.log(start), (rough, float(rough.sum())), "L-BFGS-B", jac=True, bounds=bounds,
            options={"maxiter": 500},
        )
        for start in starts
    ]  # fmt: skip
    best = min(candidates, key=lambda found: found.fun)
    last = minimize(
        cost, best.x, (weights, total), "L-BFGS-B", jac=True, bounds=bounds,
        options={"maxiter": 1000, "ftol": 1e-15, "gtol": 1e-9},
    )  # fmt: skip
    _, gradient = cost(last.x, weights, total)
    inside = np.abs(last.x) < _BOUND - 1e-9
    if not np.isfinite(last.fun) or np.abs(gradient[inside]).max(initial=0.0) > 1e-5:
        raise NoFit(
            f"{name}: the fit does not converge ({last.message}); more buyers or a longer history decide it"
        )
    return np.exp(last.x), -float(last.fun) * total
