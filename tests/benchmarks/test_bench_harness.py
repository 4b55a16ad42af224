"""What the harness measures and how it sums up."""

import json
import sys

import duckdb
import pytest

from benchmarks import compare, measure, ours, peers, report, scale
from benchmarks.measure import CommandFailed, Mark, Sample

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


def state(**walls: list[float]) -> report.Round:
    samples = {system: [Sample(wall, wall, 100.0, "") for wall in of] for system, of in walls.items()}
    return report.Round(1_000_000, {}, samples)


def test_ours_over_script_leaves_out_the_floor_and_takes_medians():
    found = report.ratios(
        state(ours=[12, 11, 90], floor=[10, 10, 10], script=[1, 2, 3], scan=[0.5], pandas=[6])
    )
    assert {name: value for name, value in found.items() if value is not None} == {
        "ours_over_script": 1.0,
        "ours_over_script_gross": 6.0,
        "script_over_scan": 4.0,
        "pandas_over_ours": 0.5,
    }


def test_a_ratio_that_was_not_measured_is_null_and_says_why():
    facts = report.report(state(ours=[12], floor=[10], script=[2]))
    assert facts["ratios"]["ours_over_script"] == 1.0
    assert "--increment" in facts["ratios_null_because"]["increment_over_full"]
    assert {n for n, v in facts["ratios"].items() if v is None} == set(facts["ratios_null_because"])


def marked(*marks: tuple[str, float], wall: float, cpu: float = 0.0) -> Sample:
    """A run of ours with these progress lines, its CPU seconds twice its wall seconds."""
    return Sample(wall, cpu or 2 * wall, 100.0, "", tuple(Mark(text, at, 2 * at) for text, at in marks))


def test_the_build_alone_is_set_beside_the_script_net_of_its_own_floor():
    round_ = state(script=[4])
    round_.samples["ours"] = [marked(("building the marts (dbt)", 30), ("publishing", 55), wall=60)]
    round_.samples["floor"] = [marked(("building the marts (dbt)", 15), ("publishing", 28), wall=29)]
    assert report.ratios(round_)["build_over_script"] == 3.0
    assert report.ratios(round_)["publish_over_build"] == 0.2
    assert report.ratios(round_, "cpu_s")["build_over_script"] == 6.0


def test_the_queries_for_the_same_result_stand_beside_script_and_pandas():
    round_ = state(script=[4], pandas=[18], queries=[100])
    round_.queries = {"cpu_s": 80.0, "wall_s": 50.0, "same_cpu_s": 24.0, "same_wall_s": 12.0}
    wall, cpu = report.ratios(round_), report.ratios(round_, "cpu_s")
    assert (wall["queries_over_script"], wall["same_queries_over_script"]) == (12.5, 3.0)
    assert (cpu["queries_over_script"], cpu["same_queries_over_script"]) == (20.0, 6.0)
    assert wall["pandas_over_same_queries"] == 1.5


def test_the_increment_stands_beside_the_full_build_of_the_same_day():
    round_ = state(ours=[90])
    for system, build, wall in (("floor", 10, 30), ("increment", 11, 32), ("full", 35, 80)):
        round_.samples[system] = [
            marked(("building the marts (dbt)", 5), ("publishing", 5 + build), wall=wall)
        ]
    round_.core_s = {"increment": 0.5, "full": 20.0}
    found = report.ratios(round_)
    assert (found["increment_over_full"], found["increment_over_full_beyond_floor"]) == (0.4, 0.04)
    assert (found["increment_over_full_of_build"], found["increment_over_full_of_core"]) == (0.04, 0.025)


def test_seconds_of_dbt_are_told_by_whose_work_they_are(tmp_path):
    """Whatever RFM, ABC and lifecycle need, directly or not, is the peers' work as well; nothing is lost or told twice."""
    needs = {
        "model.strata.int_orders": ["model.strata.stg_orders"],
        "model.strata.stg_orders": ["seed.strata.zones"],
        "model.strata.customer_abc": ["model.strata.int_facts"],
        "model.strata.int_facts": ["model.strata.int_orders"],
        "model.strata.customer_360": ["model.strata.customer_abc", "model.strata.int_reasons"],
        "model.strata.int_reasons": ["model.strata.customer_abc"],
        "seed.strata.zones": [],
    }
    nodes = {name: {"depends_on": {"nodes": on}} for name, on in needs.items()}
    seconds = dict(zip(needs, (4.0, 0.5, 1.0, 2.0, 3.0, 0.25, 0.125), strict=True)) | {"test.strata.x": 8.0}
    (tmp_path / "dbt" / "target").mkdir(parents=True)
    (tmp_path / "dbt" / "built.json").write_text(json.dumps({"nodes": nodes}))
    results = [{"unique_id": name, "execution_time": spent} for name, spent in seconds.items()]
    (tmp_path / "dbt" / "target" / "run_results.json").write_text(json.dumps({"results": results}))
    assert ours.by_work(tmp_path) == {"same": 7.5, "other": 3.25, "tests": 8.0, "seeds": 0.125}


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
    run = marked(
        ("strata run for 2026-01-01: loading the definitions", 1),
        ("taking in deliveries before D", 3),
        ("bench/orders: 1 file, 9 rows loaded", 4),
        ("checking the sources", 6),
        ("building the marts (dbt)", 7),
        ("checking the audiences", 10),
        ("publishing", 10.5),
        ("writing 19 tables", 11),
        ("release 2026-01-01 is current", 12),
        ("forecasts and limits were tested on past days: x", 14),
        ("writing the audiences for their destinations", 14.5),
        wall=15.5,
    )
    wall = {"start": 3, "ingest": 3, "gates": 1.5, "identity": 0, "build": 3, "publish": 1.5}
    wall |= {"evaluation": 2.5, "audiences": 1}
    assert ours.stages(run) == wall
    assert ours.stages(run, "cpu_s") == {name: 2 * seconds for name, seconds in wall.items()}


