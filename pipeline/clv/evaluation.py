"""E-09 for a home: do the forecasts and limits in use hold on this company's past days?

Now and then, not daily: at up to four origins the models are fitted anew. SciPy is loaded only where there are enough
data for that.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import duck
from pipeline.clv import churn, sufficiency
from pipeline.clv.churn import Churn
from pipeline.clv.evaluated import FORECASTS, SCHEMA, folder, is_due, keep_forecast, known_before
from pipeline.clv.histories import NUMBERED, Days, histories
from pipeline.clv.said import in_chinese, listed, say
from pipeline.ingest.files import write_parquet
from pipeline.quality.policy import thresholds
from pipeline.settings import Settings
from pipeline.transform.context import policy_presets

if TYPE_CHECKING:
    from pipeline.clv.backtest import Backtest
    from pipeline.clv.purchases import Kind

KIND: "Kind" = "bgnbd"
MODEL = "model"
MEASURES = ("purchases", "money")
# Contribution profit where every day's is known, else net revenue. A day of loss is money that goes out, as a refund.
_HAS_PROFIT = """
select not coalesce(bool_or(is_profit_unknown), false)
from (
    select is_profit_unknown from intermediate.int_customer_days
    union all
    select is_profit_unknown from intermediate.int_customer_returns
)
"""
_DAYS = f"""
create temp table customer_days as
with moved as (
    select
        customer_key, day, is_purchase_day as is_purchase, gap_days,
        case when $has_profit then profit else net_revenue end as money
    from intermediate.int_customer_days
    union all
    select customer_key, day, false, null, -case when $has_profit then profit_reversed else refund_net end
    from intermediate.int_customer_returns
),

days as (
    select
        customer_key as customer_id, day, is_purchase, gap_days,
        cast(greatest(money, 0) as decimal(18, 4)) as value, cast(greatest(-money, 0) as decimal(18, 4)) as refund
    from moved
    semi join intermediate.int_customer_facts using (customer_key)
),

{NUMBERED.format(days="days")}
"""


def policy_of(settings: Settings, as_of: date) -> dict[str, float]:
    """The thresholds in force, with those of the home's trade in their place, as a build has them."""
    own = policy_presets().get(settings.policy_preset or "", [])
    return thresholds(as_of) | {row["key"]: float(row["value"]) for row in own}


def evaluate(settings: Settings, as_of: date) -> Path | None:
    """Measure and write; None where nothing is due or nobody has bought. Reads the warehouse of a build for `as_of`."""
    policy = policy_of(settings, as_of)
    if not is_due(settings, as_of, policy):
        return None
    with _customer_days(settings) as (con, basis):
        row = con.execute("select min(day) filter (where is_purchase) from customer_days").fetchone()
        if row is None or row[0] is None:
            return None
        rows = [
            {"subject": "basis", "measure": "money", "method": basis},
            *measure(Days(con), row[0], as_of, policy),
        ]
    path = folder(settings) / f"{as_of}.parquet"
    write_parquet(pa.Table.from_pylist([{"evaluated_as_of": as_of, **row} for row in rows], SCHEMA), path)
    return path


def forecast(settings: Settings, as_of: date) -> Path | None:
    """What the model of the last evaluation foretells of every customer; None unless it won for purchases and for profit.

    Its parameters are those of the evaluation, the histories those of `as_of`.
    """
    known = known_before(settings, as_of + timedelta(days=1))
    rows = pq.read_table(known[-1]).to_pylist() if known else []
    if not earned(rows):
        return None
    from pipeline.clv.forecast import Models
    from pipeline.clv.purchases import PurchaseModel
    from pipeline.clv.spend import SpendModel

    policy = policy_of(settings, as_of)
    given = {row["method"]: row["predicted"] for row in rows if row["subject"] == "parameter"}
    purchases = PurchaseModel(given["r"], given["alpha"], given["a"], given["b"], KIND)
    models = Models(purchases, SpendModel(given["p"], given["q"], given["v"]), {}, None)
    horizon = round(policy["clv_horizon_days"])
    with _customer_days(settings) as (con, basis):
        # The kind of money that was tested, and no other.
        if basis != "profit":
            return None
        seen = histories(Days(con, named=True), as_of, period=round(policy["clv_recent_days"]), named=True)
    orders = models.expected_purchases(seen, horizon)
    value = models.value(seen, horizon, policy["clv_discount_rate"])
    assert orders is not None and value is not None
    columns = [
        pa.array([as_of] * len(seen), pa.date32()),
        pa.array(seen.customer_id.tolist(), pa.string()),
        pa.array(np.round(orders, 8)),
        pa.array(np.round(purchases.p_alive(seen.x, seen.t_x, seen.T), 8)),
        pa.array(np.round(value, 2)).cast(pa.decimal128(18, 4), safe=False),
    ]
    return keep_forecast(settings, pa.Table.from_arrays(columns, schema=FORECASTS), as_of)


