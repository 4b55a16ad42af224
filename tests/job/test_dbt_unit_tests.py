"""The claims about the SQL: every dbt unit test of the project, run on the tables of a real build."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.job.conftest import Line

PROJECT = Path(__file__).parents[2] / "dbt_project"


def test_every_claim_about_the_sql_holds(company: Line, tmp_path: Path) -> None:
    # Not on a copy: the views of a build read the raw files of its own home, and dbt opens no other.
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("dbt")),
            "test",
            "--select",
            "test_type:unit",
            "--project-dir",
            str(PROJECT),
            "--profiles-dir",
            str(PROJECT),
            "--target-path",
            str(tmp_path / "target"),
            "--log-path",
            str(tmp_path / "logs"),
        ],
        env={**os.environ, "STRATA_HOME": str(company.home)},
        capture_output=True,
        text=True,
        check=False,
    )
    results = json.loads((tmp_path / "target" / "run_results.json").read_text())["results"]
    failed = [r["unique_id"] for r in results if r["status"] not in ("pass", "success")]
    assert done.returncode == 0 and failed == [], failed or done.stdout[-3000:]
    assert len(results) >= 30
