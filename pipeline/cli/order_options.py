"""The options of commands that read an analyst's own order file."""

from collections.abc import Callable
from pathlib import Path

import click

from pipeline.cli.shared import Day

_OPTIONS = (
    click.argument("file", type=click.Path(path_type=Path)),
    click.option("--customer", required=True, metavar="COL", help="Column with the customer."),
    click.option(
        "--date", "date_column", required=True, metavar="COL", help="Column with the day of the order."
    ),
    click.option(
        "--amount", required=True, metavar="COL", help="Column with the amount; refunds are negative."
    ),
    click.option(
        "--as-of", type=Day(), required=True, help="The day the numbers are for; orders before it count."
    ),
    click.option(
        "--date-format", metavar="PATTERN", help="strptime pattern where dates are not ISO: %d/%m/%Y."
    ),
    click.option("--encoding", default="utf-8", show_default=True, help="Of a CSV or JSONL file."),
)


def order_file_options(command: Callable[..., None]) -> Callable[..., None]:
    """FILE, --customer, --date, --amount, --as-of, --date-format, --encoding."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