SPEAKER = """
import sys, time
print("warning\\n[   0.1 s] loading", file=sys.stderr, flush=True)
time.sleep(0.2)
sum(range(10**7))
print("[   0.5 s] building\\n[   0.6 s]   25 of 72 nodes\\n12 of 72", file=sys.stderr, flush=True)
time.sleep(0.2)
"""


def test_marks_are_the_progress_lines_of_a_command_with_what_it_had_used(tmp_path):
    sample = measure.measure([sys.executable, "-c", SPEAKER], tmp_path / "log")
    loading, building = sample.marks
    assert (loading.text, building.text) == ("loading", "building")
    # A busy machine may see both lines in one look.
    assert 0 < loading.wall_s <= building.wall_s <= sample.wall_s
    assert 0 < building.cpu_s <= sample.cpu_s + 0.02 and loading.cpu_s <= building.cpu_s


def test_a_ratio_without_one_of_its_sides_is_null():
    assert set(report.ratios(state(script=[1])).values()) == {None}


def test_the_table_names_every_system_and_what_was_skipped():
    round_ = state(script=[1], scan=[0.25])
    round_.skipped["pandas"] = "pandas needs more"
    facts = report.report(round_)
    text = report.markdown(facts)
    assert "| bare scan | 0.25 |" in text and "script_over_scan 4.00" in text and "SKIPPED: pandas" in text
    assert json.loads(json.dumps(facts))["equal"] is True


def test_a_size_beyond_the_machine_is_left_out_with_its_reason():
    assert "42.0 GB" in peers.too_large("pandas", 100_000_000, available=24_000_000_000)
    assert peers.too_large("script", 100_000_000, available=24_000_000_000) is None


def test_a_peer_without_its_package_or_its_java_is_left_out_with_its_reason(monkeypatch):
    monkeypatch.setattr(peers, "has_package", lambda python, package: python == "with")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "")
    assert "python-without has no chdb" in peers.missing("chdb", "python-without")
    assert peers.missing("chdb", "with") is None
    assert "no java" in peers.missing("spark", "with")
    assert peers.missing("script", "python-without") is None


def test_the_phases_of_our_run_are_its_progress_lines():
    run = marked(("loading", 0.5), ("building", 5), ("publishing", 15.5), wall=16)
    assert ours.phases(run) == {"starting": 0.5, "loading": 4.5, "building": 10.5, "publishing": 0.5}


def test_a_null_ratio_names_what_kept_its_systems_from_running():
    round_ = state(ours=[12], floor=[10], script=[2], limited=[13])
    round_.skipped["spark"] = "spark: there is no java on PATH"
    because = report.report(round_)["ratios_null_because"]
    assert because["spark_over_ours"] == "spark: there is no java on PATH"
    assert because["pandas_over_ours"] == "pandas was not asked for"
    assert "memory_limited_over_unlimited" not in because
    assert set(report.ratios(round_)) == set(report.SIDES)


def test_a_peer_that_falls_over_costs_nobody_else_their_figures(tmp_path, monkeypatch, capsys):
    broken = peers.Peer("benchmarks.no_such_module", None, 1, spills=True)
    monkeypatch.setitem(peers.PEERS, "polars", broken)
    found = report.report(scale.bench(1_000, 2, ["polars", "script"], False, tmp_path, False))
    assert found["failed"] == ["polars ended with exit code 1"]
    assert "no_such_module" in capsys.readouterr().err
    assert {row["system"]: row["runs"] for row in found["results"]} == {"scan": 2, "script": 2}
    assert "polars ended with exit code 1" in found["ratios_null_because"]["polars_over_ours"]
