"""`strata explain`."""

from datetime import date
from pathlib import Path

import click

from pipeline.cli.shared import Day, answer, errors_in_one_line, home_option, json_option, settings_of


@click.command()
@click.argument("customer")
@click.option("--as-of", type=Day(), help="D of the release to look into; default: the current one.")
@click.option("--source", help="The source system whose id CUSTOMER is.")
@home_option
@json_option
@errors_in_one_line
def explain(customer: str, as_of: date | None, source: str | None, home: Path | None, as_json: bool) -> None:
    """Why a customer is in each of her classes, and what to do first. CUSTOMER is a token or an id of a source."""
    settings = settings_of(home)
    from pipeline.segments import explain as explained

    found = explained.explain(settings, customer, as_of, source)
    answer(as_json, found, explained.told(found))
