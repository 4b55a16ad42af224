"""The blocks of docs/bi.md, each in a process of its own, read whole releases while others are published."""

import json
import os
import re
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import duckdb
import pytest

from pipeline import settings as settings_module
from pipeline.publish.commit import seal
from pipeline.publish.tables import PublishedTable, write_database

DOC = settings_module.PROJECT_ROOT / "docs" / "bi.md"
BLOCKS = dict(re.findall(r"```python\n# (\w+)\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL))
NEEDS = {
    "open_current": (),
    "pandas": (),
    "polars": ("polars",),
    "sqlalchemy": ("sqlalchemy", "duckdb_engine"),
    "adbc": ("adbc_driver_manager",),
    "duckdb": (),
}
OLD_CLIENTS = ("1.0.0", "1.3.2")
# No wheels of 1.0.0 were made for later Pythons.
NEWEST_PYTHON = {"1.0.0": (3, 12)}
READER = """
import json, sys, time
from pathlib import Path
path, home, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
if path:
    sys.path.insert(0, path)
block = compile((folder / "block.py").read_text(encoding="utf-8"), "docs/bi.md", "exec")
import warnings
warnings.simplefilter("ignore")
seen, torn, is_last = [], [], False
while True:
    is_last = (folder.parent / "stop").exists()
    names = {"home": home}
    exec(block, names)
    people, classified = int(names["people"]), int(names["classified"])
    if people != classified:
        torn.append([people, classified])
    if people not in seen:
        seen.append(people)
    (folder / "seen").write_text(str(len(seen)))
    if is_last:
        break
    time.sleep(0.02)
print(json.dumps({"seen": seen, "torn": torn}))
"""


def publish(home: Path, n: int) -> None:
    """Release `n`, in which two tables count `n` people, by the product's own last steps."""
    name = f"2024-05-10-r{n}" if n > 1 else "2024-05-10"
    settings = settings_module.load()
    candidate = settings.releases / ".tmp-next"
    tables = [
        PublishedTable("audiences", "segment_summary", ("scheme", "class", "customers"), ("scheme", "class")),
        PublishedTable(
            "audiences", "segment_coverage", ("population_group", "customers"), ("population_group",)
        ),
    ]
    contents = (
        f"select 'rfm' as scheme, i::varchar as class, {n}::bigint as customers from range(50) t(i)",
        f"select 'classified' as population_group, {50 * n}::bigint as customers",
    )
    for table, sql in zip(tables, contents, strict=True):
        path = candidate / "tables" / table.schema / f"{table.name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        duckdb.execute(f"copy ({sql}) to '{path}' (format parquet)")
    write_database(candidate, tables)
    before = f"2024-05-10-r{n - 1}" if n > 2 else "2024-05-10" if n == 2 else None
    seal(settings, candidate, {"release": name, "previous_release": before}, is_current=True)


def absent(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{what} (CI must not pass by skipping)")
    pytest.skip(what)


def old_client(version: str, folder: Path) -> Path:
    """A folder with DuckDB's Python client of that version and nothing else, made once."""
    if sys.version_info[:2] > NEWEST_PYTHON.get(version, sys.version_info[:2]):
        pytest.skip(f"no wheel of DuckDB {version} was made for this Python")
    target = folder / f"{version}-py{sys.version_info.major}{sys.version_info.minor}"
    if not (target / "duckdb").is_dir():
        made = target.with_name(f".{target.name}-{os.getpid()}")
        wanted = ["--only-binary", ":all:", "--no-deps", "--target", str(made), f"duckdb=={version}"]
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--retries", "1", *wanted],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            absent(f"DuckDB {version} could not be had from the package index: {done.stderr.strip()[-200:]}")
        made.rename(target)
    return target


def race(home: Path, readers: dict[str, tuple[str, Path | None]]) -> dict[str, dict[str, list]]:
    """Run readers (name → block, folder of a client of its own) while releases are published until each has met four."""
    publish(home, 1)
    running = {}
    for name, (block, client) in readers.items():
        folder = home.parent / name
        folder.mkdir()
        (folder / "block.py").write_text(block, encoding="utf-8")
        # -S: an old client stands alone, without what is installed here.
        command = [
            sys.executable,
            *(["-S"] if client else []),
            "-c",
            READER,
            str(client or ""),
            str(home),
            str(folder),
        ]
        running[name] = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": "" if client else os.pathsep.join(map(str, sys.path))},
        )
    n = 1
    try:
        for n in range(2, 500):
            publish(home, n)
            time.sleep(0.05)
            waiting = [
                name for name, p in running.items() if p.poll() is None and met(home.parent / name) < 4
            ]
            if not waiting:
                break
    finally:
        (home.parent / "stop").touch()
    found = {}
    for name, process in running.items():
        out, error = process.communicate(timeout=120)
        assert process.returncode == 0, f"{name}: {error[-2000:]}"
        found[name] = json.loads(out)
        found[name]["last"] = [50 * n]
    return found


def met(folder: Path) -> int:
    path = folder / "seen"
    return int(path.read_text() or 0) if path.exists() else 0


def holds(found: dict[str, dict[str, list]]) -> None:
    for name, said in found.items():
        assert not said["torn"], name
        assert len(said["seen"]) >= 4, f"{name} must have met several releases: {said['seen']}"
        assert said["seen"] == sorted(said["seen"]), f"{name} went back in time"
        assert said["seen"][-1:] == said["last"], f"{name} kept an old release"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STRATA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_every_block_of_the_page_is_run() -> None:
    assert BLOCKS.keys() == NEEDS.keys()
    assert all(f"{version}" in DOC.read_text(encoding="utf-8") for version in OLD_CLIENTS)


def test_readers_see_whole_releases_and_the_newest(home: Path) -> None:
    lacking = {n: p for n, needs in NEEDS.items() for p in needs if find_spec(p) is None}
    there = {name: (BLOCKS[name], None) for name in NEEDS if name not in lacking}
    holds(race(home, there))
    if lacking:
        absent("the other readers passed; not installed: " + ", ".join(sorted(set(lacking.values()))))


@pytest.mark.parametrize("version", OLD_CLIENTS)
def test_an_old_client_reads_whole_releases(home: Path, version: str, request: pytest.FixtureRequest) -> None:
    client = old_client(version, request.config.cache.mkdir("duckdb-clients"))
    checked = f"import duckdb\nassert duckdb.__version__ == {version!r}\n" + BLOCKS["duckdb"]
    holds(race(home, {"old": (checked, client)}))


def test_the_test_bites(home: Path) -> None:
    """Two openings of the stable path are of two releases when one is published between them."""
    twice = BLOCKS["duckdb"].replace("\n    classified", "\n    con.close()\n    import time; time.sleep(0.2)\n"
    "with duckdb.connect(f'{home}/serving/marts.duckdb', read_only=True) as con:\n    classified")  # fmt: skip
    found = race(home, {"twice": (twice, None)})
    assert found["twice"]["torn"]
