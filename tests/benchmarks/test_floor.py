"""The floor's breakdown: phases by progress lines, no second lost, and the words that the job really says."""

import os
import sys
from pathlib import Path

import pytest

from benchmarks.floor import PHASES, phase_of, timed_run
from pipeline.settings import PROJECT_ROOT

SCRIPT = """
import sys, time
def say(text): print(f'[   0.1 s] {text}', file=sys.stderr, flush=True)
say('strata run for 2026-01-01: loading the definitions')
sum(range(4_000_000))
say('taking in deliveries before 2026-01-01')
say('bench/orders: 1 file, 248 rows loaded')
say('publishing')
say('taking in deliveries that came late')
"""


def test_phases_are_cut_at_progress_lines_and_add_up(tmp_path: Path) -> None:
    run = timed_run([sys.executable, "-c", SCRIPT], dict(os.environ), tmp_path / "log")
    names = [phase.name for phase in run.phases]
    loading, ingest = PHASES["strata run for"], PHASES["taking in deliveries"]
    assert names == ["starting", loading, ingest, PHASES["publishing"]]
    assert sum(phase.cpu_s for phase in run.phases) == pytest.approx(run.cpu_s)
    assert sum(phase.wall_s for phase in run.phases) == pytest.approx(run.wall_s)
    cpu = {phase.name: phase.cpu_s for phase in run.phases}
    assert cpu[loading] > 0
    with pytest.raises(SystemExit, match="exit code 3"):
        timed_run([sys.executable, "-c", "raise SystemExit(3)"], dict(os.environ), tmp_path / "log")


def test_every_phase_begins_with_words_that_the_job_says() -> None:
    said = "".join(path.read_text() for path in (PROJECT_ROOT / "pipeline").rglob("*.py"))
    for words, name in PHASES.items():
        assert f'say("{words}' in said or f'say(f"{words}' in said, words
        assert phase_of(f"[  12.3 s] {words} …") == name
    assert phase_of("[  12.3 s]   25 models and tests done") is None
