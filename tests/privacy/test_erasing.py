"""An erased person is nowhere in the home, does not come back, and what is said of it is true."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import GateStopped, StrataError
from pipeline.home_scan import Needles, scan
from pipeline.identity import tables
from pipeline.identity.links import write_links
from pipeline.ingest import ledger
from pipeline.ingest.files import write_parquet
from pipeline.ingest.load import sweep
from pipeline.ingest.vault.rotation import rotate
from pipeline.lock import run_lock
from pipeline.privacy import erasure
from pipeline.privacy.erasure_gate import erasure_checks
from pipeline.privacy.erasure_raw import cut_links
from pipeline.privacy.erasure_subject import Subject
from pipeline.publish import shelf
from pipeline.quality.checks import blocking
from pipeline.settings import Settings
from tests.privacy.conftest import (
    ADDRESS,
    APP_ID,
    AS_OF,
    EMAIL,
    HUSBAND,
    NAME,
    OTHERS,
    PERSON,
    PHONE,
    SHOP_ID,
    TOKEN_KEY,
    Home,
    copied,
    daily,
    erase,
    key_of,
    land,
    publish_small,
    writable,
)

LATER = date(2024, 5, 12)


@dataclass(frozen=True)
class Erased:
    """A home without the person, and what it was before."""

    settings: Settings
    person: Needles
    key: str
    ledger: dict[str, ledger.Entry]
    tables: dict[str, list[dict[str, object]]]
    done: erasure.Certificate


@pytest.fixture(scope="module")
def erased(built: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Erased]:
    """The home after one erasure, to be looked at only."""
    home = copied(built, tmp_path_factory.mktemp("erased"))
    before = {e.delivery: e for e in ledger.read(home.settings)}
    tables = {
        r: pq.read_table(home.settings.releases / r / "tables/segments/customer_abc.parquet").to_pylist()
        for r in shelf.list_releases(home.settings)
    }
    person, key = home.person, key_of(home.settings, "shop", SHOP_ID)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STRATA_TOKEN_KEY", TOKEN_KEY)
        yield Erased(home.settings, person, key, before, tables, erase(home.settings))
    writable(home.settings)


def rows(settings: Settings, feed: str) -> list[dict[str, object]]:
    files = sorted(settings.raw.glob(f"[!_]*/{feed}/*/*/*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def test_the_person_stands_everywhere_before(home: Home) -> None:
    """The needles see each place, or their absence afterwards would say nothing."""
    hits = {hit.file for hit in scan(home.settings.home, home.person)}
    for place in ("vault/vault.duckdb", "identity/history.base.1.parquet", "identity/decisions.parquet", "alerts.log",
                  "dagster/history/runs.db", "dbt/logs/dbt-output.log", "build/checks/sources.json",
                  "vault/outbox/sms.csv", "releases/2024-05-07/marts.duckdb", "releases/2024-05-07/audiences/sms.csv",
                  "releases/2024-05-09/manifest.json"):  # fmt: skip
        assert place in hits, place


def test_nothing_of_an_erased_person_is_left_anywhere(erased: Erased) -> None:
    """Places and accounting; what is not hers is as it was."""
    settings, person, before, done = erased.settings, erased.person, erased.ledger, erased.done
    assert scan(settings.home, person) == []
    assert done.status == "complete" and done.scan["found"] == 0 and done.persons == 1

    # Sales stay as those of guests, everything else of hers is gone, nothing of the others'.
    assert {r["order_id"]: r["source_customer_id"] for r in rows(settings, "orders")} == {
        "o1": None, "o2": HUSBAND, "o3": None}  # fmt: skip
    assert [bool(r["payer_hash_token"]) for r in rows(settings, "payments")] == [False, True]
    assert {r["ticket_id"] for r in rows(settings, "tickets")} == {"t2", "t3"}
    assert {r["session_id"] for r in rows(settings, "web_sessions")} == {"s0000003"}
    assert len(rows(settings, "customers")) == OTHERS + 2
    husband = next(r for r in rows(settings, "customers") if r["source_customer_id"] == HUSBAND)
    assert husband["name_token"] and husband["phone_token"]

    # His ticket named her: the words stay without her, the clear text is forgotten.
    ticket = next(r for r in rows(settings, "tickets") if r["ticket_id"] == "t2")
    assert ticket["text_masked"] == "Call ‹name› at ‹phone›" and ticket["text_token"] is None

    # The ledger's counts stay, and what was taken out is counted beside it.
    assert {e.delivery: e for e in ledger.read(settings)} == before
    taken = pq.read_table(settings.raw / "_erased" / f"{done.erasure}.parquet").to_pylist()
    assert {(r["delivery"], r["feed"]): r["rows_n"] for r in taken} == {
        ("shop/customers/2024-05-06/rev=1", "customers"): 1,
        ("app/customers/2024-05-06/rev=1", "customers"): 1,
        ("shop/consents/2024-05-06/rev=1", "consents"): 1,
        ("shop/tickets/2024-05-06/rev=1", "tickets"): 1,
        ("app/web_sessions/2024-05-06/rev=1", "web_sessions"): 2,
    }
    for (delivery, feed), n in {(r["delivery"], r["feed"]): r["rows_n"] for r in taken}.items():
        there = sum(r["_delivery"] == delivery for r in rows(settings, feed))
        assert there + n == json.loads(before[delivery].feed_rows)[feed]

    # Lines of logs without her are still there, and so are the database's other rows.
    assert (settings.home / "alerts.log").read_text() == "2024-05-06 another\n"
    assert (settings.dbt / "logs" / "dbt-output.log").read_text() == "one line\nlast line\n"
    assert pq.read_table(settings.identity / "decisions.parquet")["customer_key"].to_pylist() == ["x"]
    assert not (settings.vault / "outbox" / "sms.csv").exists()
    assert erasure.unfinished(settings) == []


def test_kept_releases_are_republished_with_what_they_redact(erased: Erased) -> None:
    """The fresh one first, then every kept one under the next free id; history exact but for the erased person."""
    settings, done = erased.settings, erased.done
    assert shelf.list_releases(settings) == ["2024-05-07-r2", "2024-05-09-r2", "2024-05-09-r3"]
    assert shelf.current(settings)["release"] == "2024-05-09-r2", "the fresh one stays current"
    assert {r["original"]: r["release"] for r in done.releases} == {
        "2024-05-07": "2024-05-07-r2", "2024-05-09": "2024-05-09-r3"}  # fmt: skip
    for original, table in erased.tables.items():
        release = next(r["release"] for r in done.releases if r["original"] == original)
        manifest = shelf.load_manifest(settings, release)
        assert manifest["redacts"] == {
            "release": original,
            "erasure": done.erasure,
            "persons": 1,
            "rows": {"core.dim_identity_links": 2, "segments.customer_abc": 1},
            # Class A had 10 people and may have 9 now; B, the next, would give it away.
            "cells": {"audiences.segment_summary": 2},
        }
        folder = settings.releases / release
        assert shelf.verify_folder(folder) == []
        assert pq.read_table(folder / "tables/segments/customer_abc.parquet").to_pylist() == [
            r for r in table if r["customer_key"] != erased.key
        ]
        summary = pq.read_table(folder / "tables/audiences/segment_summary.parquet").to_pylist()
        assert {r["class"]: r["customers"] for r in summary} == {"A": None, "B": None, "C": 90}
        assert [r["is_suppressed"] for r in summary] == [True, True, False]


def test_the_certificate_names_nobody(erased: Erased) -> None:
    settings, person, done = erased.settings, erased.person, erased.done
    folder = settings.vault / "certificates"
    texts = [p.read_text(encoding="utf-8") for p in sorted(folder.iterdir())]
    assert len(texts) == 2 and all(not person.found_in(text) for text in texts)
    assert {p.stat().st_mode & 0o777 for p in folder.iterdir()} == {0o600}
    known = erasure.tombstones(settings)
    assert known.token("customer", f"shop\x1f{SHOP_ID}") in done.subject, "whoever has the id can tell"
    assert done.removed["raw_rows"]["customers"] == 2 and done.removed["rows_kept_as_guest"] == {
        "orders": 1, "payments": 1}  # fmt: skip
    assert done.removed["texts_of_others"] == 1 and done.identifiers["shared"] >= 1


def test_a_shared_value_stays_its_other_owners(erased: Erased) -> None:
    """Husband and wife share the address: it is his as well, so it is neither removed nor looked for."""
    assert erased.done.identifiers.get("address", 0) == 0
    vault = scan(erased.settings.vault, Needles([ADDRESS]))
    assert vault, "his address is still known"


@pytest.mark.parametrize("rotated", [False, True], ids=["same key", "after a new token key"])
def test_old_files_landing_again_bring_nobody_back(
    home: Home, rotated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every delivery comes again with other bytes: her records are turned away, counted, and leave no trace."""
    settings, person = home.settings, home.person
    erase(settings)
    if rotated:
        rotate(settings, bytes.fromhex("cd" * 32))
        monkeypatch.setenv("STRATA_TOKEN_KEY", "cd" * 32)
    for file in list(settings.landing.glob("*/*/*.csv")):
        text = file.read_text(encoding="utf-8")
        # The same day once more, with another row at its end, and the same rows under a later day.
        shutil.copyfile(file, file.with_name("2024-05-10.csv"))
        file.write_text(text + text.splitlines()[-1].replace("0000", "9999", 1) + "\n", encoding="utf-8")
    new = sweep(settings, LATER, run_id="again", released=AS_OF).entries
    assert scan(settings.home, person) == []
    codes = {e.delivery: json.loads(e.reject_codes or "{}").get("erased", 0) for e in new}
    assert codes["shop/customers/2024-05-06/rev=2"] == 1 and codes["app/customers/2024-05-06/rev=2"] == 1
    assert codes["shop/tickets/2024-05-06/rev=2"] == 1, "her ticket, though it names only the order"
    assert codes["app/web_sessions/2024-05-06/rev=2"] == 2
    for entry in new:
        assert entry.rows_read == entry.rows_loaded + entry.rows_rejected + entry.rows_duplicate
        if entry.content_bytes is not None:
            assert entry.content_bytes == entry.header_bytes + entry.blank_bytes + entry.record_bytes
    kept = [p for p in settings.quarantine.rglob("*.parquet") if "_duplicates" not in p.parts]
    assert not any("erased" in pq.read_table(p)["code"].to_pylist() for p in kept)
    orders = [r for r in rows(settings, "orders") if r["order_id"] == "o1"]
    assert len(orders) == 3 and all(r["source_customer_id"] is None for r in orders)
    assert all(r["payer_hash_token"] is None for r in rows(settings, "payments") if r["order_id"] == "o1")


