"""What the harness measures and how it sums up."""

import json
import sys

import pytest

from benchmarks import measure, scale
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
    assert found == {
        "ours_over_script": 1.0,
        "ours_over_script_gross": 6.0,
        "script_over_scan": 4.0,
        "pandas_over_ours": 0.5,
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
