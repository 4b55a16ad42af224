"""`strata clv` as a person calls it: parameters, verdict, table and errors."""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from benchmarks.clv import SPEND
from pipeline.cli import main

NAMES = ("--customer", "customer", "--date", "day", "--amount", "amount")
FIRST = date(2024, 1, 1)


def called(*args: str) -> Result:
    result = CliRunner().invoke(main, ["clv", *args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def answered(path: Path, as_of: str, *more: str) -> dict[str, Any]:
    result = called(str(path), *NAMES, "--as-of", as_of, "--json", *more)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def _orders(path: Path, customers: int, days: int, seed: int) -> Path:
    """Orders of customers as the models imagine them: they buy at their own pace, spend their own mean and stop."""
    rng = np.random.default_rng(seed)
    rate = rng.gamma(0.9, 1 / 50, customers)
    stop = rng.beta(0.8, 3.0, customers)
    worth = rng.gamma(SPEND.q, 1 / SPEND.v, customers)
    start = rng.integers(0, days // 2, customers)
    rows: dict[str, list] = {"customer": [], "day": [], "amount": []}
    for i in range(customers):
        now = float(start[i])
        while now < days:
            rows["customer"].append(i)
            rows["day"].append(FIRST + timedelta(days=int(now)))
            rows["amount"].append(round(float(rng.gamma(SPEND.p) / worth[i]) + 0.01, 2))
            if rng.random() < stop[i]:
                break
            now += rng.exponential(1 / rate[i])
    pq.write_table(pa.table(rows), path)
    return path


@pytest.fixture(scope="module")
def imagined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _orders(tmp_path_factory.mktemp("clv") / "imagined.parquet", 2_500, 500, 11)


def test_a_model_that_fits_its_world_earns_the_column(imagined: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    found = answered(imagined, "2025-05-15", "--out", str(out))
    assert found["sufficiency"]["sufficient"]
    (test,) = found["backtests"]
    assert [v["earned"] for v in test["verdicts"].values()] == [True, True]
    assert (test["ahead"], len(test["origins"])) == (90, 3)
    assert "the history is too short to test 365 days ahead: tested 90" in found["warnings"]
    table = pq.read_table(out).to_pandas()
    assert len(table) == found["customers"] == 2_500
    assert table["clv"].notna().all() and table["clv_reason"].isna().all()
    assert float(table["clv"].sum()) == pytest.approx(found["clv"], rel=1e-4)
    assert table["expected_purchases"].sum() == pytest.approx(found["expected_purchases"])
    assert table["p_alive"].between(0, 1).all()
    assert table["customer_id"].is_monotonic_increasing
    assert [p.name for p in tmp_path.iterdir()] == ["out.parquet"]


def test_the_same_orders_in_another_order_give_the_same_bytes(imagined: Path, tmp_path: Path) -> None:
    rows = pq.read_table(imagined)
    shuffled = tmp_path / "shuffled.parquet"
    pq.write_table(rows.take(np.random.default_rng(1).permutation(len(rows))), shuffled)
    for source, out in ((imagined, "a.parquet"), (shuffled, "b.parquet")):
        answered(source, "2025-05-15", "--out", str(tmp_path / out))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_a_long_forecast_has_to_stand_the_long_test(imagined: Path) -> None:
    found = answered(imagined, "2025-05-15", "--backtest", "--horizon-days", "180")
    assert [test["ahead"] for test in found["backtests"]] == [90, 180]
    short = answered(imagined, "2025-05-15", "--backtest", "--horizon-days", "30")
    assert [test["ahead"] for test in short["backtests"]] == [30]


def test_without_a_test_the_column_is_null_and_says_so(imagined: Path) -> None:
    found = answered(imagined, "2025-05-15", "--model", "mbgnbd", "--horizon-days", "90")
    assert set(found["mbgnbd"]) == {"r", "alpha", "a", "b"}
    assert "bgnbd" not in found
    assert (found["clv"], found["backtests"], found["horizon_days"]) == (None, [], 90)
    assert found["expected_purchases"] is None and found["why"]["expected_purchases"] == found["why"]["clv"]
    assert "--backtest" in found["why"]["clv"]


def test_a_shop_of_clockwork_customers_is_better_served_by_a_simple_rule(tmp_path: Path) -> None:
    rows = [
        (f"c{i}", FIRST + timedelta(days=day), f"{10 + i % 90}.00")
        for i in range(320)
        for day in range(i % 5, 450, (9, 15, 30)[i % 3])
    ]
    path = tmp_path / "clockwork.csv"
    path.write_text("customer,day,amount\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows))
    found = answered(path, "2025-03-26", "--out", str(tmp_path / "out.parquet"))
    verdict = found["backtests"][0]["verdicts"]["money"]
    assert not verdict["earned"] and verdict["winner"] != "model"
    assert found["clv"] is None
    assert "does not beat" in found["why"]["clv"]
    table = pq.read_table(tmp_path / "out.parquet").to_pandas()
    assert table["clv"].isna().all()
    assert (table["clv_reason"] == found["why"]["clv"]).all()
    assert table["formula_value"].notna().all()
    text = called(str(path), *NAMES, "--as-of", "2025-03-26", "--backtest").stdout
    assert "clv: null for every customer: 90 days ahead: the model does not beat" in text


@pytest.mark.parametrize(
    "orders",
    [
        "a,2024-01-01,5\n",
        "a,2024-01-01,5\nb,2024-02-01,6\nb,2024-03-01,6\nc,2024-04-01,0\n",
        "a,2024-01-01,80995\na,2024-01-02,-80995\nb,2024-01-05,1\nb,2024-03-05,1\n",
    ],
)
def test_too_few_customers_get_null_with_the_reason(tmp_path: Path, orders: str) -> None:
    path = tmp_path / "few.csv"
    path.write_text("customer,day,amount\n" + orders)
    found = answered(path, "2024-06-01", "--out", str(tmp_path / "out.parquet"))
    assert (found["bgnbd"], found["gamma_gamma"], found["clv"]) == (None, None, None)
    assert not found["sufficiency"]["sufficient"]
    assert found["warnings"][0].startswith("not enough data: ")
    table = pq.read_table(tmp_path / "out.parquet").to_pandas()
    for column in ("clv", "expected_purchases", "p_alive", "expected_average"):
        assert table[column].isna().all()
    assert table["clv_reason"].str.startswith("not enough data").all()
    assert table["stage"].notna().all()
    assert "warning: not enough data" in called(str(path), *NAMES, "--as-of", "2024-06-01").stdout


@pytest.mark.parametrize(
    ("orders", "more", "message"),
    [
        ("a,2024-01-01,-5\n", (), "no purchase is left"),
        ("a,2024-01-01,5\na,2024-01-01,-5\n", (), "no purchase is left"),
        ("a,2024-07-01,5\n", (), "later --as-of"),
        ("a,2024-01-01,5\n", ("--out", "nowhere/out.parquet"), "no such folder"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    tmp_path: Path, orders: str, more: tuple, message: str
) -> None:
    path = tmp_path / "o.csv"
    path.write_text("customer,day,amount\n" + orders)
    result = called(str(path), *NAMES, "--as-of", "2024-06-01", *more)
    assert result.exit_code == 1
    assert message in result.stderr and result.stderr.count("\n") == 1


def test_the_order_file_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "o.csv"
    path.write_text("customer,day,amount\na,2024-01-01,5\n")
    result = called(str(path), *NAMES, "--as-of", "2024-06-01", "--out", str(tmp_path / "x" / ".." / "o.csv"))
    assert result.exit_code == 1 and "that is the order file" in result.stderr
    assert path.read_text().endswith("a,2024-01-01,5\n")


def test_an_unknown_column_lists_those_found(tmp_path: Path) -> None:
    path = tmp_path / "o.csv"
    path.write_text("kunde,day,amount\na,2024-01-01,5\n")
    result = called(str(path), *NAMES, "--as-of", "2024-06-01")
    assert result.exit_code == 1
    assert "no column 'customer' (--customer); it has kunde, day, amount" in result.stderr


@pytest.fixture(scope="module")
def cdnow(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    lines = (real_data / "cdnow" / "CDNOW_sample.txt").read_text().splitlines()
    path = tmp_path_factory.mktemp("cdnow") / "cdnow.csv"
    path.write_text(
        "customer,day,amount\n" + "".join(f"{p[1]},{p[2]},{p[4]}\n" for p in map(str.split, lines))
    )
    return path


@pytest.mark.real_data
def test_cdnow_has_the_published_parameters(cdnow: Path, golden: Path) -> None:
    known = json.loads((golden / "segmentation_and_clv.json").read_text())
    found = answered(cdnow, "1997-10-01")
    assert found["repeat_purchases"] == known["cdnow_sample"]["bgnbd_sum_frequency"]
    assert (found["customers"], found["repeat_buyers"]) == (2357, known["cdnow_sample"]["repeaters"])
    assert [round(v, 3) for v in found["bgnbd"].values()] == known["bgnbd"]["published"]
    assert [round(v, 2) for v in found["gamma_gamma"].values()] == known["gamma_gamma"]["published"]
    assert found["log_likelihood"]["bgnbd"] == pytest.approx(known["bgnbd"]["loglik"], abs=0.01)
    # Fitted again by others; on so flat a top the last digits are a matter of where the search stops.
    for name in ("bgnbd", "gamma_gamma"):
        assert list(found[name].values()) == pytest.approx(known[name]["recomputed"], rel=5e-4)
    assert found["time_unit"] == "week"
    # One day more: `lifetimes` sums up to 1997-10-01 itself.
    a_day_later = answered(cdnow, "1997-10-02")
    assert a_day_later["repeat_purchases"] == known["cdnow_sample"]["sum_frequency"]
    other = answered(cdnow, "1997-10-01", "--model", "mbgnbd")["mbgnbd"]
    assert [round(v, 3) for v in other.values()] == known["mbgnbd"]


@pytest.mark.real_data
def test_on_cdnow_the_model_beats_every_simple_rule(cdnow: Path, golden: Path, tmp_path: Path) -> None:
    known = json.loads((golden / "segmentation_and_clv.json").read_text())
    found = answered(cdnow, "1998-07-01", "--backtest")
    assert [test["ahead"] for test in found["backtests"]] == [90, 365]
    for test, origins in zip(found["backtests"], (4, 1), strict=True):
        for verdict in test["verdicts"].values():
            assert (verdict["earned"], verdict["origins"], verdict["winner"]) == (True, origins, "model")
    assert found["clv"] > 0
    assert found["churn"]["rule"] == "fixed"
    answered(cdnow, "1997-10-01", "--out", str(tmp_path / "o.parquet"))
    table = pq.read_table(tmp_path / "o.parquet").to_pandas()
    assert [float(v) for v in table["expected_average"][:10]] == known["gamma_gamma"]["first10"]
