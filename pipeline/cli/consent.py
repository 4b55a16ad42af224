"""`strata consent`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from pipeline.cli.shared import answer, errors_in_one_line, home_option, json_option, settings_of


class _ValueOf(click.ParamType):
    """A value that the contract of the feed `consents` knows for a column. It is read when it is asked for: `strata --help`
    need not wait for the contracts."""

    def __init__(self, column: str) -> None:
        self.name = column

    def _choice(self) -> click.Choice:
        from pipeline.ingest.contracts import load_contracts

        return click.Choice(load_contracts()["consents"].columns[self.name].values)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return self._choice().convert(value, param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        return self._choice().get_metavar(param, ctx)


@click.group()
def consent() -> None:
    """What people allow: write a withdrawal down, and publish without them at once."""


@consent.command()
@click.option("--source", required=True, help="Source system whose customer id is given.")
@click.option("--customer", required=True, help="Customer id in that source.")
@click.option(
    "--purpose",
    type=_ValueOf("purpose"),
    help="Default: all that rest on consent (marketing, profiling, survey, third_party).",
)
@click.option("--channel", type=_ValueOf("channel"), help="Default: all.")
@click.option("--urgent", is_flag=True, help="Publish the current release without this person now.")
@click.option("--by", required=True, help="Who writes it down.")
@home_option
@json_option
@errors_in_one_line
def withdraw(
    source: str,
    customer: str,
    purpose: str | None,
    channel: str | None,
    urgent: bool,
    by: str,
    home: Path | None,
    as_json: bool,
) -> None:
    """Write down that a person withdraws consent; the next run heeds it, --urgent at once."""
    settings = settings_of(home)
    from pipeline.privacy import consent as words
    from pipeline.progress import say
    from pipeline.publish import republish

    said = words.withdraw(settings, source, customer, purpose=purpose, channel=channel, by=by)
    lines = [f"withdrawn for {', '.join(said.purposes)} by {said.channel}: vault/desk/{said.files[0]}"]
    done = republish.without_refused(settings, say) if urgent else None
    if done is None:
        lines.append(
            "  the next run heeds it; with --urgent the current release is published without the person now"
        )
    else:
        lines.append(f"  {done.told}")
    answer(as_json, asdict(said) | {"republished": asdict(done) if done else None}, "\n".join(lines))
