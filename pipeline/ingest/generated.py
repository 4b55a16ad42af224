"""What is written down once in a contract and stands elsewhere too: dbt sources, staging skeleton, data dictionary."""

from collections.abc import Iterator
from pathlib import Path

import yaml

from pipeline.errors import StrataError
from pipeline.ingest.contracts import SQL_TYPES, Column, Contract, Volume, load_contracts
from pipeline.settings import DBT_PROJECT_DIR, PROJECT_ROOT

STAGING = DBT_PROJECT_DIR / "models" / "staging"
SOURCES = STAGING / "_feeds.yml"
DICTIONARY = PROJECT_ROOT / "docs" / "data-dictionary.md"
_LOCATION = (
    "read_parquet('{{ env_var('STRATA_HOME') }}/raw/*/{name}/*/*/*.parquet', "
    "union_by_name=true, hive_partitioning=false)"
)
_TYPE_NAMES = {
    "s": "text",
    "i": "whole number",
    "d": "date",
    "ts": "time",
    "m": "amount, 4 decimals",
    "q": "quantity, 3 decimals",
    "r": "rate, 6 decimals",
    "x": "exchange rate, 8 decimals",
    "b": "yes/no",
    "j": "JSON",
}


def model_of(contract: Contract) -> Path:
    """Where the staging model of a feed stands, or would stand."""
    return STAGING / contract.domain / f"stg_{contract.domain}__{contract.feed}.sql"


def staged() -> list[Contract]:
    """Contracts whose feed has a staging model."""
    return [c for c in load_contracts().values() if model_of(c).exists()]


def write_all(*, check: bool) -> list[Path]:
    """Write dbt sources and data dictionary; paths that were not current. With `check` nothing is written."""
    wanted = {SOURCES: sources_yaml(staged()), DICTIONARY: dictionary(list(load_contracts().values()))}
    stale = [p for p, text in wanted.items() if not p.exists() or p.read_text(encoding="utf-8") != text]
    for path in () if check else stale:
        path.write_text(wanted[path], encoding="utf-8")
    return stale


# dbt sources


def sources_yaml(contracts: list[Contract]) -> str:
    """dbt's declaration of the feeds in raw, with the columns that ingest writes."""
    lines = [
        "# Generated from pipeline/ingest/contracts by `strata feeds generate`; do not edit.",
        "sources:",
        "  - name: raw",
        "    description: Delivered records, typed and accounted for by ingest. Personal data is tokens only.",
        f'    config: {{meta: {{external_location: "{_LOCATION}"}}}}',
        "    tables:",
    ]
    for contract in contracts:
        lines += [f"      {line}" for line in _source_table(contract)]
    return "\n".join(lines) + "\n"


def _source_table(contract: Contract) -> Iterator[str]:
    yield f"- name: {contract.feed}"
    yield f"  description: {_quoted(contract.description)}"
    yield f"  config: {{meta: {{dagster: {{asset_key: [raw, {contract.feed}]}}}}}}"
    yield "  columns:"
    notes = _raw_notes(contract)
    for name, kind in contract.raw_schema().items():
        yield f"    - {{name: {_quoted(name)}, data_type: {_quoted(kind)}, description: {_quoted(notes[name])}}}"


def _quoted(text: str) -> str:
    """A YAML scalar on one line, in double quotes only where it needs them."""
    plain = yaml.safe_dump(text, width=10_000, allow_unicode=True).removesuffix("...\n").strip()
    flow_safe = plain == text and not any(c in text for c in ",[]{}")
    return text if flow_safe else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _raw_notes(contract: Contract) -> dict[str, str]:
    """What each column of the feed's files in raw holds."""
    notes = {
        "_delivery": "Delivery that the row came with.",
        "_row": "Number of the record in its file, from 1.",
    }
    for name, column in contract.stored.items():
        if column.pii == "birth_date":
            notes["birth_year"] = "Year of birth."
            notes["birth_month_day"] = "Month and day of birth, MM-DD."
            notes["birth_date_is_placeholder"] = "Whether a placeholder stood in place of a date of birth."
        elif column.pii:
            notes[f"{name}_token"] = f"Token of {name}."
            notes[f"{name}_masked"] = f"{name} with personal data in it replaced."
        else:
            notes[name] = _says(column)
            notes[f"{name}_offset_minutes"] = (
                f"Minutes by which the source's clock was ahead of UTC at {name}."
            )
    return notes


