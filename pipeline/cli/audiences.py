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
@click.option("--field", required=True, help="What VALUE is: email, phone, phone_sha256, idfa, imei, mac, handle …")
@click.option("--region", default="CN", show_default=True, help="Country of a phone number without country code.")
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
