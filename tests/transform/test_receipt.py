"""Publish trusts a build only by its receipt, and each way in which one can be no good is refused by name."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from pipeline.errors import GateStopped
from pipeline.ingest.load import sweep
from pipeline.quality.checks import Check
from pipeline.settings import Settings
from pipeline.transform import receipt
from pipeline.transform.context import fingerprint

AS_OF = date(2024, 5, 10)
NODES = {"model.a": "success", "test.b": "pass", "test.c": "warn", "seed.d": "success"}
GOOD = Check("table", "core.t", "unique", "block", True, 0, 0, "")
WARNED = Check("table", "core.t", "fresh", "warn", False, 3, 0, "late")
BLOCKING = Check("table", "core.t", "unique", "block", False, 2, 0, "twice")
Land = Callable[[str, bytes | str], Path]


@pytest.fixture
def built(settings: Settings, land: Land) -> Settings:
    land("shop/orders/2024-05-06.csv", "order_id,ordered_at,status\na,2024-05-06,paid\n")
    sweep(settings, AS_OF, run_id="test", released=None)
    settings.build.mkdir(parents=True)
    receipt.write(settings, AS_OF, fingerprint(settings, AS_OF), NODES, [GOOD, WARNED])
    return settings


def refused(settings: Settings, match: str, as_of: date = AS_OF, nodes: list[str] | None = None) -> None:
    with pytest.raises(GateStopped, match=f"(?s)nothing was published: .*{match}"):
        receipt.require(settings, as_of, nodes or list(NODES))


def test_a_good_receipt_is_accepted_with_its_checks(built: Settings) -> None:
    proof = receipt.require(built, AS_OF, list(NODES))
    assert [Check.from_dict(dict(c)) for c in proof.checks] == [GOOD, WARNED]


def test_a_missing_receipt(built: Settings) -> None:
    receipt.invalidate(built)
    refused(built, "there is no receipt of a complete build; run the whole line for 2024-05-10")
    receipt.invalidate(built)


def test_a_receipt_of_another_day(built: Settings) -> None:
    refused(built, "the build is for 2024-05-10, not 2024-05-11", as_of=date(2024, 5, 11))


def test_a_receipt_older_than_a_delivery(built: Settings, land: Land) -> None:
    land("shop/orders/2024-05-07.csv", "order_id,ordered_at,status\nb,2024-05-07,paid\n")
    sweep(built, AS_OF, run_id="test", released=None)
    refused(built, "deliveries or policy changed since the build")


def test_a_receipt_older_than_a_refused_file(built: Settings, land: Land) -> None:
    land("shop/orders/2024-05-06.csv", b"")
    sweep(built, AS_OF, run_id="test", released=None)
    refused(built, "deliveries or policy changed since the build")


def test_a_warehouse_that_was_changed_by_hand(built: Settings) -> None:
    built.warehouse.parent.mkdir(parents=True)
    built.warehouse.write_bytes(b"x")
    refused(built, "the warehouse was changed after its build")
    receipt.write(built, AS_OF, fingerprint(built, AS_OF), NODES, [GOOD])
    receipt.require(built, AS_OF, list(NODES))
    built.warehouse.unlink()
    refused(built, "the warehouse was changed after its build")


@pytest.mark.parametrize("status", ["fail", "error", "skipped", "runtime error", "partial success", "no-op"])
def test_a_node_that_did_not_succeed(built: Settings, status: str) -> None:
    receipt.write(built, AS_OF, fingerprint(built, AS_OF), NODES | {"test.b": status}, [GOOD])
    refused(built, rf"1 of 4 dbt nodes are not done, such as test.b \({status}\)")


def test_a_node_that_did_not_run(built: Settings) -> None:
    refused(
        built, r"1 of 5 dbt nodes are not done, such as model.new \(not run\)", nodes=[*NODES, "model.new"]
    )


def test_a_blocking_check(built: Settings) -> None:
    receipt.write(built, AS_OF, fingerprint(built, AS_OF), NODES, [GOOD, BLOCKING])
    refused(built, "table core.t: unique · observed 2, limit 0")


def test_a_receipt_is_complete_or_not_there(built: Settings) -> None:
    assert [p.name for p in built.build.iterdir()] == ["receipt.json"]
    assert json.loads((built.build / "receipt.json").read_text())["as_of_date"] == "2024-05-10"
