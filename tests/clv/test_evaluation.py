"""What a home keeps of its back-tests: who reads which, when the next is due, and what stands in one."""

import copy
import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.clv import evaluated, evaluation
from pipeline.clv.histories import Days
from pipeline.clv.said import listed, say
from pipeline.ingest.files import write_parquet
from pipeline.quality.policy import backtest_sentences, thresholds
from pipeline.settings import Settings

D = date(2026, 1, 1)
POLICY = thresholds(D)


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    return cast(Settings, SimpleNamespace(home=tmp_path))


def _touch(home: Settings, *days: str) -> None:
    evaluated.keep_template(home)
    for day in days:
        (evaluated.folder(home) / f"{day}.parquet").write_bytes(b"")


@pytest.mark.parametrize(("preset", "purchases"), [(None, 4), ("durables_b2b", 2)])
def test_the_limits_that_are_tested_are_those_of_the_homes_trade(preset: str | None, purchases: int) -> None:
    home = cast(Settings, SimpleNamespace(policy_preset=preset))
    assert evaluation.policy_of(home, D)["lifecycle_mature_frequency_min"] == purchases


def test_a_build_reads_the_evaluations_of_earlier_days_alone(home: Settings) -> None:
    _touch(home, "2025-12-31", "2026-01-01", "2026-01-02", "2025-11-30")
    assert [p.stem for p in evaluated.known_before(home, D)] == ["2025-11-30", "2025-12-31"]


@pytest.mark.parametrize(
    ("made", "due"), [((), True), (("2025-12-02",), True), (("2025-12-03",), False), (("2026-01-01",), False)]
)
def test_the_next_evaluation_is_due_after_the_days_of_the_policy(
    home: Settings, made: tuple[str, ...], due: bool
) -> None:
    _touch(home, *made)
    assert POLICY["evaluation_every_days"] == 30
    assert evaluated.is_due(home, D, POLICY) is due


def test_an_evaluation_of_a_later_day_does_not_put_off_that_of_a_backfilled_one(home: Settings) -> None:
    _touch(home, "2026-01-02")
    assert evaluated.is_due(home, D, POLICY)


@pytest.fixture
def shop() -> Iterator[duckdb.DuckDBPyConnection]:
    """400 days; 40 people who buy every 20 days, 20 who stopped after the first 60 days."""
    con = duckdb.connect()
    con.execute(
        """
        create table customer_days as
        select
            k as customer_id, date '2024-11-27' + cast(20 * n as integer) as day, true as is_purchase,
            case when n > 0 then 20 end as gap_days, 10.0 as value, 0.0 as refund,
            k + 1 as customer_no
        from range(60) as people (k) cross join range(20) as purchases (n)
        where k < 40 or n < 3
        """
    )
    yield con
    con.close()


