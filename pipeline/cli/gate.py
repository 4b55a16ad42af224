"""`strata gate`."""

from pathlib import Path

import click

from pipeline.cli.shared import answer, errors_in_one_line, home_option, json_option, settings_of

_NONE = (
    "no gate has stopped the last publication; what stops a run before it, at the sources or in the build, "
    "`strata run` says each time"
)


@click.group()
def gate() -> None:
    """What stopped the last publication, and who lets a drift of the classes pass once."""


@gate.command()
@home_option
@json_option
@errors_in_one_line
def show(home: Path | None, as_json: bool) -> None:
    """The checks that stopped the last publication."""
    settings = settings_of(home)
    from pipeline.quality import approvals
    from pipeline.quality.checks import Check

    waiting = approvals.stopped(settings) or {"as_of_date": None, "fingerprint": None, "checks": []}
    lines = [str(Check.from_dict(dict(check))) for check in waiting["checks"]]
    answer(as_json, waiting, "\n".join(lines) or _NONE)


@gate.command()
@click.argument("checks", nargs=-1, required=True, metavar="CHECK...")
@click.option("--by", required=True, help="Who answers for it; stands in the manifest of the release.")
@click.option("--why", required=True, help="What the decision rests on. No personal data.")
@home_option
@json_option
@errors_in_one_line
def approve(checks: tuple[str, ...], by: str, why: str, home: Path | None, as_json: bool) -> None:
    """Let a drift (Q-15) pass once, for the candidate that it stopped."""
    settings = settings_of(home)
    from pipeline.lock import run_lock
    from pipeline.progress import say
    from pipeline.quality import approvals

    with run_lock(settings, log=say):
        lines = approvals.approve(settings, checks, by=by, why=why)
    day = lines[0]["as_of_date"]
    told = "\n".join(f"{line['id']}  {line['check']} of {day}, observed {line['observed']}" for line in lines)
    answer(as_json, lines, f"{told}\n`strata run --as-of {day}` publishes it, if nothing else has changed")
