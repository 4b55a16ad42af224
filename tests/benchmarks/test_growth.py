"""The page about growth: its arithmetic, its words, and that it is the page of the committed figures."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import growth, guard


def facts(rows: int, seconds: float, load: float = 0.5, **more: float) -> dict:
    """A report of one size in which every stage of ours took `seconds` beyond a floor of 10, in CPU twice that."""
    wall = {"ours": 10 + 4 * seconds, "floor": 10.0, "script": seconds / 8, **more}
    stages = {"ours": dict.fromkeys(growth.STAGES, 2 + seconds), "floor": dict.fromkeys(growth.STAGES, 2.0)}
    return {
        "rows": rows,
        "results": [
            {"system": name, "wall_s": w, "cpu_s": 2 * w, "peak_mb": 900.0} for name, w in wall.items()
        ],
        "stages_s": stages,
        "stages_cpu_s": {s: {name: 2 * w for name, w in of.items()} for s, of in stages.items()},
        "machine": {"cores": 2, "memory": 25.3, "disk": 100.0},
        "load": [load],
        "disk_mb": {"landing": rows / 10_000, "home": rows / 5_000},
    }


LINEAR = {"sizes": [facts(1_000_000, 1), facts(10_000_000, 10)]}


def test_what_grows_as_lines_do_is_projected_as_lines_are():
    sizes = [growth.size_of(size, "wall_s") for size in growth.sizes_of([LINEAR])]
    assert growth.exponent(sizes, "build") == pytest.approx(1)
    assert growth.projected(sizes, "build", 10**9) == (pytest.approx(1_002), pytest.approx(1_002))
    assert growth.within(sizes, 4_010) == 1_000_000_000


def test_what_grows_faster_is_projected_as_it_grew_and_in_proportion():
    sizes = [growth.size_of(size, "wall_s") for size in (facts(1_000_000, 1), facts(10_000_000, 100))]
    assert growth.exponent(sizes, "build") == pytest.approx(2)
    low, high = growth.projected(sizes, "build", 10**9)
    assert (low, high) == (pytest.approx(10_002), pytest.approx(1_000_002))


def test_the_disk_decides_where_it_is_too_small():
    text = growth.figures([LINEAR])
    assert "deliveries of 100 GB and a home of 200 GB" in text and "**which is too little**" in text


def test_a_loaded_machine_gives_cpu_seconds_and_says_so():
    assert "\nWall seconds" in growth.figures([LINEAR])
    text = growth.figures([{"sizes": [facts(1_000_000, 1, load=9.0), facts(10_000_000, 10)]}])
    assert "\nCPU seconds" in text and "others used the machine" in text
    assert "| build | 33 min |" in text


def test_a_size_that_was_measured_under_a_limit_says_so():
    limited = facts(10_000_000, 10) | {"memory_limit": "4GB"}
    text = growth.figures([{"sizes": [facts(1_000_000, 1), limited]}])
    assert "\nAt 10,000,000 lines DuckDB was held to 4GB.\n" in text
    assert "held to" not in growth.figures([LINEAR])


def test_the_chart_draws_what_was_measured_and_names_what_was_not():
    assert "not measured: increment" in growth.chart([LINEAR])
    with_increment = {"sizes": [facts(1_000_000, 1, increment=3), facts(10_000_000, 10, increment=4)]}
    chart = growth.chart([with_increment])
    assert "not measured" not in chart and "increment 4.0 s" in chart and chart.count("<polyline") == 5
    assert "4.0 s at 10,000,000 lines, 0.08 of the full rebuild" in growth.figures([with_increment])


def test_of_two_reports_of_a_size_the_later_holds():
    found = growth.sizes_of([facts(1_000_000, 1), LINEAR, facts(1_000_000, 7)])
    assert [size["rows"] for size in found] == [1_000_000, 10_000_000]
    assert found[0]["stages_s"]["ours"]["build"] == 9


def test_one_size_says_nothing_about_growth(tmp_path: Path, monkeypatch, capsys):
    path = tmp_path / "one.json"
    path.write_text(json.dumps(facts(1_000_000, 1)))
    monkeypatch.setattr(sys, "argv", ["growth", str(path)])
    assert growth.main() == 1
    assert "needs two sizes" in capsys.readouterr().err


def test_page_and_chart_are_those_of_the_committed_figures(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["growth", "--check"])
    assert growth.main() == 0


def test_the_guard_names_a_ratio_beyond_its_limit(tmp_path: Path, monkeypatch, capsys):
    limit = guard.LIMITS["ours_over_script"]
    path = tmp_path / "report.json"
    monkeypatch.setattr(sys, "argv", ["guard", "--report", str(path)])
    for ratios, code in (
        ({"ours_over_script": limit, "pandas_over_ours": 99.0}, 0),
        ({"ours_over_script": limit + 0.1}, 1),
        ({}, 1),
    ):
        path.write_text(json.dumps({"cpu_ratios": ratios}))
        assert guard.main() == code
    assert f"ours_over_script is {limit + 0.1:.2f}" in capsys.readouterr().err
