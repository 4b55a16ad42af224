"""Contacts, WeChat ids and pressure as they stand in raw: newest word, deliveries in force, right person."""

from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import duck
from pipeline.publish.audiences import source
from pipeline.settings import Settings

DAY = date(2026, 6, 30)


def raw(settings: Settings, feed: str, rows: list[dict[str, Any]]) -> None:
    """One delivery `app/<feed>/d1` in raw with these rows; a column that no row has is empty."""
    stamps = dict.fromkeys(("updated_at", "last_interaction_at", "left_at", "sent_at"), pa.timestamp("us"))
    columns = {
        "customers": ("source_customer_id", "phone_token", "email_token", "updated_at"),
        "private_domain": (
            *("account_id", "member_ext_id", "source_customer_id", "kind", "left_at", "last_interaction_at"),
            "updated_at",
        ),
        "messages": ("message_id", "campaign_id", "source_customer_id", "sent_at", "updated_at"),
    }[feed]
    made = {c: pa.array([r.get(c) for r in rows], stamps.get(c, pa.string())) for c in columns}
    made["_delivery"] = pa.array([r.get("_delivery", f"{feed}-1") for r in rows], pa.string())
    made["_row"] = pa.array(range(len(rows)), pa.int64())
    path = settings.raw / "app" / feed / f"dt={DAY}" / "rev=1" / "rows.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table(made), path)


def asked(settings: Settings, sql: str) -> list[dict[str, Any]]:
    with duck.connect([settings.raw]) as con:
        names = [f"{feed}-1" for feed in ("customers", "private_domain", "messages")]
        con.register(
            "deliveries",
            pa.table(
                {
                    "delivery": names,
                    "source": ["app"] * 3,
                    "dt": [DAY] * 3,
                    "rev": pa.array([1] * 3, pa.int32()),
                }
            ),
        )
        people = [("a1", "anna"), ("a2", "anna"), ("b1", "bao")]
        links = {
            "source": ["app"] * 3,
            "source_customer_id": [i for i, _ in people],
            "customer_key": [k for _, k in people],
        }
        con.register("links", pa.table(links))
        return con.execute(sql).to_arrow_table().to_pylist()


def at(day: int, hour: int = 9) -> datetime:
    return datetime(2026, 6, day, hour)


def test_the_newest_phone_and_mail_of_any_record_of_a_person(settings: Settings) -> None:
    rows = [
        {"source_customer_id": "a1", "phone_token": "old", "email_token": "mail", "updated_at": at(1)},
        {"source_customer_id": "a2", "phone_token": "new", "updated_at": at(2)},
        {"source_customer_id": "b1", "phone_token": "superseded", "updated_at": at(9), "_delivery": "other"},
        {"source_customer_id": "nobody", "phone_token": "x", "updated_at": at(3)},
    ]
    raw(settings, "customers", rows)
    raw(settings, "private_domain", [])
    (anna,) = asked(settings, source._contacts(settings))
    assert (anna["customer_key"], anna["phone_token"], anna["email_token"]) == ("anna", "new", "mail")


def test_wechat_ids_are_of_accounts_that_the_person_has_not_left(settings: Settings) -> None:
    raw(settings, "customers", [])
    wecom = {"kind": "wecom", "source_customer_id": "a1"}
    rows = [
        wecom
        | {"account_id": "li", "member_ext_id": "wm1", "last_interaction_at": at(1), "updated_at": at(1)},
        wecom
        | {"account_id": "wu", "member_ext_id": "wm2", "last_interaction_at": at(5), "updated_at": at(5)},
        # Her newest account was left since.
        wecom
        | {"account_id": "he", "member_ext_id": "wm3", "last_interaction_at": at(8), "updated_at": at(8)},
        wecom | {"account_id": "he", "member_ext_id": "wm3", "left_at": at(9), "updated_at": at(9)},
        {"kind": "official_account", "account_id": "gh", "member_ext_id": "oB", "source_customer_id": "b1"},
        {"kind": "group", "account_id": "g", "member_ext_id": "x", "source_customer_id": "b1"},
    ]
    raw(settings, "private_domain", rows)
    found = {r["customer_key"]: r for r in asked(settings, source._contacts(settings))}
    assert (found["anna"]["userid"], found["anna"]["external_userid"]) == ("wu", "wm2")
    assert found["bao"]["openid"] == "oB" and found["bao"]["userid"] is None


def test_pressure_counts_each_message_of_a_campaign_once(settings: Settings) -> None:
    one = {
        "message_id": "m1",
        "campaign_id": "c",
        "source_customer_id": "a1",
        "sent_at": at(20),
        "updated_at": at(20),
    }
    rows = [
        one,
        one | {"updated_at": at(21)},
        one | {"message_id": "m2", "source_customer_id": "a2"},
        # An order's own message is no marketing.
        one | {"message_id": "m3", "campaign_id": None},
        one | {"message_id": "m4", "_delivery": "other"},
    ]
    raw(settings, "messages", rows)
    found = asked(
        settings, f"select source_customer_id, count(*) as n from ({source._messages(settings)}) group by all"
    )
    assert {r["source_customer_id"]: r["n"] for r in found} == {"a1": 1, "a2": 1}
