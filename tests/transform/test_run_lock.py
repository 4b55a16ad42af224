"""One run at a time in a home; a run that dies lets the next one in."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import StrataError
from pipeline.lock import run_lock
from pipeline.settings import Settings

HOLD = """
import sys
from pipeline import settings
from pipeline.lock import run_lock
told = []
with run_lock(settings.load(), wait_seconds=60, log=lambda m: print("waits", m, flush=True)):
    print("holds", flush=True)
    if sys.argv[1:] == ["with child"]:
        import subprocess
        child = subprocess.Popen(["sleep", "60"])
        print(child.pid, flush=True)
    sys.stdin.readline()
print("done", flush=True)
"""


def start(*args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def says(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    process.communicate("\n", timeout=60)


def test_the_second_waits_for_the_first_and_then_runs(settings: Settings) -> None:
    first = start()
    assert says(first) == "holds"
    second = start()
    told = says(second)
    assert told.startswith("waits another run holds") and f"process {first.pid}" in told
    end(first)
    assert says(second) == "holds"
    end(second)
    assert (first.returncode, second.returncode) == (0, 0)


def test_the_lock_dies_with_its_process(settings: Settings) -> None:
    first = start()
    assert says(first) == "holds"
    with (
        pytest.raises(StrataError, match=r"another run still holds .*run\.lock"),
        run_lock(settings, wait_seconds=0),
    ):
        pass
    first.kill()
    first.wait(60)
    with run_lock(settings, wait_seconds=30):
        pass


def test_an_orphaned_child_does_not_keep_the_lock(settings: Settings) -> None:
    """A dbt process may outlive a run that was killed."""
    first = start("with child")
    assert says(first) == "holds"
    child = int(says(first))
    try:
        first.kill()
        first.wait(60)
        with run_lock(settings, wait_seconds=30):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_one_process_may_take_it_twice_and_lets_go_after_an_error(settings: Settings) -> None:
    with pytest.raises(ZeroDivisionError), run_lock(settings), run_lock(settings):
        raise ZeroDivisionError
    other = start()
    assert says(other) == "holds"
    end(other)
