"""`strata consent`."""

from dataclasses import asdict
from pathlib import Path

import click

from pipeline.cli.shared import answer, errors_in_one_line, home_option, json_option, settings_of
from pipeline.ingest.contracts import load_contracts

_COLUMNS = load_contracts()["consents"].columns


@click.group()
def consent() -> None:
    """What people allow: write a withdrawal down, and publish without them at once."""


@consent.command()
@click.option("--source", required=True, help="Source system whose customer id is given.")
@click.option("--customer", required=True, help="Customer id in that source.")
@click.option(
    "--purpose",
    type=click.Choice(_COLUMNS["purpose"].values),
    help="Default: all that rest on consent (marketing, profiling, survey, third_party).",
)
@click.option("--channel", type=click.Choice(_COLUMNS["channel"].values), help="Default: all.")
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
    elif done.release == done.before:
        lines.append(f"  release {done.release} does not hold the person: nothing to publish")
    else:
        lines.append(f"  release {done.release} is current without {done.rows} rows of {done.before}")
    answer(as_json, asdict(said) | {"republished": asdict(done) if done else None}, "\n".join(lines))
