"""`strata tables`."""

from dataclasses import asdict
from datetime import date
from pathlib import Path

import click

from pipeline.cli.shared import (
    Day,
    answer,
    errors_in_one_line,
    home_option,
    json_option,
    landing_option,
    settings_of,
)


@click.group()
def tables() -> None:
    """Tables of PostgreSQL databases that feeds are read from."""


@tables.command("list")
@landing_option
@home_option
@json_option
@errors_in_one_line
def list_tables(landing: Path | None, home: Path | None, as_json: bool) -> None:
    """Every declared table and how far it has been read."""
    settings = settings_of(home, landing)
    from pipeline.ingest.database import days as databases

    found = databases.tables(settings)
    answer(as_json, found, databases.told(found))


@tables.command()
@click.argument("source")
@click.argument("feed")
@click.argument("day", type=Day())
@landing_option
@home_option
@json_option
@errors_in_one_line
def again(source: str, feed: str, day: date, landing: Path | None, home: Path | None, as_json: bool) -> None:
    """Read one day of a table anew; the next run takes it in as a correction."""
    settings = settings_of(home, landing)
    from pipeline.ingest.database import days as databases
    from pipeline.lock import run_lock
    from pipeline.progress import say

    with run_lock(settings, log=say):
        reading = databases.read_again(settings, source, feed, day, log=say)
    answer(
        as_json, asdict(reading), f"{reading.rows:,} rows of {day} are in landing: `strata run` takes them in"
    )
