"""What the plans of a build do not do: at a hundred million order lines a sort of them would not end in memory."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import duck
from pipeline import settings as settings_module
from pipeline.duck import literal
from pipeline.transform.replay import compiled
from tests.job.conftest import Line

# Facts of which there are many to a customer, by how a plan names their scans.
FACTS = ("/order_lines/", "/orders/", "/touchpoints/", "int_order_lines", "int_orders", "int_order_sums")
SORTS = {"WINDOW", "STREAMING_WINDOW", "ORDER_BY", "TOP_N"}
# Below these a plan holds groups, or the few rows that were asked for.
REDUCING = {"HASH_GROUP_BY", "PERFECT_HASH_GROUP_BY", "UNGROUPED_AGGREGATE"}


def sorted_facts(node: dict[str, Any], under: str = "") -> Iterator[tuple[str, str]]:
    """(sort, scan of a fact) of every sort into which a fact goes without having been grouped or picked from."""
    name, told = node["name"].strip(), json.dumps(node.get("extra_info", {}))
    if name in REDUCING or (name.endswith("JOIN") and any(kind in told for kind in ("SEMI", "ANTI"))):
        under = ""
    if name in SORTS:
        under = name
    if under and not node["children"] and any(fact in told for fact in FACTS):
        yield under, told[:200]
    for child in node["children"]:
        yield from sorted_facts(child, under)


@pytest.fixture(scope="module")
def plans(company: Line, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The plan of every model of the build."""
    home = replace(settings_module.load(), home=company.home)
    found = {}
    spill: Path = tmp_path_factory.mktemp("spill")
    with duck.connect([home.home], spill=spill) as con:
        con.execute(f"attach {literal(str(home.warehouse))} as warehouse (read_only)")
        for node in compiled(home).values():
            # The views of the lower layers are in the plans of what reads them.
            is_inlined = node["config"]["materialized"] == "view" and node["schema"] in (
                "staging",
                "intermediate",
            )
            if node["resource_type"] == "model" and not is_inlined:
                text = con.execute(f"explain (format json) {node['compiled_code']}").fetchall()[-1][1]
                found[node["name"]] = json.loads(text)[0]
    return found


def test_no_model_sorts_a_fact_table(plans: dict[str, dict[str, Any]]) -> None:
    assert len(plans) > 60
    found = {name: list(sorted_facts(plan)) for name, plan in plans.items()}
    assert {name: sorts for name, sorts in found.items() if sorts} == {}


def test_a_window_over_all_lines_would_be_found(company: Line) -> None:
    """The same look at SQL that does it."""
    home = replace(settings_module.load(), home=company.home)
    sql = "select *, row_number() over (partition by order_id order by line_no) from warehouse.core.fct_order_lines"
    with duck.connect([home.home]) as con:
        con.execute(f"attach {literal(str(home.warehouse))} as warehouse (read_only)")
        plan = json.loads(con.execute(f"explain (format json) {sql}").fetchall()[-1][1])[0]
    assert {sort for sort, _ in sorted_facts(plan)} == {"WINDOW"}
