"""Back-test, churn limit and sufficiency on arrays and small tables whose answer is known by hand."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from pipeline.clv import backtest, churn, histories, rhythm, rivals, sufficiency
from pipeline.order_file import open_orders
from pipeline.quality.policy import thresholds
from pipeline.score.orders import Columns

AS_OF = date(2026, 1, 1)
POLICY = thresholds(AS_OF)
COLUMNS = Columns("customer", "day", "amount")


def _file(folder: Path, orders: list[tuple[str, int, str]]) -> Path:
    """(customer, days before AS_OF, amount) as a CSV file."""
    lines = [f"{who},{AS_OF - timedelta(days=ago)},{amount}" for who, ago, amount in orders]
    path = folder / "orders.csv"
    path.write_text("\n".join(["customer,day,amount", *lines]) + "\n")
    return path


def test_a_history_is_counted_by_hand(tmp_path: Path) -> None:
    orders = [
        ("a", 71, "10.00"),  # first purchase
        ("a", 50, "4.00"),
        ("a", 50, "6.00"),  # one purchase day
        ("a", 22, "30.00"),
        ("a", 15, "-10.00"),  # 10 of 50 come back: a fifth of everything
        ("a", 8, "80.95"),
        ("a", 8, "-80.95"),  # taken back at once: no purchase
        ("a", 1, "0"),  # a purchase of no value
        ("only returns", 9, "-5"),
        ("taken back", 9, "7"),
        ("taken back", 9, "-7"),
    ]
    with open_orders(_file(tmp_path, orders), COLUMNS, AS_OF) as file:
        counted = histories.aggregate(file.con)
        days = histories.Days(file.con, named=True)
        now = histories.histories(days, AS_OF, period=10, named=True)
        then = histories.histories(days, AS_OF - timedelta(days=20), period=10, ahead=15)
    assert counted == histories.Counted(4, 2, 2, 1, 3, 1, AS_OF - timedelta(days=71))
    assert counted.without_purchase == 2
    assert now.customer_id.tolist() == ["a"]
    assert (now.x[0], now.t_x[0], now.T[0]) == (3, 10.0, 10.0)
    assert now.own_gap[0] == 21
    assert (now.value[0], now.refund[0], now.period_money[0]) == (50.0, 10.0, 0.0)
    count, mean = now.spend
    assert (count[0], mean[0]) == (2, pytest.approx(40 * 0.8 / 2))
    assert (then.x[0], then.T[0], then.next_purchases[0], then.next_money[0]) == (2, 50 / 7, 0, -10.0)
    # The same hand-made table seen from 20 days before, with a horizon that ends before the last purchase.
    assert (then.recency[0], then.tenure[0]) == (2, 51)


def _seen(**columns: list[float]) -> histories.Histories:
    n = len(next(iter(columns.values())))
    names = histories.Histories.__dataclass_fields__.keys() - {"origin", "period", "ahead", "customer_id"}
    values = {name: np.asarray(columns.get(name, [0.0] * n), float) for name in names}
    return histories.Histories(AS_OF, 90, 90, np.arange(n), **values)


def test_stages_follow_the_personal_rhythm() -> None:
    seen = _seen(
        purchases=[1, 1, 5, 5, 8, 4],
        recency=[10, 300, 50, 400, 20, 20],
        tenure=[10, 300, 400, 600, 500, 100],
        own_gap=[np.nan, np.nan, 10, 10, 30, 25],
        f_year=[1, 1, 5, 0, 7, 4],
        f_half=[1, 0, 5, 0, 4, 4],
    )
    found = rhythm.rhythm_of(seen, POLICY)
    # Common gap: median of 10, 10, 30, 25 = 17.5; own gap of five purchases weighs 4 against 3.
    assert found.expected_gap[2] == pytest.approx((4 * 10 + 3 * 17.5) / 7)
    assert [rhythm.STAGES[i] for i in found.stage] == [
        "new",
        "churned",
        "declining",
        "churned",
        "mature",
        "growing",
    ]


def test_the_formula_takes_the_return_rate_of_stage_and_recency() -> None:
    n = 40
    earlier = _seen(
        purchases=[2.0] * 2 * n, recency=[10.0] * n + [300.0] * n, tenure=[350.0] * 2 * n, own_gap=[30.0] * 2 * n,
        next_purchases=[1.0] * 30 + [0.0] * 10 + [1.0] * 4 + [0.0] * 36,
    )  # fmt: skip
    seen = _seen(purchases=[2, 2], recency=[20, 280], tenure=[350, 350], own_gap=[30, 30], value=[100, 60])
    found = rivals.formula(seen, earlier, 90, POLICY)
    assert found.purchases == pytest.approx([90 / 30 * 0.75, 90 / 30 * 0.10])
    assert found.money == pytest.approx([90 / 30 * 0.75 * 50, 90 / 30 * 0.10 * 30])


def test_naive_forecasts_repeat_the_last_period() -> None:
    seen = _seen(purchases=[3, 1], period_purchases=[2, 0], period_money=[30, 0])
    assert rivals.last_period(seen).purchases.tolist() == [2, 0]
    assert rivals.mean_of_all(seen).money.tolist() == [15, 15]


def test_the_top_tenth_does_not_depend_on_the_order_of_equal_forecasts() -> None:
    actual = np.arange(20.0)
    assert backtest.top_share(actual, actual) == pytest.approx((19 + 18) / 190)
    assert backtest.top_share(np.ones(20), actual) == pytest.approx(0.1)
    assert backtest.top_share(np.ones(20), actual[::-1]) == pytest.approx(0.1)
    assert backtest.top_share(actual, np.zeros(20)) is None


def _origin(rmse: dict[str, float]) -> backtest.Origin:
    scores = {name: backtest.Score(1, 1, 0, 0, value, 0.5) for name, value in rmse.items()}
    return backtest.Origin(AS_OF, 100, 50, {"money": scores}, [], {"bgnbd": "no fit"})


GOOD = {"model": 1.0, "last_period": 2.0, "mean_of_all": 3.0, "formula": 4.0}


@pytest.mark.parametrize(
    ("tested", "earned", "reason"),
    [
        ([GOOD, GOOD], True, "the model has the lowest error over all origins (2)"),
        ([GOOD | {"formula": 0.5}, GOOD | {"formula": 0.5}], False, "does not beat formula"),
        ([GOOD | {"last_period": 1.0}], False, "does not beat last_period"),  # a draw is no win
        ([GOOD | {"last_period": 0.9}, GOOD], False, "better at origins: 1 of 2"),
        ([GOOD, {k: v for k, v in GOOD.items() if k != "model"}], False, "no model as of 2026-01-01: no fit"),
        ([], False, "it needs 270 days"),
    ],
)
def test_a_model_earns_its_place_only_by_beating_every_rival(tested: list, earned: bool, reason: str) -> None:
    verdict = backtest.judge("money", [_origin(rmse) for rmse in tested], 90, POLICY)
    assert verdict.earned is earned
    assert reason in verdict.reason


def test_origins_are_one_horizon_apart_with_enough_history() -> None:
    days = backtest.origins_of(AS_OF - timedelta(days=400), AS_OF, 90, POLICY)
    assert days == [AS_OF - timedelta(days=90), AS_OF - timedelta(days=180)]
    assert len(backtest.origins_of(AS_OF - timedelta(days=4000), AS_OF, 90, POLICY)) == 4
    assert backtest.origins_of(AS_OF - timedelta(days=269), AS_OF, 90, POLICY) == []


def test_phi_is_one_for_a_perfect_limit_and_none_without_a_split() -> None:
    lost = np.array([True, True, False, False])
    assert churn.split(lost, ~lost) == churn.Split(2, 2, 2, 0, 1.0)
    assert churn.split(lost, lost) == churn.Split(2, 0, 2, 2, -1.0)
    assert churn.split(np.zeros(4, bool), lost).phi is None


@pytest.mark.parametrize("winner", ["personal", "fixed"])
def test_return_rates_decide_the_limit(tmp_path: Path, winner: str) -> None:
    orders = []
    for i in range(60):
        # Quick buyers who have stopped for 130 days when the rules are asked, 90 days ago: lost only by their own rhythm.
        orders += [(f"quick{i}", 90 + 130 + 10 * k, "5") for k in range(12)]
        # Steady ones who were there 20 days before, and come back.
        orders += [(f"steady{i}", ago, "5") for ago in range(30, 400, 40)]
        if winner == "fixed":
            orders.append((f"quick{i}", 45, "5"))
            orders += [(f"gone{i}", 290 + 60 * k, "5") for k in range(4)]
    with open_orders(_file(tmp_path, orders), COLUMNS, AS_OF) as file:
        first = histories.aggregate(file.con).first_purchase
        found = churn.compare(histories.Days(file.con), first, AS_OF, POLICY)
    assert found.rule == winner, found
    assert {m.window for m in found.measured} == {90, 180} or {m.window for m in found.measured} == {90}


def test_without_history_the_policy_rule_stands(tmp_path: Path) -> None:
    with open_orders(_file(tmp_path, [("a", 100, "5"), ("a", 5, "5")]), COLUMNS, AS_OF) as file:
        first = histories.aggregate(file.con).first_purchase
        found = churn.compare(histories.Days(file.con), first, AS_OF, POLICY)
    assert (found.rule, found.measured, found.mean_phi) == ("personal", [], {})
    assert "360 days" in found.reason


def test_every_need_is_told_with_its_limit() -> None:
    seen = _seen(purchases=[2.0] * 99 + [1.0] * 300, tenure=[200.0] * 399, period_purchases=[1.0] * 399)
    asked = sufficiency.needs(seen, POLICY)
    assert [need.name for need in asked if not need.met] == ["repeat_buyers"]
    assert sufficiency.unmet(asked) == "not enough data: buyers with a second purchase: 99 (100 needed)"
    assert not sufficiency.as_dict(asked)["sufficient"]
    enough = _seen(purchases=[2.0] * 300, tenure=[180.0] * 300, period_purchases=[1.0] * 300)
    assert sufficiency.unmet(sufficiency.needs(enough, POLICY)) is None
