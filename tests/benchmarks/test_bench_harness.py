"""What the harness measures and how it sums up."""

import json
import sys

import duckdb
import pytest

from benchmarks import compare, measure, scale
from benchmarks.measure import CommandFailed, Sample

PARENT = """
import subprocess, sys
child = "import time; held = bytearray(150_000_000); time.sleep(0.5); sum(range(10**6))"
subprocess.run([sys.executable, "-c", child])
"""


def test_memory_of_a_child_process_is_seen(tmp_path):
    sample = measure.measure([sys.executable, "-c", PARENT], tmp_path / "log")
    assert sample.peak_mb > 150
    assert sample.cpu_s > 0


def test_memory_of_the_harness_is_not_laid_to_the_command(tmp_path):
    held = bytearray(300_000_000)
    sample = measure.measure([sys.executable, "-c", "import time; time.sleep(0.2)"], tmp_path / "log")
    assert len(held) / 1e6 > sample.peak_mb


def test_a_command_that_fails_is_reported_with_its_code_and_its_words(tmp_path):
    with pytest.raises(CommandFailed, match="no such feed") as caught:
        measure.measure([sys.executable, "-c", "import sys; sys.exit('no such feed')"], tmp_path / "log")
    assert caught.value.code == 1


def state(**walls: list[float]) -> scale.Round:
    samples = {system: [Sample(wall, wall, 100.0, "") for wall in of] for system, of in walls.items()}
    return scale.Round(1_000_000, {}, samples)


def test_ours_over_script_leaves_out_the_floor_and_takes_medians():
    found = scale.ratios(
        state(ours=[12, 11, 90], floor=[10, 10, 10], script=[1, 2, 3], scan=[0.5], pandas=[6])
    )
    assert {name: value for name, value in found.items() if value is not None} == {
        "ours_over_script": 1.0,
        "ours_over_script_gross": 6.0,
        "script_over_scan": 4.0,
        "pandas_over_ours": 0.5,
    }


def test_a_ratio_that_was_not_measured_is_null_and_says_why():
    facts = scale.report(state(ours=[12], floor=[10], script=[2]))
    assert facts["ratios"]["ours_over_script"] == 1.0
    assert "--increment" in facts["ratios_null_because"]["increment_over_full"]
    assert {n for n, v in facts["ratios"].items() if v is None} == set(facts["ratios_null_because"])


def test_the_build_alone_is_set_beside_the_script_net_of_its_own_floor():
    round_ = state(ours=[60], floor=[30], script=[4])
    round_.stages = {"ours": [{"build": 25.0, "publish": 5.0}], "floor": [{"build": 13.0, "publish": 1.0}]}
    assert scale.ratios(round_)["build_over_script"] == 3.0
    assert scale.ratios(round_)["publish_over_build"] == 0.2
    # A stage has no CPU seconds of its own, so there is no such ratio of them.
    assert scale.ratios(round_, "cpu_s")["build_over_script"] is None


def test_the_increment_stands_beside_the_full_build_of_the_same_day():
    round_ = state(ours=[90], floor=[30], increment=[32], full=[80])
    round_.stages = {
        "floor": [{"build": 10.0}],
        "increment": [{"build": 11.0, "core": 0.5}],
        "full": [{"build": 35.0, "core": 20.0}],
    }
    found = scale.ratios(round_)
    assert (found["increment_over_full"], found["increment_over_full_beyond_floor"]) == (0.4, 0.04)
    assert (found["increment_over_full_of_build"], found["increment_over_full_of_core"]) == (0.04, 0.025)


def test_the_core_is_what_lies_behind_the_scores(tmp_path):
    nodes = {
        f"model.strata.{name}": {
            "name": name,
            "depends_on": {"nodes": [f"model.strata.{n}" for n in on]},
        }
        for name, on in {
            "customer_rfm": ["int_customer_facts"],
            "int_customer_facts": ["int_orders"],
            "int_orders": [],
            "customer_360": ["customer_rfm"],
        }.items()
    }
    (tmp_path / "dbt" / "target").mkdir(parents=True)
    (tmp_path / "dbt" / "built.json").write_text(json.dumps({"nodes": nodes}))
    results = [{"unique_id": name, "execution_time": 2.0} for name in nodes]
    (tmp_path / "dbt" / "target" / "run_results.json").write_text(json.dumps({"results": results}))
    assert scale.core_s(tmp_path) == 6.0


