"""The contract with readers: its version, what is deprecated, and whether today's tables break what was promised.

`contract.yml` states versions and deprecations, which travel in the manifest. `contract_tables.json` is the promise:
per table its columns with types and its grain, as of the version it names. Where the project's tables differ,
`python -m pipeline.publish.contract` records them, but refuses a breaking change that came without a new version.
"""

import json
import sys
from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from pipeline.errors import StrataError

STATED = Path(__file__).with_name("contract.yml")
PROMISED = Path(__file__).with_name("contract_tables.json")
NOTICE_DAYS = 90
Tables = Mapping[str, Mapping[str, Any]]
"""`{"<schema>.<table>": {"columns": {name: type}, "grain": [name]}}`"""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Version(_Strict):
    version: int
    date: date
    changes: str


class Deprecated(_Strict):
    """A column that will go. `replacement` is `<schema>.<table>.<column>`, or null where there is none."""

    table: str
    column: str
    since: date
    removed_on: date
    replacement: str | None
    reason: str

    @model_validator(mode="after")
    def _announced_in_time(self) -> Self:
        if (self.removed_on - self.since).days < NOTICE_DAYS:
            raise ValueError(
                f"{self.table}.{self.column} is removed less than {NOTICE_DAYS} days after `since`"
            )
        return self


class Contract(_Strict):
    versions: tuple[Version, ...]
    deprecated: tuple[Deprecated, ...] = ()

    @model_validator(mode="after")
    def _counted(self) -> Self:
        if [v.version for v in self.versions] != list(range(1, len(self.versions) + 1)) or not self.versions:
            raise ValueError("versions must be 1, 2, 3 … with the oldest first")
        if [v.date for v in self.versions] != sorted(v.date for v in self.versions):
            raise ValueError("dates of versions must not go back")
        return self

    @property
    def version(self) -> int:
        return self.versions[-1].version

    def as_manifest(self) -> dict[str, Any]:
        """The part of a release's manifest that tells readers of the contract."""
        stated = self.model_dump(mode="json")
        return {"contract_version": self.version, "contract": stated}


@cache
def load(path: Path = STATED) -> Contract:
    """The contract as stated. Raises StrataError with the first thing that is wrong in the file."""
    try:
        return Contract.model_validate(yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise StrataError(f"{path.name}: {where}: {first['msg'].removeprefix('Value error, ')}") from None


def tables_of(dbt_manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Columns with types and grain of every table that leaves, as the dbt project declares them."""
    from pipeline.publish.tables import published_tables

    models = {n["name"]: n for n in dbt_manifest["nodes"].values() if n["resource_type"] == "model"}
    return {
        table.key: {
            "columns": {c: models[table.name]["columns"][c]["data_type"] for c in table.columns},
            "grain": list(table.grain),
        }
        for table in published_tables(dbt_manifest)
    }


def breaking(promised: Tables, now: Tables) -> list[str]:
    """What a reader of the promised tables would stumble over in today's, one line each."""
    found = []
    for table, promise in promised.items():
        today = now.get(table)
        if today is None:
            found.append(f"{table} is gone")
            continue
        for column, kind in promise["columns"].items():
            if column not in today["columns"]:
                found.append(f"{table}.{column} is gone")
            elif today["columns"][column] != kind:
                found.append(f"{table}.{column} was {kind} and is {today['columns'][column]}")
        if today["grain"] != promise["grain"]:
            found.append(f"{table} was one row per {promise['grain']} and is one per {today['grain']}")
    return found


def problems(contract: Contract, promise: Mapping[str, Any], now: Tables) -> list[str]:
    """Why today's tables do not stand as promised; empty where they do.

    Args:
        promise: `{"version": n, "tables": …}` as `contract_tables.json` holds it.
    """
    broken = breaking(promise["tables"], now)
    if broken and contract.version == promise["version"]:
        return [f"{line}: raise the version in {STATED.name}" for line in broken]
    found = _misdeclared(contract, now)
    if promise != {"version": contract.version, "tables": now}:
        found.append(f"{PROMISED.name} is not today's: run `python -m pipeline.publish.contract`")
    return found


def _misdeclared(contract: Contract, now: Tables) -> list[str]:
    columns = {f"{table}.{column}" for table, entry in now.items() for column in entry["columns"]}
    found = []
    for note in contract.deprecated:
        if f"{note.table}.{note.column}" not in columns:
            found.append(f"deprecated {note.table}.{note.column} is not published: take the note out")
        if note.replacement and note.replacement not in columns:
            found.append(f"{note.replacement}, which replaces {note.table}.{note.column}, is not published")
    return found


def main() -> None:
    """Record today's tables as promised."""
    from pipeline.transform.dbt import ensure_manifest

    contract, now = load(), tables_of(json.loads(ensure_manifest().read_text()))
    before: dict[str, Any] = (
        json.loads(PROMISED.read_text()) if PROMISED.exists() else {"version": 0, "tables": {}}
    )
    broken = breaking(before["tables"], now) if before["version"] == contract.version else []
    if broken:
        sys.exit("\n".join(["not recorded; raise the version in contract.yml first:", *broken]))
    text = json.dumps({"version": contract.version, "tables": now}, indent=1, sort_keys=True)
    PROMISED.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
