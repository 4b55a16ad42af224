"""Whatever ends a publication, at whatever system call, the pointer is old or new and the next one sets things right.

strace counts the calls that change the disk and then ends the process at each of them in turn, or makes the call fail
as a full or broken disk does. `make soak` takes every call; a plain run takes some of each kind.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.publish.release import verify_folder
from tests.publish.test_release import AS_OF, MANIFEST, NODES, Home, built, home  # noqa: F401

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
SOAK = os.environ.get("STRATA_SOAK") == "1"
EARLIER = AS_OF.replace(day=9)
WRITES = ("write", "pwrite64", "writev", "ftruncate", "fallocate")
DISK = (*WRITES, "fsync", "fdatasync", "rename", "renameat", "mkdir")
CALLS = (
    *WRITES,
    *("openat", "fsync", "fdatasync", "rename", "renameat", "renameat2", "link", "linkat", "symlink"),
    *("mkdir", "mkdirat", "unlink", "unlinkat", "rmdir", "chmod", "fchmod", "fchmodat"),
)
"""Every call by which a publication changes the disk. Between two of them a kill leaves what the first left."""


@dataclass
class Publisher:
    """The process that publishes in traced children (see publisher.py)."""

    process: subprocess.Popen[str]
    home: Home
    log: Path

    def publish(self, run: str, *injected: str) -> tuple[int, str]:
        """(exit code, negative for a signal; what the trace says)."""
        traced = bool(injected)
        settings = self.home.settings
        asked = {
            "home": str(settings.home),
            "landing": str(settings.landing),
            "as_of": AS_OF.isoformat(),
            "run": run,
            "manifest": MANIFEST,
            "nodes": NODES,
            "traced": traced,
        }
        assert self.process.stdin and self.process.stdout
        print(json.dumps(asked), file=self.process.stdin, flush=True)
        pid = json.loads(self.process.stdout.readline())["pid"]
        tracer = None
        if traced:
            _wait_for(lambda: _state(pid) == "T")
            # An error is for the first thread alone (see _on_home); a kill comes from whichever gets there.
            threads = [] if any(":error=" in option for option in injected) else ["-f"]
            command = ["strace", *threads, "-qq", "-y", "-o", str(self.log), "-p", str(pid), *injected]
            tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
            _wait_for(lambda: tracer.poll() is not None or _tracer_of(pid) == tracer.pid)
            os.kill(pid, 18)
        code = json.loads(self.process.stdout.readline())["exit"]
        if tracer:
            tracer.communicate(timeout=20)
        return code, self.log.read_text() if traced else ""


def _wait_for(met: Any, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not met():
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(0.002)


def _state(pid: int) -> str:
    return re.search(r"State:\s+(\w)", Path(f"/proc/{pid}/status").read_text()).group(1)  # type: ignore[union-attr]


def _tracer_of(pid: int) -> int:
    return int(re.search(r"TracerPid:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1))  # type: ignore[union-attr]


@pytest.fixture
def publisher(home: Home, tmp_path: Path) -> Iterator[Publisher]:  # noqa: F811
    """A home with a release of the day before, and a warehouse built for the day."""
    home.build(EARLIER)
    home.publish(EARLIER, "earlier")
    home.build()
    shutil.copytree(home.settings.home, tmp_path / "before")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.publish.publisher"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield Publisher(process, home, tmp_path / "trace")
    process.communicate(timeout=20)


def _as_before(made: Home, before: Path) -> None:
    shutil.rmtree(made.settings.releases, ignore_errors=False, onerror=_writable)
    shutil.copytree(before / "releases", made.settings.releases)
    shutil.copyfile(before / "CURRENT.json", made.settings.pointer)


def _writable(function: Any, path: str, _: Any) -> None:
    Path(path).parent.chmod(0o755)
    Path(path).chmod(0o755)
    function(path)


def _counted(trace: str) -> Counter[str]:
    """Calls of each kind that one thread made at most, which is how strace counts them."""
    per_thread = Counter(re.findall(r"(?m)^(\d+) +(\w+)\(", trace))
    most: Counter[str] = Counter()
    for (_, call), n in per_thread.items():
        most[call] = max(most[call], n)
    return most


def _whole(made: Home, *, may_be_new: bool) -> str:
    """The release that the pointer names, after everything that stands under a release's name was verified."""
    pointed = json.loads(made.settings.pointer.read_text())
    assert pointed["path"] == f"releases/{pointed['release']}"
    assert pointed["release"] in ({"2024-05-09", "2024-05-10"} if may_be_new else {"2024-05-09"}), pointed
    for folder in made.settings.releases.iterdir():
        if not folder.name.startswith("."):
            assert verify_folder(folder) == [], folder
    return pointed["release"]


