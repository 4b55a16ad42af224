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

import pytest

from pipeline.identity import tables
from pipeline.publish.shelf import verify_folder
from tests.publish import test_release
from tests.publish.test_release import AS_OF, NODES, Home, built, home  # noqa: F401

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
SOAK = os.environ.get("STRATA_SOAK") == "1"
EARLIER = AS_OF.replace(day=9)
CALLS = (
    *("write", "pwrite64", "writev", "pwritev", "pwritev2", "ftruncate", "truncate", "fallocate"),
    *("open", "openat", "openat2", "creat", "fsync", "fdatasync", "rename", "renameat", "renameat2"),
    *("link", "linkat", "symlink", "symlinkat", "sendfile", "copy_file_range", "mkdir", "mkdirat"),
    *("unlink", "unlinkat", "rmdir", "chmod", "fchmod", "fchmodat", "utimensat"),
)
"""Every call by which a publication changes the disk. Between two of them a kill leaves what the first left."""
NEEDED = {"openat", "write", "fsync", "rename", "link", "mkdir", "unlink", "chmod"}
"""What it cannot do without, by the kind of `_kind`: a trace that misses one has not seen it all."""

# The small home of the other tests, with what the files of single customers and the lists of audiences are made of.
MANIFEST = copy.deepcopy(test_release.MANIFEST)
for _name in ("since_date", "reason_codes"):
    MANIFEST["nodes"]["a"]["columns"][_name] = {"meta": {}, "config": {"meta": {"publish": True}}}
WITH_PEOPLE = (
    "alter table audiences.segment_membership add column since_date date default date '2024-05-01'",
    "alter table audiences.segment_membership add column reason_codes varchar default 'SCORED|1'",
    "create or replace view core.fct_consent_states as select distinct customer_key, purpose, 'all' as channel, "
    "true as is_granted, cast(null as varchar) as refused_by from audiences.segment_membership cross join (values ('marketing'), ('profiling')) as p (purpose)",
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

    def publish(self, run: str, *injected: str, first_thread: bool = False) -> tuple[int, str]:
        """(exit code, negative for a signal; what the trace says).

        Args:
            first_thread: only its calls are seen and made to fail, so that their numbers are the same each time.
        """
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
            threads = [] if first_thread else ["-f"]
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
    tables.replace(home.settings, tables.ROWS.empty_table(), EARLIER)
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
    for folder in (made.settings.releases, made.settings.serving.parent):
        shutil.rmtree(folder, ignore_errors=False, onerror=_writable)
        shutil.copytree(before / folder.name, folder)
    for kept in (made.settings.pointer, made.settings.release_ids):
        shutil.copyfile(before / kept.name, kept)


def _writable(function: Any, path: str, _: Any) -> None:
    Path(path).parent.chmod(0o755)
    Path(path).chmod(0o755)
    function(path)


def _calls(trace: str) -> Iterator[tuple[str, str, str, bool]]:
    """(thread, call, what it was told, whether it changes the home) of every call of a trace.

    Opening a file to read it, or writing to a pipe, leaves the home as the call before left it.
    """
    for thread, call, rest in re.findall(r"(?m)^(\d+) +(\w+)\((.*)$", trace):
        reads = call.startswith("open") and "O_RDONLY" in rest
        yield thread, call, rest, not reads


def _kind(call: str) -> str:
    """One name for the forms of a call that differ by machine and version of libc."""
    return {"renameat": "rename", "renameat2": "rename", "linkat": "link", "mkdirat": "mkdir", "unlinkat": "unlink",
            "fchmod": "chmod", "fchmodat": "chmod", "pwrite64": "write", "fdatasync": "fsync"}.get(call, call)  # fmt: skip


def _changes(trace: str, made: Home) -> dict[str, list[int]]:
    """Call -> its numbers, counted per thread as strace counts them, at which one changes the home."""
    counted: Counter[tuple[str, str]] = Counter()
    found: dict[str, set[int]] = {}
    for thread, call, rest, changes in _calls(trace):
        counted[thread, call] += 1
        if changes and str(made.settings.home) in rest:
            found.setdefault(call, set()).add(counted[thread, call])
    assert {_kind(call) for call in found} >= NEEDED, sorted(found)
    return {call: sorted(numbers) for call, numbers in found.items()}


def _whole(made: Home, *, may_be_new: bool) -> str:
    """The release that the pointer names, after everything that a reader can open was verified."""
    settings = made.settings
    pointed = json.loads(settings.pointer.read_text())
    assert pointed["path"] == f"releases/{pointed['release']}"
    assert pointed["release"] in ({"2024-05-09", "2024-05-10"} if may_be_new else {"2024-05-09"}), pointed
    for folder in settings.releases.iterdir():
        if not folder.name.startswith("."):
            assert verify_folder(folder) == [], folder
    # Tools without a pointer read one file: that of a release, whole, and no log beside it that would be replayed.
    served = settings.serving.read_bytes()
    assert any(served == path.read_bytes() for path in settings.releases.glob("2024-*/marts.duckdb"))
    assert not settings.serving.with_name("marts.duckdb.wal").exists()
    return pointed["release"]


def _converges(publisher: Publisher, wanted: dict[str, bytes], what: str) -> None:
    """The next publication ends with one release of the day, with what it would have held, and leaves no rest."""
    code, _ = publisher.publish("again")
    assert code == 0, what
    settings = publisher.home.settings
    assert _whole(publisher.home, may_be_new=True) == "2024-05-10", what
    assert sorted(p.name for p in settings.releases.iterdir()) == ["2024-05-09", "2024-05-10"], what
    release = settings.releases / "2024-05-10"
    assert _contents(release) == wanted, what
    assert settings.serving.read_bytes() == (release / "marts.duckdb").read_bytes(), what
    assert [p.name for p in settings.serving.parent.iterdir()] == ["marts.duckdb"], what


def _contents(folder: Path) -> dict[str, bytes]:
    """Every file of a release but those that tell when and by which run it was made."""
    timed = ("manifest.", "index.html", "marts.duckdb")
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith(timed)}


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
    release = publisher.home.settings.releases / "2024-05-10"
    wanted = _contents(release)
    assert {name.split("/")[0] for name in wanted} == {"audiences", "customers", "docs", "tables"}
    assert any(path.stat().st_nlink > 1 for path in release.glob("tables/*/*.parquet")), "none was linked"
    changes = _changes(trace, publisher.home)
    outcomes: Counter[str] = Counter()
    for call, n in _some(changes):
        _as_before(publisher.home, tmp_path / "before")
        what = f"killed at {call} {n}"
        code, _ = publisher.publish(
            "killed", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={n}"
        )
        assert code in (-9, 0), what
        outcomes[f"{code} {_whole(publisher.home, may_be_new=True)}"] += 1
        _converges(publisher, wanted, what)
    print("kills", dict(outcomes), sum(outcomes.values()), {call: len(ns) for call, ns in changes.items()})
    assert outcomes["-9 2024-05-09"], "the kills must hit"


