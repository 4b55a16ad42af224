"""`strata clv`."""

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.shared import Day, answer, errors_in_one_line, json_option

if TYPE_CHECKING:
    from pipeline.clv.purchases import Kind


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--customer", metavar="COLUMN", required=True, help="Column of the customer's id.")
@click.option("--date", "day", metavar="COLUMN", required=True, help="Column of the order's date.")
@click.option("--amount", metavar="COLUMN", required=True, help="Column of the amount; refunds are below 0.")
@click.option(
    "--as-of", type=Day(), required=True, help="The day the numbers are for; orders before it count."
)
@click.option(
    "--day-first/--month-first", default=None, help="What 3/4/2026 means, where the file does not tell."
)
@click.option("--model", type=click.Choice(["bgnbd", "mbgnbd"]), default="bgnbd", show_default=True)
@click.option(
    "--horizon-days", type=click.IntRange(min=1), help="Days that are foretold; default: policy (365)."
)
@click.option("--backtest", is_flag=True, help="Compare with simple rules at past days, and say who wins.")
@click.option(
    "--backtest-days", type=click.IntRange(min=1), help="Days ahead that are compared; default: policy (90)."
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Parquet file with one row a customer."
)
@json_option
@errors_in_one_line
def clv(
    file: Path,
    customer: str,
    day: str,
    amount: str,
    as_of: date,
    day_first: bool | None,
    model: "Kind",
    horizon_days: int | None,
    backtest: bool,
    backtest_days: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """What the customers of an order file are likely to buy next, and whether that forecast is worth anything.

    FILE is CSV, Parquet, XLSX or JSONL with one row an order or an order line. Purchases of one day are one; refunds
    are negative amounts. The column clv is null, with the reason, where the model does not beat simple rules.
    """
    from pipeline.clv.analysis import analyse
    from pipeline.clv.text import told
    from pipeline.score.orders import Columns

    columns = Columns(customer, day, amount, day_first=day_first)
    found = analyse(
        file,
        columns,
        as_of,
        kind=model,
        horizon=horizon_days,
        with_backtest=backtest or backtest_days is not None,
        backtest_days=backtest_days,
        out=out,
    )
    answer(as_json, found.as_dict(), told(found))
