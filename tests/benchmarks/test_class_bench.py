"""Which models the bench of the classes measures, and what it makes of the seconds."""

from typing import Any

from benchmarks import classes


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
