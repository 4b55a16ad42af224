"""The models against slow integrals that share nothing with them, published figures, and parameters put in by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import beta as beta_function
from scipy.special import betaincinv
from scipy.stats import gamma

from benchmarks.clv import simulate, simulate_spend
from pipeline.clv import purchases, spend
from pipeline.clv.fitting import NoFit
from pipeline.clv.purchases import PurchaseModel, fit_purchases
from pipeline.clv.spend import SpendModel, fit_spend

few = hypothesis_settings(deadline=None, max_examples=60, derandomize=True)
KINDS = ("bgnbd", "mbgnbd")
models = st.builds(
    PurchaseModel,
    r=st.floats(0.05, 10),
    alpha=st.floats(0.1, 60),
    a=st.floats(0.05, 8) | st.just(1.0) | st.floats(0.99999, 1.00001),
    b=st.floats(0.05, 30),
    kind=st.sampled_from(KINDS),
)


@st.composite
def a_history(draw: st.DrawFn) -> tuple[int, float, float]:
    """(x, t_x, T) in weeks."""
    T = draw(st.floats(0.2, 150))
    x = draw(st.integers(0, 60))
    return x, (draw(st.floats(0.01, 1)) * T if x else 0.0), T


def _over_p(model: PurchaseModel, up: int, down: int, of_p=lambda p: 1.0) -> float:
    """∫ p^up (1 − p)^down of_p(p) Beta(p | a, b) dp."""
    value, _ = quad(
        of_p,
        0,
        1,
        weight="alg",
        wvar=(model.a - 1 + up, model.b - 1 + down),
        epsabs=0,
        epsrel=1e-10,
        limit=200,
    )
    return value / beta_function(model.a, model.b)


def _parts(model: PurchaseModel, x: int) -> tuple[float, float]:
    """Weights of "still a customer" and "stopped after the last purchase" over p, from the story of the model."""
    first = 1 if model.kind == "mbgnbd" else 0  # MBG: the first purchase, too, may be the last.
    stopped = _over_p(model, 1, x + first - 1) if x + first else 0.0
    return _over_p(model, 0, x + first), stopped


@few
@given(model=models, history=a_history())
def test_p_alive_is_that_of_the_slow_integral(
    model: PurchaseModel, history: tuple[int, float, float]
) -> None:
    x, t_x, T = history
    alive, stopped = _parts(model, x)
    later = ((model.alpha + t_x) / (model.alpha + T)) ** (model.r + x)
    expected = alive * later / (alive * later + stopped) if stopped else 1.0
    found = float(model.p_alive(x, t_x, T))
    assert 0 <= found <= 1
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-12)


@few
@given(model=models, history=a_history(), t=st.floats(0.1, 300))
def test_expected_purchases_are_those_of_the_slow_integral(
    model: PurchaseModel, history: tuple[int, float, float], t: float
) -> None:
    x, t_x, T = history
    first = 1 if model.kind == "mbgnbd" else 0

    def bought(p: float) -> float:
        rest = -(model.r + x) * np.log1p(p * t / (model.alpha + T))
        return -np.expm1(rest) / p if p else (model.r + x) * t / (model.alpha + T)

    while_alive = _over_p(model, 0, x + first, bought) / _over_p(model, 0, x + first)
    expected = while_alive * float(model.p_alive(x, t_x, T))
    assert float(model.expected(t, x, t_x, T)) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@few
@given(model=models, history=a_history(), t=st.floats(0.1, 300), more=st.floats(0.1, 50))
def test_expectations_move_the_way_they_must(
    model: PurchaseModel, history: tuple[int, float, float], t: float, more: float
) -> None:
    x, t_x, T = history
    now = float(model.expected(t, x, t_x, T))
    assert 0 <= now <= (model.r + x) / (model.alpha + T) * t * (1 + 1e-9)
    assert float(model.expected(t + more, x, t_x, T)) >= now - 1e-9
    assert float(model.p_alive(x, t_x, T + more)) <= float(model.p_alive(x, t_x, T)) + 1e-12
    assert float(model.p_alive(x, min(t_x + more, T), T)) >= float(model.p_alive(x, t_x, T)) - 1e-12 or x == 0
    assert 0 <= float(model.expected_new(t)) <= model.r / model.alpha * t * (1 + 1e-9)


@few
@given(model=models, t=st.floats(0.1, 300))
def test_a_new_customer_is_one_without_any_history(model: PurchaseModel, t: float) -> None:
    assert float(model.expected_new(t)) == pytest.approx(float(model.expected(t, 0, 0, 0)), rel=1e-9)


@few
@given(model=models, history=a_history())
def test_the_likelihood_is_that_of_the_story(model: PurchaseModel, history: tuple[int, float, float]) -> None:
    x, t_x, T = history
    alive, stopped = _parts(model, x)

    def rate(t: float) -> float:
        """log ∫ λ^x e^(−λt) Gamma(λ | r, α) dλ, the integrand taken in units of its peak."""
        shape, scale = model.r + x, 1 / (model.alpha + t)
        norm = (
            gamma.logpdf(shape * scale, model.r, scale=1 / model.alpha)
            + x * np.log(shape * scale)
            - shape * scale * t
        )
        low, _ = quad(lambda u: np.exp(-shape * (u - 1)), 0, 1, weight="alg", wvar=(shape - 1, 0))
        high, _ = quad(lambda u: np.exp((shape - 1) * np.log(u) - shape * (u - 1)), 1, np.inf, epsrel=1e-10)
        return float(norm + np.log((low + high) * shape * scale))

    expected = np.logaddexp(np.log(alive) + rate(T), np.log(stopped) + rate(t_x) if stopped else -np.inf)
    parameters = np.array([model.r, model.alpha, model.a, model.b])
    columns = (np.array([float(v)]) for v in history)
    found, _ = purchases.log_likelihood(parameters, *columns, np.ones(1), model.kind)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)


@few
@given(logs=st.tuples(*[st.floats(-2, 2)] * 4), kind=st.sampled_from(KINDS), seed=st.integers(0, 99))
def test_gradients_are_those_of_finite_differences(logs: tuple[float, ...], kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 9, 20).astype(float)
    T = rng.uniform(0.5, 3, 20)
    data = (x, np.where(x > 0, T * rng.uniform(0.1, 1, 20), 0.0), T, rng.uniform(0.5, 3, 20))
    at = np.exp(np.array(logs))
    for function, point in (
        (lambda q: purchases.log_likelihood(q, *data, kind), at),
        (lambda q: spend.log_likelihood(q, x + 1, T, data[3]), at[:3]),
    ):
        _, gradient = function(point)
        for i in range(len(point)):
            step = np.zeros_like(point)
            step[i] = 1e-6 * point[i]
            slope = (function(point + step)[0] - function(point - step)[0]) / (2 * step[i])
            assert gradient[i] == pytest.approx(slope, rel=1e-4, abs=1e-4)


@few
@given(
    p=st.floats(0.3, 20),
    q=st.floats(1.2, 12),
    v=st.floats(0.5, 200),
    x=st.integers(1, 40),
    mean=st.floats(0.1, 500),
)
def test_expected_average_is_that_of_the_slow_integral(
    p: float, q: float, v: float, x: int, mean: float
) -> None:
    model = SpendModel(p, q, v)
    shape, rate = q + p * x, v + x * mean
    # Posterior of the customer's scale is Gamma(shape, rate); a purchase is worth p / scale.
    centre = shape / rate
    value, _ = quad(
        lambda u: p / (centre * u) * gamma.pdf(centre * u, shape, scale=1 / rate) * centre, 0, 1, limit=200
    )
    rest, _ = quad(
        lambda u: p / (centre * u) * gamma.pdf(centre * u, shape, scale=1 / rate) * centre,
        1,
        np.inf,
        limit=200,
    )
    found = float(model.expected_average(x, mean))
    assert found == pytest.approx(value + rest, rel=1e-5)
    low, high = sorted((mean, model.population_mean))
    assert low * (1 - 1e-9) <= found <= high * (1 + 1e-9)
    assert float(model.expected_average(0, 0)) == pytest.approx(model.population_mean)


@few
@given(
    a=st.floats(0.001, 1e6),
    b=st.floats(0.001, 1e6),
    r=st.floats(0.05, 1e6),
    alpha=st.floats(0.1, 400),
    history=a_history(),
    t=st.floats(0.1, 300),
)
def test_extreme_parameters_stay_numbers(
    a: float, b: float, r: float, alpha: float, history: tuple[int, float, float], t: float
) -> None:
    """A company whose customers are all alike sends a or b to their bounds; the forecast must survive it."""
    x, t_x, T = history
    alpha *= max(1.0, r)  # The mean pace r / alpha stays one of this world.
    model = PurchaseModel(r, alpha, a, b)
    found, alive = float(model.expected(t, x, t_x, T)), float(model.p_alive(x, t_x, T))
    assert 0 <= alive <= 1

    def bought(p: float) -> float:
        limit = (r + x) * t / (alpha + T)
        return -np.expm1(-(r + x) * np.log1p(p * t / (alpha + T))) / p if p > 1e-300 else limit

    value, _ = quad(lambda u: bought(betaincinv(a, b + x, u)), 0, 1, epsrel=1e-8, limit=200)
    assert found == pytest.approx(value * alive, rel=1e-4, abs=1e-9)


def test_chances_of_all_counts_add_up_and_have_the_expected_mean() -> None:
    model = PurchaseModel(0.243, 4.414, 0.793, 2.426)
    chances = [model.probability(n, 10.0) for n in range(200)]
    assert min(chances) >= 0
    assert sum(chances) == pytest.approx(1, abs=1e-9)
    mean = sum(n * chance for n, chance in enumerate(chances))
    assert mean == pytest.approx(float(model.expected_new(10.0)), rel=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_known_parameters_are_found_again(kind: str) -> None:
    true = PurchaseModel(0.8, 6.0, 0.7, 2.5, kind)
    found = fit_purchases(*simulate(true, 40_000, 7), kind)
    assert (found.r, found.alpha, found.a, found.b) == pytest.approx(
        (true.r, true.alpha, true.a, true.b), rel=0.15
    )
    for t in (4.0, 26.0, 52.0):
        assert float(found.expected_new(t)) == pytest.approx(float(true.expected_new(t)), rel=0.04)
    money = SpendModel(6.25, 3.74, 15.44)
    x = np.random.default_rng(3).integers(1, 12, 20_000).astype(float)
    again = fit_spend(x, simulate_spend(money, x, 5))
    assert (again.p, again.q, again.v) == pytest.approx((money.p, money.q, money.v), rel=0.1)


def test_the_unit_of_time_and_the_grouping_change_nothing() -> None:
    x, t_x, T = simulate(PurchaseModel(0.8, 6.0, 0.7, 2.5), 3_000, 1)
    weeks = fit_purchases(x, t_x, T)
    days = fit_purchases(x, 7 * t_x, 7 * T)
    assert (days.r, days.alpha / 7, days.a, days.b) == pytest.approx(
        (weeks.r, weeks.alpha, weeks.a, weeks.b), rel=1e-4
    )
    twice = fit_purchases(x, t_x, T, weights=np.full(len(x), 2.0))
    assert (twice.r, twice.alpha, twice.a, twice.b) == pytest.approx(
        (weeks.r, weeks.alpha, weeks.a, weeks.b), rel=1e-4
    )
    assert twice.customers == 2 * weeks.customers
    parameters = np.array([weeks.r, weeks.alpha, weeks.a, weeks.b])
    told, _ = purchases.log_likelihood(parameters, x, t_x, T, np.ones_like(x))
    assert weeks.log_likelihood == pytest.approx(told)
    shuffled = np.random.default_rng(0).permutation(len(x))
    assert fit_purchases(x[shuffled], t_x[shuffled], T[shuffled]) == weeks


@pytest.mark.parametrize(
    ("x", "t_x", "T", "message"),
    [
        ([], [], [], "bought twice"),
        ([0, 0], [0, 0], [5, 9], "bought twice"),
        ([1, 1], [6, 1], [5, 9], "histories that cannot be: 1"),
        ([1, 0.5], [1, 1], [5, 9], "x whole"),
        ([1, 0], [1, float("nan")], [5, 9], "cannot be"),
    ],
)
def test_histories_that_carry_no_fit_are_told(x: list, t_x: list, T: list, message: str) -> None:
    with pytest.raises(NoFit, match=message):
        fit_purchases(np.array(x, float), np.array(t_x, float), np.array(T, float))


@pytest.mark.parametrize(
    ("x", "mean", "message"),
    [
        ([1, 2], [3, 4], "at least 3"),
        ([1, 2, 3], [5, 5, 5], "different value"),
        ([1, 2, 3], [5, -5, 6], "positive"),
        ([1, 1.5, 3], [5, 5, 6], "whole"),
    ],
)
def test_amounts_that_carry_no_fit_are_told(x: list, mean: list, message: str) -> None:
    with pytest.raises(NoFit, match=message):
        fit_spend(np.array(x, float), np.array(mean, float))


def test_amounts_without_a_finite_mean_are_told() -> None:
    x = np.ones(3_000)
    with pytest.raises(NoFit, match="not finite|does not converge"):
        fit_spend(x, simulate_spend(SpendModel(2.0, 0.6, 1.0), x, 2))


@pytest.mark.real_data
def test_published_figures_of_the_cdnow_sample(golden: Path) -> None:
    facts = json.loads((golden / "segmentation_and_clv.json").read_text())
    known = facts["bgnbd"]
    model = PurchaseModel(*known["published"])
    assert float(model.expected(39, 2, 30.43, 38.86)) == pytest.approx(
        known["E_Y39_given_2_30.43_38.86"], abs=5e-4
    )
    assert float(model.p_alive(2, 30.43, 38.86)) == pytest.approx(known["p_alive_2_30.43_38.86"], abs=1e-5)
    assert model.probability(0, 39) == pytest.approx(known["P_X0_39"], rel=1e-6)
    assert model.probability(10, 2) == pytest.approx(known["P_X10_2"], rel=1e-5)
    fitted = PurchaseModel(*known["recomputed"])
    for t, expected in known["E_X"].items():
        assert float(fitted.expected_new(float(t))) == pytest.approx(expected, rel=2e-3, abs=1e-4)
