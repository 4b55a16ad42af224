"""Retention: whoever has done nothing for the policy's months leaves, and the gate sees who should have."""

import json
from datetime import date

import pyarrow.parquet as pq
import pytest

from pipeline.errors import StrataError
from pipeline.ingest.contracts import load_contracts
from pipeline.ingest.vault import Vault
from pipeline.privacy import erasure, expiry, retention
from pipeline.settings import Settings
from tests.privacy.desk.conftest import Land, take_in

AS_OF = date(2024, 5, 7)
HEAD = "source_customer_id,name,phone,registered_at,updated_at\n"


@pytest.fixture
def old(settings: Settings, land: Land) -> Settings:
    """Three customers of 2020: one has done nothing since, one bought in 2022, one only in another source's shop."""
    rows = (
        "A1,王芳,13812345678,2015-01-01 10:00:00,2020-01-01 10:00:00\n"
        "A2,李静,13912345678,2015-01-01 10:00:00,2020-01-01 10:00:00\n"
        "A3,赵敏,13712345678,2015-01-01 10:00:00,2020-01-01 10:00:00\n"
    )
    land("shop/customers/2020-01-06.csv", HEAD + rows)
    # The source still repeats its master data: no activity of anybody.
    land("shop/customers/2024-05-05.csv", HEAD + rows.replace("2020-01-01", "2024-05-01"))
    orders = "order_id,source_customer_id,channel_id,ordered_at,paid_at,status\n"
    land(
        "shop/orders/2022-03-01.csv",
        f"{orders}O2,A2,web,2022-03-01 09:00:00,2022-03-01 09:01:00,paid\n",
    )
    land("till/customers/2020-01-06.csv", HEAD + "T3,赵敏,13712345678,,\n")
    land(
        "till/orders/2023-03-01.csv",
        f"{orders}O3,T3,web,2023-03-01 09:00:00,2023-03-01 09:01:00,paid\n",
    )
    take_in(settings, AS_OF)
    return settings


@pytest.mark.parametrize(
    ("as_of", "first"),
    [
        (date(2024, 5, 7), date(2021, 5, 7)),
        (date(2024, 2, 29), date(2021, 2, 28)),
        (date(2024, 1, 31), date(2021, 1, 31)),
        (date(2027, 2, 28), date(2024, 2, 28)),
    ],
)
def test_the_limit_is_the_policys_months_before_d(as_of: date, first: date) -> None:
    assert retention.limit(as_of) == first


def test_a_contract_that_promises_less_than_the_policy_keeps_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert retention.due(settings, AS_OF) == []
    contracts = dict(load_contracts())
    contracts["tickets"] = contracts["tickets"].model_copy(update={"retention_days": 365})
    monkeypatch.setattr(retention, "load_contracts", lambda: contracts)
    with pytest.raises(
        StrataError, match="contract tickets: retention_days 365 is shorter than retention_months"
    ):
        retention.due(settings, AS_OF)


def test_the_gate_names_who_is_kept_too_long_and_passes_once_they_have_left(old: Settings) -> None:
    found = retention.check(old, AS_OF)
    assert (found.gate, found.level, found.passed, found.observed) == ("Q-23", "block", False, 1)
    (person,) = retention.due(old, AS_OF)
    assert person.records == (("shop", "A1"),) and person.last_activity == date(2020, 1, 6)
    assert found.examples == (f"{person.customer_key} last active 2020-01-06",)
    assert expiry.apply(old, AS_OF) == 1
    assert retention.check(old, AS_OF).passed
    ids = {
        row["source_customer_id"]
        for path in old.raw.glob("[!_]*/customers/*/*/*.parquet")
        for row in pq.ParquetFile(path).read(["source_customer_id"]).to_pylist()
    }
    assert ids == {"A2", "A3", "T3"}
    with Vault(old, "test") as vault:
        values = {row[0] for row in vault.database.execute("select value from clear_values").fetchall()}
    assert "王芳" not in values and "+8613812345678" not in values and "李静" in values
    assert expiry.apply(old, AS_OF) == 0


def test_who_comes_back_is_a_customer_again(old: Settings, land: Land) -> None:
    expiry.apply(old, AS_OF)
    later = date(2024, 5, 9)
    land(
        "shop/orders/2024-05-08.csv",
        "order_id,source_customer_id,channel_id,ordered_at,paid_at,status\n"
        "O9,A1,web,2024-05-08 09:00:00,2024-05-08 09:01:00,paid\n",
    )
    take_in(old, later)
    orders = [
        row
        for path in old.raw.glob("shop/orders/dt=2024-05-08/*/*.parquet")
        for row in pq.ParquetFile(path).read().to_pylist()
    ]
    assert [row["source_customer_id"] for row in orders] == ["A1"]
    assert retention.due(old, later) == []


def test_a_home_younger_than_the_limit_keeps_everybody(old: Settings) -> None:
    assert retention.due(old, date(2023, 1, 6)) == []
    assert retention.check(old, date(2023, 1, 6)).passed


def test_a_guest_contact_that_tells_nobody_leaves_with_its_month(settings: Settings, land: Land) -> None:
    """Agreed contacts of a customer stay; a refused one goes although the customer stays; a newer one of the same guest stays."""
    head = "order_id,name,phone,email,is_consented,updated_at\n"
    land("shop/customers/2024-05-05.csv", HEAD + "A1,王芳,13812345678,,2024-05-01 10:00:00\n")
    land(
        "till/guest_contacts/2021-05-31.csv",
        head
        + "O1,,13812345678,,true,2021-05-31 10:00:00\n"
        + "O2,,13812345678,,false,2021-05-31 10:00:00\n"
        + "O3,孙悟空,13611112222,monkey@example.org,true,2021-05-31 10:00:00\n"
        + "O4,,13511112222,,true,2021-05-31 10:00:00\n",
    )
    land("till/guest_contacts/2021-06-01.csv", head + "O5,,13511112222,,true,2021-06-01 10:00:00\n")
    take_in(settings, AS_OF)
    assert (
        expiry.apply(settings, date(2024, 4, 30)) == 0 and retention.check(settings, date(2024, 4, 30)).passed
    )
    found = retention.check(settings, AS_OF)
    assert (found.passed, found.observed) == (False, 3) and "guest contact of till/O2" in found.examples
    assert expiry.apply(settings, AS_OF) == 3
    assert retention.check(settings, AS_OF).passed and expiry.apply(settings, AS_OF) == 0
    left = {
        row["order_id"]
        for path in settings.raw.glob("till/guest_contacts/*/*/*.parquet")
        for row in pq.ParquetFile(path).read(["order_id"]).to_pylist()
    }
    assert left == {"O1", "O5"}
    with Vault(settings, "test") as vault:
        values = {row[0] for row in vault.database.execute("select value from clear_values").fetchall()}
    assert values & {"孙悟空", "+8613611112222", "monkey@example.org"} == set()
    assert {"王芳", "+8613812345678", "+8613511112222"} <= values, "what others have too stays"
    erasure.finish(settings)
    (certificate,) = (settings.vault / "certificates").glob("*.json")
    told = json.loads(certificate.read_text())
    assert (told["status"], told["persons"], told["removed"]["raw_rows"]) == (
        "complete",
        0,
        {"guest_contacts": 3},
    )
