"""A daily run leaves out the feeds that nobody delivers, and nothing else."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

from dagster import AssetKey

from pipeline.definitions import defs
from pipeline.in_use import feeds_in_use, selection
from pipeline.ingest.contracts import load_contracts
from pipeline.ingest.load import sweep
from pipeline.settings import Settings

GRAPH = defs.resolve_asset_graph()


def _raw(keys: list[AssetKey]) -> set[str]:
    return {k.path[1] for k in keys if k.path[0] == "raw"} & set(load_contracts())


def _staged() -> set[str]:
    return {
        feed
        for feed in load_contracts()
        if any(k.path[0] == "staging" for k in GRAPH.get(AssetKey(["raw", feed])).child_keys)
    }


def test_an_empty_landing_uses_what_models_read_and_nothing_else(settings: Settings) -> None:
    assert feeds_in_use(settings) == frozenset()
    chosen = selection(settings)
    assert _raw(chosen) == _staged()
    assert 10 < len(_staged()) < len(load_contracts())
    others = {k for k in GRAPH.materializable_asset_keys if k.path[0] != "raw"}
    assert others <= set(chosen)
    assert {AssetKey(["raw", "ingest_ledger"]), AssetKey(["raw", "run_context"])} <= set(chosen)


def test_a_delivered_feed_is_used_and_so_is_what_its_source_declares(
    settings: Settings, land: Callable[[str, bytes | str], Path]
) -> None:
    land("shop/fx/2024-05-06.csv", "currency,date,rate_to_reporting\nUSD,2024-05-06,7.1\n")
    land("online_retail/transactions/2010-12-01.csv", "x\n")
    land("crm/surveys/2024-05-06.csv", "x\n")
    used = feeds_in_use(settings)
    assert used == {
        "fx",
        *("customers", "products", "channels", "orders", "order_lines", "returns"),
        *("consents", "tickets", "surveys", "survey_responses"),
    }
    assert "fx" in _raw(selection(settings))


def test_a_feed_that_was_delivered_once_stays_in_use(
    settings: Settings, land: Callable[[str, bytes | str], Path]
) -> None:
    path = land("shop/fx/2024-05-06.csv", "currency,date,rate_to_reporting\nUSD,2024-05-06,7.1\n")
    sweep(settings, date(2024, 5, 7), run_id="t", released=None)
    path.unlink()
    path.parent.rmdir()
    assert feeds_in_use(settings) == {"fx"}


def test_names_that_no_contract_knows_are_no_feeds(
    settings: Settings, land: Callable[[str, bytes | str], Path]
) -> None:
    land("shop/nonsense/2024-05-06.csv", "x\n")
    land("_truth/orders/2024-05-06.csv", "x\n")
    land("orders/2024-05-06.csv", "x\n")
    assert feeds_in_use(settings) == frozenset()
