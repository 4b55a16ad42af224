"""Fixtures that every test may use: a home of its own, and the real data where it is present."""

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import settings as settings_module
from pipeline.settings import Settings

TOKEN_KEY = "ab" * 32
# As the command does it: libraries make a million objects that stay, and looking through them again costs every test.
gc.set_threshold(100_000, 20, 100)


# Files of tests/job with homes of their own; the others ask one sample company, which is dear to build.
_OWN_HOMES = ("test_ways_to_a_release.py", "test_online_retail.py", "test_database.py")
_OWN_HOMES += ("test_killed_build.py", "test_history_after_refusals.py")


def _unit(nodeid: str) -> str:
    """What stays in one process with all the homes that it builds: a file, or the files that ask the sample company."""
    file = nodeid.split("::", 1)[0]
    asks_company = file.startswith("tests/job/") and not file.endswith(_OWN_HOMES)
    return "company" if asks_company else file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Units in the order in which the processes take them (pytest -n 2 --dist loadfile --no-loadscope-reorder).

    What takes longest begins first, or one process would end with it while the other has nothing left to do: the company
    in one process, homes of their own in the other.
    """

    def turn(item: pytest.Item) -> int:
        unit = _unit(item.nodeid)
        return 0 if unit == "company" else 1 if unit.endswith(_OWN_HOMES) else 2

    items.sort(key=turn)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """As `--dist loadfile`, but by units. `loadgroup` has no effect: xdist 3.8 names groups by an attribute that pytest 9.2
    no longer reads."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Units(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _unit(nodeid)

    return Units(config, log)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An empty home and an empty landing, under a fixed token key."""
    for name in ("STRATA_CURRENCY", "STRATA_TIMEZONE", "STRATA_FIRST_DAY", "STRATA_ALERT_WEBHOOK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STRATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("STRATA_LANDING", str(tmp_path / "landing"))
    monkeypatch.setenv("STRATA_TOKEN_KEY", TOKEN_KEY)
    (tmp_path / "landing").mkdir()
    return settings_module.load()


@pytest.fixture
def land(settings: Settings) -> Callable[[str, bytes | str], Path]:
    """Write one file below landing: `land("app/orders/2024-05-06.csv", text)`; its path."""

    def write(file: str, content: bytes | str) -> Path:
        path = settings.landing / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def _absent(what: Path) -> None:
    """Skip where the data cannot be expected, and fail where it must be there."""
    reason = f"{what} is absent: set STRATA_REAL_DATA to the folder of the public data sets"
    if os.environ.get("CI"):
        pytest.fail(f"{reason} (CI must not pass by skipping)")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the public data sets: STRATA_REAL_DATA, else ../shared/data beside the checkout."""
    given = os.environ.get("STRATA_REAL_DATA")
    folder = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (folder / "online_retail_by_day").is_dir():
        _absent(folder)
    return folder


@pytest.fixture(scope="session")
def golden(real_data: Path) -> Path:
    """Folder of the reference figures, beside the data sets."""
    folder = real_data.parent / "golden"
    if not folder.is_dir():
        _absent(folder)
    return folder
