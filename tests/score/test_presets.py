"""Each preset beside the table that its makers published."""

import csv
import json
import re
from datetime import date
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.score import presets, sql
from tests.score.conftest import Scoring, write_csv
from tests.score.test_grid import R_TEST_GRID

# M-02b: R and F as regular expressions.
RF25 = {
    "hibernating": "[12][12]",
    "at_risk": "[12][34]",
    "cant_lose": "[12]5",
    "about_to_sleep": "3[12]",
    "need_attention": "33",
    "loyal": "[34][45]",
    "promising": "41",
    "new": "51",
    "potential_loyalist": "[45][23]",
    "champions": "5[45]",
}
PYMC = {
    "Premium Customer": "334 443 444 344 434 433 343 333",
    "Repeat Customer": "244 234 232 332 143 233 243",
    "Top Spender": "424 414 144 314 324 124 224 423 413 133 323 313 134",
    "At Risk Customer": "422 223 212 122 222 132 322 312 412 123 214",
    "Inactive Customer": "411 111 113 114 112 211 311",
}


def test_rf25_is_its_published_table() -> None:
    for (r, f, _), segment in presets.find("rf25").compiled.cells.items():
        assert [name for name, form in RF25.items() if re.fullmatch(form, f"{r}{f}")] == [segment]


@pytest.mark.parametrize(("name", "high"), [("cn_8", 4), ("mean_8", 2)])
def test_the_eight_classes_are_three_letters(name: str, high: int) -> None:
    cells = presets.find(name).compiled.cells
    assert cells == {c: "".join("H" if score >= high else "L" for score in c) for c in cells}


def test_pymc_quartile_is_its_published_table() -> None:
    published = {tuple(map(int, cell)): name for name, cells in PYMC.items() for cell in cells.split()}
    assert presets.find("pymc_quartile").compiled.cells == {
        cell: published.get(cell, "Other") for cell in product(range(1, 5), repeat=3)
    }


def test_the_models_use_the_rule_of_rf25() -> None:
    """The macros' defaults are what the daily job scores by."""
    rf25 = presets.find("rf25")
    for name, given in (("rfm_cut_points", rf25.cut_parameters), ("rfm_scores", rf25.score_parameters)):
        macro = sql.macro(name)
        assert set(given) <= set(macro.arguments)
        tail = ("facts", "cut_points") if name == "rfm_scores" else ()
        assert str(macro(*tail)) == str(macro(*tail, **given))


def _golden(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "rfm_orders" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.real_data
def test_r_rfm_gives_what_the_r_package_printed(real_data: Path, golden: Path, scoring: Scoring) -> None:
    """All 995 × 3 scores, its thresholds, and customers, orders and money of each segment."""
    scored = scoring(
        real_data / "rfm_orders" / "rfm_data_orders.csv",
        preset="r_rfm",
        as_of=date(2006, 12, 31),
        columns=("customer_id", "order_date", "revenue"),
    )
    printed = {
        row["customer_id"]: tuple(
            int(row[key])
            for key in (
                "recency_days",
                "transaction_count",
                "amount",
                "recency_score",
                "frequency_score",
                "monetary_score",
            )
        )
        for row in _golden(real_data, "golden_order_5bins.csv")
    }
    ours = scoring.rows
    assert len(printed) == 995
    assert {
        c: (r["recency_days"], r["frequency"], r["monetary"], r["r_score"], r["f_score"], r["m_score"])
        for c, r in ours.items()
    } == printed
    facts = json.loads((golden / "segmentation_and_clv.json").read_text())["r_rfm"]
    assert scored.cuts.points == {
        "recency": sorted(facts["thresholds"]["r"], reverse=True),
        "frequency": facts["thresholds"]["f"],
        "monetary": facts["thresholds"]["m"],
    }
    docs = facts["grid_docs_first_match"]
    assert {name: [n, orders, money] for name, n, orders, money in scored.segments} == docs

    assert (scored.as_of.isoformat(), len(ours)) == (facts["analysis_date"], facts["customers"])
    assert sum(r["frequency"] for r in ours.values()) == facts["orders"]
    for letter, counts in facts["score_counts"].items():
        scores = [r[f"{letter}_score"] for r in ours.values()]
        assert [scores.count(score) for score in range(1, 6)] == counts

    # Its own test grid, which the compiler refuses, still gives what the package printed.
    compiled = presets.compile_grid(R_TEST_GRID, 5, first_match=True, others="Others").cells
    by_test_grid = {c: compiled[r["r_score"], r["f_score"], r["m_score"]] for c, r in ours.items()}
    assert by_test_grid == {
        row["customer_id"]: row["segment"] for row in _golden(real_data, "golden_segments_A.csv")
    }
    printed_sums = facts["grid_test_first_match"]
    for segment in printed_sums.keys() | set(by_test_grid.values()):
        members = [ours[c] for c, name in by_test_grid.items() if name == segment]
        sums = [len(members), sum(r["frequency"] for r in members), sum(r["monetary"] for r in members)]
        assert sums == printed_sums[segment], segment


def _qcut(values: pd.Series, reverse: bool) -> np.ndarray:
    """Quartiles as pymc-marketing labels them: repeated edges dropped, recency reversed."""
    bins = pd.qcut(values, 4, duplicates="drop", labels=False).to_numpy()
    return bins.max() - bins + 1 if reverse else bins + 1


@pytest.mark.parametrize("days", [3, 12, 300], ids=["nearly_all_equal", "many_ties", "few_ties"])
def test_pymc_quartile_scores_as_pandas_cuts(scoring: Scoring, days: int) -> None:
    draw = np.random.default_rng(days)
    rows = [
        (f"c{customer}", date(2026, 3, 9) - pd.Timedelta(days=int(day)), int(draw.integers(1, 9)))
        for customer in range(200)
        for day in draw.choice(days, size=int(draw.integers(1, 4)), replace=False)
    ]
    scoring(rows, preset="pymc_quartile")
    ours = pd.DataFrame(list(scoring.rows.values()))
    assert (ours["r_score"] == _qcut(ours["recency_days"], reverse=True)).all()
    assert (ours["f_score"] == _qcut(ours["frequency"], reverse=False)).all()
    assert (ours["m_score"] == _qcut(ours["monetary"].astype(float), reverse=False)).all()
    means = pd.DataFrame(rows, columns=["c", "d", "a"]).groupby("c")["a"].mean().round(4)
    assert ours.set_index("customer_id")["monetary"].astype(float).to_dict() == means.to_dict()


def test_mean_8_is_high_from_the_mean_on(scoring: Scoring) -> None:
    """60 buyers: 30 of 10 bought 10 days ago, 30 of 20 bought 20 days ago; 15 is the mean, and nobody lies on it but one."""
    old, new = date(2026, 2, 18), date(2026, 2, 28)
    rows = (
        [(f"a{i}", new, 10) for i in range(30)]
        + [(f"b{i}", old, 20) for i in range(30)]
        + [("mean", date(2026, 2, 23), 15)]
    )
    scoring(write_csv(scoring.folder / "o.csv", rows), preset="mean_8")
    assert {c[:1]: r["segment"] for c, r in scoring.rows.items()} == {"a": "HHL", "b": "LHH", "m": "HHH"}
