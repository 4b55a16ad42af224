"""How long the models of `strata clv` take, on simulated customers of known parameters, every day its own group.

python -m benchmarks.clv [--customers 200000] [--seed 1] [--json FILE]
python -m benchmarks.clv --small 50 100 300 1000      # how wrong fits of few buyers are: what the policy limits rest on

Printed: seconds of each fit, the parameters behind the data and the fitted ones, groups of equal histories.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

# As the command has it: on arrays of four numbers the threads of BLAS only wait for one another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from pipeline.clv.arrays import Array
from pipeline.clv.fitting import NoFit
from pipeline.clv.purchases import Kind, PurchaseModel, fit_purchases
from pipeline.clv.spend import SpendModel, fit_spend

PURCHASES = {"r": 0.55, "alpha": 10.6, "a": 0.8, "b": 2.4}
SPEND = SpendModel(6.25, 3.74, 15.44)
_DAYS = 546


def simulate(
    model: PurchaseModel, customers: int, seed: int, days: int = _DAYS
) -> tuple[Array, Array, Array]:
    """(x, t_x, T) in weeks of customers who began on an even spread of days and are watched to day `days`.

    Times are whole days and purchases of one day are one, as in an order file.
    """
    rng = np.random.default_rng(seed)
    rate = rng.gamma(model.r, 1 / model.alpha, customers) / 7
    stop = rng.beta(model.a, model.b, customers)
    T = rng.integers(7, days, customers).astype(float)
    x, t_x, now = np.zeros(customers), np.zeros(customers), np.zeros(customers)
    alive = rng.random(customers) >= stop if model.kind == "mbgnbd" else np.ones(customers, bool)
    while alive.any():
        with np.errstate(divide="ignore"):
            now = np.where(alive, now + rng.exponential(1.0, customers) / rate, now)
        alive &= now < T
        day = np.floor(np.where(alive, now, 0.0))
        x += alive & (day > t_x)
        t_x = np.maximum(t_x, day)
        alive &= rng.random(customers) >= stop
    return x, t_x / 7, T / 7


def simulate_spend(model: SpendModel, x: Array, seed: int) -> Array:
    """Mean of x purchases of each customer; every x is positive."""
    rng = np.random.default_rng(seed)
    scale = rng.gamma(model.q, 1 / model.v, len(x))
    return rng.gamma(model.p * x) / (scale * x)


def run(customers: int, seed: int) -> dict[str, object]:
    """Every figure that is printed."""
    answer: dict[str, object] = {"customers": customers}
    kinds: tuple[Kind, ...] = ("bgnbd", "mbgnbd")
    for kind in kinds:
        x, t_x, T = simulate(PurchaseModel(**PURCHASES, kind=kind), customers, seed)
        start = time.perf_counter()
        found = fit_purchases(x, t_x, T, kind)
        answer[kind] = {
            "seconds": round(time.perf_counter() - start, 2),
            "groups": int(np.unique(np.stack([x, t_x, T]), axis=1).shape[1]),
            "true": PURCHASES,
            "fitted": {name: round(getattr(found, name), 4) for name in PURCHASES},
        }
        start = time.perf_counter()
        found.expected(52.0, x, t_x, T)
        answer[kind]["seconds_expected"] = round(time.perf_counter() - start, 2)  # type: ignore[index]
    count = x[x > 0]
    mean = simulate_spend(SPEND, count, seed)
    start = time.perf_counter()
    spend = fit_spend(count, mean)
    answer["gamma_gamma"] = {
        "seconds": round(time.perf_counter() - start, 2),
        "groups": len(count),
        "true": {"p": SPEND.p, "q": SPEND.q, "v": SPEND.v},
        "fitted": {name: round(getattr(spend, name), 4) for name in ("p", "q", "v")},
    }
    return answer


def small(buyers: int, repeats: int = 100) -> dict[str, float]:
    """Error of the total of purchases expected in the next 13 weeks, fitted against true parameters, over `repeats` draws."""
    true = PurchaseModel(**PURCHASES)
    errors, twice = [], []
    for seed in range(repeats):
        history = simulate(true, buyers, seed, days=365)
        expected = float(true.expected(13.0, *history).sum())
        try:
            found = float(fit_purchases(*history).expected(13.0, *history).sum())
        except NoFit:
            found = float("inf")
        errors.append(abs(found / expected - 1))
        twice.append(float((history[0] > 0).sum()))
    return {
        "buyers": buyers,
        "repeat_buyers": float(np.median(twice)),
        "error_median": round(float(np.median(errors)), 3),
        "error_90th": round(float(np.quantile(errors, 0.9)), 3),
        "no_fit": float(np.isinf(errors).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--customers", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--small", type=int, nargs="+", metavar="BUYERS")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    answer = (
        {"small": [small(n) for n in options.small]}
        if options.small
        else run(options.customers, options.seed)
    )
    print(json.dumps(answer, indent=1))
    if options.json:
        options.json.write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
