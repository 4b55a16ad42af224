"""`strata segments`."""

from dataclasses import asdict
from datetime import date
from pathlib import Path

import click

from pipeline.cli.shared import Day, answer, errors_in_one_line, home_option, json_option, settings_of


@click.command()
@click.option("--as-of", type=Day(), required=True, help="The past day.")
@click.option("--known-at", type=Day(), help="Count what was known by this day; default: by --as-of itself.")
@click.option("--out", type=click.Path(path_type=Path), help="Parquet file with the class of every customer.")
@home_option
@json_option
@errors_in_one_line
def segments(as_of: date, known_at: date | None, out: Path | None, home: Path | None, as_json: bool) -> None:
    """The classes of a past day, from what was known then or since, and what would have been another class."""
    settings = settings_of(home)
    from pipeline.lock import run_lock
    from pipeline.progress import say
    from pipeline.transform import past

    with run_lock(settings, log=say):
        found = past.segments(settings, as_of, known_at, out.expanduser().resolve() if out else None)
    lines = [f"classes of {found.as_of_date} by what was known at {found.known_at}"]
    lines += [f"  {scheme:<18} {name:<26} {n:>9,}" for scheme, name, n in found.customers]
    if found.release is None:
        lines.append(f"{found.as_of_date} was never built: there is no history to compare with")
    else:
        lines.append(f"{sum(c.customers for c in found.corrections):,} classes differ from the history")
        lines += [
            f"  {c.scheme:<18} {c.computed_then or '–':<26} → {c.now or '–':<26} {c.customers:>9,}"
            for c in found.corrections
        ]
    answer(as_json, asdict(found), "\n".join(lines))
