"""The macros of the dbt project outside dbt: their text, rendered by Jinja for DuckDB."""

from ast import literal_eval
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.settings import DBT_PROJECT_DIR

_MACROS = (
    "dialect/aggregates.sql",
    "dialect/dates.sql",
    "dialect/joins.sql",
    "dialect/text.sql",
    "policy/classes.sql",
    "policy/rules.sql",
    "policy/money.sql",
    "policy/reasons.sql",
    "scoring/rfm.sql",
)


class _DuckDbt:
    """The two macros of dbt itself that ours call, as dbt-duckdb renders them."""

    @staticmethod
    def datediff(first: str, second: str, part: str) -> str:
        return f"date_diff('{part}', {first}, {second})"

    @staticmethod
    def dateadd(part: str, interval: str, start: str) -> str:
        return f"date_add({start}, interval ({interval}) {part})"


class _Adapter:
    """dbt's way to the text of one engine, which here is DuckDB."""

    @staticmethod
    def dispatch(name: str, package: str) -> Any:
        return macro(f"default__{name}")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader([DBT_PROJECT_DIR / "macros", Path(__file__).parent]),
        # SQL, not HTML.
        autoescape=False,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.do"],
    )
    environment.globals["dbt"] = _DuckDbt
    environment.globals["adapter"] = _Adapter
    # dbt's `return` gives a value instead of text.
    environment.globals["return"] = lambda value: value
    # In dbt every macro sees every other one; here they meet in the globals.
    for name in _MACROS:
        environment.globals.update(
            (key, value)
            for key, value in vars(environment.get_template(name).module).items()
            if not key.startswith("_")
        )
    return environment


def render(template: str, /, **values: Any) -> str:
    """The SQL of a template of this folder. Values are names, numbers and literals that the caller has quoted."""
    return _environment().get_template(template).render(**values)


def model(path: str, ref: Callable[[str], str]) -> str:
    """The SQL of a model of the dbt project, `path` under `models/`, whose tables are what `ref` says of their names."""
    text = (DBT_PROJECT_DIR / "models" / path).read_text(encoding="utf-8")
    # Outside dbt a list that a macro returns is its text.
    families = literal_eval(str(macro("class_families")()).strip())
    return _environment().from_string(text).render(ref=ref, class_families=lambda: families)


def macro(name: str) -> Any:
    """One of the macros, to be called with SQL text."""
    return _environment().globals[name]
