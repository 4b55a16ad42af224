"""Requests: their due dates, what the desk does about them, and the export of all that is held."""

import json
from datetime import date
from pathlib import Path

import pytest

from pipeline.errors import StrataError
from pipeline.home_scan import leaks
from pipeline.privacy import access_log, consent, persons, requests, subject_export
from pipeline.quality.checks import Check
from pipeline.settings import Settings
from tests.privacy.desk.conftest import D, Land, take_in
from tests.privacy.desk.test_withdrawals import raw


@pytest.fixture
def asked(shop: Settings, land: Land) -> Settings:
    """Three requests: one with a due date, one without, one that is done."""
    land(
        "shop/dsr/2024-05-06.csv",
        "request_id,source_customer_id,kind,received_at,due_at,done_at,updated_at\n"
        "R1,A1,access,2024-04-01 10:00:00,2024-05-01 10:00:00,,2024-04-01 10:00:00\n"
        "R2,A2,object,2024-04-08 10:00:00,,,2024-04-08 10:00:00\n"
        "R3,A2,rectify,2024-04-01 10:00:00,,2024-04-02 10:00:00,2024-04-02 10:00:00\n"
        "R4,A2,access,2024-05-06 10:00:00,,,2024-05-06 10:00:00\n",
    )
    take_in(shop)
    return shop


def test_open_requests_have_a_due_date_and_a_state(asked: Settings) -> None:
    found = requests.open_requests(asked, D)
    assert [(r.request_id, r.due_on, r.state(D, 1)) for r in found] == [
        ("R1", date(2024, 5, 1), "overdue"),
        ("R2", date(2024, 5, 8), "due_soon"),
        ("R4", date(2024, 6, 5), "open"),
    ]
    assert [r.request_id for r in requests.all_requests(asked, D) if r.state(D, 1) == "done"] == ["R3"]


def test_a_request_that_is_met_at_the_desk_is_done_before_and_after_the_next_run(asked: Settings) -> None:
    requests.note(asked, "object", "shop", "A2", by="Wang", request_id="R2")
    assert [r.request_id for r in requests.open_requests(asked, D)] == ["R1", "R4"]
    # And heeded at publish until a run has taken it in.
    assert consent.refusals(asked, ()).unprofiled == {persons.find(asked, "shop", "A2").customer_key}
    take_in(asked)
    assert [r.request_id for r in requests.open_requests(asked, D)] == ["R1", "R4"]
    assert sum(row["request_id"] == "R2" for row in raw(asked, "dsr")) == 2


def test_a_request_is_met_only_by_what_it_asks_for(asked: Settings) -> None:
    for kind, customer, request_id, says in (
        ("access", "A2", "R1", "is not of customer A2"),
        ("restrict", "A1", "R1", "is for `access`, not for `restrict`"),
        ("access", "A1", "R9", "has no request R9"),
        ("access", "A9", None, "has no customer A9"),
    ):
        with pytest.raises(StrataError, match=says):
            requests.note(asked, kind, "shop", customer, by="Wang", request_id=request_id)


def test_a_rectification_is_the_newest_state_with_all_else_as_it_was(shop: Settings) -> None:
    before = {row["source_customer_id"]: row for row in raw(shop, "customers")}["A1"]
    requests.rectify(shop, "shop", "A1", {"phone": "13700001111", "city": "南京", "email": ""}, by="Wang")
    take_in(shop)
    after = max(
        (r for r in raw(shop, "customers") if r["source_customer_id"] == "A1"), key=lambda r: r["updated_at"]
    )
    assert after["city"] == "南京" and after["email_token"] is None
    assert after["phone_token"] not in (None, before["phone_token"])
    for column in ("name_token", "birth_year", "birth_month_day", "registered_at"):
        assert after[column] == before[column], column
    assert [r["kind"] for r in raw(shop, "dsr")] == ["rectify"]
    # The file with clear values lies in the vault; nothing of it is elsewhere.
    assert not leaks(shop, None).hits


def test_a_rectification_that_its_contract_refuses_is_not_written(shop: Settings) -> None:
    for changes, says in (
        ({"phone": "138****5678"}, "phone is no phone"),
        ({"email": "wang"}, "email is no email"),
        ({"gender": "x"}, "gender is one of"),
        ({"birth_date": "31.1.1990"}, "birth_date is a date"),
        ({"source_customer_id": "A2"}, "source_customer_id cannot be rectified"),
        ({"is_employee": "false"}, "is_employee cannot be rectified"),
        ({"shoe_size": "40"}, "shoe_size cannot be rectified"),
        ({}, "nothing to rectify"),
    ):
        with pytest.raises(StrataError, match=says):
            requests.rectify(shop, "shop", "A1", changes, by="Wang")
    assert list(shop.vault.glob("desk/*/*/*")) == []


def test_an_export_holds_all_of_one_person_in_clear_and_nothing_of_another(asked: Settings) -> None:
    made = subject_export.export_subject(asked, "club", "C1", by="Li", purpose="at the counter")
    text = (made.folder / "subject.json").read_text()
    held = json.loads(text)
    assert {(r["source"], r["customer"]) for r in held["known_as"]} == {("club", "C1"), ("shop", "A1")}
    assert set(held["delivered"]) == {
        "club/customers", "shop/customers", "shop/dsr", "shop/orders", "shop/order_lines",
    }  # fmt: skip
    (customer,) = held["delivered"]["shop/customers"]
    assert (customer["name"], customer["phone"], customer["birth_date"]) == (
        "王芳",
        "+8613812345678",
        "1990-01-31",
    )
    assert [r["product_id"] for r in held["delivered"]["shop/order_lines"]] == ["eggs"]
    for other in ("李静", "13912345678", "A2", "O2", "milk"):
        assert other not in text, other
    page = (made.folder / "subject.html").read_text()
    assert "王芳" in page and "+8613812345678" in page
    assert {p.stat().st_mode & 0o777 for p in made.folder.iterdir()} == {0o600}
    assert made.folder.stat().st_mode & 0o777 == 0o700


def test_an_export_is_logged_and_its_request_done(asked: Settings) -> None:
    subject_export.export_subject(asked, "shop", "A1", by="Li", purpose="request R1", request_id="R1")
    last = access_log.read(asked)[-2:]
    assert [(line["what"], line["who"]) for line in last][1] == ("subject exported", "Li")
    assert last[0]["what"] == "vault opened" and last[1]["purpose"] == "request R1"
    assert "王芳" not in access_log.path_of(asked).read_text()
    assert [r.request_id for r in requests.open_requests(asked, D)] == ["R2", "R4"]
    with pytest.raises(StrataError, match="is no access request of customer A2"):
        subject_export.export_subject(asked, "shop", "A2", by="Li", purpose="x", request_id="R2")


def test_overdue_and_nearly_due_requests_raise_an_alert(settings: Settings, tmp_path: Path) -> None:
    settings.home.mkdir(parents=True)

    def check(name: str, passed: bool) -> Check:
        return Check(
            "table", "intermediate.int_requests", name, "block", passed, 1, 0, "It is late.", ("R1",)
        )

    requests.alert(settings, D, [check(requests.ALERTS[0], True), check("other", False)])
    assert not (settings.home / "alerts.log").exists()
    requests.alert(settings, D, [check(name, False) for name in requests.ALERTS])
    lines = (settings.home / "alerts.log").read_text().splitlines()
    assert len(lines) == 2 and all("2024-05-07: It is late. R1" in line for line in lines)
