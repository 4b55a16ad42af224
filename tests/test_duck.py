"""What SQL can reach: the folders that a connection was made for, and nothing beside them."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import pytest

from pipeline import duck
from pipeline.errors import StrataError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    folder = tmp_path / "inside"
    folder.mkdir()
    (folder / "in.csv").write_text("a\n1\n")
    (tmp_path / "out.csv").write_text("a\n2\n")
    (folder / "link.csv").symlink_to(tmp_path / "out.csv")
    return folder


def test_the_folder_can_be_read_and_written(inside: Path) -> None:
    con = duck.connect([inside])
    target = duck.literal(str(inside / "out.parquet"))
    con.execute(f"copy (from read_csv({duck.literal(str(inside / 'in.csv'))})) to {target} (format parquet)")
    assert con.execute(f"from {target}").fetchall() == [(1,)]


@pytest.mark.parametrize(
    "sql",
    [
        "from read_csv('/etc/passwd')",
        "from read_text('{inside}/../out.csv')",
        "from read_csv('{inside}/link.csv')",
        "from read_csv('{outside}/*.csv')",
        "copy (select 1) to '{outside}/written.csv'",
        "attach '{outside}/other.duckdb'",
        "install httpfs",
        "load '{outside}/any.duckdb_extension'",
        "set enable_external_access = true",
        "set allowed_directories = ['/']",
    ],
)
def test_anything_else_is_refused(inside: Path, sql: str) -> None:
    con = duck.connect([inside])
    with pytest.raises(duckdb.Error, match=r"(?i)permission|cannot|disabled"):
        con.execute(sql.format(inside=inside, outside=inside.parent)).fetchall()
    assert sorted(p.name for p in inside.parent.iterdir()) == ["inside", "out.csv"]


def test_the_product_makes_its_connections_here() -> None:
    made = re.compile(r"duckdb\.(connect|sql|execute|query)\(")
    found = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "pipeline").rglob("*.py")
        if made.search(path.read_text())
    }
    # The client runs in other people's programs and reads what is published; it needs nothing of ours beside it.
    assert found == {"pipeline/duck.py", "pipeline/publish/client.py"}


def test_a_stated_memory_is_that_of_the_process(inside: Path, monkeypatch) -> None:
    def limit() -> float:
        found = duck.connect([inside]).execute(
            "select value from duckdb_settings() where name = 'memory_limit'"
        )
        return duckdb.execute("select parse_formatted_bytes(?)", [found.fetchall()[0][0]]).fetchall()[0][0]

    monkeypatch.setenv("STRATA_MEMORY", "1GB")
    monkeypatch.setattr(duck, "_held", lambda: 200_000_000)
    assert limit() == pytest.approx(640e6, rel=0.001)
    monkeypatch.setattr(duck, "_held", lambda: 2_000_000_000)
    assert limit() == pytest.approx(250e6, rel=0.001)
    monkeypatch.setenv("STRATA_MEMORY", "much")
    with pytest.raises(StrataError, match="STRATA_MEMORY='much' is no size such as 4GB"):
        duck.connect([inside])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell")
def test_a_query_that_does_not_fit_keeps_the_process_within_its_memory(tmp_path: Path) -> None:
    # Sorted rows of 1 GB, in a process of its own. ru_maxrss would tell what the process that forked it has held.
    code = (
        "import re, sys; from pathlib import Path; from pipeline import duck\n"
        "with duck.connect([Path(sys.argv[1])]) as con:\n"
        "    con.execute(\"create temp table wide as select md5(range::varchar) as key, range as n, repeat('x', 80) as text "
        'from range(6000000) order by key")\n'
        "status = Path('/proc/self/status').read_text()\n"
        "print(1024 * int(re.search(r'VmHWM:\\s*(\\d+) kB', status)[1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "STRATA_MEMORY": "600MB", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout.split()[-1]) <= 600_000_000


def test_statements_are_shared_out_and_one_that_fails_ends_the_rest() -> None:
    """Two at once, each item once; what another thread raises reaches the caller, and what nobody began is left."""
    both, done = threading.Barrier(2, timeout=20), []

    def work(cursor: duckdb.DuckDBPyConnection, item: int) -> None:
        if item < 2:
            both.wait()
        if item < 2 and threading.current_thread() is not threading.main_thread() and fails:
            raise StrataError("of another thread")
        done.append((item, cursor.execute("select current_setting('threads'), $1", [item]).fetchone()))

    for fails in (False, True):
        done.clear()
        with duck.connect([]) as con:
            con.execute("set threads = 2")
            if fails:
                with pytest.raises(StrataError, match="of another thread"):
                    duck.share_out(con, range(2), work)
                assert len(done) == 1
            else:
                duck.share_out(con, range(5), work)
                assert sorted(done) == [(n, (1, n)) for n in range(5)]


def test_one_thread_works_in_order() -> None:
    with duck.connect([]) as con:
        con.execute("set threads = 1")
        seen: list[tuple[int, str]] = []
        duck.share_out(con, range(4), lambda _, n: seen.append((n, threading.current_thread().name)))
        assert seen == [(n, threading.main_thread().name) for n in range(4)]
