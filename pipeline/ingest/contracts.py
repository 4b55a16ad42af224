"""Contracts of the feeds and declarations of the sources, read from YAML and validated on load.

A contract says what a feed means (columns, types, keys); a source declaration says how one source system
delivers it (zone, currency, encoding, cadence). An unknown key in either is an error that names the file.
"""

import codecs
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline import settings
from pipeline.errors import StrataError

SQL_TYPES: dict[str, str] = {
    "s": "VARCHAR",
    "i": "BIGINT",
    "d": "DATE",
    "ts": "TIMESTAMP",
    "m": "DECIMAL(18,4)",
    "q": "DECIMAL(18,3)",
    "r": "DECIMAL(9,6)",
    "b": "BOOLEAN",
    "j": "VARCHAR",
}
"""Type letter of domain.md §4 → column type in raw. Timestamps are UTC without zone."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(_Strict):
    """One column of a feed. `min`/`max` are inclusive; `event` marks a moment that has already happened."""

    type: Literal["s", "i", "d", "ts", "m", "q", "r", "b", "j"]
    required: bool = False
    pii: Literal["name", "phone", "email", "address", "birth_date", "text"] | None = None
    values: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    min: float | None = None
    max: float | None = None
    event: bool = False
    ref: Literal["customer"] | None = None
    same_as: Literal["source"] | None = None


class RowRule(_Strict):
    """A rule over several columns. `reject_when` is SQL over the typed columns of one row."""

    code: str
    description: str
    reject_when: str


class Freshness(_Strict):
    """The newest delivery may be at most `days` business days older than D."""

    days: int
    level: Literal["block", "warn"]


class Contract(_Strict):
    """One feed: its columns and what makes a row of it good."""

    feed: str
    id: str
    description: str
    key: tuple[str, ...]
    latest_by: str | None = None
    cadence: Literal["daily", "occasional"]
    freshness: Freshness | None = None
    columns: dict[str, Column]
    row_rules: tuple[RowRule, ...] = ()
    domain: str = ""

    @model_validator(mode="after")
    def _names_exist(self) -> "Contract":
        for name in (*self.key, *([self.latest_by] if self.latest_by else [])):
            if name not in self.columns:
                raise ValueError(f"column {name!r} is named by key or latest_by but not declared")
        return self

    @property
    def stored(self) -> dict[str, Column]:
        """The columns that reach raw; `same_as: source` repeats the folder's name and is only checked."""
        return {name: column for name, column in self.columns.items() if not column.same_as}

    def raw_schema(self) -> dict[str, str]:
        """Column name → SQL type of the feed's Parquet files in raw, in file order."""
        schema: dict[str, str] = {}
        for name, column in self.stored.items():
            if column.pii == "birth_date":
                schema |= {"birth_year": "BIGINT", "birth_month_day": "VARCHAR"}
            elif column.pii:
                schema[f"{name}_token"] = "VARCHAR"
            else:
                schema[name] = SQL_TYPES[column.type]
                if column.type == "ts":
                    schema[f"{name}_offset_minutes"] = "SMALLINT"
        return schema | {"_delivery": "VARCHAR", "_row": "BIGINT"}


class DeliveredFeed(_Strict):
    """How one source delivers one feed. `columns`, `repeats_count` and `maps_to` are for a mapped feed."""

    encoding: str = "utf-8"
    delimiter: str = ","
    cadence: Literal["daily", "occasional"] | None = None
    description: str = ""
    columns: dict[str, Column] = Field(default_factory=dict)
    maps_to: tuple[str, ...] = ()

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            codecs.lookup(value)
        except LookupError as error:
            raise ValueError(
                f"{value!r} is no encoding that Python knows, such as utf-8 or gb18030"
            ) from error
        return value

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, value: str) -> str:
        if len(value) != 1:
            raise ValueError(f"a delimiter is one character, not {value!r}")
        return value


class Source(_Strict):
    """One source system.

    `closed_weekdays` (0 = Monday) and `closed_dates` are days without a delivery. `customer_ids_of` names the source
    whose customer ids this one uses, such as the card numbers that a till reads and the CRM gives out.
    """

    source: str
    description: str = ""
    zone: str | None = None
    currency: str | None = None
    country: str = "CN"
    customer_ids_of: str | None = None
    price_includes_tax: bool = False
    closed_weekdays: tuple[int, ...] = ()
    closed_dates: tuple[str, ...] = ()
    feeds: dict[str, DeliveredFeed] = Field(default_factory=dict)
    declared: bool = True


def _line_of(text: str, path: tuple[Any, ...]) -> int:
    """1-based line of the deepest part of `path` that stands in the YAML text."""
    node = yaml.compose(text)
    line = 1
    for key in path:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(key)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line + 1
    return line


def _read(model: type[Any], path: Path, **more: Any) -> Any:
    text = path.read_text(encoding="utf-8")
    try:
        data = yaml.safe_load(text)
        return model.model_validate({**data, **more})
    except yaml.YAMLError as error:
        raise StrataError(f"{path.name} is no valid YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StrataError(
            f"{path}:{_line_of(text, first['loc'])}: {where or 'contract'}: {first['msg']}"
        ) from error


@cache
def load_contracts(folder: Path = settings.CONTRACTS_DIR) -> Mapping[str, Contract]:
    """Every contract by feed name, in the order of domain and name. Raises StrataError naming file and line."""
    contracts: dict[str, Contract] = {}
    for path in sorted(folder.glob("*/*.yml")):
        contract = _read(Contract, path, domain=path.parent.name)
        if contract.feed != path.stem:
            raise StrataError(f"{path}: the file is named {path.stem} but declares feed {contract.feed}")
        contracts[contract.feed] = contract
    return contracts


@cache
def load_sources(folder: Path = settings.MAPPINGS_DIR) -> Mapping[str, Source]:
    """Every declared source by name. Raises StrataError naming file and line."""
    sources: dict[str, Source] = {}
    contracts = load_contracts()
    for path in sorted(folder.glob("*/source.yml")):
        source = _read(Source, path)
        if source.source != path.parent.name:
            raise StrataError(f"{path}: lies in {path.parent.name}/ but declares source {source.source}")
        for feed, delivered in source.feeds.items():
            for target in delivered.maps_to:
                if target not in contracts:
                    raise StrataError(f"{path}: feed {feed} maps to {target}, which has no contract")
                if not (path.parent / f"{target}.sql").exists():
                    raise StrataError(f"{path}: feed {feed} maps to {target}, but {target}.sql is missing")
            if not delivered.maps_to and feed not in contracts:
                raise StrataError(f"{path}: feed {feed} has no contract and no maps_to")
        sources[source.source] = source
    return sources


def source_of(name: str) -> Source:
    """The declared source, or one with every default for a folder that nobody declared."""
    return load_sources().get(name) or Source(source=name, declared=False)


def delivered_contract(source: Source, feed: str) -> Contract | None:
    """The contract that a delivered file of this feed is read by, or None where nothing is known of it.

    A mapped feed has the columns that its source declares and no key: repeated lines in one document count.
    """
    delivered = source.feeds.get(feed)
    if delivered and delivered.maps_to:
        return Contract(
            feed=feed,
            id=source.source,
            description=delivered.description,
            key=(),
            cadence=delivered.cadence or "daily",
            columns=delivered.columns,
            domain="delivered",
        )
    return load_contracts().get(feed)
