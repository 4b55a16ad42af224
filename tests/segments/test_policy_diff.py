"""What a policy would change, told from the classes before and after."""

import csv
import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import duckdb
import pytest

from pipeline.errors import StrataError
from pipeline.segments import diff
from pipeline.segments.custom import SEEDS
from pipeline.settings import Settings
from pipeline.transform.context import policy_preset, policy_presets
from pipeline.transform.project import NO_HOME


def _classes(path: Path, rows: list[tuple[str, str, str]]) -> None:
    con = duckdb.connect()
    con.execute("create table t (customer_key varchar, scheme varchar, class varchar)")
    con.executemany("insert into t values (?, ?, ?)", rows)
    con.execute(f"copy t to '{path}' (format parquet)")


def test_moves_are_counted_by_scheme_from_where_to_where(tmp_path: Path) -> None:
    _classes(
        tmp_path / "before.parquet",
        [
            ("a", "rfm", "loyal"),
            ("b", "rfm", "loyal"),
            ("c", "rfm", "new"),
            ("a", "abc", "A"),
            ("b", "abc", "B"),
        ],
    )
    _classes(
        tmp_path / "after.parquet",
        [
            ("a", "rfm", "lapsed"),
            ("b", "rfm", "lapsed"),
            ("c", "rfm", "loyal"),
            ("a", "abc", "A"),
            ("b", "abc", "B"),
            ("a", "custom:x", "member"),
        ],
    )
    found = diff._moves(tmp_path)
    assert (found["customers"], found["moved"]) == (3, 3)
    assert [(s["scheme"], s["customers"], s["moved"]) for s in found["schemes"]] == [
        ("rfm", 3, 3),
        ("custom:x", 1, 1),
        ("abc", 2, 0),
    ]
    assert found["schemes"][0]["moves"] == [
        {"from": "loyal", "to": "lapsed", "customers": 2},
        {"from": "new", "to": "loyal", "customers": 1},
    ]
    changed = diff._changed(
        {"thresholds": {("k", "1"), ("l", "2")}, "same": {("x",)}},
        {"thresholds": {("k", "3"), ("l", "2")}, "same": {("x",)}},
    )
    assert changed == {"thresholds": {"removed": ["k,1"], "added": ["k,3"]}}
    text = diff.told(
        {
            "as_of_date": "d",
            "policy_day": "d",
            "release": "r",
            "preset": "grocery",
            "changed_seeds": changed,
            **found,
        }
    )
    assert "with preset grocery against the last build · as of d · release r" in text
    assert "thresholds.csv\n  - k,1\n  + k,3\n3 of 3 customers (100.0 %) get another class\n" in text
    assert "rfm: 3 move (100.0 %)\n  loyal → lapsed: 2\n  new → loyal: 1\n" in text
    assert "(new scheme) → member: 1" in text and "abc" not in text


def test_a_home_without_a_build_and_a_preset_that_is_none_are_errors(settings: Settings) -> None:
    with pytest.raises(StrataError, match="has no build to compare with: run `strata run` first"):
        diff.diff(settings)
    with pytest.raises(StrataError, match="there is no policy preset 'grocer': set one of grocery, beauty"):
        policy_preset("grocer")
    assert policy_preset(None) is None


def test_the_presets_have_the_values_of_the_domain_and_change_known_thresholds() -> None:
    with (SEEDS / "thresholds.csv").open(encoding="utf-8") as file:
        keys = {row["key"] for row in csv.DictReader(file)}
    found = {
        name: {row["key"]: float(row["value"]) for row in rows} for name, rows in policy_presets().items()
    }
    assert {key for rows in found.values() for key in rows} <= keys
    # P-01 and P-05 of the domain; what was bought is looked at over the days that are counted (policy_windows_agree).
    assert found == {
        "grocery": {"rfm_window_days": 180},
        "beauty_apparel": {"rfm_window_days": 365},
        "durables_b2b": {
            "rfm_window_days": 1095,
            "lifecycle_year_window_days": 1095,
            "behaviour_window_days": 1095,
            "lifecycle_mature_frequency_min": 2,
        },
    }


def test_the_manifest_of_the_last_build_names_the_sources_where_the_trial_reads_them(
    settings: Settings,
) -> None:
    built = settings.home / "built.json"
    built.parent.mkdir(parents=True)
    places = [f"{NO_HOME}/{name}" for name in ("raw/x", "build/run_context.parquet", "build/history/y")]
    built.write_text(json.dumps(places))
    trial = replace(settings, home=settings.build / "policy-diff")
    trial.home.mkdir(parents=True)
    found = json.loads((diff._state(settings, trial, built) / "manifest.json").read_text())
    assert found == [
        f"{settings.home}/raw/x",
        f"{trial.build}/run_context.parquet",
        f"{settings.home}/build/history/y",
    ]


def test_a_row_of_a_day_to_come_is_tried_as_if_it_had_come(tmp_path: Path) -> None:
    seed = tmp_path / "thresholds.csv"
    seed.write_text(
        "key,value,valid_from,valid_to\n"
        "kept,1,2000-01-01,\n"
        "window,365,2000-01-01,2026-08-01\n"
        "window,60,2026-08-01,\n"
        "trial,1,2026-07-10,2026-07-20\n"
        "over,1,2000-01-01,2026-01-01\n"
    )
    (tmp_path / "labels.csv").write_text("scheme,label\nrfm,2027-01-01\n")
    today = date(2026, 7, 1)
    day = diff.policy_day(tmp_path, today)
    assert day == date(2026, 8, 1)
    assert diff.policy_day(tmp_path, day) == day
    with seed.open(encoding="utf-8") as file:
        rows = [diff.brought_forward(row, day, today) for row in csv.DictReader(file)]
    assert [(r["key"], r["value"], r["valid_from"], r["valid_to"]) for r in rows] == [
        ("kept", "1", "2000-01-01", ""),
        ("window", "365", "2000-01-01", "2026-07-01"),
        ("window", "60", "2026-07-01", ""),
        ("trial", "1", "2026-07-10", "2026-07-20"),
        ("over", "1", "2000-01-01", "2026-01-01"),
    ]


def test_the_project_that_is_tried_differs_in_the_validity_of_its_rows_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "dbt_project"
    for part in ("seeds/policy", "models", "target"):
        (project / part).mkdir(parents=True)
    (project / "models" / "a.sql").write_text("select 1")
    (project / "seeds/policy/t.csv").write_text("key,value,valid_from,valid_to\nk,1,2026-08-01,\n")
    (project / "seeds/policy/u.csv").write_text('key,reason\nk,"a, b"\n')
    monkeypatch.setattr(diff, "DBT_PROJECT_DIR", project)
    monkeypatch.setattr(diff, "POLICY_DIR", project / "seeds" / "policy")
    tried = diff._project(tmp_path / "tried", date(2026, 8, 1), date(2026, 7, 1))
    assert (tried / "seeds/policy/t.csv").read_text() == "key,value,valid_from,valid_to\nk,1,2026-07-01,\n"
    assert (tried / "seeds/policy/u.csv").read_text() == (project / "seeds/policy/u.csv").read_text()
    assert (tried / "models" / "a.sql").exists() and not (tried / "target").exists()
