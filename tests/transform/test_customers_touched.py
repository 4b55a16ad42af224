"""Whom an increment computes again because of the day alone, on hand-made tables."""

from collections.abc import Sequence
from datetime import date

import duckdb
import pytest

from pipeline.transform.invoke import invoke

BEFORE, NOW = date(2026, 3, 9), date(2026, 3, 10)


@pytest.fixture(scope="module")
def sql(tmp_path_factory: pytest.TempPathFactory) -> str:
    """int_customers_touched as an increment runs it."""
    folder = tmp_path_factory.mktemp("compiled")
    (folder / "home" / "warehouse").mkdir(parents=True)
    args = ["compile", "--select", "int_customers_touched"]
    invoke(args, folder / "home", folder / "target", increments=True)
    (path,) = (folder / "target" / "compiled").rglob("int_customers_touched.sql")
    return path.read_text()


def touched(sql: str, scene: Sequence[date | None]) -> list[str]:
    """Whom the sql touches where there is one customer, with no news and no day on a bound, and one scene with its two days."""
    with duckdb.connect() as con:
        con.execute("attach ':memory:' as warehouse")
        for schema in ("base", "intermediate", "policy"):
            con.execute(f"create schema warehouse.{schema}")
        bounds = {name.split(".")[1] for name in sql.split() if name.startswith(("now.", "before."))}
        bounds = {name.strip("(),") for name in bounds} | {"as_of_date"}
        for schema, day in (("base", BEFORE), ("intermediate", NOW)):
            columns = ", ".join(f"date '{day}' as {name}" for name in bounds)
            con.execute(f"create table warehouse.{schema}.int_run_policy as select {columns}")
            con.execute(f"create table warehouse.{schema}.int_persons_excluded (customer_key varchar)")
        con.execute("create table warehouse.intermediate.int_customers_restated (customer_key varchar)")
        con.execute(
            "create table warehouse.intermediate.int_customer_days as select 'k' as customer_key, date '2026-01-01' as day"
        )
        con.execute("create table warehouse.policy.life_scenes (valid_from date, valid_to date)")
        con.execute("insert into warehouse.policy.life_scenes values (?, ?)", scene)
        return [key for (key,) in con.execute(sql).fetchall()]


@pytest.mark.parametrize("scene", [(NOW, None), (date(2000, 1, 1), NOW)], ids=["begins", "ends"])
def test_a_scene_that_begins_or_ends_touches_everybody(sql: str, scene: Sequence[date | None]) -> None:
    assert touched(sql, scene) == ["k"]


@pytest.mark.parametrize(
    "scene",
    [
        (BEFORE, None),
        (date(2000, 1, 1), BEFORE),
        (date(2000, 1, 1), date(2026, 3, 11)),
        (date(2026, 3, 11), None),
    ],
)
def test_a_scene_that_stands_touches_nobody(sql: str, scene: Sequence[date | None]) -> None:
    assert touched(sql, scene) == []
