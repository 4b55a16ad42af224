"""A home states its layout; older ones are brought up to date, newer ones refused, and nothing else is touched."""

import json
from pathlib import Path

import pytest

from pipeline.errors import StrataError
from pipeline.home import layout
from pipeline.lock import publish_lock, run_lock
from pipeline.settings import Settings


def _stated(settings: Settings) -> dict[str, object]:
    return json.loads((settings.home / "home.json").read_text())


def test_a_new_home_states_its_layout(settings: Settings) -> None:
    assert layout.read(settings) is None
    with run_lock(settings):
        assert _stated(settings)["layout"] == layout.LAYOUT
    assert _stated(settings)["migrated"] == []
    before = (settings.home / "home.json").read_bytes()
    with run_lock(settings):
        pass
    assert (settings.home / "home.json").read_bytes() == before


def test_a_home_of_before_is_brought_up_once_and_says_when(settings: Settings) -> None:
    settings.raw.mkdir(parents=True)
    assert layout.read(settings) == 0
    told: list[str] = []
    with run_lock(settings, log=told.append):
        pass
    assert layout.read(settings) == layout.LAYOUT
    assert [line for line in told if "layout" in line] == [
        f"bringing {settings.home} to layout {number}" for number in (1, 2, 3)
    ]
    assert [step["layout"] for step in _stated(settings)["migrated"]] == [1, 2, 3]  # type: ignore[attr-defined]


def test_a_newer_home_is_refused(settings: Settings) -> None:
    settings.home.mkdir()
    (settings.home / "home.json").write_text('{"layout": 99}')
    with (
        pytest.raises(StrataError, match="has layout 99, and this Strata .* knows layouts up to"),
        run_lock(settings),
    ):
        pass


def test_an_urgent_act_does_not_migrate_beside_a_run(settings: Settings) -> None:
    settings.raw.mkdir(parents=True)
    with (
        pytest.raises(StrataError, match="has the older layout 0: `strata run` brings it"),
        publish_lock(settings),
    ):
        pass
    assert layout.read(settings) == 0
    with run_lock(settings), publish_lock(settings):
        assert layout.read(settings) == layout.LAYOUT


def test_steps_go_in_order_and_a_failed_one_is_done_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three layouts, of which the step to the last dies the first time."""
    settings.raw.mkdir(parents=True)
    done: list[int] = []

    def dies(_: Settings) -> None:
        done.append(3)
        if done.count(3) == 1:
            raise OSError("disk full")

    monkeypatch.setattr(layout, "LAYOUT", 3)
    monkeypatch.setattr(layout, "_STEPS", {1: lambda _: done.append(1), 2: lambda _: done.append(2), 3: dies})
    with pytest.raises(OSError, match="disk full"), run_lock(settings):
        pass
    assert (done, layout.read(settings)) == ([1, 2, 3], 2)
    with run_lock(settings):
        pass
    assert (done, layout.read(settings)) == ([1, 2, 3, 3], 3)


def test_a_damaged_statement_is_told(settings: Settings) -> None:
    settings.home.mkdir()
    Path(settings.home / "home.json").write_text("{")
    with pytest.raises(StrataError, match=r"home.json is damaged"):
        layout.read(settings)
