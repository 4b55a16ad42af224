"""`strata feeds`."""

import sys
from datetime import date
from pathlib import Path

import click

from pipeline import settings as settings_module
from pipeline.cli.shared import Day, answer, errors_in_one_line, home_option, json_option, settings_of
from pipeline.errors import StrataError


@click.group()
def feeds() -> None:
    """What can be delivered: the contracts, and trying a file before it is landed."""


@feeds.command("list")
@home_option
@json_option
@errors_in_one_line
def list_feeds(home: Path | None, as_json: bool) -> None:
    """Every feed with its key, and what this home has had of it."""
    settings = settings_of(home)
    from dataclasses import asdict

    from pipeline.ingest import feeds as known

    found = known.list_feeds(settings)
    answer(as_json, [asdict(f) | {"delivered": f.delivered} for f in found], known.told_list(found))


@feeds.command("show")
@click.argument("feed")
@json_option
@errors_in_one_line
def show_feed(feed: str, as_json: bool) -> None:
    """A contract: columns, what they are called in exports, rules."""
    from pipeline.ingest import feeds as known
    from pipeline.ingest.generated import contract_of

    contract = contract_of(feed)
    answer(as_json, known.as_dict(contract), known.told_contract(contract))


@feeds.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--source", help="Source system; default: the folder above the feed's.")
@click.option("--feed", help="Feed; default: the folder that the file lies in.")
@click.option(
    "--day", type=Day(), help="Business day of the delivery; default: the one in the name, else today."
)
@click.option(
    "--limit", type=click.IntRange(min=0), default=20, show_default=True, help="Records to show; 0: all."
)
@json_option
@errors_in_one_line
def check_file(
    file: Path, source: str | None, feed: str | None, day: date | None, limit: int, as_json: bool
) -> None:
    """What would become of FILE, record by record; nothing is kept. Exit code 1 where anything is rejected."""
    from pipeline.ingest import feeds as known

    checked = known.check(settings_of(None), file, source=source, feed=feed, day=day)
    answer(as_json, checked.as_dict(), known.told_check(checked, limit))
    sys.exit(checked.exit_code)


@feeds.command("staging")
@click.argument("feed")
@errors_in_one_line
def staging(feed: str) -> None:
    """Print a staging model for FEED to begin with, and its line for _staging.yml."""
    from pipeline.ingest import generated

    contract = generated.contract_of(feed)
    model = generated.model_of(contract).relative_to(settings_module.PROJECT_ROOT)
    click.echo(f"-- {model}\n{generated.staging_sql(contract)}\n-- _staging.yml")
    click.echo(generated.staging_yaml(contract), nl=False)


@feeds.command("generate")
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 where a file is not current.")
@errors_in_one_line
def generate_files(check: bool) -> None:
    """Write what follows from the contracts: dbt's sources and docs/data-dictionary.md."""
    from pipeline.ingest import generated

    stale = [path.relative_to(settings_module.PROJECT_ROOT) for path in generated.write_all(check=check)]
    if check and stale:
        raise StrataError(f"not current: {', '.join(map(str, stale))}; run `strata feeds generate`")
    click.echo("\n".join(f"wrote {path}" for path in stale) or "everything is current")
