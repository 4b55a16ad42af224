"""`strata sample`."""

from pathlib import Path

import click

from pipeline.cli.shared import answer, errors_in_one_line, json_option
from pipeline.errors import StrataError


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Landing folder to write into.")
@click.option("--customers", type=click.IntRange(min=20), default=1500, show_default=True)
@click.option("--days", type=click.IntRange(min=1), default=200, show_default=True)
@click.option("--seed", type=int, default=7, show_default=True)
@json_option
@errors_in_one_line
def sample(out: Path, customers: int, days: int, seed: int, as_json: bool) -> None:
    """Write the deliveries of a made-up supermarket chain, with planted dirt and the truth beside it."""
    from pipeline.progress import say
    from pipeline.sample import generate

    try:
        summary = generate(out.expanduser().resolve(), customers, days, seed, say)
    except (FileExistsError, ValueError) as error:
        raise StrataError(str(error)) from error
    except OSError as error:
        raise StrataError(
            f"--out {out}: cannot be written ({error.strerror}); name another folder"
        ) from error
    text = f"{summary.get('files', 'the')} files of {customers} customers over {days} days are in {out}"
    answer(as_json, summary, text)
