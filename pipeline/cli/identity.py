"""`strata identity`."""

import getpass
from pathlib import Path

import click

from pipeline.cli.shared import answer, errors_in_one_line, home_option, json_option, settings_of
from pipeline.errors import StrataError


@click.group()
def identity() -> None:
    """Who is who: the merges that were not made, and what people decide about them."""


@identity.command()
@click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True, help="Items; 0: all.")
@click.option("--decided", is_flag=True, help="The decisions instead, the newest last.")
@home_option
@json_option
@errors_in_one_line
def review(limit: int, decided: bool, home: Path | None, as_json: bool) -> None:
    """What waits for review as of the last run, the largest first."""
    settings = settings_of(home)
    from dataclasses import asdict

    from pipeline.identity import review as reviews

    if decided:
        made = reviews.read(settings)
        answer(as_json, [asdict(d) for d in made], reviews.told_decisions(made))
        return
    waiting = reviews.queue(settings)
    shown = waiting[:limit] if limit else waiting
    answer(as_json, {"waiting": len(waiting), "items": shown}, reviews.told(shown, len(waiting)))


def _decides(verdict: str, text: str) -> click.Command:
    @click.argument("targets", nargs=-1, required=True, metavar="ITEM... | SOURCE/ID SOURCE/ID")
    @click.option("--why", required=True, help="The reason, for whoever reads it later. No personal data.")
    @click.option("--by", "who", help="Who decides. Default: the user of this process.")
    @home_option
    @json_option
    @errors_in_one_line
    def command(
        targets: tuple[str, ...], why: str, who: str | None, home: Path | None, as_json: bool
    ) -> None:
        settings = settings_of(home)
        from dataclasses import asdict

        from pipeline.identity import review as reviews
        from pipeline.lock import run_lock
        from pipeline.progress import say
        from pipeline.publish.shelf import newest_as_of

        if not why.strip():
            raise StrataError("--why is empty: say what the decision rests on")
        with run_lock(settings, log=say):
            made = reviews.decide(
                settings,
                verdict,
                targets,
                who=who or getpass.getuser(),
                why=why,
                known_from=newest_as_of(settings),
            )
        told = f"{reviews.told_decisions(made)}\nthe next `strata run` applies it"
        answer(as_json, [asdict(d) for d in made], told)

    command.__doc__ = text
    return identity.command(verdict)(command)


_decides("accept", "They are one person: items of the queue, or two records.")
_decides("reject", "They are not: items of the queue, or two records. Also takes back an accepted merge.")


@identity.command()
@home_option
@json_option
@errors_in_one_line
def learn(home: Path | None, as_json: bool) -> None:
    """Have the model of the second stage learnt anew, from the records of the next run."""
    settings = settings_of(home)
    from pipeline.identity import learning
    from pipeline.lock import run_lock
    from pipeline.progress import say

    with run_lock(settings, log=say):
        forgotten = learning.forget(settings)
    told = "the model is forgotten" if forgotten else "there is no model yet"
    answer(
        as_json, {"forgotten": forgotten}, f"{told}: the next `strata run` learns one, where policy has it"
    )