def _says(column: Column) -> str:
    """Type, unit and values of a column in one sentence."""
    words = _TYPE_NAMES[column.type].capitalize() + (", UTC" if column.type == "ts" else "")
    if column.unit:
        words += f", {column.unit.replace('_', ' ')}"
    if column.values:
        words += f": {' · '.join(column.values)}"
    return words + "."


# staging skeleton


def staging_sql(contract: Contract) -> str:
    """A staging model in the one shape that all of them have, to be read and mended by a person."""
    event = next((n for n, c in contract.stored.items() if c.type == "ts" and c.event and c.required), None)
    groups = _staged_columns(contract)
    if event:
        days = f"{_stem(event)}_days"
        groups["timestamps"].append(
            f"{{{{ looked_up_date('source.{event}', 'deliveries.zone', '{days}') }}}} as {_stem(event)}_date"
        )
        join = [f"    {{{{ join_local_days('source.{event}', 'deliveries.zone', '{days}') }}}}"]
    else:
        join = []
    blocks = [
        "\n".join([f"        -- {group}", ",\n".join(f"        {item}" for item in items)])
        for group, items in groups.items()
        if items
    ]
    return "\n".join(
        [
            "with source as (",
            f"    select * from {{{{ source('raw', '{contract.feed}') }}}}",
            "),",
            "",
            "deliveries as (",
            "    select * from {{ ref('deliveries_in_force') }}",
            "),",
            "",
            "renamed as (",
            "    select",
            ",\n\n".join(blocks),
            "    from source",
            "    inner join deliveries on source._delivery = deliveries.delivery",
            *join,
            "    where deliveries.is_in_force",
            ")",
            "",
            "select * from renamed",
            "",
        ]
    )


def _stem(event: str) -> str:
    return "event" if event == "at" else event.removesuffix("_at")


def _staged_columns(contract: Contract) -> dict[str, list[str]]:
    """SELECT items by group. What would hide a delivery's own column is named after its feed."""
    groups: dict[str, list[str]] = {
        group: [] for group in ("ids", "tokens", "attributes", "numerics", "money", "timestamps")
    }
    groups["ids"].append("deliveries.source")
    for name, column in contract.stored.items():
        if column.pii:
            group = "attributes" if column.pii == "birth_date" else "tokens"
        elif name in contract.key or column.ref or name.endswith("_id"):
            group = "ids"
        else:
            group = {"m": "money", "d": "timestamps", "ts": "timestamps"}.get(
                column.type, "numerics" if column.type in "iqrx" else "attributes"
            )
        made = [
            n for n in contract.model_copy(update={"columns": {name: column}}).raw_schema() if n[0] != "_"
        ]
        for stored in made:
            if stored.endswith("_offset_minutes"):
                continue
            if stored in ("source", "group"):
                quoted = '"group"' if stored == "group" else stored
                groups[group].append(f"source.{quoted} as {contract.feed}_{stored}")
            elif column.type == "b" and not column.required and stored == name:
                groups[group].append(f"coalesce(source.{stored}, false) as {stored}")
            else:
                groups[group].append(f"source.{stored}")
    groups["delivery"] = [
        "deliveries.dt",
        "deliveries.rev",
        "source._delivery as delivery",
        "source._row as delivery_row",
    ]
    return groups


def staging_yaml(contract: Contract) -> str:
    """The model's line in _staging.yml."""
    name = model_of(contract).stem
    return f"  - {{name: {name}, description: {_quoted(contract.description)}}}\n"


def contract_of(feed: str) -> Contract:
    """The contract of a feed. Raises StrataError naming the nearest feeds where there is none."""
    import difflib

    contracts = load_contracts()
    if feed not in contracts:
        near = difflib.get_close_matches(feed, contracts, n=3)
        raise StrataError(
            f"no feed is called {feed}: "
            + (f"did you mean {' or '.join(near)}? " if near else "")
            + "`strata feeds list` names them all"
        )
    return contracts[feed]


# data dictionary


