"""Fixtures that every test may use: a home of its own, and the real data where it is present."""

import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import settings as settings_module
from pipeline.settings import Settings

TOKEN_KEY = "ab" * 32
# As the command does it: libraries make a million objects that stay, and looking through them again costs every test.
gc.set_threshold(100_000, 20, 100)


# What takes longest begins first, or one process would end with it while the other has nothing left to do.
_LONGEST = ("company", "job/test_ways_to_a_release.py", "job/test_online_retail.py")


# First: xdist reads the marks in its own hook.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One process a file; tests that share a costly home stay together (pytest -n 2 --dist loadgroup).

    The queue is in the order of the items where xdist does not put groups of many tests first (Makefile).
    """
    groups = {}
    for item in items:
        folder, _, file = item.nodeid.partition("::")[0].removeprefix("tests/").partition("/")
        shared = folder if folder in ("sample", "quality") else f"{folder}/{file}"
        groups[item] = "company" if "company" in item.fixturenames else shared
        item.add_marker(pytest.mark.xdist_group(groups[item]))
    order = {group: n for n, group in enumerate(_LONGEST)}
    items.sort(key=lambda item: order.get(groups[item], len(order)))


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
