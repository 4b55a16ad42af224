"""The log of openings and exports: lines are only added, and what is done to them afterwards shows."""

import json
import os
import stat
from collections.abc import Callable

import pytest

from pipeline.ingest.vault import Vault
from pipeline.privacy import access_log
from pipeline.settings import Settings


@pytest.fixture
def logged(settings: Settings) -> Settings:
    for n in range(4):
        access_log.record(settings, "wang", "subject exported", f"request {n}", n)
    return settings


def test_each_line_says_who_when_what_for_and_how_many(settings: Settings) -> None:
    with Vault(settings, "test") as vault:
        vault.tokenise("name", ["王芳"], "CN")
    with Vault(settings, "second look"):
        pass
    opened = access_log.read(settings)
    assert [(line["what"], line["purpose"], line["count"]) for line in opened] == [
        ("vault opened", "test", 0),
        ("vault opened", "second look", 1),
    ]
    assert all(line["who"] and line["at"].endswith("+00:00") for line in opened)
    assert "王芳" not in access_log.path_of(settings).read_text()
    assert stat.S_IMODE(access_log.path_of(settings).stat().st_mode) == 0o600
    assert access_log.problems(settings) == []


def _without_second(lines: list[str]) -> list[str]:
    return [lines[0], *lines[2:]]


def _renumbered(lines: list[str]) -> list[str]:
    kept = [json.loads(line) for line in (lines[0], *lines[2:])]
    return [json.dumps(line | {"no": n}, ensure_ascii=False) for n, line in enumerate(kept, 1)]


def _other_name(lines: list[str]) -> list[str]:
    return [line.replace("wang", "zhao") if n == 1 else line for n, line in enumerate(lines)]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_without_second, "line 2 says that it is line 3"),
        (_renumbered, "line 2 does not follow"),
        (_other_name, "line 2 was changed"),
        (lambda lines: [*lines[:2], "not json"], "line 3 is no line of the log"),
        (lambda lines: lines[:2], "has 2 lines; the current release was made when it had 4"),
    ],
)
def test_what_is_done_to_the_log_shows(
    logged: Settings, change: Callable[[list[str]], list[str]], says: str
) -> None:
    stated = access_log.head(logged)
    assert access_log.problems(logged, stated) == []
    path = access_log.path_of(logged)
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    (problem,) = access_log.problems(logged, stated)
    assert says in problem


def test_lines_of_two_processes_make_one_chain(logged: Settings) -> None:
    children = []
    for n in range(4):
        child = os.fork()
        if child == 0:
            for i in range(10):
                access_log.record(logged, f"p{n}", "vault opened", str(i), None)
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    assert access_log.head(logged).lines == 44
    assert access_log.problems(logged) == []
