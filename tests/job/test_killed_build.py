"""A build that is killed while models are being written: the next run gives what an undisturbed home has.

Each trial is two or three whole runs, so a plain `make test` takes none: `make soak` does. The proof of the base is taken
away before a build begins (transform/base.py), so what a killed one leaves is built in full.
"""

import os
import random
import shutil
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.job.conftest import Line, make_company

SOAK = os.environ.get("STRATA_SOAK") == "1"
KILLS = 30


def _killed(line: Line, nodes: int, seconds: float, *args: str) -> bool:
    """Run, and end the run that long after so many models and tests were built; whether it was still at work."""
    command = [sys.executable, "-m", "pipeline.cli", "run", "--json", *args]
    process = subprocess.Popen(
        command, env=line.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr
    marks = 0
    for text in process.stderr:
        marks += "building the marts" in text or "models and tests done" in text
        if marks > nodes // 25:
            break
    time.sleep(seconds)
    at_work = process.poll() is None
    process.kill()
    process.wait()
    process.stderr.close()
    return at_work


@pytest.mark.soak
@pytest.mark.skipif(not SOAK, reason="two whole runs a kill: make soak")
def test_the_run_after_a_killed_build_converges(tmp_path: Path) -> None:
    """Killed at any model, on the first day and on a later one, once or twice in a row; nothing was published then."""
    line = make_company(tmp_path / "source", 120, 40)
    days = sorted(date.fromisoformat(path.stem) for path in line.landing.glob("app/orders/*"))
    second = days[-2] + timedelta(days=1)
    undisturbed = {"first day": line.copy(tmp_path / "alone"), "later day": line}
    assert undisturbed["first day"].run("--as-of", str(second))[0] == 0
    assert line.run("--as-of", str(second - timedelta(days=1)))[0] == 0
    begun = line.copy(tmp_path / "begun")
    assert line.run("--as-of", str(second))[1]["build"]["way"] == "increment"
    draw, hits = random.Random(7), 0
    for n in range(KILLS):
        which = "later day" if n % 3 else "first day"
        source = begun if n % 3 else Line(line.landing, tmp_path / "none")
        trial = source.copy(tmp_path / f"trial-{n}")
        pointer = trial.pointer
        for _ in range(draw.choice((1, 1, 2))):
            hits += _killed(trial, draw.randrange(300), draw.random(), "--as-of", str(second))
            assert trial.pointer in (pointer, undisturbed[which].pointer)
        code, answer, errors = trial.run("--as-of", str(second))
        assert code == 0, (n, which, answer, errors[-3000:])
        assert trial.table_hashes() == undisturbed[which].table_hashes(), (n, which)
        assert trial.strata("releases", "verify")[0] == 0
        for path in (p for p in trial.home.rglob("*") if p.is_dir()):
            path.chmod(0o755)
        shutil.rmtree(trial.home.parent)
    assert hits > KILLS / 2, "the kills must hit"
