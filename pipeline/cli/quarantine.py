"""`strata quarantine`."""

import sys
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


@click.group()
def quarantine() -> None:
    """Rejected records and files: what they are, and reading them again after a rule was mended."""


_source = click.option("--source", help="Only this source system.")
_feed = click.option("--feed", help="Only this delivered feed.")
_code = click.option("--code", help="Only this reject code.")


@quarantine.command("list")
@click.argument("names", nargs=-1, metavar="[DELIVERY]...")
@_source
@_feed
@_code
@click.option(
    "--all", "every", is_flag=True, help="Also what has moved since: loaded by a replay, corrected."
)
@home_option
@landing_option
@json_option
@errors_in_one_line
def list_rejects(
    names: tuple[str, ...],
    source: str | None,
    feed: str | None,
    code: str | None,
    every: bool,
    home: Path | None,
    landing: Path | None,
    as_json: bool,
) -> None:
    """What is in quarantine, by file and reject code, with the places of a few records."""
    settings = settings_of(home, landing)
    from pipeline.ingest import quarantine as books

    found = books.groups(settings, books.Filter(source, feed, code, names), every=every)
    narrowed = bool(source or feed or code or names)
    answer(as_json, [group.as_dict() for group in found], books.told(found, narrowed=narrowed))


@quarantine.command()
@click.argument("names", nargs=-1, metavar="[DELIVERY]...")
@_source
@_feed
@_code
@click.option("--all", "everything", is_flag=True, help="Every file with rejects, where nothing narrows.")
@click.option(
    "--all-rows",
    is_flag=True,
    help="Also files without rejects: for a mapping that was wrong about good rows.",
)
@home_option
@landing_option
@json_option
@errors_in_one_line
def replay(
    names: tuple[str, ...],
    source: str | None,
    feed: str | None,
    code: str | None,
    everything: bool,
    all_rows: bool,
    home: Path | None,
    landing: Path | None,
    as_json: bool,
) -> None:
    """Read landed files again under the rules of today; states of records move, totals stay."""
    settings = settings_of(home, landing)
    if not (names or source or feed or code or everything):
        raise StrataError("say what to read again: a DELIVERY, --source, --feed, --code or --all")
    from pipeline.ingest import quarantine as books
    from pipeline.ingest import replay as replays
    from pipeline.lock import run_lock
    from pipeline.progress import say
    from pipeline.publish.shelf import newest_as_of

    with run_lock(settings, log=say):
        done = replays.replay(
            settings,
            books.Filter(source, feed, code, names),
            all_rows=all_rows,
            released=newest_as_of(settings),
            log=say,
        )
    answer(as_json, done.as_dict(), replays.told(done, settings))
    sys.exit(1 if done.not_there else 0)
