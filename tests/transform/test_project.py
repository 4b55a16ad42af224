"""The project as it was parsed: every path of the parse is given its real home, and changed files are parsed again."""

import json
from pathlib import Path

import pytest

from pipeline.transform import project


def test_no_path_of_the_parse_is_left_and_each_source_lies_in_the_home(tmp_path: Path) -> None:
    manifest = project.parsed_project(tmp_path)
    locations = [source.meta["external_location"] for source in manifest.sources.values()]
    assert locations and all(f"read_parquet('{tmp_path}/" in location for location in locations)
    text = json.dumps(manifest.flat_graph, default=str)
    assert str(tmp_path) in text and project.NO_HOME not in text


def test_seeds_are_those_of_this_checkout_wherever_it_was_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.ensure_manifest()
    monkeypatch.setattr(project, "ensure_manifest", lambda: None)
    monkeypatch.setattr(project, "DBT_PROJECT_DIR", tmp_path / "moved")
    seeds = [n for n in project.parsed_project(tmp_path).nodes.values() if n.resource_type == "seed"]
    assert len(seeds) > 20 and {seed.root_path for seed in seeds} == {str(tmp_path / "moved")}


def test_dbt_gets_a_copy_of_its_own(tmp_path: Path) -> None:
    first, second = project.parsed_project(tmp_path), project.parsed_project(tmp_path)
    name = next(iter(first.nodes))
    first.nodes.pop(name)
    assert name in second.nodes


def test_other_files_or_another_dbt_are_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    project.ensure_manifest()
    assert project._is_current(project._state())
    with monkeypatch.context() as patched:
        patched.setattr(project, "project_hash", lambda: "other files")
        assert not project._is_current(project._state())
    with monkeypatch.context() as patched:
        patched.setattr(project, "DBT_PROJECT_DIR", project.DBT_PROJECT_DIR / "moved")
        assert not project._is_current(project._state())
    monkeypatch.setattr(project, "version", lambda package: "9.9")
    assert not project._is_current(project._state())