def test_who_registers_after_the_erasure_is_a_new_person(home: Home) -> None:
    """Her phone under a new id counts as an old record, unless the source says that it registered afterwards."""
    settings = home.settings
    erase(settings)
    land(
        settings,
        "web/customers/2024-05-10.csv",
        "source_customer_id,name,phone,registered_at\n"
        f"w1,{NAME},{PHONE},2024-01-01 00:00:00\nw2,甲,{PHONE},\nw3,{NAME},{PHONE},2024-05-10 09:00:00\n",
    )
    known = erasure.tombstones(settings)
    # The day of the erasure is the clock's: put it where the delivery lies around it.
    path = settings.vault / "tombstones.json"
    path.write_text(json.dumps([r | {"erased_on": "2024-05-09"} for r in json.loads(path.read_text())]))
    assert len(known) > 5
    sweep(settings, LATER, run_id="later", released=AS_OF)
    there = [
        r["source_customer_id"] for r in rows(settings, "customers") if r["_delivery"].startswith("web/")
    ]
    assert there == ["w3"]


def test_what_comes_of_a_new_id_with_the_erased_phone_is_turned_away_too(home: Home) -> None:
    """A card migration: the master row says who it is, and the consents of the new id say nothing but the id."""
    settings = home.settings
    erase(settings)
    land(
        settings,
        "web/customers/2024-05-10.new.csv",
        f"source_customer_id,phone\nw7,{PHONE}\nw8,13900001234\n",
    )
    land(
        settings,
        "web/consents/2024-05-10.new.csv",
        "consent_id,source_customer_id,purpose,channel,action,at\n"
        + "".join(f"k{i},{i},marketing,all,grant,2024-05-10 09:00:00\n" for i in ("w7", "w8")),
    )
    sweep(settings, LATER, run_id="later", released=AS_OF)
    for feed in ("customers", "consents"):
        there = {r["source_customer_id"] for r in rows(settings, feed) if r["_delivery"].startswith("web/")}
        assert "w7" not in there and "w8" in there, feed


