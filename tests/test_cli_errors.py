"""What a user gets wrong is told in one clear line that says what to do, with exit code 1, and in JSON when asked."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.settings import PROJECT_ROOT, Settings

Land = Callable[[str, bytes | str], Path]


def told(*args: str) -> tuple[int, str]:
    """(exit code, the line on standard error) of a command that fails."""
    result = CliRunner().invoke(main, args)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, lines
    return result.exit_code, lines[0]


def answered(*args: str) -> dict[str, Any]:
    result = CliRunner().invoke(main, [*args, "--json"])
    assert isinstance(result.exception, SystemExit), result.exception
    data = json.loads(result.stdout)
    assert data["exit_code"] == result.exit_code
    return data


def fails(match: str, *args: str) -> None:
    code, line = told(*args)
    assert code == 1
    assert line.startswith("strata: ") and match in line
    data = answered(*args)
    assert (data["status"], data["exit_code"], data["release"], data["checks"]) == ("error", 1, None, [])
    assert match in data["messages"][0]


def test_missing_landing(settings: Settings, tmp_path: Path) -> None:
    fails(
        "does not exist: make it, or name another with --landing",
        "run",
        "--landing",
        str(tmp_path / "nowhere"),
    )


def test_empty_landing(settings: Settings) -> None:
    fails("no delivery in", "run")
    assert "`strata sample --out landing` makes sample data" in told("run")[1]


def test_landing_of_misplaced_files_says_what_lies_there(settings: Settings, land: Land) -> None:
    land("2024-05-06.csv", "x")
    fails("1 files lie elsewhere, such as 2024-05-06.csv", "run")


def test_future_date(settings: Settings, land: Land) -> None:
    land("shop/orders/2024-05-06.csv", "order_id\n")
    fails("--as-of 2999-01-01 lies in the future: the newest possible is", "run", "--as-of", "2999-01-01")


def test_date_before_the_first_delivery(settings: Settings, land: Land) -> None:
    land("shop/orders/2024-05-06.csv", "order_id\n")
    fails("no delivery in", "run", "--as-of", "2024-05-06")
    assert "the first is of 2024-05-06" in told("run", "--as-of", "2024-05-06")[1]


@pytest.mark.parametrize(
    "value",
    [
        "nonsense",
        "2024-02-30",
        "06.05.2024",
        "20240506x",
        "2024-05-06); drop table x; --",
        "{{ 1/0 }}",
        "${STRATA_HOME}",
        "../2024-05-06",
    ],
)
def test_bad_date(settings: Settings, value: str) -> None:
    code, line = told("run", "--as-of", value)
    assert code == 1, "2 says: stopped by a gate"
    assert line.startswith(f"strata: Invalid value for '--as-of': '{value}' is no date such as 2026-01-31")


def test_backwards_backfill(settings: Settings) -> None:
    fails(
        "--to 2024-05-01 lies before --from 2024-05-06",
        "backfill",
        "--from",
        "2024-05-06",
        "--to",
        "2024-05-01",
    )


@pytest.mark.parametrize("command", ["show", "verify"])
def test_no_release_yet(settings: Settings, command: str) -> None:
    fails("no release has been published in", "releases", command)


@pytest.mark.parametrize("command", ["show", "verify"])
def test_unknown_release(settings: Settings, command: str) -> None:
    fails("there is no release 2020-01-01; there are: none", "releases", command, "2020-01-01")


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("STRATA_TIMEZONE", "Shanghai", "STRATA_TIMEZONE='Shanghai' is no time zone: use an IANA name"),
        ("STRATA_TIMEZONE", "../etc/passwd", "is no time zone"),
        ("STRATA_CURRENCY", "yuan", "STRATA_CURRENCY='yuan' is no ISO 4217 code such as CNY"),
        ("STRATA_CURRENCY", "cny", "is no ISO 4217 code"),
        ("STRATA_FIRST_DAY", "tomorrow", "STRATA_FIRST_DAY='tomorrow' is no date such as 2026-01-31"),
    ],
)
def test_bad_environment(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str, value: str, match: str
) -> None:
    monkeypatch.setenv(name, value)
    fails(match, "run")
    fails(match, "releases", "list")


def test_an_empty_home_lists_no_release_and_is_no_error(settings: Settings) -> None:
    result = CliRunner().invoke(main, ["releases", "list"])
    assert (result.exit_code, "yet: run `strata run`" in result.stdout) == (0, True)
    result = CliRunner().invoke(main, ["releases", "list", "--json"])
    assert (result.exit_code, json.loads(result.stdout)) == (0, [])


def test_no_command_leaves_a_mark_in_a_home_that_it_only_reads(settings: Settings) -> None:
    CliRunner().invoke(main, ["releases", "list"])
    CliRunner().invoke(main, ["releases", "show"])
    assert not settings.home.exists()


@pytest.mark.parametrize("args", [("run", "--as-of"), ("run", "--no-such-option"), ("no-such-command",)])
def test_a_command_that_cannot_be_read_never_looks_like_a_gate(
    settings: Settings, args: tuple[str, ...]
) -> None:
    result = CliRunner().invoke(main, list(args))
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("args", "place"),
    [
        (("no-such-command",), "strata"),
        (("--no-such-option",), "strata"),
        (("releases", "rollback"), "strata releases rollback"),
    ],
)
def test_a_usage_error_names_the_help_of_the_command_that_was_meant(
    args: tuple[str, ...], place: str
) -> None:
    assert told(*args)[1].endswith(f"(see `{place} --help`)")


def test_a_file_that_cannot_be_read_is_one_line(settings: Settings) -> None:
    settings.pointer.parent.mkdir()
    settings.pointer.mkdir()
    fails(f"Is a directory: {settings.pointer}", "releases", "list")


def test_the_ui_can_be_ended_where_its_shell_ignores_interrupts(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started by a script with `&`: Dagster treats SIGTERM as it finds SIGINT treated."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    seen: list[object] = []
    monkeypatch.setattr("os.execv", lambda *_: seen.append(signal.getsignal(signal.SIGINT)))
    try:
        result = CliRunner().invoke(main, ["ui"])
    finally:
        signal.signal(signal.SIGINT, before)
    assert (result.exit_code, seen) == (0, [signal.SIG_DFL])


def test_nothing_to_explain_or_to_compare(settings: Settings) -> None:
    fails("no release has been published in", "explain", "a1")
    fails("has no build to compare with: run `strata run` first", "policy", "diff")


@pytest.mark.parametrize("args", [["--help"], ["releases", "list"], ["gate", "show"]])
def test_a_command_that_only_tells_something_waits_for_no_library(args: list[str], tmp_path: Path) -> None:
    """In a process of its own: here everything is loaded already."""
    script = (
        "import sys\nfrom pipeline.cli import main\n"
        f"try:\n    main({args!r})\nexcept SystemExit as done:\n    assert not done.code\n"
        "heavy = {'great_expectations', 'dagster', 'dbt', 'pandas', 'pyarrow', 'pydantic', 'duckdb', 'jinja2'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
    )
    environment = os.environ | {"STRATA_HOME": str(tmp_path / "home")}
    subprocess.run([sys.executable, "-c", script], check=True, cwd=PROJECT_ROOT, env=environment)
