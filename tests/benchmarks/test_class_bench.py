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


def test_a_mart_pays_for_the_tables_that_of_the_marts_it_alone_reads() -> None:
    """Whoever else reads them, an answer of its own or no mart, does not pay for them."""
    nodes = NODES | {
        node["unique_id"]: node
        for node in (
            _node("int_refresh", "intermediate", "int_orders"),
            _node("rfm_breakpoints", "segments", "int_refresh", "int_customer_facts"),
            _node("customer_rfm", "segments", "int_customer_facts", "rfm_breakpoints"),
            _node("customer_value", "segments", "customer_abc", "customer_rfm"),
            _node("class_bounds", "segments", "rfm_breakpoints"),
        )
    }
    own = classes.own_tables(nodes, classes.class_models(nodes))
    assert own == {
        "customer_rfm": ["int_refresh", "rfm_breakpoints"],
        "customer_abc": [],
        "customer_value": [],
    }
    spent = {"customer_rfm": 1.0, "rfm_breakpoints": 0.5, "customer_abc": 1.5, "customer_value": 1.8}
    cost = classes.costs(own, spent)
    assert {mart: (of["cpu_s"], of["times_customer_rfm"]) for mart, of in cost.items()} == {
        "customer_value": (1.8, 1.2),
        "customer_rfm": (1.5, 1.0),
        "customer_abc": (1.5, 1.0),
    }
    assert list(cost)[0] == "customer_value"
    assert cost["customer_rfm"]["own_tables"] == {"rfm_breakpoints": 0.5}
    assert classes.dearer(cost, 1.1) == ["customer_value"]
    assert not classes.dearer(cost, 1.2) and not classes.dearer(cost, None)


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