def test_a_delete_request_in_the_feed_is_met_by_the_run(home: Home) -> None:
    settings, person = home.settings, home.person
    land(
        settings,
        "app/dsr/2024-05-10.csv",
        "request_id,source_customer_id,kind,received_at,due_at\n"
        f"r1,{APP_ID},delete,2024-05-10 09:00:00,2024-06-09 09:00:00\n"
        "r2,a0000003,access,2024-05-10 09:00:00,2024-06-09 09:00:00\n",
    )
    daily(settings, LATER)
    assert scan(settings.home, person) == []
    certificates = sorted((settings.vault / "certificates").glob("*.json"))
    assert [json.loads(p.read_text())["requests"] for p in certificates] == [["r1"]]
    assert [r["request_id"] for r in rows(settings, "dsr")] == ["r2"]
    daily(settings, LATER)
    assert len(list((settings.vault / "certificates").glob("*.json"))) == 1, "a request is met once"


def test_q_18_passes_a_clean_home_and_names_what_it_stops(home: Home) -> None:
    """Clean: no blocking check. Planted: an erased key in a table that would leave, and a request past its date."""
    settings = home.settings
    key = key_of(settings, "shop", SHOP_ID)
    erase(settings)
    release = settings.releases / shelf.current(settings)["release"]
    passed = erasure_checks(settings, release, AS_OF)
    assert {c.target for c in passed} >= {"core.dim_identity_links", "segments.customer_abc", "dsr"}
    assert all(c.passed and c.gate == "Q-18" and c.level == "block" for c in passed)

    planted = settings.home / "planted" / "segments"
    planted.mkdir(parents=True)
    pq.write_table(pa.table({"customer_key": ["x", key]}), planted / "customer_rfm.parquet")
    pq.write_table(pa.table({"source": ["shop"], "source_customer_id": [SHOP_ID]}), planted / "links.parquet")
    (planted.parent / "customers").mkdir()
    (planted.parent / "customers" / f"{key[0]}.js").write_text(
        f'strataCustomers({{\n"{key}":{{"a":null,"c":[]}}\n}});\n'
    )
    stopped = blocking(erasure_checks(settings, planted.parent, AS_OF))
    assert [(c.target, c.check, c.observed) for c in stopped] == [
        ("segments.customer_rfm", "erased_persons_absent", 1),
        ("segments.links", "erased_persons_absent", 1),
        ("customers", "erased_persons_absent", 1),
    ]
    assert all("(Q-18)" in str(c) for c in stopped)

    land(
        settings,
        "shop/dsr/2024-05-10.csv",
        "request_id,source_customer_id,kind,received_at,due_at\n"
        f"r9,{HUSBAND},delete,2024-04-01 09:00:00,2024-05-01 09:00:00\n",
    )
    # A sweep alone does not meet it, as if somebody ran the steps by hand.
    sweep(settings, LATER, run_id="test", released=AS_OF)
    with pytest.raises(GateStopped, match=r"feed dsr: delete_requests_met \(Q-18\) · observed 1"):
        publish_small(settings, LATER)


