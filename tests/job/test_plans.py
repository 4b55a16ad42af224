"""What the plans of a build do not do: sort all order lines, which would not end in memory at a hundred million of them, or
compare every row with every other, which would not end at all."""

import json
import re
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


# Rows of a policy on their right side: few whatever the company.
SMALL = {
    "dim_accounts",
    "customer_motive",
    "customer_need_class",
    "customer_willingness",
    "int_customer_intents",
}


def compared_rows(node: dict[str, Any]) -> Iterator[str]:
    """Conditions of the joins that look for equal keys by comparing every row with every other. DuckDB does so where an
    outer join has a condition besides that is of one side alone or no comparison."""
    told = str(node.get("extra_info", {}).get("Condition", ""))
    if node["name"].strip() == "BLOCKWISE_NL_JOIN" and re.search(r"\((\w+ = \w+)\)", told):
        yield told
    for child in node["children"]:
        yield from compared_rows(child)


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


def test_no_model_compares_every_row_with_every_other(plans: dict[str, dict[str, Any]]) -> None:
    found = {name: list(compared_rows(plan)) for name, plan in plans.items() if name not in SMALL}
    assert {name: joins for name, joins in found.items() if joins} == {}


def test_a_join_on_a_key_and_a_condition_of_one_side_would_be_found() -> None:
    with duck.connect([]) as con:
        con.execute("create table moves as select 'k' as customer_key, 'rfm' as scheme")
        con.execute("create table history as select *, null::date as valid_to from moves")
        plans = [
            con.execute(
                "explain (format json) select * from history left join moves on history.scheme = moves.scheme "
                f"and {key}"
            ).fetchall()[-1][1]
            for key in (
                "history.customer_key = moves.customer_key and history.valid_to is null",
                "case when history.valid_to is null then history.customer_key end = moves.customer_key",
            )
        ]
    assert [len(list(compared_rows(json.loads(plan)[0]))) for plan in plans] == [1, 0]


def test_a_window_over_all_lines_would_be_found(company: Line) -> None:
    """The same look at SQL that does it."""
    home = replace(settings_module.load(), home=company.home)
    sql = "select *, row_number() over (partition by order_id order by line_no) from warehouse.core.fct_order_lines"
    with duck.connect([home.home]) as con:
        con.execute(f"attach {literal(str(home.warehouse))} as warehouse (read_only)")
        plan = json.loads(con.execute(f"explain (format json) {sql}").fetchall()[-1][1])[0]
    assert {sort for sort, _ in sorted_facts(plan)} == {"WINDOW"}
