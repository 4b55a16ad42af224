"""The claims about the SQL: every dbt unit test of the project, run on the tables of a real build."""

import json
from pathlib import Path

from pipeline.transform.invoke import DbtFailed, invoke
from tests.job.conftest import Line


def test_every_claim_about_the_sql_holds(company: Line, tmp_path: Path) -> None:
    # Not on a copy: the views of a build read the raw files of its own home, and dbt opens no other.
    failure = None
    try:
        invoke(["test", "--select", "test_type:unit"], company.home, tmp_path / "target")
    except DbtFailed as failed:
        failure = failed
    results = json.loads((tmp_path / "target" / "run_results.json").read_text())["results"]
    failed = [r["unique_id"] for r in results if r["status"] not in ("pass", "success")]
    assert failure is None and failed == [], failed or failure
    assert len(results) >= 30