def test_a_leak_fails_the_certificate_and_the_command(home: Home) -> None:
    """A canary that no step knows how to mend: packed inside raw, where a plain search does not see it."""
    settings = home.settings
    canary = pa.table({"note": [f"{n} {PHONE}" for n in range(500)]})
    path = settings.raw / "_profile" / "canary.parquet"
    pq.write_table(canary, path, compression="zstd", use_dictionary=False, write_statistics=False)
    assert PHONE.encode() not in path.read_bytes()
    with pytest.raises(StrataError, match=r"not complete, something is left in raw/_profile/canary.parquet"):
        erase(settings)
    (found,) = (settings.vault / "certificates").glob("*.json")
    said = json.loads(found.read_text())
    assert said["status"] == "failed" and said["scan"]["places"] == [
        "raw/_profile/canary.parquet · column note"
    ]
    assert PHONE not in found.read_text()
    assert len(erasure.unfinished(settings)) == 1
    path.unlink()
    daily(settings, AS_OF)
    assert json.loads(found.read_text())["status"] == "complete" and erasure.unfinished(settings) == []


def test_a_dry_run_changes_nothing(home: Home) -> None:
    settings = home.settings
    # home.json is the mark that opening a home without one leaves.
    skip = {"vault/access_log.jsonl", "run.lock", "home.json"}

    def state() -> dict[str, bytes]:
        return {
            p.relative_to(settings.home).as_posix(): p.read_bytes()
            for p in settings.home.rglob("*")
            if p.is_file() and p.relative_to(settings.home).as_posix() not in skip
        }

    before = state()
    planned = erasure.plan(settings, [("shop", SHOP_ID)], ())
    assert planned.rows == {"customers": 2, "consents": 1, "tickets": 1, "web_sessions": 2}
    assert planned.kept_as_guest == {"orders": 1, "payments": 1}
    assert planned.releases == ["2024-05-07", "2024-05-09"]
    assert state() == before


