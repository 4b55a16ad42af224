"""C-12, Q-22: what people are willing or able to pay, and how they react to prices, sets no price that leaves the house."""

import copy
import csv
import json
import re
from typing import Any

import pytest

from pipeline.transform.context import POLICY_DIR
from pipeline.transform.dbt import ensure_manifest

# Models that know it. Whatever is computed from one of them knows it too.
_KNOWS = (
    "customer_willingness",
    "customer_purchasing_power",
    "customer_price_sensitivity",
    "int_customer_intents",
)
_SCHEMES = ("willingness", "power", "income", "price_sensitivity")
# A column that says what somebody is to pay or to be given off, by the parts of its name.
_PRICE = re.compile(
    r"(^|_)(price|prices|discount|coupon|voucher|rebate|markup|surcharge|fee|tariff|quote)(_|$)"
)
# Facts and classes that speak of prices and set none: what was paid, what a score is called, what is forbidden.
_NO_PRICE = {
    "price_sensitivity_class",
    "price_sensitivity_reason",
    "pricing_use_allowed",
    "price_premium_index",
    # Thresholds of the day, for all alike, by which a class is told.
    "price_sensitive_share_min",
    "price_insensitive_share_max",
    "price_purchase_days_min",
    "price_known_share_min",
    "price_sensitivity_drawn_by",
    "clv_discount_rate",
}


@pytest.fixture(scope="module")
def nodes() -> dict[str, Any]:
    return json.loads(ensure_manifest().read_text())["nodes"]


def _published(node: dict[str, Any]) -> list[str]:
    return [
        name
        for name, column in node["columns"].items()
        if (column.get("config", {}).get("meta") or column.get("meta") or {}).get("publish")
    ]


def leaks(nodes: dict[str, Any]) -> list[str]:
    """`table.column` of every published price that is computed, however far back, from what a person would pay."""
    roots = {
        key for key, node in nodes.items() if node["name"] in _KNOWS and node["resource_type"] == "model"
    }
    tainted = set(roots)
    while True:
        more = {
            key
            for key, node in nodes.items()
            if key not in tainted
            and node["resource_type"] == "model"
            and tainted & set(node["depends_on"]["nodes"])
        }
        if not more:
            break
        tainted |= more
    return sorted(
        f"{nodes[key]['name']}.{column}"
        for key in tainted
        for column in _published(nodes[key])
        if _PRICE.search(column) and column not in _NO_PRICE
    )


def test_no_published_table_prices_by_what_somebody_would_pay(nodes: dict[str, Any]) -> None:
    assert {node["name"] for node in nodes.values()} >= set(_KNOWS)
    assert leaks(nodes) == []


@pytest.mark.parametrize("model", _KNOWS)
def test_a_price_list_made_from_it_is_found(nodes: dict[str, Any], model: str) -> None:
    planted = copy.deepcopy(nodes)
    source = next(key for key, node in planted.items() if node["name"] == model and key.startswith("model."))
    step = {"name": "int_offers", "resource_type": "model", "columns": {}, "depends_on": {"nodes": [source]}}
    columns = {
        "customer_key": {"config": {"meta": {"publish": True}}},
        "offer_price": {"config": {"meta": {"publish": True}}},
        "list_price": {"config": {"meta": {}}},
    }
    offers = {
        "name": "personal_offers",
        "resource_type": "model",
        "columns": columns,
        "depends_on": {"nodes": ["model.strata.int_offers"]},
    }
    planted |= {"model.strata.int_offers": step, "model.strata.personal_offers": offers}
    assert leaks(planted) == ["personal_offers.offer_price"]


def test_no_class_of_theirs_may_be_used_for_prices() -> None:
    with (POLICY_DIR / "playbook.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["scheme"] in _SCHEMES]
    assert {row["scheme"] for row in rows} == set(_SCHEMES)
    assert {row["pricing_use_allowed"] for row in rows} == {"false"}