@pytest.mark.soak
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_a_publication_on_a_failing_disk_has_published_nothing_or_everything(
    publisher: Publisher, tmp_path: Path, error: str
) -> None:
    code, trace = publisher.publish("failing", "-e", f"trace={','.join(CALLS)}")
    assert code == 0
    wanted = _contents(publisher.home.settings.releases / "2024-05-10")
    ended: Counter[str] = Counter()
    unharmed, missed = [], []
    cases = [*_of_first_thread(trace, publisher.home), *_of_other_threads(trace, publisher.home)]
    for file, call, n in cases if SOAK else _one_of_each(cases, error):
        _as_before(publisher.home, tmp_path / "before")
        what = f"{error} at {call} {n} {file}"
        where = ("-P", file) if file else ()
        injected = ("-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={n}")
        code, told = publisher.publish("failing", *where, *injected, first_thread=not file)
        now = _whole(publisher.home, may_be_new=True)
        # DuckDB ends the process (-6) where it cannot go on from an error: then it is a kill like others.
        assert code in (0, 3, -6) and (code or now == "2024-05-10"), what
        hit = any(
            "(INJECTED)" in line and str(publisher.home.settings.home) in line for line in told.splitlines()
        )
        ended[f"{now} {code}" if hit else "missed"] += 1
        missed += [] if hit else [f"{what} {[line for line in told.splitlines() if '(INJECTED)' in line]}"]
        unharmed += [what] if hit and not code else []
        _converges(publisher, wanted, what)
    print(
        error,
        dict(ended),
        f"of {len(cases)} calls; published all the same:",
        *unharmed,
        "not met:",
        *missed,
        sep="\n  ",
    )
    assert ended["2024-05-09 3"], "the errors must hit"
    assert ended["missed"] <= len(cases) // 20
    # A file that cannot be linked is written, the folder of the stable path is there already, and what DuckDB asks of the
    # disk beforehand need not be granted.
    assert all(_kind(what.split()[2]) in {"link", "mkdir", "fallocate"} for what in unharmed), unharmed


def _one_of_each(cases: list[tuple[str, str, int]], error: str) -> list[tuple[str, str, int]]:
    """Without the soak: the last call of each kind, half of the kinds for each error."""
    last = {(bool(file), _kind(call)): (file, call, n) for file, call, n in cases}
    return [last[key] for i, key in enumerate(sorted(last)) if i % 2 == (error == "EIO")]


def _of_first_thread(trace: str, made: Home) -> list[tuple[str, str, int]]:
    """("", call, its number among the thread's calls of the kind) of each that changes the home.

    Opening is told by the file: what libraries open beside it differs from run to run.
    """
    first = trace.split(maxsplit=1)[0]
    counted: Counter[str] = Counter()
    found = []
    for thread, call, rest, changes in _calls(trace):
        if thread == first:
            opened = re.search(rf'"({re.escape(str(made.settings.home))}[^"]*)"', rest)
            file = opened.group(1) if opened and call.startswith("open") else ""
            counted[call + file] += 1
            harmful = changes and str(made.settings.home) in rest
            found += [(file, call, counted[call + file])] if harmful else []
    return found


def _of_other_threads(trace: str, made: Home) -> list[tuple[str, str, int]]:
    """(file, call, number of it on the file) of what DuckDB's own threads write.

    They are told by the file: such threads also write to pipes and counters that no disk holds, and take turns.
    """
    first = trace.split(maxsplit=1)[0]
    counted: Counter[tuple[str, str, str]] = Counter()
    found = set()
    for thread, call, rest, changes in _calls(trace):
        named = re.search(rf'[<"]({re.escape(str(made.settings.home))}[^>"]*)[>"]', rest)
        if thread != first and changes and named:
            counted[thread, call, named.group(1)] += 1
            found.add((named.group(1), call, counted[thread, call, named.group(1)]))
    return sorted(found)
