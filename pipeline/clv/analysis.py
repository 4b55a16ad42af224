"""`strata clv`: an order file in, parameters, forecast, back-test and a table per customer out."""

import os
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.clv import backtest, churn, sufficiency
from pipeline.clv.arrays import Array
from pipeline.clv.backtest import Backtest
from pipeline.clv.churn import Churn
from pipeline.clv.forecast import Models, fit
from pipeline.clv.histories import Counted, Days, Histories, aggregate, histories
from pipeline.clv.purchases import Kind
from pipeline.clv.rhythm import STAGES, rhythm_of
from pipeline.clv.rivals import formula, return_window
from pipeline.clv.said import listed, say
from pipeline.errors import StrataError
from pipeline.order_file import open_orders, policy_day
from pipeline.quality.policy import thresholds
from pipeline.score.orders import Columns

_NO_MODELS = Models(None, None, {}, None)


@dataclass(frozen=True)
class Analysis:
    """Everything that the command answers. `purchases` and `value` are per customer, and None where the models have not
    earned them; `why` has a reason for whatever is null."""

    kind: Kind
    as_of: date
    horizon: int
    discount_rate: float
    file: dict[str, Any]
    counted: Counted
    needs: list[sufficiency.Need]
    models: Models
    seen: Histories
    purchases: Array | None
    value: Array | None
    tested: list[Backtest]
    lost: Churn | None
    why: dict[str, str]
    warnings: list[str]
    out: Path | None

    def as_dict(self) -> dict[str, Any]:
        """The JSON answer; parameters are null where they could not be had."""
        purchases, spend = self.models.purchases, self.models.spend
        return {
            self.kind: None
            if purchases is None
            else {"r": purchases.r, "alpha": purchases.alpha, "a": purchases.a, "b": purchases.b},
            "gamma_gamma": None if spend is None else {"p": spend.p, "q": spend.q, "v": spend.v},
            "time_unit": "week",
            "model": self.kind,
            "as_of": self.as_of,
            "observed_until": self.as_of - timedelta(days=1),
            "horizon_days": self.horizon,
            "discount_rate": self.discount_rate,
            "log_likelihood": {
                self.kind: None if purchases is None else purchases.log_likelihood,
                "gamma_gamma": None if spend is None else spend.log_likelihood,
            },
            "file": self.file,
            "orders": asdict(self.counted) | {"without_purchase": self.counted.without_purchase},
            "customers": len(self.seen),
            "repeat_buyers": int((self.seen.x > 0).sum()),
            "repeat_purchases": int(self.seen.x.sum()),
            "sufficiency": sufficiency.as_dict(self.needs),
            "expected_purchases": None if self.purchases is None else float(self.purchases.sum()),
            "expected_average_new": None if spend is None else spend.population_mean,
            "clv": None if self.value is None else float(self.value.sum()),
            "spend_frequency_correlation": self.models.correlation,
            "why": self.why,
            "warnings": self.warnings,
            "backtests": [test.as_dict() for test in self.tested],
            "churn": None if self.lost is None else self.lost.as_dict(),
            "out": None if self.out is None else str(self.out),
        }


def analyse(
    path: Path,
    columns: Columns,
    as_of: date,
    *,
    kind: Kind = "bgnbd",
    horizon: int | None = None,
    with_backtest: bool = False,
    backtest_days: int | None = None,
    out: Path | None = None,
) -> Analysis:
    """Fit, forecast and judge. `out` takes the table per customer, and with it the back-test that `clv` has to pass.

    Raises:
        StrataError: the file cannot be read, nobody bought, `out` cannot be written.
    """
    if out is not None and out.resolve() == path.resolve():
        raise StrataError(f"--out {out}: that is the order file; name another")
    if out is not None and not out.parent.is_dir():
        raise StrataError(f"--out {out}: no such folder: {out.parent}")
    policy = thresholds(policy_day(as_of))
    horizon = horizon or round(policy["clv_horizon_days"])
    rate = policy["clv_discount_rate"]
    with_backtest = with_backtest or out is not None
    with open_orders(path, columns, as_of) as file:
        counted = aggregate(file.con)
        if counted.first_purchase is None:
            raise StrataError(
                f"{path.name}: no purchase is left: every order is a refund or was taken back the same day"
            )
        first = counted.first_purchase
        days = Days(file.con, named=True)
        seen = histories(days, as_of, period=round(policy["clv_recent_days"]), named=True)
        asked = sufficiency.needs(seen, policy)
        short = sufficiency.unmet(asked)
        models = _NO_MODELS if short else fit(seen, kind)
        why: dict[str, str] = {kind: short, "gamma_gamma": short} if short else {**models.why}
        tested: list[Backtest] = []
        lost = None
        if with_backtest:
            lost = churn.compare(days, first, as_of, policy)
            if not short:
                tested = backtest.run_all(
                    days, first, as_of, kind, policy, horizon=horizon, ahead=backtest_days
                )
        window = return_window((as_of - first).days)
        earlier = histories(days, as_of - timedelta(days=window), period=window, ahead=window)
        simple = formula(seen, earlier, horizon, policy)
    for column, measure in (("expected_purchases", "purchases"), ("clv", "money")):
        reason = short or _why_null(models, tested, measure)
        if reason:
            why[column] = reason
    analysis = Analysis(
        kind, as_of, horizon, rate, file.as_dict(), counted, asked, models, seen,
        None if "expected_purchases" in why else models.expected_purchases(seen, horizon),
        None if "clv" in why else models.value(seen, horizon, rate), tested, lost, why,
        _warnings(short, models, counted, tested, horizon, policy["clv_spend_correlation_max"]), out,
    )  # fmt: skip
    if out is not None:
        _write(analysis, simple.purchases, simple.money, policy)
    return analysis


