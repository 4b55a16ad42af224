"""The data dictionary that travels in a release: `docs/dictionary.json` for programs, `docs/dictionary.html` for people.

English texts are the descriptions of the dbt project, which dbt and Dagster show as well. Chinese comes from
`dictionary_zh.yml`, by the English text: when that changes its translation is gone, never wrong.
"""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.publish.tables import PublishedTable

JSON = "docs/dictionary.json"
HTML = "docs/dictionary.html"
_ZH = Path(__file__).with_name("dictionary_zh.yml")


@cache
def chinese() -> dict[str, str]:
    """English description → Chinese."""
    return yaml.load(_ZH.read_text(encoding="utf-8"), yaml.CSafeLoader)


def describe(tables: Iterable[PublishedTable], dbt_manifest: Mapping[str, Any]) -> dict[str, Any]:
    """`{"<schema>.<table>": {"en", "zh", "grain", "columns": {name: {"type", "en", "zh"}}}}`; `zh` null where missing."""
    models = {n["name"]: n for n in dbt_manifest["nodes"].values() if n["resource_type"] == "model"}
    return {
        table.key: {
            **_both(models[table.name]),
            "grain": list(table.grain),
            "columns": {
                name: {
                    "type": models[table.name]["columns"][name].get("data_type"),
                    **_both(models[table.name]["columns"][name]),
                }
                for name in table.columns
            },
        }
        for table in tables
    }


def _both(described: Mapping[str, Any]) -> dict[str, str | None]:
    english = described.get("description") or ""
    return {"en": english, "zh": chinese().get(english)}


def write(folder: Path, tables: Iterable[PublishedTable], dbt_manifest: Mapping[str, Any]) -> None:
    """Write both files into a candidate."""
    described = describe(tables, dbt_manifest)
    (folder / "docs").mkdir()
    text = json.dumps({"tables": described}, ensure_ascii=False, indent=1)
    (folder / JSON).write_text(text + "\n", encoding="utf-8")
    templates = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(loader=templates, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    page = environment.get_template("dictionary.html.j2").render(tables=described)
    (folder / HTML).write_text(page + "\n", encoding="utf-8")