def test_warehouses_of_other_rows_are_told_apart(tmp_path):
    for name, rows in (("one", "(1), (1), (2)"), ("other", "(1), (2), (2)")):
        with duckdb.connect(str(tmp_path / name)) as con:
            con.execute(f"create schema core; create table core.t as from (values {rows}) as v (n)")
            con.execute("create table core.same as select 1 as n")
    with duckdb.connect(str(tmp_path / "other")) as con:
        con.execute("create table core.further as select 1 as n")
    assert compare.warehouses(tmp_path / "one", tmp_path / "one") == []
    assert compare.warehouses(tmp_path / "one", tmp_path / "other") == [
        "core.further is in one warehouse only",
        "core.t: 2 rows differ",
    ]


def test_what_follows_a_stage_belongs_to_it_until_the_next_begins():
    progress = (
        "[   1.0 s] strata run for 2026-01-01: loading the definitions\n[   3.0 s] taking in deliveries before D\n"
        "[   4.0 s] bench/orders: 1 file, 9 rows loaded\n[   6.0 s] checking the sources\n"
        "[   7.0 s] building the marts (dbt)\n[   8.0 s]   25 models and tests done\n"
        "[  10.0 s] checking the audiences\n[  10.5 s] publishing\n[  11.0 s] writing 19 tables\n"
        "[  12.0 s] release 2026-01-01 is current\n[  14.0 s] forecasts and limits were tested on past days: x\n"
        "[  14.5 s] writing the audiences for their destinations\n"
    )
    assert scale.stages(progress, 15.5) == {
        "start": 3.0,
        "ingest": 3.0,
        "gates": 1.5,
        "identity": 0.0,
        "build": 3.0,
        "publish": 1.5,
        "evaluation": 2.5,
        "audiences": 1.0,
    }


def test_a_ratio_without_one_of_its_sides_is_null():
    assert set(scale.ratios(state(script=[1])).values()) == {None}


def test_the_table_names_every_system_and_what_was_skipped():
    round_ = state(script=[1], scan=[0.25])
    round_.skipped.append("pandas needs more")
    facts = scale.report(round_)
    text = scale.markdown(facts)
    assert "| bare scan | 0.25 |" in text and "script_over_scan 4.00" in text and "SKIPPED: pandas" in text
    assert json.loads(json.dumps(facts))["equal"] is True


def test_a_size_beyond_the_machine_is_left_out_with_its_reason():
    assert "42.0 GB" in scale.why_not("pandas", 100_000_000, available=24_000_000_000)
    assert scale.why_not("script", 100_000_000, available=24_000_000_000) is None


def test_the_phases_of_our_run_are_read_from_its_progress():
    progress = (
        "warning\n[   0.5 s] loading\n[   5.0 s] building\n[   9.0 s]   25 of 72 nodes\n"
        "\x1b[32m12 of 72\n[  15.5 s] publishing\n"
    )
    assert scale.phases(progress, 16.0) == {
        "starting": 0.5,
        "loading": 4.5,
        "building": 10.5,
        "publishing": 0.5,
    }


def test_seconds_of_dbt_are_told_by_whose_work_they_are():
    """Whatever RFM, ABC and lifecycle need, directly or not, is the peers' work as well; nothing is lost or told twice."""
    nodes = {
        f"model.strata.{name}": {"name": name, "depends_on": {"nodes": [f"model.strata.{n}" for n in needed]}}
        for name, needed in {
            "int_orders": ["stg_orders"],
            "stg_orders": [],
            "customer_abc": ["int_facts"],
            "int_facts": ["int_orders"],
            "customer_360": ["customer_abc", "int_reasons"],
            "int_reasons": ["customer_abc"],
        }.items()
    }
    nodes["model.strata.stg_orders"]["depends_on"]["nodes"].append("seed.strata.zones")
    nodes["seed.strata.zones"] = {"name": "zones", "depends_on": {}}
    seconds = dict(zip(nodes, (4.0, 0.5, 1.0, 2.0, 3.0, 0.25, 0.125), strict=True)) | {"test.strata.x": 8.0}
    assert scale.by_work(nodes, seconds) == {"same": 7.5, "other": 3.25, "tests": 8.0, "seeds": 0.125}
