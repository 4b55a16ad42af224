"""dbt's exposures: who reads which table of a release. `python -m pipeline.publish.exposures` writes them.

They follow from the page's tables, the allow-list and the seed of destinations; a test holds the file against these.
"""

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.publish.report import PAGE_TABLES
from pipeline.publish.tables import published_tables
from pipeline.settings import PROJECT_ROOT

FILE = PROJECT_ROOT / "dbt_project" / "models" / "audiences" / "_exposures.yml"
_DESTINATIONS = PROJECT_ROOT / "dbt_project" / "seeds" / "policy" / "destinations.csv"
# What an audience is made of: classes, who is of age and known, and consent by purpose (audiences/source.py).
_AUDIENCES = ("segment_membership", "dim_customers", "fct_consent_states")
_HEAD = "# Written by `python -m pipeline.publish.exposures`; do not edit.\nexposures:\n"


def text(dbt_manifest: Mapping[str, Any], destinations: Path = _DESTINATIONS) -> str:
    """The YAML file for the project's published tables and the destinations of the seed."""
    every = [table.name for table in published_tables(dbt_manifest)]
    bi = "docs/bi.md"
    found = [
        _one(
            "release_page",
            "Page of a release",
            "dashboard",
            "index.html",
            [k.split(".")[1] for k in PAGE_TABLES],
        ),
        _one(
            "bi_database", "Database for BI tools", "dashboard", f"marts.duckdb of each release: {bi}.", every
        ),
        _one("bi_postgres", "Copy in PostgreSQL", "dashboard", f"`strata export postgres`: {bi}.", every),
    ]
    with destinations.open(encoding="utf-8", newline="") as file:
        rows = {row["destination"]: row for row in csv.DictReader(file)}
    for name, row in rows.items():
        description = (
            f"{row['name_zh']}: members of the audiences that policy sends there (docs/audiences.md)."
        )
        found.append(_one(f"destination_{name}", row["name_en"], "application", description, _AUDIENCES))
    return _HEAD + "\n".join(found)


def _one(name: str, label: str, kind: str, description: str, models: Iterable[str]) -> str:
    lines = [
        f"  - name: {name}",
        f"    label: {json.dumps(label, ensure_ascii=False)}",
        f"    type: {kind}",
        f"    description: {json.dumps(description, ensure_ascii=False)}",
        "    owner: {name: Analytics engineering}",
        "    depends_on:",
        *(f"      - ref('{model}')" for model in models),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    from pipeline.transform.dbt import ensure_manifest

    FILE.write_text(text(json.loads(ensure_manifest().read_text())), encoding="utf-8")


if __name__ == "__main__":
    main()