def dictionary(contracts: list[Contract]) -> str:
    """docs/data-dictionary.md: every feed with its columns."""
    domains = dict.fromkeys(c.domain for c in contracts)
    lines = [
        "# Data dictionary",
        "",
        "Generated from [the contracts](../pipeline/ingest/contracts) by `strata feeds generate`; do not edit.",
        f"{len(contracts)} feeds in {len(domains)} domains. Times in raw are UTC, and `<column>_offset_minutes` keeps",
        "the offset. Amounts are in the row's `currency`, else in the currency that its source declares. A column with",
        "a PII class reaches raw as `<column>_token`; free text (`text`) as `<column>_masked` too; a date of birth as",
        "year and month-day.",
        "",
        "| domain | feeds |",
        "|---|---|",
    ]
    for domain in domains:
        links = ", ".join(f"[{c.feed}](#{c.feed})" for c in contracts if c.domain == domain)
        lines.append(f"| {domain} | {links} |")
    for contract in contracts:
        lines += ["", *_dictionary_feed(contract)]
    return "\n".join(lines) + "\n"


def facts(contract: Contract) -> dict[str, str]:
    """What a contract says of the feed as a whole, in words."""
    fresh, volume = contract.freshness, contract.volume
    said = {
        "id": contract.id,
        "domain": contract.domain,
        "key": ", ".join(contract.key) or f"none; document {', '.join(contract.document) or 'not declared'}",
        "newest state by": contract.latest_by or "",
        "cadence": contract.cadence,
        "freshness": f"at most {fresh.days} business day{'s' if fresh.days > 1 else ''} late, else {fresh.level}"
        if fresh
        else "",
        "volume": _volume(volume) if volume else "",
        "retention": f"{contract.retention_days} days after the person's last activity"
        if contract.retention_days
        else "no limit",
        "written as": f"{contract.encoding}, delimiter {contract.delimiter!r}, quote {contract.quote!r}"
        + (f", {contract.skip_lines} lines above the header" if contract.skip_lines else ""),
        "null is written": ", ".join(spelling or "(empty)" for spelling in contract.null_values),
    }
    return {key: value for key, value in said.items() if value}


def _volume(volume: Volume) -> str:
    low = f"at least {volume.min_rows} row{'s' if volume.min_rows != 1 else ''}" if volume.min_rows else ""
    high = f"at most {volume.max_rows} rows" if volume.max_rows else ""
    return f"{' and '.join(filter(None, (low, high))) or 'any number of rows'} per {volume.per}"


def rules_of(column: Column) -> str:
    """What a value of the column must obey, in words."""
    said = ["required"] if column.required else []
    said += [f"one of {', '.join(column.values)}"] if column.values else []
    said += [f"anything else is {column.otherwise}"] if column.otherwise else []
    if column.min is not None or column.max is not None:
        low, high = (f"{v:.10g}" if v is not None else "" for v in (column.min, column.max))
        said.append(f"{low} to {high}" if low and high else f"at least {low}" if low else f"at most {high}")
    said += ["not after its delivery's day, not before 2000"] if column.event else []
    said += ["the name of the source's folder"] if column.same_as else []
    said += ["a customer id of the source"] if column.ref else []
    if column.null_values is not None:
        said.append(f"null is written {', '.join(v or '(empty)' for v in column.null_values)}")
    return "; ".join(said)


def type_of(column: Column) -> str:
    """Type of a column with its SQL type in raw where it is a number."""
    return (
        f"{_TYPE_NAMES[column.type]} ({SQL_TYPES[column.type]})"
        if column.type in "imqrx"
        else _TYPE_NAMES[column.type]
    )


def _dictionary_feed(contract: Contract) -> Iterator[str]:
    yield f"## {contract.feed}"
    yield ""
    yield contract.description
    yield ""
    yield " · ".join(f"{key} **{_cell(value)}**" for key, value in facts(contract).items() if key != "domain")
    yield ""
    yield "| column | type | unit | PII | meaning and rules | also called |"
    yield "|---|---|---|---|---|---|"
    for name, c in contract.columns.items():
        means = " ".join(filter(None, (c.description, rules_of(c))))
        cells = (f"`{name}`", type_of(c), c.unit or "", c.pii or "", means, ", ".join(c.aliases))
        yield "| " + " | ".join(_cell(cell) for cell in cells) + " |"
    for rule in contract.row_rules:
        yield ""
        yield f"Rejected as `{rule.code}`: {rule.description}"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|")
