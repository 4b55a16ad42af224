"""How well the product finds who is who, as floors, and that the benchmark measures it rightly."""

import json
import os
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import identity
from benchmarks.identity_data import PUBLIC, Dataset, people
from benchmarks.identity_scale import increments
from pipeline.settings import Settings

DAY = date(2026, 7, 1)
full_size = pytest.mark.skipif(not os.environ.get("STRATA_SOAK"), reason="set STRATA_SOAK=1")


def strata(data: Dataset, settings: Settings, stage: str) -> dict:
    return next(r for r in identity.results_of(data, settings, [], DAY) if r["stage"] == stage)


def test_rates_of_a_clustering_that_can_be_counted_by_hand() -> None:
    found = identity.measured(np.array([0, 0, 0, 1, 1, 2]), np.array(["a", "a", "b", "c", "c", "d"]))
    assert found["pairwise"] == {"precision": 0.5, "recall": 1.0, "f1": 0.666667, "pairs": 4, "true_pairs": 2}
    assert found["cluster"] == {
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
        "clusters": 3,
        "persons": 4,
        "largest": 3,
    }
    nothing = identity.measured(np.arange(3), np.array(["a", "a", "b"]))
    assert nothing["pairwise"]["precision"] == 1.0 and nothing["pairwise"]["f1"] == 0.0


@pytest.mark.parametrize(("name", "floor"), [("febrl1", 0.97), ("febrl4", 0.95)])
def test_second_stage_on_febrl_without_soc_sec_id(
    real_data: Path, settings: Settings, name: str, floor: float
) -> None:
    data = PUBLIC[name](real_data)
    assert "unionid" not in data.records and "soc_sec_id" not in data.columns
    rates = strata(data, settings, "full")["pairwise"]
    assert rates["f1"] >= floor and rates["precision"] >= 0.999


@pytest.mark.soak
@full_size
@pytest.mark.parametrize(
    ("name", "floor"),
    [
        ("febrl2", 0.97),
        ("febrl3", 0.96),
        ("fake_1000", 0.80),
        ("febrl1_with_ssn", 0.98),
        ("febrl4_with_ssn", 0.99),
    ],
)
def test_second_stage_on_the_other_public_sets(
    real_data: Path, settings: Settings, name: str, floor: float
) -> None:
    rates = strata(PUBLIC[name](real_data), settings, "full")["pairwise"]
    assert rates["f1"] >= floor and rates["precision"] >= 0.999


def test_nobody_of_the_sample_company_is_merged_wrongly(tmp_path: Path) -> None:
    sizes = (1500, 200) if os.environ.get("STRATA_SOAK") else (250, 20)
    settings, records, clear, person = identity.sample_company(tmp_path, *sizes, seed=11)
    rates = {
        r["stage"]: r["pairwise"] for r in identity._ours("sample", records, clear, person, settings, DAY)
    }
    assert rates["deterministic"]["precision"] >= 0.999 and rates["deterministic"]["recall"] >= 0.9
    assert rates["full"]["precision"] >= 0.999 and rates["full"]["recall"] >= rates["deterministic"]["recall"]


def test_any_file_with_the_feeds_columns_and_its_truth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = people(400, seed=5).records
    headers = {"source_customer_id": "会员号", "name": "姓名", "phone": "手机号", "birth_date": "出生日期"}
    data.drop(columns="person_id").rename(columns=headers).to_csv(tmp_path / "customers.csv", index=False)
    data[["source", "source_customer_id", "person_id"]].to_parquet(tmp_path / "truth.parquet")
    files = ["--records", str(tmp_path / "customers.csv"), "--truth", str(tmp_path / "truth.parquet")]
    assert identity.main([*files, "--peers", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [(r["dataset"], r["system"], r["stage"]) for r in results] == [
        ("customers", "strata", "deterministic"),
        ("customers", "strata", "full"),
    ]
    assert results[1]["pairwise"]["recall"] > results[0]["pairwise"]["recall"] > 0.3
    assert {"precision", "recall", "f1"} <= set(results[1]["cluster"])


@pytest.mark.parametrize(
    ("truth", "says"),
    [
        ({"source_customer_id": ["1"]}, "needs the columns"),
        (
            {"source": ["a"], "source_customer_id": ["1"], "person_id": ["p"]},
            "no person_id for 1 of 2 records",
        ),
        ({"source": ["a", "b"], "source_customer_id": ["1", "2"], "person_id": ["p", "q"]}, "add it"),
    ],
)
def test_files_that_do_not_fit_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], truth: dict, says: str
) -> None:
    pd.DataFrame({"source_customer_id": ["1", "2"], "name": ["x", "y"]}).to_csv(
        tmp_path / "r.csv", index=False
    )
    pd.DataFrame(truth).to_csv(tmp_path / "t.csv", index=False)
    assert identity.main(["--records", str(tmp_path / "r.csv"), "--truth", str(tmp_path / "t.csv")]) == 1
    told = capsys.readouterr().err.strip()
    assert says in told and "\n" not in told


def test_absent_data_is_skipped_loudly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STRATA_REAL_DATA", str(tmp_path))
    assert identity.main(["--dataset", "febrl1", "fake_1000", "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out) == {"results": [], "skipped": ["febrl1", "fake_1000"]}
    assert told.err.count("SKIPPED") == 2


def test_peers_run_with_their_own_settings(settings: Settings, real_data: Path) -> None:
    data = PUBLIC["febrl1"](real_data)
    rates = {r["system"]: r["pairwise"] for r in identity._peers(data, ["splink", "recordlinkage"])}
    assert rates["splink"]["f1"] > 0.9 and rates["recordlinkage"]["f1"] > 0.7


def test_what_a_day_costs_is_measured_of_both_stages() -> None:
    found = increments(1_500, [20], 0, second_stage=True)
    parts = {"cpu_s", "peak_gb", "second_stage_cpu_s", "second_stage_peak_gb"}
    assert parts <= set(found["first_day"]) and parts <= set(found["new_20"])
    assert 0 < found["new_20"]["second_stage_cpu_s"] < found["new_20"]["cpu_s"]
    shares = {"of_first_day", "second_stage_of_first_day"}
    assert all(0 < found["new_20"][share] < 1 for share in shares)
