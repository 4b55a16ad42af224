"""Whatever ends a publication, at whatever system call, the pointer is old or new and the next one sets things right.

strace counts the calls that change the disk and then ends the process at each of them in turn, or makes the call fail
as a full or broken disk does. `make soak` takes every call that touches the home; a plain run takes one of each kind.
"""

import copy
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

import pyarrow.parquet as pq
import pytest

from pipeline.identity import links
from pipeline.publish.shelf import verify_folder
from tests.publish import test_release
from tests.publish.test_release import AS_OF, NODES, Home, built, home  # noqa: F401

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

# The small home of the other tests, with what the files of single customers and the lists of audiences are made of.
MANIFEST = copy.deepcopy(test_release.MANIFEST)
for _name in ("since_date", "reason_codes"):
    MANIFEST["nodes"]["a"]["columns"][_name] = {"meta": {}, "config": {"meta": {"publish": True}}}
WITH_PEOPLE = (
    "alter table audiences.segment_membership add column since_date date default date '2024-05-01'",
    "alter table audiences.segment_membership add column reason_codes varchar default 'SCORED|1'",
    "create or replace view core.fct_consent_states as select distinct customer_key, purpose, 'all' as channel, "
    "true as is_granted from audiences.segment_membership cross join (values ('marketing'), ('profiling')) as p (purpose)",
    "create or replace table core.dim_customers as select distinct customer_key, false as is_minor, 30 as age, "
    "false as is_test, false as is_employee, 'fresh' as contact_status from audiences.segment_membership",
    "create or replace table intermediate.int_persons_excluded (customer_key varchar, reason varchar)",
    "create table intermediate.int_run_policy as select date '2024-05-10' as as_of_date",
)


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
    home.sql(*WITH_PEOPLE)
    home.settings.identity.mkdir(exist_ok=True)
    pq.write_table(links.SCHEMA.empty_table(), home.settings.identity / "links.parquet")
    home.build(EARLIER)
    home.publish(EARLIER, "earlier", MANIFEST)
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


def _changes(trace: str, made: Home) -> dict[str, list[int]]:
    """Call -> its numbers, counted per thread as strace counts them, at which one changes the home.

    Opening a file to read it, or writing to a pipe, leaves the home as the call before left it.
    """
    counted: Counter[tuple[str, str]] = Counter()
    found: dict[str, set[int]] = {}
    for thread, call, rest in re.findall(r"(?m)^(\d+) +(\w+)\((.*)$", trace):
        counted[thread, call] += 1
        if str(made.settings.home) in rest and not (call == "openat" and "O_RDONLY" in rest):
            found.setdefault(call, set()).add(counted[thread, call])
    return {call: sorted(numbers) for call, numbers in found.items()}


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


def _some(numbers: dict[str, list[int]]) -> Iterator[tuple[str, int]]:
    """(call, number) of every one in the soak, of the last of every kind otherwise."""
    for call, found in numbers.items():
        yield from ((call, n) for n in (found if SOAK else found[-1:]))


@pytest.mark.soak
def test_a_publication_that_is_killed_has_published_nothing_or_everything(
    publisher: Publisher, tmp_path: Path
) -> None:
    code, trace = publisher.publish("whole", "-e", f"trace={','.join(CALLS)}")
    assert code == 0
    tables = _tables(publisher.home.settings.releases / "2024-05-10")
    assert {"customers", "audiences"} <= {
        path.name for path in (publisher.home.settings.releases / "2024-05-10").iterdir()
    }
    changes = _changes(trace, publisher.home)
    assert {"openat", "write", "fsync", "mkdir"} < changes.keys() and {"rename", "renameat"} & changes.keys()
    outcomes: Counter[str] = Counter()
    for call, n in _some(changes):
        _as_before(publisher.home, tmp_path / "before")
        what = f"killed at {call} {n}"
        code, _ = publisher.publish(
            "killed", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={n}"
        )
        assert code in (-9, 0), what
        outcomes[f"{code} {_whole(publisher.home, may_be_new=True)}"] += 1
        _converges(publisher, tables, what)
    print("kills", dict(outcomes), sum(outcomes.values()), {call: len(ns) for call, ns in changes.items()})
    assert outcomes["-9 2024-05-09"], "the kills must hit"


@pytest.mark.soak
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_a_publication_on_a_failing_disk_has_published_nothing_or_everything(
    publisher: Publisher, tmp_path: Path, error: str
) -> None:
    code, trace = publisher.publish("whole", "-e", f"trace={','.join(CALLS)}")
    assert code == 0
    tables = _tables(publisher.home.settings.releases / "2024-05-10")
    failed, tried = 0, list(_some(_on_home(trace, publisher.home)))
    for call, n in tried:
        _as_before(publisher.home, tmp_path / "before")
        what = f"{error} at {call} {n}"
        code, _ = publisher.publish(
            "failing", "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={n}"
        )
        now = _whole(publisher.home, may_be_new=True)
        failed += code != 0
        assert code in (0, 3) and (code or now == "2024-05-10"), what
        _converges(publisher, tables, what)
    print(error, f"{failed} of {len(tried)} ended the publication")
    assert failed, "the errors must hit"


def _on_home(trace: str, made: Home) -> dict[str, list[int]]:
    """Call -> its numbers among the first thread's calls of the kind, where it is one that a disk can fail.

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
    return found
