"""`strata subject` and `strata export-subject`."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import click

from pipeline.cli.shared import Day, answer, errors_in_one_line, home_option, json_option, settings_of
from pipeline.errors import StrataError


@click.group()
def subject() -> None:
    """Requests of people about their data: what is open, and what is done about it."""


def _of_customer(
    command: Callable[..., None], request: str = "The request of the dsr feed that this meets."
) -> Callable[..., None]:
    """The options of every command about one customer. `request` says what --request names."""
    for option in reversed(
        (
            click.option("--source", required=True, help="Source system whose customer id is given."),
            click.option("--customer", required=True, help="Customer id in that source."),
            click.option("--request", "request_id", help=request),
            click.option("--by", required=True, help="Who does it."),
            home_option,
            json_option,
        )
    ):
        command = option(command)
    return command


@subject.command("requests")
@click.option("--all", "everything", is_flag=True, help="Those that are done, too.")
@click.option(
    "--as-of", type=Day(), help="Judge the due dates on this day; default: D of the current release."
)
@home_option
@json_option
@errors_in_one_line
def list_requests(everything: bool, as_of: date | None, home: Path | None, as_json: bool) -> None:
    """Requests by due date; the overdue ones stop the next run."""
    settings = settings_of(home)
    from pipeline.privacy import persons, requests
    from pipeline.quality.policy import thresholds

    day = as_of or persons.as_of(settings)
    warn_days = int(thresholds(day)["request_warn_days"])
    found = requests.all_requests(settings, day) if everything else requests.open_requests(settings, day)
    rows = [
        {k: v for k, v in asdict(r).items() if not k.endswith("_at")} | {"state": r.state(day, warn_days)}
        for r in found
    ]
    told = [
        f"{row['state'].replace('_', ' ').upper() if row['state'] == 'overdue' else row['state'].replace('_', ' '):<9} "
        f"due {row['due_on']}  {row['kind']:<9} {row['source']}/{row['request_id']} of customer {row['source_customer_id']}"
        for row in rows
    ]
    answer(as_json, rows, "\n".join(told) or "no request is open")


@subject.command("rectify")
@_of_customer
@click.option(
    "--set", "changes", multiple=True, required=True, metavar="COLUMN=VALUE", help="Repeat for several."
)
@errors_in_one_line
def rectify(
    source: str,
    customer: str,
    request_id: str | None,
    by: str,
    home: Path | None,
    as_json: bool,
    changes: tuple[str, ...],
) -> None:
    """Correct what is held about a person; the next run takes it in."""
    settings = settings_of(home)
    from pipeline.privacy import requests

    pairs = [change.partition("=") for change in changes]
    if any(not sign for _, sign, _ in pairs):
        raise StrataError("--set takes COLUMN=VALUE, such as --set city=上海")
    done = requests.rectify(
        settings, source, customer, {k: v for k, _, v in pairs}, by=by, request_id=request_id
    )
    told = (
        f"{', '.join(k for k, _, _ in pairs)} rectified (request {done.request_id}); the next run takes it in"
    )
    answer(as_json, asdict(done), told)


def _ends_profiling(kind: str, help_text: str) -> None:
    """The command `strata subject <kind>`."""

    @subject.command(kind, help=help_text)
    @_of_customer
    @click.option("--urgent", is_flag=True, help="Publish the current release without this person now.")
    @errors_in_one_line
    def command(
        source: str,
        customer: str,
        request_id: str | None,
        by: str,
        home: Path | None,
        as_json: bool,
        urgent: bool,
    ) -> None:
        settings = settings_of(home)
        from pipeline.privacy import requests
        from pipeline.progress import say
        from pipeline.publish import republish

        done = requests.note(settings, kind, source, customer, by=by, request_id=request_id)
        now = republish.without_refused(settings, say) if urgent else None
        told = f"{kind} is written down (request {done.request_id}); the next run leaves the person out of every class"
        if now:
            told += f"\n  {now.told}"
        answer(as_json, asdict(done) | {"republished": asdict(now) if now else None}, told)


_ends_profiling(
    "object", "A person objects to profiling: out of every class and audience from the next run on."
)
_ends_profiling(
    "restrict", "A person has processing restricted: kept, but in no class and audience from the next run on."
)


@subject.command("lift")
@partial(_of_customer, request="The objection or restriction that ends, as `requests --all` names it.")
@click.option("--kind", type=click.Choice(["object", "restrict"]), required=True, help="What ends.")
@errors_in_one_line
def lift(
    source: str,
    customer: str,
    request_id: str | None,
    by: str,
    home: Path | None,
    as_json: bool,
    kind: str,
) -> None:
    """End an objection or a restriction, named by --request; the next run classes the person again."""
    settings = settings_of(home)
    from pipeline.privacy import requests

    if request_id is None:
        raise StrataError(
            "--request must name the objection or restriction: see `strata subject requests --all`"
        )
    done = requests.note(settings, kind, source, customer, by=by, request_id=request_id, lifted=True)
    answer(as_json, asdict(done), f"request {done.request_id} has ended")


@subject.command("done")
@click.option("--source", required=True, help="Source system of the request.")
@click.option("--request", "request_id", required=True, help="Id of the request.")
@click.option("--by", required=True, help="Who did it.")
@home_option
@json_option
@errors_in_one_line
def done(source: str, request_id: str, by: str, home: Path | None, as_json: bool) -> None:
    """Say that a request was met elsewhere, such as by the source system itself."""
    settings = settings_of(home)
    from pipeline.privacy import requests

    asked = requests.find(settings, source, request_id)
    written = requests.note(
        settings, asked.kind, source, asked.source_customer_id, by=by, request_id=request_id
    )
    answer(as_json, asdict(written), f"request {request_id} of {source} is done")


@click.command("export-subject")
@_of_customer
@click.option("--purpose", required=True, help="What for: it is logged.")
@errors_in_one_line
def export_subject(
    source: str,
    customer: str,
    request_id: str | None,
    by: str,
    home: Path | None,
    as_json: bool,
    purpose: str,
) -> None:
    """Write everything that is held about a person, in clear, into vault/outbox."""
    settings = settings_of(home)
    from pipeline.privacy import subject_export

    made = subject_export.export_subject(
        settings, source, customer, by=by, purpose=purpose, request_id=request_id
    )
    shown: dict[str, Any] = asdict(made) | {"folder": str(made.folder)}
    told = [f"{sum(made.rows.values())} rows of {len(made.rows)} feeds, {sum(made.tables.values())} rows of "
            f"{len(made.tables)} published tables", f"  {made.folder / 'subject.html'}", f"  {made.folder / 'subject.json'}"]  # fmt: skip
    answer(as_json, shown, "\n".join(told))
