"""Readers are told before what they rely on changes: a breaking change needs a new version of the contract."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import StrataError
from pipeline.publish.contract import PROMISED, Contract, load, problems, tables_of
from pipeline.transform.dbt import ensure_manifest

NOW: dict[str, Any] = {"marts.nps": {"columns": {"wave": "varchar", "nps": "double"}, "grain": ["wave"]}}
V1 = {"version": 1, "date": "2026-01-01", "changes": "first"}
V2 = {"version": 2, "date": "2026-02-01", "changes": "second"}


def test_the_project_keeps_its_contract() -> None:
    now = tables_of(json.loads(ensure_manifest().read_text()))
    assert not problems(load(), json.loads(PROMISED.read_text()), now)
    assert len(now) >= 20


@pytest.mark.parametrize(
    ("defect", "told"),
    [
        (lambda t: t["marts.nps"]["columns"].pop("nps"), "marts.nps.nps is gone"),
        (
            lambda t: t["marts.nps"]["columns"].update(nps="varchar"),
            "marts.nps.nps was double and is varchar",
        ),
        (lambda t: t["marts.nps"].update(grain=["wave", "nps"]), "marts.nps was one row per"),
        (lambda t: t.pop("marts.nps"), "marts.nps is gone"),
    ],
)
def test_a_breaking_change_fails_until_the_version_is_raised(defect: Any, told: str) -> None:
    changed = copy.deepcopy(NOW)
    defect(changed)
    promise = {"version": 1, "tables": NOW}
    first = Contract.model_validate({"versions": [V1]})
    second = Contract.model_validate({"versions": [V1, V2]})
    assert not problems(first, promise, NOW)
    (problem,) = problems(first, promise, changed)
    assert problem.startswith(told) and problem.endswith("raise the version in contract.yml")
    assert problems(second, promise, changed) == [
        "contract_tables.json is not today's: run `python -m pipeline.publish.contract`"
    ]
    assert not problems(second, {"version": 2, "tables": changed}, changed)


def test_an_added_column_is_recorded_without_a_new_version() -> None:
    """Else nobody would notice when it goes again."""
    more = copy.deepcopy(NOW)
    more["marts.nps"]["columns"]["answers"] = "bigint"
    first = Contract.model_validate({"versions": [V1]})
    assert problems(first, {"version": 1, "tables": NOW}, more) == [
        "contract_tables.json is not today's: run `python -m pipeline.publish.contract`"
    ]


def test_a_deprecation_names_what_there_is() -> None:
    note = {"table": "marts.nps", "column": "old", "since": "2026-01-01", "removed_on": "2026-06-01"}
    found = Contract.model_validate(
        {"versions": [V1], "deprecated": [note | {"replacement": "marts.nps.gone", "reason": "r"}]}
    )
    assert problems(found, {"version": 1, "tables": NOW}, NOW) == [
        "deprecated marts.nps.old is not published: take the note out",
        "marts.nps.gone, which replaces marts.nps.old, is not published",
    ]
    assert found.as_manifest()["contract"]["deprecated"][0]["removed_on"] == "2026-06-01"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("versions: []", "versions must be 1, 2, 3"),
        ("versions: [{version: 2, date: 2026-01-01, changes: x}]", "versions must be 1, 2, 3"),
        (
            "versions: [{version: 1, date: 2026-01-01, changes: x}]\ndeprecated: [{table: t, column: c, since: "
            "2026-01-01, removed_on: 2026-02-01, replacement: null, reason: r}]",
            "less than 90 days",
        ),
        ("versions: [{version: 1, date: 2026-01-01}]", "versions.0.changes: Field required"),
    ],
)
def test_a_wrong_statement_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "contract.yml"
    path.write_text(text)
    with pytest.raises(StrataError, match=told):
        load(path)
