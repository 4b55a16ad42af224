"""`strata run`, `strata backfill`."""

import json
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import click

from pipeline import settings as settings_module
from pipeline.cli.shared import (
    Day,
    answer,
    errors_in_one_line,
    home_option,
    json_option,
    landing_option,
    settings_of,
)
from pipeline.errors import StrataError


@click.command()
@click.option("--as-of", type=Day(), help="The as-of date D; default: the day after the newest delivery.")
@landing_option
@home_option
@click.option("--full", is_flag=True, help="Rebuild the warehouse from raw instead of from what it holds.")
@json_option
@errors_in_one_line
def run(as_of: date | None, landing: Path | None, home: Path | None, full: bool, as_json: bool) -> None:
    """Take in what was delivered, build, check, publish."""
    settings = settings_of(home, landing)
    from pipeline.run import default_as_of, run_day

    outcome = run_day(settings, as_of or default_as_of(settings), full=full)
    answer(as_json, outcome.as_dict(), _told(settings, outcome))
    sys.exit(outcome.exit_code)


def _told(settings: settings_module.Settings, outcome: Any) -> str:
    from pipeline.quality.checks import blocking

    if outcome.exit_code:
        lines = [f"strata: {outcome.status} for {outcome.as_of_date}; what was published before is unchanged"]
        lines += [f"  {check}".replace("\n\n", " ") for check in blocking(outcome.checks)]
        if not blocking(outcome.checks):
            lines += [f"  {message}".replace("\n\n", " ") for message in outcome.messages]
        return "\n".join(lines)
    folder = settings.releases / outcome.release
    warned = [check for check in outcome.checks if not check.passed]
    return "\n".join(
        [
            f"release {outcome.release} is {'current' if outcome.status == 'published' else 'current and unchanged'}: "
            f"{len(outcome.checks)} checks, {len(warned)} with warnings",
            f"  page      {folder / 'index.html'}",
            f"  database  {folder / 'marts.duckdb'}",
            f"  tables    {folder / 'tables'}",
            "  the UI    make ui   (or: strata ui), then http://127.0.0.1:3000",
        ]
    )


@click.command()
@click.option("--from", "first", type=Day(), required=True, help="First as-of date.")
@click.option("--to", "last", type=Day(), required=True, help="Last as-of date.")
@landing_option
@home_option
@json_option
@errors_in_one_line
def backfill(first: date, last: date, landing: Path | None, home: Path | None, as_json: bool) -> None:
    """One whole run per day, in order; stops at the first day that does not pass."""
    settings = settings_of(home, landing)
    if last < first:
        raise StrataError(f"--to {last} lies before --from {first}")
    from pipeline.run import run_day

    outcomes = []
    for n in range((last - first).days + 1):
        outcome = run_day(settings, first + timedelta(days=n))
        outcomes.append(outcome)
        if not as_json:
            click.echo(_told(settings, outcome))
        if outcome.exit_code:
            break
    worst = outcomes[-1].exit_code
    if as_json:
        click.echo(json.dumps([o.as_dict() for o in outcomes], ensure_ascii=False, indent=1, default=str))
    sys.exit(worst)
