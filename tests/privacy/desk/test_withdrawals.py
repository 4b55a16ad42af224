"""Consent at the door and at the desk: what is no clear grant is none, and a withdrawal is data that nothing loses."""

from datetime import date, timedelta

import duckdb
import pyarrow.parquet as pq
import pytest

from pipeline.errors import StrataError
from pipeline.ingest import ledger
from pipeline.privacy import consent, desk, persons
from pipeline.publish import withheld
from pipeline.quality.history import read_history
from pipeline.settings import Settings
from tests.privacy.desk.conftest import D, Land, take_in


def raw(settings: Settings, feed: str) -> list[dict]:
    return [
        row
        for path in sorted(settings.raw.glob(f"[!_]*/{feed}/*/*/*.parquet"))
        for row in pq.ParquetFile(path).read().to_pylist()
    ]


MALFORMED = (
    ("marketing,email,grant,2024-05-01 10:00:00", "grant"),
    ("marketing,email,granted,2024-05-01 10:00:00", "withdraw"),
    ("marketing,email,,2024-05-01 10:00:00", "withdraw"),
    ("marketing,email,yes,2024-05-01 10:00:00", "withdraw"),
    ("marketing,email,同意,2024-05-01 10:00:00", "withdraw"),
    ("marketing,email,no grant,2024-05-01 10:00:00", "withdraw"),
    ("marketing,email,grant/withdraw,2024-05-01 10:00:00", "withdraw"),
    ("everything,email,grant,2024-05-01 10:00:00", None),
    (",email,grant,2024-05-01 10:00:00", None),
    ("marketing,,grant,2024-05-01 10:00:00", None),
    ("marketing,fax,grant,2024-05-01 10:00:00", None),
    ("marketing,email,grant,yesterday", None),
    ("marketing,email,grant,", None),
    ("marketing,email,grant,2030-01-01 10:00:00", None),
)


def test_a_malformed_consent_is_never_a_grant(settings: Settings, land: Land) -> None:
    """What is no clear grant is a withdrawal, or a rejected row that says nothing."""
    rows = "".join(f"N{i},A1,{row}\n" for i, (row, _) in enumerate(MALFORMED))
    land("shop/consents/2024-05-06.csv", f"consent_id,source_customer_id,purpose,channel,action,at\n{rows}")
    take_in(settings)
    found = {r["consent_id"]: r["action"] for r in raw(settings, "consents")}
    assert found == {f"N{i}": becomes for i, (_, becomes) in enumerate(MALFORMED) if becomes}
    (entry,) = ledger.read(settings)
    assert entry.rows_rejected == sum(becomes is None for _, becomes in MALFORMED)


def test_a_withdrawal_is_a_delivery_that_raw_keeps(shop: Settings) -> None:
    said = consent.withdraw(shop, "shop", "A1", purpose=None, channel=None, by="Wang")
    assert said.purposes == ("marketing", "profiling", "survey", "third_party")
    assert {p.stat().st_mode & 0o777 for p in desk.folder(shop).rglob("*.jsonl")} == {0o600}
    take_in(shop)
    entries = [e for e in ledger.read(shop) if desk.is_of_desk(e.file)]
    assert [(e.source, e.feed, e.rows_loaded, e.rows_rejected) for e in entries] == [
        ("shop", "consents", 4, 0)
    ]
    assert {(r["purpose"], r["channel"], r["action"]) for r in raw(shop, "consents")} == {
        (purpose, "all", "withdraw") for purpose in said.purposes
    }
    assert "written down by Wang" in raw(shop, "consents")[0]["proof"]
    # A second sweep takes nothing in again.
    take_in(shop)
    assert len([e for e in ledger.read(shop) if desk.is_of_desk(e.file)]) == 1


def test_a_word_at_the_desk_outlasts_a_grant_given_while_the_home_lagged_behind(shop: Settings) -> None:
    consent.withdraw(shop, "shop", "A1", purpose="profiling", channel=None, by="Wang")
    early, true = sorted(w.row["at"] for w in desk.words(shop))
    assert early.startswith("2024-05-06") and true > early
    assert [d.dt for d in desk.deliveries(shop)][0] == D - timedelta(days=1)


