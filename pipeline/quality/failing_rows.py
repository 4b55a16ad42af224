"""What a failed dbt test found: its first rows, so that the failure names the source and the figures and not a count."""

from collections.abc import Mapping
from typing import Any

import duckdb

from pipeline import duck
from pipeline.settings import Settings

_SHOWN = 3


def failing_rows(settings: Settings, run_results: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The first rows of every data test that failed or warned, as `column value, …`, by the test's unique id.

    The warehouse holds tokens and ids, no clear personal data.
    """
    failed = [
        r
        for r in run_results["results"]
        if r["status"] in ("fail", "warn") and r["unique_id"].startswith("test.") and r.get("compiled_code")
    ]
    if not failed or not settings.warehouse.exists():
        return {}
    con = duck.connect([settings.home], database=settings.warehouse, read_only=True)
    try:
        return {r["unique_id"]: _first_rows(con, r["compiled_code"]) for r in failed}
    finally:
        con.close()


def _first_rows(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[str, ...]:
    try:
        found = con.execute(f"select * from ({sql}\n) as failing limit {_SHOWN}")
    except duckdb.Error as error:
        return (f"the rows cannot be shown: {duck.without_values(error)}",)
    names = [column[0] for column in found.description]
    return tuple(
        ", ".join(f"{name} {value}" for name, value in zip(names, row, strict=True) if value is not None)
        for row in found.fetchall()
    )
