"""What every command shares: its options, its answer as text or JSON, its errors in one line."""

import json
import os
import sys
from collections.abc import Callable
from datetime import date
from functools import wraps
from pathlib import Path
from typing import Any

import click

from pipeline import settings as settings_module
from pipeline.errors import StrataError

home_option = click.option(
    "--home", type=click.Path(path_type=Path), help="What Strata writes (default $STRATA_HOME, var/)."
)
landing_option = click.option(
    "--landing",
    type=click.Path(path_type=Path),
    help="What source systems deliver (default $STRATA_LANDING, landing/).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Answer in JSON on standard output.")


class Day(click.ParamType):
    name = "YYYY-MM-DD"

    def convert(self, value: Any, param: Any, ctx: Any) -> date:
        try:
            return value if isinstance(value, date) else date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no date such as 2026-01-31", param, ctx)


def settings_of(home: Path | None, landing: Path | None = None) -> settings_module.Settings:
    """Settings with the command's own paths; the environment carries them to Dagster and dbt."""
    if home:
        os.environ["STRATA_HOME"] = str(home.expanduser().resolve())
    if landing:
        os.environ["STRATA_LANDING"] = str(landing.expanduser().resolve())
    return settings_module.load()


def answer(as_json: bool, data: Any, text: str) -> None:
    click.echo(json.dumps(data, ensure_ascii=False, indent=1, default=str) if as_json else text)


def answer_error(status: str, exit_code: int, message: str) -> None:
    data = {"status": status, "exit_code": exit_code, "release": None, "as_of_date": None, "checks": []}
    click.echo(json.dumps(data | {"messages": [message]}, ensure_ascii=False, indent=1))


def errors_in_one_line(command: Callable[..., None]) -> Callable[..., None]:
    """A StrataError, or a file that cannot be read or written, ends the command with its exit code and one clear line."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (StrataError, OSError) as error:
            told, code = str(error), 1
            if isinstance(error, StrataError):
                code = error.exit_code
            elif error.filename:
                told = f"{error.strerror}: {error.filename}"
            if kwargs.get("as_json"):
                answer_error("stopped" if code == 2 else "error", code, told)
            click.echo(f"strata: {told}", err=True)
            sys.exit(code)

    return wrapped
