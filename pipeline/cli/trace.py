"""`strata trace`."""

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
@click.argument("order_id", required=False)
@click.option("--source", help="Only the order of this source system.")
@click.option(
    "--record", nargs=2, metavar="FILE RECORD_NO", help="A delivered file or delivery and a record number."
)
@home_option
@landing_option
@json_option
@errors_in_one_line
def trace(
    order_id: str | None,
    source: str | None,
    record: tuple[str, str] | None,
    home: Path | None,
    landing: Path | None,
    as_json: bool,
) -> None:
    """Where an order, or one delivered record, came from and where it went."""
    settings = settings_of(home, landing)
    if bool(order_id) == bool(record):
        raise StrataError("name an ORDER_ID, or a record with --record FILE RECORD_NO")
    from pipeline import trace as traces

    found = (
        traces.trace_record(settings, *record)
        if record
        else traces.trace_order(settings, order_id or "", source)
    )
    answer(as_json, found, traces.told(found))