def test_until_a_run_has_taken_it_in_a_refusal_is_heeded_at_publish(shop: Settings) -> None:
    key = persons.find(shop, "shop", "A1").customer_key
    assert persons.find(shop, "club", "C1").customer_key == key
    other = persons.find(shop, "shop", "A2").customer_key
    consent.withdraw(shop, "club", "C1", purpose="profiling", channel="email", by="Wang")
    consent.withdraw(shop, "shop", "A2", purpose="marketing", channel="sms", by="Wang")
    consent.withdraw(shop, "shop", "A2", purpose="survey", channel=None, by="Wang")
    refused = consent.refusals(shop, ())
    assert refused.unprofiled == {key} and refused.unmarketed == set()
    assert refused.channels == {"sms": {other}}
    take_in(shop)
    known = [f"{d.source}/{d.feed}/{d.stem}/rev=1" for d in desk.deliveries(shop)]
    after = consent.refusals(shop, known)
    # The words under their true time wait for the home to catch up, and are heeded until then.
    assert after.persons == {key, other}
    for path in desk.folder(shop).rglob("*.jsonl"):
        if path.name[:10] > "2024-05-06":
            path.unlink()
    assert consent.refusals(shop, known).persons == set()


def test_a_word_that_ingest_rejected_stays_a_refusal(shop: Settings) -> None:
    row = {"source_customer_id": "A1", "purpose": "marketing", "channel": "all", "action": "withdraw"}
    desk.write(shop, date(2024, 5, 6), "shop", "consents", [row | {"consent_id": "x", "at": "no time"}])
    take_in(shop)
    (entry,) = [e for e in ledger.read(shop) if desk.is_of_desk(e.file)]
    assert entry.rows_rejected == 1
    assert consent.refusals(shop, [entry.delivery]).unmarketed


def test_a_withdrawal_of_nobody_is_refused(shop: Settings) -> None:
    for source, customer, by, says in (
        ("shop", "nobody", "Wang", "source shop has no customer nobody"),
        ("till", "A1", "Wang", "the sources with customers are club, shop"),
        ("shop", "A1", " ", "--by must say"),
    ):
        with pytest.raises(StrataError, match=says):
            consent.withdraw(shop, source, customer, purpose=None, channel=None, by=by)
    assert desk.deliveries(shop) == []


def test_gates_of_arrival_pass_over_the_desk(shop: Settings) -> None:
    before = read_history(shop, D)
    consent.withdraw(shop, "shop", "A1", purpose=None, channel=None, by="Wang")
    take_in(shop)
    after = read_history(shop, D)
    assert after.entries == before.entries and after.feeds["consents"].expected == []


def test_what_an_erased_person_said_leaves_the_desk(shop: Settings) -> None:
    consent.withdraw(shop, "shop", "A1", purpose=None, channel=None, by="Wang")
    consent.withdraw(shop, "shop", "A2", purpose=None, channel=None, by="Wang")
    assert desk.forget(shop, {("shop", "A1")}) == 2
    assert {w.row["source_customer_id"] for w in desk.words(shop)} == {"A2"}


def test_refused_rows_and_flags_leave_the_published_tables() -> None:
    refused = consent.Refusals(
        frozenset({"unprofiled"}),
        frozenset({"unmarketed"}),
        {"email": frozenset({"no mail", "nothing left"}), "sms": frozenset({"nothing left"})},
    )
    names = ("customer_key", "consent_email", "consent_sms")
    with duckdb.connect() as con:
        con.execute(
            "create table t as select key as customer_key, true as consent_email, true as consent_sms from "
            "(values ('unprofiled'), ('unmarketed'), ('no mail'), ('nothing left'), ('stays')) as k (key)"
        )
        withheld.register(con, refused)

        def left(schema: str) -> list[tuple]:
            return con.execute(
                f"select {withheld.columns(schema, names)} from t where {withheld.condition(schema, names)} order by all"
            ).fetchall()

        assert left("audiences") == [("no mail", False, True), ("stays", True, True)]
        assert [row[0] for row in con.execute(
            f"select customer_key from t where {withheld.condition('segments', ('customer_key',))} order by 1"
        ).fetchall()] == ["no mail", "nothing left", "stays", "unmarketed"]  # fmt: skip
        # What tells of no person's class is left as it is.
        assert withheld.condition("core", names) == withheld.condition("audiences", ("scheme",)) == "true"


def test_a_word_under_the_ids_of_another_source_is_the_persons(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The tool that sends has the numbers of the CRM and names the person for the first time."""
    monkeypatch.setattr(consent.persons, "owners", lambda *_: {("crm", "C1"): "anna", ("crm", "C2"): "bao"})
    said = {"purpose": "marketing", "channel": "sms", "action": "unsubscribe"}
    words = [
        desk.Word("d", "consents", source, {"source_customer_id": id_, **said})
        for source, id_ in (("outreach", "C1"), ("shop", "C2"))
    ]
    refused = consent._refused(settings, words)
    assert refused.channels == {"sms": {"anna"}} and refused.by_message == {"sms": {"anna": "unsubscribe"}}