def _measured(shop: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    return list(evaluation.measure(Days(shop), date(2024, 11, 27), D, POLICY))


def test_too_few_buyers_leave_the_formula_and_the_reason(shop: duckdb.DuckDBPyConnection) -> None:
    verdicts = [row for row in _measured(shop) if row["subject"] == "clv"]
    assert [(row["measure"], row["method"], row["is_chosen"]) for row in verdicts] == [
        ("purchases", "formula", True),
        ("money", "formula", True),
    ]
    assert "buyers: 60 (300 needed)" in verdicts[0]["reason"]
    assert (
        verdicts[0]["reason_zh"] == "数据不足：60位购买者（至少300位）；60位购买两次及以上的客户（至少100位）"
    )


def test_the_limits_are_judged_by_who_came_back(shop: duckdb.DuckDBPyConnection) -> None:
    rows = _measured(shop)
    at = D - timedelta(days=90)
    sides = {
        (row["method"], row["bucket"]): (row["people"], row["actual"])
        for row in rows
        if row["subject"] == "churn_limit" and row.get("origin") == at
    }
    assert sides == {
        ("personal", "active"): (40, 1.0),
        ("personal", "lost"): (20, 0.0),
        ("fixed", "active"): (40, 1.0),
        ("fixed", "lost"): (20, 0.0),
    }
    stages = {
        row["bucket"]: row["actual"] for row in rows if row["subject"] == "stage" and row["origin"] == at
    }
    assert stages["mature"] == 1.0 and stages["churned"] == 0.0 and stages["new"] is None
    chosen = [row for row in rows if row["subject"] == "churn_limit" and row.get("is_chosen")]
    assert len(chosen) == 1 and "phi" in chosen[0]["reason"]
    assert "界限：phi 个人节奏" in chosen[0]["reason_zh"] and "limit" not in chosen[0]["reason_zh"]


def test_a_model_is_chosen_only_where_it_won_at_every_horizon(
    shop: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.clv import backtest, forecast

    def tested(won_year: bool) -> list[backtest.Backtest]:
        def verdict(earned: bool, name: str) -> backtest.Verdict:
            return backtest.Verdict(name, earned, None, {"model": 1.0}, {}, 1, "won" if earned else "lost")

        return [
            backtest.Backtest(ahead, [], {name: verdict(earned, name) for name in evaluation.MEASURES})
            for ahead, earned in ((90, True), (365, won_year))
        ]

    monkeypatch.setattr(evaluation.sufficiency, "unmet", lambda asked: None)
    monkeypatch.setattr(forecast, "fit", lambda seen, kind: forecast.Models(None, None, {}, None))
    for won_year, method, reason in (
        (True, "model", "90 days ahead: won; 365 days ahead: won"),
        (False, "formula", "365 days ahead: lost"),
    ):
        monkeypatch.setattr(backtest, "run_all", lambda *a, won=won_year, **k: tested(won))
        verdict = next(row for row in _measured(shop) if row["subject"] == "clv" and row.get("is_chosen"))
        assert (verdict["method"], verdict["reason"]) == (method, reason)


@pytest.mark.parametrize(
    ("changes", "wins"),
    [
        ({}, True),
        ({("clv", "money"): "formula"}, False),
        ({("clv", "purchases"): "formula"}, False),
        ({("basis", "money"): "net_revenue"}, False),
    ],
)
def test_the_model_foretells_where_it_won_for_purchases_and_for_profit(
    changes: dict[tuple[str, str], str], wins: bool
) -> None:
    methods = {
        ("basis", "money"): "profit",
        ("clv", "purchases"): "model",
        ("clv", "money"): "model",
    } | changes
    rows = [
        {"subject": subject, "measure": measure, "method": method, "is_chosen": subject == "clv"}
        for (subject, measure), method in methods.items()
    ]
    # The model's errors stand in the table whoever has won.
    rows.append({"subject": "clv", "measure": "money", "method": "model", "is_chosen": None})
    assert evaluation.earned(rows) is wins


def test_every_sentence_is_there_in_both_languages_with_the_same_figures() -> None:
    for code, (zh, en) in backtest_sentences().items():
        named = [sorted(re.findall(r"\{(\w+)\}", text)) for text in (zh, en)]
        assert named[0] == named[1] and re.search("[一-鿿]", zh) and not re.search("[一-鿿]", en), code
    rival = say("rival", rival=say("method_formula"), error="2", other="1", won=0, origins=3)
    told = say("ahead", days=90, verdict=say("not_better", rivals=listed([rival], (", ", "、"))))
    assert (
        told
        == "90 days ahead: the model does not beat formula (error 2 against 1, better at origins: 0 of 3)"
    )
    assert told.zh == "预测90天：模型不优于简单公式（误差2对1，3个起点中有0个更好）"
    assert copy.deepcopy(told).zh == told.zh, "answers in JSON are copies"


def test_what_an_earlier_version_measured_is_read_beside_what_this_one_does(home: Settings) -> None:
    """Its files know no Chinese: the template has the column, and files are read by name."""
    place = evaluated.folder(home)
    old = pa.schema([field for field in evaluated.SCHEMA if field.name != "reason_zh"])
    for name in ("none", "2026-01-01"):
        write_parquet(old.empty_table(), place / f"{name}.parquet")
    evaluated.keep_template(home)
    assert pq.read_schema(place / "none.parquet") == evaluated.SCHEMA
    assert pq.read_schema(place / "2026-01-01.parquet") == old
    columns = duckdb.sql(f"select * from read_parquet('{place}/*.parquet', union_by_name = true)").columns
    assert set(columns) == set(evaluated.SCHEMA.names)


def test_three_forecasts_are_kept_and_the_two_newest_before_the_day_decide_a_build(home: Settings) -> None:
    evaluated.keep_template(home)
    for day in range(1, 6):
        evaluated.keep_forecast(home, evaluated.FORECASTS.empty_table(), date(2026, 1, day))
    assert sorted(p.stem for p in evaluated.forecasts(home).iterdir()) == [
        "2026-01-03",
        "2026-01-04",
        "2026-01-05",
        "none",
    ]
    # By the earlier one the classes of the day before may have been computed.
    assert [p.stem for p in evaluated.read_by(home, date(2026, 1, 5))] == ["2026-01-03", "2026-01-04"]
