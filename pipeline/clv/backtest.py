"""Rolling-origin back-test: what would have been said on past days, beside what came and what simple rules said.

At each origin only what was known before it is used, the fit included. A forecast of a mean is judged by its squared
error: absolute error would crown whoever says 0 for everybody, since most customers buy nothing in a quarter.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from math import ceil
from typing import Any

import numpy as np

from pipeline.clv.arrays import Array
from pipeline.clv.forecast import Models, fit
from pipeline.clv.histories import Days, Histories, histories, of_each
from pipeline.clv.purchases import Kind
from pipeline.clv.rivals import Forecast, formula, last_period, mean_of_all, return_window
from pipeline.clv.said import listed, say

MODEL = "model"
RIVALS = ("last_period", "mean_of_all", "formula")
MEASURES = ("purchases", "money")
_TENTH = 10


@dataclass(frozen=True)
class Score:
    """One method, measure and origin.

    Attributes:
        predicted, actual: totals.
        bias: predicted / actual − 1; None where nothing came.
        mae, rmse: per customer.
        top_tenth: share of the actual total that the tenth of customers with the highest forecast made.
    """

    predicted: float
    actual: float
    bias: float | None
    mae: float
    rmse: float
    top_tenth: float | None


@dataclass(frozen=True)
class Origin:
    """`scores[measure][method]`; the model is missing in it where it could not be fitted (`why`)."""

    origin: date
    customers: int
    repeat_buyers: int
    scores: dict[str, dict[str, Score]]
    calibration: list[dict[str, float]]
    why: dict[str, str]


@dataclass(frozen=True)
class Verdict:
    """Whether the model earns its place for one measure. `rmse` is pooled over the origins."""

    measure: str
    earned: bool
    winner: str | None
    rmse: dict[str, float]
    origins_won: dict[str, int]
    origins: int
    reason: str


@dataclass(frozen=True)
class Backtest:
    ahead: int
    origins: list[Origin]
    verdicts: dict[str, Verdict]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def origins_of(first: date, as_of: date, ahead: int, policy: Mapping[str, float]) -> list[date]:
    """Days one horizon apart, newest first, each with enough history before it and a whole horizon after it."""
    earliest = first + timedelta(days=round(policy["clv_min_history_days"]))
    days = [
        as_of - timedelta(days=ahead * k) for k in range(1, round(policy["clv_backtest_origins_max"]) + 1)
    ]
    return [day for day in days if day >= earliest]


def run(
    days: Days,
    first: date,
    as_of: date,
    kind: Kind,
    policy: Mapping[str, float],
    ahead: int,
) -> Backtest:
    """The back-test of forecasts of `ahead` days on days whose first purchase is on `first`."""
    origins = reversed(origins_of(first, as_of, ahead, policy))
    tested = of_each(lambda day: _at(days, first, day, ahead, kind, policy), origins)
    return Backtest(ahead, tested, {measure: judge(measure, tested, ahead, policy) for measure in MEASURES})


def run_all(
    days: Days,
    first: date,
    as_of: date,
    kind: Kind,
    policy: Mapping[str, float],
    *,
    horizon: int,
    ahead: int | None = None,
) -> list[Backtest]:
    """Back-tests of `ahead` days (policy's `clv_backtest_days`, at most the horizon) and, where the history reaches, of
    the horizon itself: a forecast of a year has not earned its place by a good quarter."""
    lengths = [ahead or min(round(policy["clv_backtest_days"]), horizon)]
    if horizon > lengths[0] and origins_of(first, as_of, horizon, policy):
        lengths.append(horizon)
    return [run(days, first, as_of, kind, policy, length) for length in lengths]


def _at(
    days: Days,
    first: date,
    origin: date,
    ahead: int,
    kind: Kind,
    policy: Mapping[str, float],
) -> Origin:
    seen = histories(days, origin, period=ahead, ahead=ahead)
    window = return_window((origin - first).days)
    earlier = histories(days, origin - timedelta(days=window), period=window, ahead=window)
    models = fit(seen, kind)
    forecasts = {
        "last_period": last_period(seen),
        "mean_of_all": mean_of_all(seen),
        "formula": formula(seen, earlier, ahead, policy),
    }
    predicted: dict[str, dict[str, Array]] = {
        "purchases": {name: f.purchases for name, f in forecasts.items()},
        "money": {name: f.money for name, f in forecasts.items()},
    }
    mine = of_model(models, seen, ahead)
    if mine is not None:
        predicted["purchases"][MODEL] = mine.purchases
        if models.spend is not None:
            predicted["money"][MODEL] = mine.money
    actual = {"purchases": seen.next_purchases, "money": seen.next_money}
    scores = {
        measure: {name: score(values, actual[measure]) for name, values in methods.items()}
        for measure, methods in predicted.items()
    }
    calibration = calibrate(mine.purchases, seen.next_purchases) if mine is not None else []
    return Origin(origin, len(seen), int((seen.x > 0).sum()), scores, calibration, models.why)


def of_model(models: Models, seen: Histories, days: int) -> Forecast | None:
    """The models' forecast, not discounted; money is NaN where spend could not be fitted."""
    purchases = models.expected_purchases(seen, days)
    if purchases is None:
        return None
    average = models.expected_average(seen)
    return Forecast(purchases, purchases * (np.nan if average is None else average))


def score(predicted: Array, actual: Array) -> Score:
    """How far the forecast was from what came, one entry a customer."""
    error = predicted - actual
    came = float(actual.sum())
    return Score(
        float(predicted.sum()),
        came,
        float(predicted.sum()) / came - 1 if came else None,
        float(np.abs(error).mean()),
        float(np.sqrt((error**2).mean())),
        top_share(predicted, actual),
    )


def top_share(predicted: Array, actual: Array) -> float | None:
    """Share of the actual total made by the tenth with the highest forecast.

    Of customers with the same forecast at the edge an equal part of each counts, so the order of rows has no say.
    """
    came, wanted = float(actual.sum()), len(predicted) / _TENTH
    if came <= 0:
        return None
    # The lowest forecast in that tenth: people above it count whole.
    edge = np.partition(predicted, -ceil(wanted))[-ceil(wanted)]
    above, at_edge = predicted > edge, predicted == edge
    part = (wanted - np.count_nonzero(above)) / np.count_nonzero(at_edge)
    return float(actual[above].sum() + part * actual[at_edge].sum()) / came


def calibrate(predicted: Array, actual: Array) -> list[dict[str, float]]:
    """Mean forecast and mean outcome per tenth of customers, lowest first; equal forecasts are in one group."""
    edges = np.quantile(predicted, np.arange(1, _TENTH) / _TENTH)
    tenth = np.searchsorted(edges, predicted, side="left")
    people = np.bincount(tenth, minlength=_TENTH)
    return [
        {
            "tenth": i + 1,
            "customers": int(people[i]),
            "predicted": float(predicted[tenth == i].mean()),
            "actual": float(actual[tenth == i].mean()),
        }
        for i in range(_TENTH)
        if people[i]
    ]


def judge(measure: str, tested: list[Origin], ahead: int, policy: Mapping[str, float]) -> Verdict:
    """The model earns its place with the lowest pooled error, and lower than each rival's at most of the origins."""
    if not tested:
        days = round(policy["clv_min_history_days"] + ahead)
        return Verdict(measure, False, None, {}, {}, 0, say("no_backtest", days=days))
    missing = [o for o in tested if MODEL not in o.scores[measure]]
    methods = [*RIVALS] if missing else [MODEL, *RIVALS]
    people = sum(o.customers for o in tested)
    pooled = {
        name: float(np.sqrt(sum(o.scores[measure][name].rmse ** 2 * o.customers for o in tested) / people))
        for name in methods
    }
    winner = min(pooled, key=lambda name: pooled[name])
    if missing:
        why = listed(dict.fromkeys(missing[0].why.values()))
        reason = say("no_model", origin=missing[0].origin, why=why)
        return Verdict(measure, False, winner, pooled, {}, len(tested), reason)
    won = {
        rival: sum(o.scores[measure][MODEL].rmse < o.scores[measure][rival].rmse for o in tested)
        for rival in RIVALS
    }
    beaten_by = [r for r in RIVALS if pooled[r] <= pooled[MODEL] or 2 * won[r] <= len(tested)]
    rivals = [
        say(
            "rival",
            rival=say(f"method_{name}"),
            error=f"{pooled[MODEL]:.4g}",
            other=f"{pooled[name]:.4g}",
            won=won[name],
            origins=len(tested),
        )
        for name in beaten_by
    ]
    reason = (
        say("not_better", rivals=listed(rivals, (", ", "、")))
        if rivals
        else say("lowest_error", origins=len(tested))
    )
    return Verdict(measure, not beaten_by, winner, pooled, won, len(tested), reason)