def test_who_is_not_known_is_told_and_nothing_changes(home: Home) -> None:
    settings = home.settings
    unknown: list[tuple[list[tuple[str, str]], list[str]]] = [([("shop", "c7777777")], []), ([], ["f" * 32])]
    for records, keys in unknown:
        with pytest.raises(StrataError, match="no customer of .* is meant by that: look at"):
            erasure.erase(settings, keys, records=records, by="x", reason="y", run=daily)
    assert erasure.unfinished(settings) == [] and not erasure.tombstones(settings)
    erase(settings)
    with pytest.raises(StrataError, match="was erased before"):
        erase(settings)
    with pytest.raises(StrataError, match="was erased before"):
        erasure.plan(settings, [("shop", SHOP_ID)], ())


def test_every_table_of_identity_loses_what_names_the_person(settings: Settings) -> None:
    """Pairs of the second stage and merges that wait, whichever side the person is on; links of a merged key."""
    mine, other, third = ("shop", SHOP_ID), ("shop", HUSBAND), ("app", "a0000003")
    pairs = [(mine, other), (third, mine), (third, other), (("app", SHOP_ID), third)]
    sides = {
        "left_source": [a[0] for a, _ in pairs],
        "left_id": [a[1] for a, _ in pairs],
        "right_source": [b[0] for _, b in pairs],
        "right_id": [b[1] for _, b in pairs],
    }
    write_parquet(pa.table(sides), settings.identity / "likely.parquet")
    keys = [("k", None, None), ("x", "k", None), ("x", None, "x")]
    rows = [
        {"source": "app", "id": str(n), "customer_key": key, "merged_into": into, "split_from": split}
        for n, (key, into, split) in enumerate(keys)
    ]
    tables.replace(settings, pa.Table.from_pylist(rows, tables.ROWS), AS_OF)
    (settings.identity / "state.known.base.1.parquet").write_text("of before")
    assert cut_links(settings, Subject((mine,), ("k",), (), (), (), 0)) == 2
    left = pq.read_table(settings.identity / "likely.parquet").to_pylist()
    assert [(r["left_id"], r["right_id"]) for r in left] == [("a0000003", HUSBAND), (SHOP_ID, "a0000003")]
    assert tables.rows(settings)["split_from"].to_pylist() == ["x"]
    files = ["current.parquet", "history.base.2.parquet", "history.since.2.parquet", "likely.parquet"]
    assert sorted(p.name for p in settings.identity.iterdir()) == files


def test_who_leaves_by_age_and_asks_to_be_erased_does_not_come_back(home: Home) -> None:
    """An erasure by retention is under way, of the same person: it would let her return."""
    settings = home.settings
    with run_lock(settings):
        erasure.begin(
            settings, [("shop", SHOP_ID)], (), (), by="retention", reason="too long", may_return=True
        )
    done = erase(settings)
    assert done.requested_by == "tester" and done.status == "complete"
    known = erasure.tombstones(settings)
    assert known.has_customer("shop", SHOP_ID) and known.has_customer("app", APP_ID)
    assert len(list((settings.vault / "certificates").glob("*.json"))) == 2


def test_persons_stand_in_landing_still(erased: Erased) -> None:
    """Landing is the sources' own: it is not touched, which is why old files must be turned away."""
    landed = b"".join(p.read_bytes() for p in erased.settings.landing.rglob("*.csv"))
    found = {v for v in PERSON if Needles([v]).found_in(landed)}
    assert {NAME, EMAIL} <= found


def test_a_mapped_source_forgets_a_customer_whose_id_is_a_short_number(
    settings: Settings, land: Callable[[str, bytes | str], Path]
) -> None:
    """Five digits stand everywhere, so columns are asked, not texts; the export's lines stay as those of a guest."""
    header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
    lines = "".join(
        f"53636{n},85123A,LAMP,6,2010-12-01 08:26:00,2.55,{customer},United Kingdom\n"
        for n, customer in enumerate((12346, 12347, 12346))
    )
    land("online_retail/transactions/2010-12-01.csv", header + lines)
    as_of = date(2010, 12, 3)
    sweep(settings, as_of, run_id="test", released=None)
    write_links(settings, [as_of])
    done = erasure.erase(settings, records=[("online_retail", "12346")], by="x", reason="y")
    assert done.status == "complete" and done.removed["rows_kept_as_guest"] == {"orders": 2}
    land(
        "online_retail/transactions/2010-12-02.csv",
        header + lines.replace("53636", "53637").replace("12-01", "12-02"),
    )
    sweep(settings, as_of, run_id="again", released=None)
    assert {r["source_customer_id"] for r in rows(settings, "customers")} == {"12347"}
    assert (
        sorted(str(r["source_customer_id"]) for r in rows(settings, "orders")) == ["12347"] * 2 + ["None"] * 4
    )
    assert not any(r["rows_rejected"] for r in (vars(e) for e in ledger.read(settings)))
