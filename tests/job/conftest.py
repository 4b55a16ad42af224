"""Whole runs through the command, as a user starts them. Each home is built once and copied where a test changes it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.job import forks

TOKEN_KEY = "5a" * 32


@dataclass(frozen=True)
class Line:
    """One landing and one home, and the command on them."""

    landing: Path
    home: Path

    def environment(self, root: Path = forks.ROOT) -> dict[str, str]:
        """Variables under which the code of a checkout works on this line."""
        return {
            **os.environ,
            "PYTHONPATH": str(root),
            "STRATA_HOME": str(self.home),
            "STRATA_LANDING": str(self.landing),
            "STRATA_TOKEN_KEY": TOKEN_KEY,
        }

    def strata(
        self, *args: str, root: Path = forks.ROOT, env: dict[str, str] | None = None, fresh: bool = False
    ) -> tuple[int, Any, str]:
        """(exit code, JSON answer, standard error) of `strata ARGS --json`.

        Args:
            root: another checkout whose code is to be run.
            fresh: as a Python of its own, with its own start and its own order of sets (see forks.py).
        """
        given = [*args, "--json"]
        # From a folder that is none of the project's, as cron and people do.
        cwd, environment = self.landing.parent, self.environment(root) | (env or {})
        if fresh or root != forks.ROOT:
            done = subprocess.run(
                [sys.executable, "-m", "pipeline.cli", *given],
                cwd=cwd,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
        else:
            done = forks.call(given, environment, cwd)
        try:
            return done.returncode, json.loads(done.stdout), done.stderr
        except ValueError:
            pytest.fail(f"no JSON on standard output:\n{done.stdout}\n{done.stderr[-4000:]}")

    def run(self, *args: str, **more: Any) -> tuple[int, Any, str]:
        return self.strata("run", *args, **more)

    @property
    def pointer(self) -> str:
        """Text of CURRENT.json, or nothing before the first release."""
        path = self.home / "CURRENT.json"
        return path.read_text() if path.exists() else ""

    @property
    def release(self) -> Path:
        return self.home / json.loads(self.pointer)["path"]

    def manifest(self) -> dict[str, Any]:
        return json.loads((self.release / "manifest.json").read_text())

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query over the current release's own database, opened as a BI tool would."""
        with duckdb.connect() as con:
            # Under a name of its own: a catalog `marts` with a schema `marts` would make `marts.nps` ambiguous.
            con.execute(f"attach '{self.release / 'marts.duckdb'}' as release (read_only)")
            con.execute("use release")
            return con.execute(sql).fetchall()

    def table_hashes(self) -> dict[str, str]:
        """SHA-256 of every published table but the facts about runs."""
        files = self.manifest()["files"]
        return {
            path: file["sha256"]
            for path, file in files.items()
            if path.startswith("tables/") and not path.startswith("tables/operations/")
        }

    def copy(self, folder: Path) -> "Line":
        """The same state elsewhere, free to be changed."""
        shutil.copytree(self.landing, folder / "landing")
        if self.home.exists():
            shutil.copytree(self.home, folder / "home")
        return Line(folder / "landing", folder / "home")


@pytest.fixture(scope="session", autouse=True)
def forked_commands() -> Iterator[None]:
    yield
    forks.stop()


def failed(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The blocking checks that failed."""
    return [c for c in answer["checks"] if not c["passed"] and c["level"] == "block"]


@pytest.fixture(scope="session")
def retail(tmp_path_factory: pytest.TempPathFactory, real_data: Path) -> Line:
    """Online Retail, all 305 trading days, published as of 2011-12-10."""
    folder = tmp_path_factory.mktemp("retail")
    feed = folder / "landing" / "online_retail" / "transactions"
    shutil.copytree(real_data / "online_retail_by_day", feed)
    line = Line(folder / "landing", folder / "home")
    code, answer, errors = line.run("--as-of", "2011-12-10")
    assert code == 0, (answer, errors[-3000:])
    return line


def make_company(folder: Path, customers: int, days: int, seed: int = 7) -> Line:
    """Deliveries of the sample company in an empty line."""
    folder.mkdir(exist_ok=True)
    line = Line(folder / "landing", folder / "home")
    code, _, errors = line.strata(
        "sample",
        "--out",
        str(line.landing),
        "--customers",
        str(customers),
        "--days",
        str(days),
        "--seed",
        str(seed),
    )
    assert code == 0, errors
    return line


def network_audit(line: Line) -> dict[str, str]:
    """Environment under which every Python process notes the names that it looks up in `network.log`."""
    return {
        "PYTHONPATH": os.pathsep.join((str(Path(__file__).with_name("audit")), str(forks.ROOT))),
        "NETWORK_AUDIT_LOG": str(line.home.parent / "network.log"),
    }


@pytest.fixture(scope="session")
def company(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """The sample company, 400 customers over 90 days, published for the day after its last delivery."""
    line = make_company(tmp_path_factory.mktemp("company"), 400, 90)
    code, answer, errors = line.run(env=network_audit(line), fresh=True)
    assert code == 0, (failed(answer), errors[-3000:])
    return line


@pytest.fixture
def company_copy(company: Line, tmp_path: Path) -> Line:
    return company.copy(tmp_path)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A copy of the project's code in which a test may plant a defect."""

    def copied(name: str) -> Path:
        root = Path(__file__).parents[2]
        target = tmp_path_factory.mktemp(name)
        for part in ("pipeline", "dbt_project", "expectations"):
            shutil.copytree(
                root / part, target / part, ignore=shutil.ignore_patterns("__pycache__", "target", "logs")
            )
        for part in ("dagster.yaml", "workspace.yaml", "pyproject.toml"):
            shutil.copy(root / part, target / part)
        return target

    return copied
