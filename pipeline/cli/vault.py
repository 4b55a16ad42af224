"""`strata vault`."""

import sys
from dataclasses import asdict
from pathlib import Path

import click

from pipeline.cli.shared import answer, errors_in_one_line, home_option, json_option, settings_of


@click.group()
def vault() -> None:
    """The clear personal data of the home, and the key of the tokens that stand for it."""


@vault.command()
@click.option(
    "--new-key-file",
    type=click.Path(path_type=Path),
    help="File with the new key, 64 hex characters (else $STRATA_TOKEN_KEY_NEW).",
)
@home_option
@json_option
@errors_in_one_line
def rotate(new_key_file: Path | None, home: Path | None, as_json: bool) -> None:
    """Replace the token key: every token is made again, every customer_key stays."""
    settings = settings_of(home)
    from pipeline.ingest.vault import rotation
    from pipeline.progress import say

    done = rotation.rotate(settings, rotation.new_key(new_key_file), say)
    answer(as_json, asdict(done), rotation.told(done))


@vault.command("scan")
@click.option("--all", "everything", is_flag=True, help="Look for every value instead of 20,000 of them.")
@home_option
@json_option
@errors_in_one_line
def scan_home(everything: bool, home: Path | None, as_json: bool) -> None:
    """Look for the vault's values in every other file of the home, decoded; exit code 1 where one is found."""
    settings = settings_of(home)
    from pipeline import home_scan

    found = home_scan.leaks(settings, None if everything else 20_000)
    told = asdict(found) | {"hits": [{"file": h.file, "where": h.where} for h in found.hits]}
    answer(as_json, told, home_scan.told(found))
    sys.exit(1 if found.hits else 0)


@vault.command("log")
@click.option(
    "--verify", is_flag=True, help="Check the chain instead; exit code 1 where a line is missing or changed."
)
@click.option("--last", type=click.IntRange(min=1), default=20, show_default=True, help="Lines to show.")
@home_option
@json_option
@errors_in_one_line
def show_log(verify: bool, last: int, home: Path | None, as_json: bool) -> None:
    """Who came near the clear values: every opening of the vault and every export, newest last."""
    settings = settings_of(home)
    from pipeline.privacy import access_log
    from pipeline.publish.shelf import access_log_head

    if verify:
        problems = access_log.problems(settings, access_log_head(settings))
        lines = access_log.head(settings).lines
        answer(
            as_json,
            {"lines": lines, "problems": problems},
            "\n".join(problems) or f"{lines:,} lines, none changed and none missing",
        )
        sys.exit(1 if problems else 0)
    found = access_log.read(settings)[-last:]
    told = [
        f"{line['at']}  {line['who']:<12} {line['what']:<18} "
        f"{'' if line['count'] is None else line['count']:>8}  {line['purpose']}"
        for line in found
    ]
    answer(as_json, found, "\n".join(told) or "nobody has opened the vault yet")
