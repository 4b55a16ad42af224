"""Which models the bench of the classes measures, and what it makes of the seconds."""

from typing import Any

import duckdb

from benchmarks import classes, many_customers


def _node(name: str, schema: str, *reads: str, materialized: str = "table") -> dict[str, Any]:
    return {
        "name": name,
        "unique_id": f"model.strata.{name}",
        "resource_type": "model",
        "schema": schema,
        "config": {"materialized": materialized},
        "depends_on": {"nodes": [f"model.strata.{other}" for other in reads]},
        "compiled_code": f"select '{name}'",
    }


NODES = {
    node["unique_id"]: node
    for node in (
        _node("int_orders", "intermediate"),
        _node("int_customer_days", "intermediate", "int_orders"),
        _node("int_customer_facts", "intermediate", "int_customer_days"),
        _node("int_customer_links", "intermediate", materialized="view"),
        _node("customer_rfm", "segments", "int_customer_facts", "int_customer_links"),
        _node("customer_abc", "segments", "int_customer_facts"),
        _node("customer_360", "segments", "customer_rfm", "customer_abc"),
        _node("class_history", "segments", "customer_rfm"),
    )
}


def test_class_marts_and_the_tables_about_customers_that_they_read_are_measured() -> None:
    marts = classes.class_models(NODES)
    assert set(marts) == {"customer_rfm", "customer_abc"}
    assert list(classes.models_before(NODES, set(marts))) == ["int_customer_days", "int_customer_facts"]


def test_a_mart_that_costs_more_than_the_ruler_is_named() -> None:
    marts = {"customer_rfm": 1.0, "customer_abc": 1.09, "customer_value": 1.2}
    found = classes.report(marts, {"int_customer_facts": 5.0}, 10)
    assert found["over_customer_rfm"] == {"customer_value": 1.2}
    assert list(found["marts_cpu_s"]) == ["customer_value", "customer_abc", "customer_rfm"]


def test_of_many_customers_the_tables_that_are_begun_from_are_not_built() -> None:
    built, taken = many_customers.needed(NODES)
    names = [unique_id.removeprefix("model.strata.") for unique_id in built]
    assert names[0] == "int_customer_facts" and set(names) == {
        "int_customer_facts",
        "customer_rfm",
        "customer_abc",
    }
    assert taken == ["model.strata.int_customer_links"]


def test_rows_are_there_many_times_each_with_days_of_its_own() -> None:
    with duckdb.connect() as con:
        con.execute("attach ':memory:' as warehouse; attach ':memory:' as many")
        con.execute("create schema warehouse.core; create schema many.core")
        con.execute(
            "create table warehouse.core.days as select 'k' as customer_key, date '2026-01-01' + i::int as day "
            "from range(100) t (i)"
        )
        many_customers.multiplied(con, "core.days", "day", 150, 300)
        rows, keys, most = con.execute(
            "select sum(n), count(*), max(n) from (select count(*) as n from many.core.days group by customer_key)"
        ).fetchall()[0]
    assert keys == 150 and 0.25 < rows / 15_000 < 0.35 and most < 60
