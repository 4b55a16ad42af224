"""`strata score`."""

from datetime import date
from pathlib import Path

import click

from pipeline.cli.shared import Day, answer, errors_in_one_line, json_option
from pipeline.errors import StrataError


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--customer", metavar="COLUMN", help="Column of the customer's id.")
@click.option("--date", "day", metavar="COLUMN", help="Column of the order's date.")
@click.option("--amount", metavar="COLUMN", help="Column of the amount; returns are below 0.")
@click.option(
    "--order", metavar="COLUMN", help="Column of the order's number, where a row is a line of an order."
)
@click.option(
    "--as-of", type=Day(), help="Score what lies before this day; default: the day after the last row."
)
@click.option("--preset", default="rf25", show_default=True, help="How to score and to name.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write one row per customer to this Parquet file."
)
@click.option("--html", "page", type=click.Path(path_type=Path), help="Write the result to this page.")
@click.option(
    "--day-first/--month-first", default=None, help="What 3/4/2026 means, where the file does not tell."
)
@click.option("--list-presets", is_flag=True, help="Show the presets and end.")
@json_option
@errors_in_one_line
def score(
    file: Path | None,
    customer: str | None,
    day: str | None,
    amount: str | None,
    order: str | None,
    as_of: date | None,
    preset: str,
    out: Path | None,
    page: Path | None,
    day_first: bool | None,
    list_presets: bool,
    as_json: bool,
) -> None:
    """Segments of the customers of any order file (CSV, Parquet, XLSX, JSONL), by the rules of the daily job."""
    from pipeline.score import presets, told

    if list_presets:
        known = presets.load()
        answer(as_json, told.presets_as_list(known), told.told_presets(known))
        return
    if file is None:
        raise StrataError(
            "name the file with the orders: strata score orders.csv --customer … --date … --amount …"
        )
    from pipeline.score import orders, run

    if customer is None or day is None or amount is None:
        raise StrataError(
            f"say which columns are --customer, --date and --amount; {file.name} has "
            f"{', '.join(orders.columns_of(file))}"
        )
    for option, target in (("--out", out), ("--html", page)):
        if target and target.resolve() == file.resolve():
            raise StrataError(f"{option} {target}: that is the order file; name another")
        if target and (not target.name or target.is_dir()):
            raise StrataError(f"{option} {target}: that is a folder; name a file in it")
    columns = orders.Columns(customer, day, amount, order, day_first)
    scored = run.score(file, columns, as_of, presets.find(preset), out)
    if page:
        from pipeline.score.page import write_page

        write_page(scored, file, page)
    answer(as_json, told.as_dict(scored, file, out, page), told.told(scored, file, out, page))