def _why_null(models: Models, tested: list[Backtest], measure: str) -> str | None:
    if models.purchases is None or (measure == "money" and models.spend is None):
        return listed(models.why.values())
    if not tested:
        return "not tested: --backtest or --out decides whether it is worth more than simple rules"
    lost = [test for test in tested if not test.verdicts[measure].earned]
    told = listed(say("ahead", days=test.ahead, verdict=test.verdicts[measure].reason) for test in lost)
    return told or None


def _warnings(
    short: str | None,
    models: Models,
    counted: Counted,
    tested: list[Backtest],
    horizon: int,
    correlation_max: float,
) -> list[str]:
    found = [short] if short else list(models.why.values())
    if counted.without_purchase:
        found.append(f"{counted.without_purchase:,} customers have refunds only and are left out")
    if models.correlation is not None and abs(models.correlation) > correlation_max:
        found.append(
            f"spend goes with frequency (correlation {models.correlation:.2f}): gamma-gamma assumes that it does not"
        )
    reach = max((test.ahead for test in tested if test.origins), default=horizon)
    if reach < horizon:
        found.append(f"the history is too short to test {horizon} days ahead: tested {reach}")
    purchases = models.purchases
    if purchases is not None and purchases.a / (purchases.a + purchases.b) < 1e-3:
        found.append(
            "these buyers hardly ever stop for good: P(alive) is near 1 for everybody and says little"
        )
    return found


def _write(
    analysis: Analysis, formula_purchases: Array, formula_money: Array, policy: dict[str, float]
) -> None:
    """One row a customer, ordered by customer; the file is whole or not there."""
    seen, models = analysis.seen, analysis.models
    rhythm = rhythm_of(seen, policy)
    rule = analysis.lost.rule if analysis.lost else "personal"
    limit = rhythm.churn_days if rule == "personal" else np.full(len(seen), policy["churn_fixed_days"])
    alive = models.purchases.p_alive(seen.x, seen.t_x, seen.T) if models.purchases else None
    n = len(seen)

    def told(reason: str | None) -> pa.Array:
        return pa.array([reason] * n, pa.string())

    def numbers(values: Array | None) -> pa.Array:
        return pa.nulls(n, pa.float64()) if values is None else pa.array(values, pa.float64())

    def money(values: Array | None) -> pa.Array:
        return numbers(None if values is None else np.round(values, 2)).cast(pa.decimal128(24, 2))

    table = pa.table(
        {
            "customer_id": pa.array(seen.customer_id.tolist()),
            "as_of_date": pa.array([analysis.as_of] * n, pa.date32()),
            "purchase_days": pa.array(seen.purchases, pa.float64()).cast(pa.int64()),
            "frequency": pa.array(seen.x, pa.float64()).cast(pa.int64()),
            "recency_weeks": numbers(seen.t_x),
            "observed_weeks": numbers(seen.T),
            "historic_value": money(seen.value - seen.refund),
            "stage": pa.array([STAGES[i] for i in rhythm.stage], pa.string()),
            "churn_limit_days": numbers(limit),
            "is_lost": pa.array(seen.recency > limit),
            "p_alive": numbers(alive),
            "expected_purchases": numbers(analysis.purchases),
            "expected_purchases_reason": told(analysis.why.get("expected_purchases")),
            "expected_average": money(models.expected_average(seen)),
            "clv": money(analysis.value),
            "clv_reason": told(analysis.why.get("clv")),
            "formula_purchases": numbers(formula_purchases),
            "formula_value": money(formula_money),
        }
    )
    assert analysis.out is not None
    unfinished = analysis.out.with_name(f".{analysis.out.name}.{os.getpid()}")
    try:
        pq.write_table(table, unfinished, compression="zstd")
        unfinished.replace(analysis.out)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise StrataError(f"--out {analysis.out}: cannot be written: {error.strerror}") from error