def _converges(publisher: Publisher, tables: dict[str, bytes], what: str) -> None:
    """The next publication ends with one release of the day, with the tables that it would have had, and no rest."""
    code, _ = publisher.publish("again")
    assert code == 0, what
    settings = publisher.home.settings
    assert _whole(publisher.home, may_be_new=True) == "2024-05-10", what
    assert sorted(p.name for p in settings.releases.iterdir()) == ["2024-05-09", "2024-05-10"], what
    assert _tables(settings.releases / "2024-05-10") == tables, what


def _tables(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.parquet")}


def _some(counted: Counter[str], calls: tuple[str, ...], each: int) -> Iterator[tuple[str, int]]:
    """(call, number) of every one in the soak, of `each` of every kind otherwise, the last ones always."""
    for call in calls:
        n = counted[call]
        step = 1 if SOAK else max(1, n // each)
        yield from ((call, i) for i in range(n, 0, -step))


@pytest.mark.soak
def test_a_publication_that_is_killed_has_published_nothing_or_everything(
    publisher: Publisher, tmp_path: Path
) -> None:
    code, trace = publisher.publish("whole", "-e", f"trace={','.join(CALLS)}")
    assert code == 0
    tables = _tables(publisher.home.settings.releases / "2024-05-10")
    counted = _counted(trace)
    assert (
        counted["openat"]
        and counted["write"]
        and counted["fsync"]
        and counted["rename"] + counted["renameat"]
    )
    outcomes: Counter[str] = Counter()
    for call, n in _some(counted, CALLS, each=1):
        _as_before(publisher.home, tmp_path / "before")
        what = f"killed at {call} {n}"
        code, _ = publisher.publish("killed", "-e", f"inject={call}:signal=KILL:when={n}")
        assert code in (-9, 0), what
        outcomes[f"{code} {_whole(publisher.home, may_be_new=True)}"] += 1
        _converges(publisher, tables, what)
    print(dict(outcomes), sum(outcomes.values()))
    assert outcomes["-9 2024-05-09"], "the kills must hit"


@pytest.mark.soak
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_a_publication_on_a_failing_disk_has_published_nothing_or_everything(
    publisher: Publisher, tmp_path: Path, error: str
) -> None:
    code, trace = publisher.publish("whole", "-e", f"trace={','.join(CALLS)}")
    assert code == 0
    tables = _tables(publisher.home.settings.releases / "2024-05-10")
    failed = 0
    for call, n in _on_home(trace, publisher.home, each=1):
        _as_before(publisher.home, tmp_path / "before")
        what = f"{error} at {call} {n}"
        code, _ = publisher.publish("failing", "-e", f"inject={call}:error={error}:when={n}")
        now = _whole(publisher.home, may_be_new=True)
        failed += code != 0
        assert code in (0, 3) and (code or now == "2024-05-10"), what
        _converges(publisher, tables, what)
    assert failed, "the errors must hit"


def _on_home(trace: str, made: Home, *, each: int) -> Iterator[tuple[str, int]]:
    """(call, number among the first thread's calls of its kind) of the calls that a disk can fail.

    Threads also write to pipes and counters of their own, which no disk holds: failing there would hang them.
    """
    main_thread = trace.split(maxsplit=1)[0]
    counted: Counter[str] = Counter()
    found: dict[str, list[int]] = {}
    for thread, call, rest in re.findall(r"(?m)^(\d+) +(\w+)\((.*)$", trace):
        if thread == main_thread:
            counted[call] += 1
            if call in DISK and str(made.settings.home) in rest:
                found.setdefault(call, []).append(counted[call])
    for call, numbers in found.items():
        step = 1 if SOAK else max(1, len(numbers) // each)
        yield from ((call, n) for n in numbers[::-step])
