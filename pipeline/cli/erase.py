"""`strata erase`."""

import sys
from dataclasses import asdict
from pathlib import Path

import click

from pipeline.cli.shared import (
    answer,
    errors_in_one_line,
    home_option,
    json_option,
    landing_option,
    settings_of,
)
from pipeline.errors import StrataError


@click.command()
@click.option("--source", help="Source system that knows the customer, with --customer.")
@click.option("--customer", "customer_id", help="The customer's id in that source.")
@click.option(
    "--key", "keys", multiple=True, help="The person's customer_key instead; more than once for several."
)
@click.option("--dry-run", is_flag=True, help="Count what would go; change nothing.")
@click.option("--by", required=True, help="Who has this done; stands in the certificate.")
@click.option(
    "--reason", required=True, help="Why, such as the number of the request; no name of the person."
)
@landing_option
@home_option
@json_option
@errors_in_one_line
def erase(
    source: str | None,
    customer_id: str | None,
    keys: tuple[str, ...],
    dry_run: bool,
    by: str,
    reason: str,
    landing: Path | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """Remove a person from every file of the home, and see that they do not come back."""
    if bool(keys) == bool(source or customer_id) or bool(source) != bool(customer_id):
        raise StrataError("name the person by --source and --customer, or by --key")
    settings = settings_of(home, landing)
    from pipeline.privacy import erasure
    from pipeline.progress import say

    records = erasure.records_of(settings, source, customer_id) if source and customer_id else []
    if dry_run:
        planned = erasure.plan(settings, records, keys)
        answer(as_json, asdict(planned), erasure.planned(planned))
        return
    done = erasure.erase(settings, keys, (), say, records=records, by=by, reason=reason)
    answer(as_json, done.as_dict(), erasure.told(done))
    sys.exit(0 if done.status == "complete" else 1)