def earned(rows: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the rows of an evaluation choose the model for purchases and for money, and money was profit."""
    won = {
        row["measure"]
        for row in rows
        if row["subject"] == "clv" and row["is_chosen"] and row["method"] == MODEL
    }
    basis = {row["method"] for row in rows if row["subject"] == "basis"}
    return won == set(MEASURES) and basis == {"profit"}


@contextmanager
def _customer_days(settings: Settings) -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
    """The warehouse of the last build with a table `customer_days`, and what its money is: profit or net_revenue."""
    # Views of the build read what it read.
    folders = [settings.warehouse.parent, settings.raw, settings.build, settings.identity]
    con = duck.connect(folders, database=settings.warehouse, read_only=True)
    try:
        row = con.execute(_HAS_PROFIT).fetchone()
        basis = "profit" if row is not None and row[0] else "net_revenue"
        con.execute(_DAYS, {"has_profit": basis == "profit"})
        yield con, basis
    finally:
        con.close()


def measure(days: Days, first: date, as_of: date, policy: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    """Rows of the evaluation of days whose first purchase is on `first`.

    Subjects: `clv` (scores by origin; without origin the verdict), `calibration` (tenths of customers), `parameter` (of
    the fit as of `as_of`), `churn_limit` (personal or fixed), `stage` (share of a stage that came back).
    """
    horizon = round(policy["clv_horizon_days"])
    seen = histories(days, as_of, period=round(policy["clv_recent_days"]))
    short = sufficiency.unmet(sufficiency.needs(seen, policy))
    if short:
        for name in MEASURES:
            yield {"subject": "clv", "measure": name, "method": "formula", "is_chosen": True} | _reason(short)
    else:
        from pipeline.clv import backtest
        from pipeline.clv.forecast import fit

        tested = backtest.run_all(days, first, as_of, KIND, policy, horizon=horizon)
        for test in tested:
            yield from _scores(test)
        yield from _verdicts(tested)
        models = fit(seen, KIND)
        for part, names in ((models.purchases, "r alpha a b"), (models.spend, "p q v")):
            for name in names.split() if part else ():
                yield {
                    "subject": "parameter",
                    "measure": KIND,
                    "method": name,
                    "predicted": getattr(part, name),
                }
    yield from _limits(churn.compare(days, first, as_of, policy))


def _scores(test: "Backtest") -> Iterator[dict[str, Any]]:
    for origin in test.origins:
        at = {"origin": origin.origin, "ahead_days": test.ahead}
        for name, methods in origin.scores.items():
            for method, score in methods.items():
                yield at | {
                    "subject": "clv",
                    "measure": name,
                    "method": method,
                    "people": origin.customers,
                    "predicted": score.predicted,
                    "actual": score.actual,
                    "error": score.rmse,
                    "score": score.top_tenth,
                }
        for tenth in origin.calibration:
            yield at | {
                "subject": "calibration",
                "measure": "purchases",
                "method": MODEL,
                "bucket": f"{tenth['tenth']:.0f}",
                "people": round(tenth["customers"]),
                "predicted": tenth["predicted"],
                "actual": tenth["actual"],
            }


def _verdicts(tested: list["Backtest"]) -> Iterator[dict[str, Any]]:
    """Errors over all origins of a horizon, and one verdict per measure without a horizon: the model where it won at
    every one, else the formula stands."""
    for name in MEASURES:
        for test in tested:
            for method, error in test.verdicts[name].rmse.items():
                yield {
                    "subject": "clv",
                    "measure": name,
                    "method": method,
                    "ahead_days": test.ahead,
                    "error": error,
                }
        lost = [(test.ahead, test.verdicts[name]) for test in tested if not test.verdicts[name].earned]
        told = lost or [(test.ahead, test.verdicts[name]) for test in tested]
        yield {
            "subject": "clv",
            "measure": name,
            "method": "formula" if lost else MODEL,
            "is_chosen": True,
        } | _reason(listed(say("ahead", days=ahead, verdict=verdict.reason) for ahead, verdict in told))


def _limits(found: Churn) -> Iterator[dict[str, Any]]:
    for rule in churn.RULES:
        yield {
            "subject": "churn_limit",
            "measure": "phi",
            "method": rule,
            "score": found.mean_phi.get(rule),
            "is_chosen": rule == found.rule,
        } | _reason(found.reason)
    for measured in found.measured:
        at = {"origin": measured.origin, "ahead_days": measured.window, "measure": "return_rate"}
        for rule, split in measured.splits.items():
            for bucket, people, back in (
                ("active", split.active, split.active_back),
                ("lost", split.lost, split.lost_back),
            ):
                yield at | {
                    "subject": "churn_limit",
                    "method": rule,
                    "bucket": bucket,
                    "people": people,
                    "actual": back / people if people else None,
                    "score": split.phi,
                }
        for stage, (people, back) in measured.stages.items():
            yield (
                at
                | {
                    "subject": "stage",
                    "method": "lifecycle",
                    "bucket": stage,
                    "people": people,
                    "actual": back / people if people else None,
                }
                | _reason(
                    None
                    if measured.monotone is None
                    else say("monotone" if measured.monotone else "not_monotone")
                )
            )


def _reason(said: str | None) -> dict[str, str | None]:
    """Both languages of a sentence as columns."""
    return (
        {"reason": None, "reason_zh": None}
        if said is None
        else {"reason": str(said), "reason_zh": in_chinese(said)}
    )
