"""`strata backup`, `strata restore` and `strata doctor`."""

import sys
from pathlib import Path

import click

from pipeline.cli.shared import answer, errors_in_one_line, home_option, json_option, settings_of
from pipeline.errors import StrataError
from pipeline.words import counted


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option(
    "--check", "only_check", is_flag=True, help="Restore the newest backup on trial instead (Q-27)."
)
@home_option
@json_option
@errors_in_one_line
def backup(folder: Path | None, only_check: bool, home: Path | None, as_json: bool) -> None:
    """Back up all of a home that cannot be built again into FOLDER (default $STRATA_BACKUP)."""
    settings = settings_of(home)
    from pipeline.home import backup as backups
    from pipeline.progress import say

    place = folder or settings.backup
    if place is None:
        raise StrataError("no folder for the backup: name it, or set STRATA_BACKUP")
    if only_check:
        there = backups.backups(place)
        if not there:
            raise StrataError(f"{place} holds no complete backup")
        found = backups.check(settings, there[-1], say)
        told = f"{there[-1].path} restores: {there[-1].files:,} files, {there[-1].rows:,} rows of raw"
        answer(as_json, found.as_dict(), told if found.passed else str(found))
        sys.exit(0 if found.passed else 1)
    made = backups.make(settings, place, say)
    told = f"{made.path}: {made.files:,} files, {made.bytes / 1e6:,.1f} MB, of which {made.copied:,} files are new"
    if not made.key_included:
        told += "\nthe token key is not in it (STRATA_TOKEN_KEY): keep it elsewhere, without it nothing can be joined"
    answer(as_json, made.as_dict(), told)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@home_option
@json_option
@errors_in_one_line
def restore(folder: Path, home: Path | None, as_json: bool) -> None:
    """Fill an empty home from a backup, or from the newest one in FOLDER."""
    settings = settings_of(home)
    from pipeline.home import backup as backups
    from pipeline.progress import say

    made, erased = backups.restore(settings, folder, say)
    without = f", without {counted(erased, 'person')} erased since" if erased else ""
    goes_on = (
        f"release {made.release or '–'}; `strata run` goes on from there"
        if settings.pointer.exists() or not made.release
        else "`strata run` publishes a release without whoever was erased or has refused since; until then none is current"
    )
    told = f"{settings.home} is as it was at {made.made_at}{without}: {goes_on}"
    answer(as_json, made.as_dict() | {"erased_again": erased}, told)


@click.command()
@home_option
@json_option
@errors_in_one_line
def doctor(home: Path | None, as_json: bool) -> None:
    """Is the home in order, how large is it, what would be removed? Exit code 1 where something is broken."""
    settings = settings_of(home)
    from pipeline.home import doctor as doctors

    found = doctors.examine(settings)
    answer(as_json, found.as_dict(), doctors.told(found))
    sys.exit(0 if found.is_sound else 1)
