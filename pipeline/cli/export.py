"""`strata export`: copies of a release elsewhere."""

import os
from dataclasses import asdict
from pathlib import Path

import click

from pipeline.cli.shared import answer, errors_in_one_line, home_option, json_option, settings_of
from pipeline.errors import StrataError

_ENVIRONMENT = "STRATA_EXPORT_POSTGRES_URL"


@click.group()
def export() -> None:
    """Copy a release into another system."""


@export.command()
@click.option(
    "--url",
    help=f"Such as postgresql://strata@host:5432/bi (default ${_ENVIRONMENT}). Password: $PGPASSWORD or a pass file.",
)
@click.option("--release", help="Which release (default: the current one).")
@click.option("--schema", default="strata", show_default=True, help="Schema that is replaced as a whole.")
@click.option(
    "--wait", default=60.0, show_default=True, help="Seconds to wait for readers of the copy before."
)
@home_option
@json_option
@errors_in_one_line
def postgres(
    url: str | None, release: str | None, schema: str, wait: float, home: Path | None, as_json: bool
) -> None:
    """Copy a release into a PostgreSQL schema, in one step for its readers."""
    settings = settings_of(home)
    from pipeline.publish.postgres import export as copy

    address = url or os.environ.get(_ENVIRONMENT)
    if not address:
        raise StrataError(
            f"no address: give --url or {_ENVIRONMENT}, such as postgresql://strata@host:5432/bi, and the password in "
            "PGPASSWORD"
        )
    done = copy(
        settings,
        address,
        release=release,
        schema=schema,
        wait_seconds=wait,
        log=lambda text: None if as_json else click.echo(text, err=True),
    )
    answer(
        as_json,
        asdict(done),
        f"schema {done.schema} holds release {done.release}: {done.tables} tables, {done.rows:,} rows",
    )
