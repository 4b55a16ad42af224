"""`strata clv`."""

import os
from datetime import date
from pathlib import Path

import click

from pipeline.cli.order_options import order_file_options
from pipeline.cli.shared import answer, errors_in_one_line, json_option


@click.command()
@order_file_options
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
    date_column: str,
    amount: str,
    as_of: date,
    date_format: str | None,
    encoding: str,
    model: str,
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
    # Before numpy is imported: on arrays of four numbers the threads of BLAS only wait for one another.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from pipeline.clv.analysis import analyse
    from pipeline.clv.text import told
    from pipeline.order_file import OrderColumns

    columns = OrderColumns(customer, date_column, amount, date_format=date_format)
    found = analyse(
        file,
        columns,
        as_of,
        kind=model,
        horizon=horizon_days,
        with_backtest=backtest or backtest_days is not None,
        backtest_days=backtest_days,
        out=out,
        encoding=encoding,
    )  # type: ignore[arg-type]
    answer(as_json, found.as_dict(), told(found))
