"""Audiences of a real home: what leaves, for whom, and what a destination is told the next time."""

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline import settings as settings_module
from pipeline.errors import StrataError
from pipeline.identity import tables
from pipeline.ingest.vault import Vault
from pipeline.privacy import consent, desk
from pipeline.publish import shelf
from pipeline.publish.audiences import delivery, holdings, source
from pipeline.publish.audiences import export as exports
from pipeline.publish.audiences import state as states
from pipeline.settings import Settings
from pipeline.transform.context import POLICY_DIR
from tests.job.conftest import TOKEN_KEY, Line
from tests.publish.audiences.api_server import Server

NOW = datetime(2026, 7, 1, 6, tzinfo=UTC)
_HEADER = (
    "audience,name_zh,name_en,rule,purpose,channel,destination,priority,holdout_share,minimum,remote_id,account,"
    "valid_from,valid_to,reason\n"
)


def policy(folder: Path, *audiences: str, bases: str = "", **minimum: int) -> Path:
    """The project's policy with other audiences: `name|rule|channel|destination|priority|holdout`."""
    folder.mkdir(exist_ok=True)
    for name in (
        *("destinations", "delivery_endpoints", "transfer_bases", "thresholds"),
        *("segment_labels", "custom_segments"),
    ):
        (folder / f"{name}.csv").write_bytes((POLICY_DIR / f"{name}.csv").read_bytes())
    lines = []
    for line in audiences:
        name, rule, channel, destination, priority, holdout = line.split("|")
        lines.append(
            f'{name},名,{name},"{rule}",marketing,{channel},{destination},{priority},{holdout},,,,2000-01-01,,\n'
        )
    (folder / "audiences.csv").write_text(_HEADER + "".join(lines), encoding="utf-8")
    with (folder / "transfer_bases.csv").open("a", encoding="utf-8") as file:
        file.write(bases)
    found = pd.read_csv(folder / "destinations.csv", dtype=str, keep_default_na=False)
    for name, value in minimum.items():
        found.loc[found["destination"] == name, ["minimum", "purposes"]] = [str(value or ""), ""]
    found.to_csv(folder / "destinations.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def line(company: Line, tmp_path_factory: pytest.TempPathFactory) -> Line:
    """One copy of the company for this module."""
    return company.copy(tmp_path_factory.mktemp("audiences"))


@pytest.fixture(autouse=True)
def nothing_sent_yet(line: Line) -> None:
    for name in ("outbox", "audiences"):
        shutil.rmtree(line.home / "vault" / name, ignore_errors=True)


@pytest.fixture
def home(line: Line, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("STRATA_HOME", str(line.home))
    monkeypatch.setenv("STRATA_LANDING", str(line.landing))
    monkeypatch.setenv("STRATA_TOKEN_KEY", TOKEN_KEY)
    return settings_module.load()


def rows(done: exports.Exported, at: int, kind: str) -> list[dict[str, str]]:
    """Rows of one kind of a CSV delivery."""
    assert done.folder
    one = done.deliveries[at]
    place = done.folder / one.destination / one.audience
    found: list[dict[str, str]] = []
    for file in one.files:
        content = (place / file["name"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file["sha256"] and len(content) == file["bytes"]
        if file["kind"] == kind:
            found += csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    return found


def outside_the_vault(line: Line) -> dict[str, int]:
    """When each file of the home was written last, but for those of the vault and the lock."""
    return {
        str(path): path.stat().st_mtime_ns
        for path in line.home.rglob("*")
        if path.is_file() and "vault" not in path.parts and path.name != "run.lock"
    }


def changed(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """From now on the home says what `change` makes of it."""
    read = source.read
    monkeypatch.setattr(source, "read", lambda *given: change(read(*given)))


def test_the_lists_of_the_release_are_those_whom_an_export_addresses(home: Settings) -> None:
    told = (shelf.current(home) or {})["audiences"]["lists"]
    done = exports.export(home)
    assert done.folder
    assigned = pd.read_parquet(done.folder / "assignments.parquet")
    sizes = {d.audience: d.size for d in done.deliveries}
    assert {one["audience"]: one["members"] for one in told} == sizes and sum(sizes.values()) > 20
    for one in told:
        listed = pd.read_csv(home.releases / done.release / one["file"], dtype=str)
        active = assigned[(assigned["audience"] == one["audience"]) & (assigned["arm"] == "active")]
        assert set(listed["customer_key"]) == set(active["customer_key"]), one["audience"]


def test_a_preview_writes_nothing_and_its_figures_add_up(line: Line) -> None:
    before = outside_the_vault(line)
    code, seen, errors = line.strata("audiences", "preview")
    assert code == 0, errors
    assert outside_the_vault(line) == before and not (line.home / "vault" / "outbox").exists()
    assert [d["destination"] for d in seen["deliveries"]] == [
        *("csv", "excel_csv", "csv", "wecom", "csv", "tencent_ads")
    ]
    for d in seen["deliveries"]:
        assert d["matched"] == d["size"] + d["holdout"] + d["lost"] + sum(d["suppressed"].values()), d
        assert d["size"] == d["reach"] + sum(d["not_reached"].values()), d
    assert sum(d["reach"] for d in seen["deliveries"]) > 0


def test_an_export_is_private_logged_and_holds_only_people_who_agreed(line: Line) -> None:
    before = outside_the_vault(line)
    code, done, errors = line.strata("audiences", "export")
    assert code == 0, errors
    assert outside_the_vault(line) == before
    folder = Path(done["folder"])
    assert folder.parent == line.home / "vault" / "outbox"
    modes = {p: p.stat().st_mode & 0o777 for p in [folder.parent, folder, *folder.rglob("*")]}
    assert all(mode == (0o700 if p.is_dir() else 0o600) for p, mode in modes.items())
    told = json.loads((folder / "csv" / "winback" / "manifest.json").read_text())
    assert (told["release"], told["base"], told["purpose"], told["status"]) == (
        done["release"],
        None,
        "marketing",
        "written",
    )
    with (folder / "csv" / "winback" / "winback_full_0001.csv").open(encoding="utf-8", newline="") as file:
        people = {row["customer_key"]: row for row in csv.DictReader(file)}
    assert len(people) == told["full"] == told["adds"] == told["reach"] > 0 and told["removes"] == 0
    # SMS needs a phone and nothing else.
    assert all(p["phone"].startswith("'+86") and not p["email"] for p in people.values())
    with duckdb.connect(str(line.home / "warehouse" / "warehouse.duckdb"), read_only=True) as con:
        agreed = con.execute(
            "select customer_key from core.fct_consent_states where purpose = 'marketing' and channel = 'sms' and is_granted "
            "intersect select customer_key from core.dim_customers where contact_status = 'fresh' and not is_minor "
            "intersect select customer_key from audiences.segment_membership where consent_sms "
            "and scheme = 'rfm' and class in ('at_risk', 'cant_lose') or scheme = 'lifecycle' and class = 'churned' "
            "except select customer_key from marts.contact_pressure where is_capped"
        ).fetchall()
    arms = pq.read_table(folder / "assignments.parquet").to_pylist()
    held = {a["customer_key"] for a in arms if (a["audience"], a["arm"]) == ("winback", "holdout")}
    assert set(people) | held == {key for (key,) in agreed} and not held & set(people)
    assert len({(a["customer_key"], a["channel"]) for a in arms if a["arm"] != "lost"}) == sum(
        a["arm"] != "lost" for a in arms
    )
    log = [json.loads(text) for text in (line.home / "vault" / "access_log.jsonl").read_text().splitlines()]
    noted = [e for e in log if e["what"] == "audience winback exported to csv"][-1]
    assert (noted["purpose"], noted["count"]) == ("marketing by sms", len(people))


def test_acknowledged_exports_are_what_the_next_one_is_compared_with(home: Settings, tmp_path: Path) -> None:
    wide = policy(tmp_path / "p", "d1|rfm in (loyal, champions, at_risk, hibernating)|sms|csv|1|0")
    first = exports.export(home, policy_folder=wide, now=NOW)
    everybody = {r["customer_key"] for r in rows(first, 0, "full")}
    assert {r["customer_key"] for r in rows(first, 0, "adds")} == everybody and len(everybody) > 30
    (acked,) = holdings.acknowledge(home, "csv", release=first.release, audience="d1")
    assert acked["rows"] == len(everybody) and acked["still_waiting"] == 0
    narrow = policy(tmp_path / "q", "d1|rfm in (loyal, champions, at_risk)|sms|csv|1|0")
    # Nobody acknowledges the second: the third still takes away what it may have added.
    skipped = exports.export(home, policy_folder=narrow, now=NOW + timedelta(days=1), approved_by="Li Na")
    third = exports.export(home, policy_folder=wide, now=NOW + timedelta(days=2), approved_by="Li Na")
    stay = {r["customer_key"] for r in rows(skipped, 0, "full")}
    assert skipped.deliveries[0].base == first.release and not rows(skipped, 0, "adds")
    assert {r["customer_key"]: r["reason"] for r in rows(skipped, 0, "removes")} == dict.fromkeys(
        everybody - stay, "left_class"
    )
    assert {r["customer_key"] for r in rows(third, 0, "adds")} == everybody - stay and not rows(
        third, 0, "removes"
    )
    with pytest.raises(StrataError, match="no export of 2020-01-01 waits to be acknowledged by csv"):
        holdings.acknowledge(home, "csv", release="2020-01-01", audience="d1")
    with pytest.raises(StrataError, match="nothing was exported for braze yet"):
        holdings.acknowledge(home, "braze")


def test_who_may_be_addressed_no_more_is_removed_with_the_reason(
    home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = policy(tmp_path / "p", "r1|rfm in (loyal, champions)|sms|csv|1|0")
    first = exports.export(home, policy_folder=folder, now=NOW)
    holdings.acknowledge(home, "csv", audience="r1")
    withdrew, stale, pressed, child, restricted, *_ = [r["customer_key"] for r in rows(first, 0, "full")]

    def today(known: source.Home) -> source.Home:
        people = known.people.set_index("customer_key")
        people.loc[stale, "contact_status"] = "stale"
        people.loc[pressed, "messages_7d"] = 2
        people.loc[child, "is_minor"] = True
        people["excluded"] = people["excluded"].astype(object)
        people.loc[restricted, "excluded"] = "restricted"
        consents = known.consents.copy()
        consents.loc[consents["customer_key"] == withdrew, "is_granted"] = False
        return replace(known, people=people.reset_index(), consents=consents)

    changed(monkeypatch, today)
    second = exports.export(home, policy_folder=folder, now=NOW + timedelta(days=1))
    assert {r["customer_key"]: r["reason"] for r in rows(second, 0, "removes")} == {
        withdrew: "consent_withdrawn",
        stale: "stale_contact",
        pressed: "pressure_cap",
        child: "minor",
        restricted: "restricted",
    }
    # A remove says who, and nothing else of the person.
    assert all(not r["phone"] and not r["email"] for r in rows(second, 0, "removes"))


def test_an_empty_source_never_empties_an_audience(
    home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = policy(tmp_path / "p", "g1|rfm in (loyal, champions, hibernating)|sms|csv|1|0")
    first = exports.export(home, policy_folder=folder, now=NOW)
    holdings.acknowledge(home, "csv", audience="g1")
    sent = [r["customer_key"] for r in rows(first, 0, "full")]
    before = states.load(home, "csv", "g1")

    def empty(known: source.Home) -> source.Home:
        return replace(known, people=known.people.assign(in_release=False), consents=known.consents)

    with monkeypatch.context() as patched:
        changed(patched, empty)
        stopped = exports.export(home, policy_folder=folder, now=NOW + timedelta(days=1))
    assert stopped.deliveries[0].status == "blocked" and not stopped.deliveries[0].files
    assert (
        f"{len(sent)} of {len(sent)} members would leave and nobody would be left"
        in stopped.deliveries[0].reason
    )
    assert states.load(home, "csv", "g1") == before

    # No consents were delivered: no record is no consent, and still nobody is taken out. One who said no is.
    def only_a_refusal(known: source.Home) -> source.Home:
        consents = known.consents[known.consents["customer_key"] == sent[0]].assign(is_granted=False)
        return replace(known, consents=consents)

    with monkeypatch.context() as patched:
        changed(patched, only_a_refusal)
        stopped = exports.export(home, policy_folder=folder, now=NOW + timedelta(days=2))
    assert stopped.deliveries[0].status == "blocked" and "mostly no_consent" in stopped.deliveries[0].reason
    assert [f["kind"] for f in stopped.deliveries[0].files] == ["removes"]
    assert {r["customer_key"]: r["reason"] for r in rows(stopped, 0, "removes")} == {
        sent[0]: "consent_withdrawn"
    }

    after = exports.export(home, policy_folder=folder, now=NOW + timedelta(days=3))
    assert {r["customer_key"] for r in rows(after, 0, "full")} == set(sent)
    # She who may have been taken out is put in again; of the others nothing changed.
    assert {r["customer_key"] for r in rows(after, 0, "adds")} == {sent[0]}

    narrow = policy(tmp_path / "q", "g1|rfm = champions|sms|csv|1|0")
    assert (
        exports.export(home, policy_folder=narrow, now=NOW + timedelta(days=4)).deliveries[0].status
        == "blocked"
    )
    passed = exports.export(home, policy_folder=narrow, now=NOW + timedelta(days=5), approved_by="Li Na")
    assert passed.deliveries[0].status == "written" and passed.folder
    assert json.loads((passed.folder / "manifest.json").read_text())["approved_by"] == "Li Na"


def test_nothing_goes_abroad_without_a_basis(line: Line, home: Settings, tmp_path: Path) -> None:
    audience = "m1|rfm in (loyal, champions)|ads|meta|1|0"
    folder = policy(tmp_path / "p", audience, "m2|rfm in (loyal, champions)|sms|csv|2|0", meta=0)
    code, done, errors = line.strata("audiences", "export", "--seeds", str(folder))
    assert (
        code == 2
        and "refused: audience m1 for meta: meta is in US and transfer_bases.csv has no basis" in errors
    )
    assert [d["status"] for d in done["deliveries"]] == ["refused", "written"]
    assert not (Path(done["folder"]) / "meta").exists()
    basis = "meta,standard_contract,CAC-2026-17,2000-01-01,,filed\n"
    allowed = policy(tmp_path / "q", audience, bases=basis, meta=0)
    sent = exports.export(home, policy_folder=allowed, now=NOW)
    assert sent.deliveries[0].status == "written" and sent.deliveries[0].reach > 0
    assert sent.deliveries[0].transfer == {
        "country": "US",
        "basis": "standard_contract",
        "reference": "CAC-2026-17",
    }
    log = (line.home / "vault" / "access_log.jsonl").read_text()
    assert "marketing by ads; transfer to US on standard_contract CAC-2026-17" in log
    with Vault(home, "test") as vault:
        phones = {
            v
            for (v,) in vault._open.execute("select value from clear_values where kind = 'phone'").fetchall()
        }
    hashes = {hashlib.sha256(p.removeprefix("+").encode()).hexdigest() for p in phones}
    assert {r["phone"] for r in rows(sent, 0, "full") if r["phone"]} <= hashes


def test_below_the_vendors_minimum_nothing_is_written_but_who_left_leaves(
    home: Settings, tmp_path: Path
) -> None:
    basis = "tiktok,exempt,own staff,2000-01-01,,\n"
    rule = "t1|rfm in (loyal, champions)|ads|tiktok|1|0"
    few = exports.export(home, policy_folder=policy(tmp_path / "p", rule, bases=basis, tiktok=1000), now=NOW)
    assert few.folder and (few.deliveries[0].status, few.deliveries[0].full) == ("below_minimum", 0)
    assert {p.name for p in few.folder.rglob("*")} == {"manifest.json", "assignments.parquet"}
    (told,) = json.loads((few.folder / "manifest.json").read_text())["deliveries"]
    assert told["status"] == "below_minimum" and "tiktok takes no fewer than 1000" in told["reason"]
    assert not states.known(home), "it was told of nobody"
    sent = exports.export(home, policy_folder=policy(tmp_path / "q", rule, bases=basis, tiktok=0), now=NOW)
    reach = sent.deliveries[0].reach
    assert reach > 1
    less = policy(tmp_path / "r", rule.replace(", champions", ""), bases=basis, tiktok=reach)
    again = exports.export(home, policy_folder=less, now=NOW + timedelta(days=1))
    assert again.deliveries[0].status == "below_minimum"
    assert {f["kind"] for f in again.deliveries[0].files} == {"removes"}
    assert again.deliveries[0].removed == {"left_class": reach - again.deliveries[0].reach}


def test_erased_people_are_told_to_every_destination_and_forgotten(home: Settings, tmp_path: Path) -> None:
    folder = policy(tmp_path / "p", "e1|rfm in (loyal, champions)|sms|csv|1|0")
    first = exports.export(home, policy_folder=folder, now=NOW)
    gone = rows(first, 0, "full")[0]["customer_key"]
    told = holdings.forget(home, [gone], now=NOW)
    assert told and not first.folder.exists()  # type: ignore[union-attr]
    with (told / "csv" / "e1" / "e1_removes_0001.csv").open(encoding="utf-8", newline="") as file:
        assert [(r["customer_key"], r["reason"]) for r in csv.DictReader(file)] == [(gone, "erased")]
    for path in (home.vault / "audiences").rglob("*.parquet"):
        assert gone not in pq.read_table(path, columns=["member"])["member"].to_pylist()
    assert holdings.forget(home, [gone], now=NOW) is None


@pytest.fixture
def api() -> Iterator[Server]:
    server = Server("meta")
    yield server
    server.close()


def test_a_delivery_sends_the_last_export_but_not_to_who_has_refused_since(
    line: Line, home: Settings, tmp_path: Path, api: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dry run, a withdrawal at the desk, the delivery, an erasure, and the end of the audience."""
    basis = "meta,exempt,own staff,2000-01-01,,\n"
    folder = policy(tmp_path / "p", "m1|rfm in (loyal, champions)|ads|meta|1|0", bases=basis, meta=0)
    text = (folder / "audiences.csv").read_text().replace(",1,0,,,,", ",1,0,,77,,")
    (folder / "audiences.csv").write_text(text, encoding="utf-8")
    reach = exports.export(home, policy_folder=folder, now=NOW).deliveries[0].reach
    assert reach > 2
    command = ("audiences", "deliver", "meta", "--base-url", api.url, "--seeds", str(folder))
    code, (told,), errors = line.strata(*command)
    assert (code, told["status"], told["adds"], told["accepted"]) == (0, "dry_run", reach, 0), errors
    with pytest.raises(StrataError, match="set STRATA_META_TOKEN"):
        delivery.deliver(home, "meta", send=True, base_url=api.url, policy_folder=folder)
    assert not api.requests and not list(home.vault.glob("outbox/**/delivery.jsonl"))

    snapshot = states.load(home, "meta", "m1").last
    refuser, gone = sorted(snapshot)[:2]
    links = tables.links(home).to_pandas()
    own = links[links["customer_key"] == refuser].iloc[-1]
    source_, id_ = own["source"], own["source_customer_id"]
    written = consent.withdraw(home, source_, id_, purpose="marketing", channel=None, by="Wang").files
    token = "not-to-be-told"
    code, (told,), errors = line.strata(*command, "--send", env={"STRATA_META_TOKEN": token})
    for file in written:
        (desk.folder(home) / file).unlink()
    assert (code, told["status"], told["acknowledged"]) == (0, "delivered", True), errors
    assert (told["accepted"], told["withheld"]) == (reach - 1, 1)

    def cells(*but: str) -> set[str]:
        return {cell for key, row in snapshot.items() if key not in but for cell in row if cell}

    assert api.holds == cells(refuser)
    log = (line.home / "vault" / "access_log.jsonl").read_text()
    assert "audience m1 sent to meta at 127.0.0.1" in log and token not in log + errors
    assert "marketing by ads; transfer to US on exempt own staff" in log

    monkeypatch.setenv("STRATA_META_TOKEN", token)
    assert holdings.forget(home, [gone], now=NOW + timedelta(hours=1))
    (done,) = delivery.deliver(home, "meta", send=True, base_url=api.url, policy_folder=folder)
    assert (done.status, done.removes, done.acknowledged) == ("delivered", 1, False)
    assert api.holds == cells(refuser, gone)
    none = policy(tmp_path / "q", bases=basis)
    assert exports.export(home, policy_folder=none, now=NOW + timedelta(hours=2), approved_by="Li Na").export
    (done,) = delivery.deliver(home, "meta", send=True, base_url=api.url, policy_folder=none)
    assert (done.status, done.acknowledged, api.holds) == ("delivered", True, set())
    closed = policy(tmp_path / "r")
    (done,) = delivery.deliver(home, "meta", send=True, base_url=api.url, policy_folder=closed)
    assert done.status == "refused" and "transfer_bases.csv has no basis" in done.reason


def test_an_audience_that_is_declared_no_more_ends(home: Settings, tmp_path: Path) -> None:
    two = policy(tmp_path / "p", "x1|rfm = loyal|sms|csv|1|0", "x2|rfm = champions|email|csv|2|0")
    first = exports.export(home, policy_folder=two, now=NOW)
    assert first.deliveries[1].reach > 0
    one = policy(tmp_path / "q", "x1|rfm = loyal|sms|csv|1|0")
    # A line that was lost from a seed is as good as an empty source.
    lost = exports.export(home, policy_folder=one, now=NOW).deliveries[-1]
    assert (lost.audience, lost.status, lost.files) == ("x2", "blocked", [])
    ended = exports.export(home, policy_folder=one, now=NOW, approved_by="Li Na").deliveries[-1]
    assert (ended.audience, ended.status, ended.removes) == ("x2", "ended", first.deliveries[1].reach)
    holdings.acknowledge(home, "csv", audience="x2")
    assert "x2" not in [d.audience for d in exports.export(home, policy_folder=one, now=NOW).deliveries]


def test_an_export_that_dies_shows_no_files_and_the_next_allows_for_it(
    home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = policy(tmp_path / "p", "c1|rfm = loyal|sms|csv|1|0")

    def dies(self: Path, target: Path) -> Path:
        raise OSError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", dies)
        with pytest.raises(OSError, match="power cut"):
            exports.export(home, policy_folder=folder, now=NOW)
    assert not list((home.vault / "outbox").iterdir())
    held = states.load(home, "csv", "c1").held
    assert held.possible and not held.certain
    after = exports.export(home, policy_folder=folder, now=NOW)
    assert after.deliveries[0].adds == after.deliveries[0].full == len(held.possible)


def test_the_outbox_keeps_seven_days(home: Settings, tmp_path: Path) -> None:
    folder = policy(tmp_path / "p", "o1|rfm = loyal|sms|csv|1|0")
    old = exports.export(home, policy_folder=folder, now=NOW + timedelta(days=20))
    kept = exports.export(home, policy_folder=folder, now=NOW + timedelta(days=26, hours=23))
    assert old.folder and old.folder.exists() and kept.folder
    exports.export(home, policy_folder=folder, now=NOW + timedelta(days=27, seconds=1))
    assert not old.folder.exists() and kept.folder.exists()
    # What is deleted can be acknowledged no more; it may still be there, so it stays possible.
    state = states.load(home, "csv", "o1")
    assert len(state.waiting) == 2 and state.held.possible


def test_names_that_no_seed_has_are_told(home: Settings) -> None:
    with pytest.raises(StrataError, match=r"audiences.csv has no audience nobody; it has: .*winback"):
        exports.export(home, audiences=["nobody"])
    with pytest.raises(StrataError, match=r"audiences.csv has no destination with an audience meta"):
        exports.export(home, destinations=["meta"])


def test_an_error_of_the_command_is_one_line(line: Line) -> None:
    code, told, errors = line.strata(
        "audiences", "normalise", "--destination", "meta", "--field", "email", "x"
    )
    assert code == 1 and told["status"] == "error"
    assert errors == "strata: meta email: the value is no e-mail address such as name@example.com\n"


def test_before_the_first_release_there_is_nothing_to_export(tmp_path: Path) -> None:
    code, _, errors = Line(tmp_path / "l", tmp_path / "h").strata("audiences", "export")
    assert code == 1 and "no release has been published" in errors
    assert not os.path.lexists(tmp_path / "h" / "vault" / "outbox")
