"""`strata audiences`."""

import sys
from pathlib import Path

import click

from pipeline.cli.shared import answer, errors_in_one_line, home_option, json_option, settings_of


@click.group()
def audiences() -> None:
    """Who goes to which marketing tool, in which form; files are written into the vault's outbox."""


@audiences.command("normalise")
@click.argument("value")
@click.option("--destination", required=True, help="Whose rules: google_data_manager, meta, tencent_ads …")
@click.option(
    "--field", required=True, help="What VALUE is: email, phone, phone_sha256, idfa, imei, mac, handle …"
)
@click.option(
    "--region", default="CN", show_default=True, help="Country of a phone number without country code."
)
@json_option
@errors_in_one_line
def normalise_value(value: str, destination: str, field: str, region: str, as_json: bool) -> None:
    """VALUE as one destination wants it: its spelling and, where it takes one, the hash."""
    from dataclasses import asdict

    from pipeline.publish.audiences.normalise import normalise

    made = normalise(destination, field, value, region)
    answer(as_json, asdict(made), f"{made.normalised}\n{made.hash or 'sent in clear: no hash'}")


@audiences.command("destinations")
@json_option
@errors_in_one_line
def list_destinations(as_json: bool) -> None:
    """Every destination with its fields, limits, minimum, and whether it is foreign."""
    from pipeline.publish.audiences import catalogue

    found = catalogue.destinations()
    answer(as_json, found, catalogue.told(found))


_policy_option = click.option(
    "--seeds",
    "policy_folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of the policy seeds; default: the project's own.",
)


@audiences.command("preview")
@_policy_option
@home_option
@json_option
@errors_in_one_line
def preview_audiences(policy_folder: Path | None, home: Path | None, as_json: bool) -> None:
    """Size, reach, overlap, hold-out and changes of every audience, before anything is written."""
    settings = settings_of(home)
    from pipeline.publish.audiences import catalogue, export

    seen = export.preview(settings, policy_folder)
    answer(as_json, seen.as_dict(), catalogue.told_export(seen))


@audiences.command("export")
@click.option("--audience", "names", multiple=True, help="Only this audience; may be given again.")
@click.option(
    "--destination", "destinations", multiple=True, help="Only this destination; may be given again."
)
@click.option("--approved-by", default="", help="Your name: let a change pass that the volume guard stops.")
@_policy_option
@home_option
@json_option
@errors_in_one_line
def export_audiences(
    names: tuple[str, ...],
    destinations: tuple[str, ...],
    approved_by: str,
    policy_folder: Path | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """Write every audience's files into the vault's outbox. Exit code 2 where one was blocked or refused."""
    settings = settings_of(home)
    from pipeline.progress import say
    from pipeline.publish.audiences import catalogue, export

    done = export.export(
        settings,
        audiences=names or None,
        destinations=destinations or None,
        approved_by=approved_by,
        policy_folder=policy_folder,
        log=say,
    )
    answer(as_json, done.as_dict(), catalogue.told_export(done))
    for one in done.stopped:
        click.echo(
            f"strata: {one.status}: audience {one.audience} for {one.destination}: {one.reason}", err=True
        )
    sys.exit(2 if done.stopped else 0)


@audiences.command("deliver")
@click.argument("destination")
@click.option("--audience", help="Only this audience; default: all of the destination.")
@click.option(
    "--send", is_flag=True, help="Really send. Without it nothing leaves: what would be sent is counted."
)
@click.option("--base-url", help="Another address, such as a sandbox's; https, or http on 127.0.0.1.")
@_policy_option
@home_option
@json_option
@errors_in_one_line
def deliver_audiences(
    destination: str,
    audience: str | None,
    send: bool,
    base_url: str | None,
    policy_folder: Path | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """Send the adds and removes of the last export to DESTINATION's API. Exit code 2 where the transfer is refused."""
    settings = settings_of(home)
    from pipeline.progress import say
    from pipeline.publish.audiences import catalogue, delivery

    done = delivery.deliver(
        settings,
        destination,
        audience=audience,
        send=send,
        base_url=base_url,
        policy_folder=policy_folder,
        log=say,
    )
    answer(as_json, [one.as_dict() for one in done], catalogue.told_delivery(done))
    for one in done:
        if one.status in ("stopped", "refused"):
            click.echo(
                f"strata: {one.status}: audience {one.audience} for {destination}: {one.reason}", err=True
            )
    sys.exit(max({"refused": 2, "stopped": 1}.get(one.status, 0) for one in done))


@audiences.command("ack")
@click.argument("destination")
@click.option("--release", help="Release or export that the destination holds; default: its newest export.")
@click.option("--audience", help="Only this audience; default: all that wait.")
@home_option
@json_option
@errors_in_one_line
def acknowledge_export(
    destination: str, release: str | None, audience: str | None, home: Path | None, as_json: bool
) -> None:
    """Note that DESTINATION has taken an export in: later adds and removes are counted from there."""
    settings = settings_of(home)
    from pipeline.publish.audiences import holdings

    done = holdings.acknowledge(settings, destination, release=release, audience=audience)
    lines = [
        f"{d['destination']} holds {d['audience']} of release {d['release']}: {d['rows']:,} rows"
        + (f"; {d['still_waiting']} newer exports wait" if d["still_waiting"] else "")
        for d in done
    ]
    answer(as_json, done, "\n".join(lines))


@audiences.command("holdings")
@home_option
@json_option
@errors_in_one_line
def list_holdings(home: Path | None, as_json: bool) -> None:
    """What each destination said it holds, and what it was sent since."""
    settings = settings_of(home)
    from pipeline.publish.audiences import holdings

    found = holdings.holdings(settings)
    lines = [
        f"{h['destination']:<24} {h['audience']:<16} acknowledged {h['acknowledged'] or 'nothing'} ({h['rows']:,} rows), "
        f"{len(h['waiting'])} waiting"
        for h in found
    ]
    answer(as_json, found, "\n".join(lines) or "nothing was exported yet")
