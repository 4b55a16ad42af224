"""The lists of tokens in a release: who is in them, who never is, and that the gates read them."""

import csv
import re
import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import duck
from pipeline.errors import StrataError
from pipeline.ingest.vault import Vault
from pipeline.privacy.consent import Refusals
from pipeline.privacy.erasure_gate import erasure_checks
from pipeline.publish import audience_lists, commit, shelf, withheld
from pipeline.publish.audiences import lists
from pipeline.publish.audiences import policy as policies
from pipeline.publish.redaction import Who, redact
from pipeline.publish.report import render_page
from pipeline.publish.shelf import files_of
from pipeline.settings import Settings
from tests.conftest import TOKEN_KEY
from tests.publish.test_customer_shards import settings, token  # noqa: F401

DAY = date(2026, 4, 1)
# Champions go to WeChat, sleepers to e-mail (audiences.csv).
CHAMPIONS, SLEEPERS = range(0, 30), range(30, 50)


def membership(folder: Path, people: range) -> Path:
    """A candidate with the memberships of people, all of whom may be written to by e-mail."""
    rows = [
        {"customer_key": token(n), "scheme": "rfm", "class": "champions" if n < 30 else "hibernating"}
        | {"consent_email": True, "consent_sms": True}
        for n in people
    ]
    path = folder / audience_lists.MEMBERSHIP
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return folder


@dataclass
class Day:
    """What the build knows on one day: every person of the memberships consents to everything."""

    settings: Settings
    patch: pytest.MonkeyPatch

    def write(self, folder: Path, people: range, before: dict | None = None) -> dict:  # type: ignore[type-arg]
        membership(folder, people)
        schemes = policies.load(DAY).schemes
        rows = [
            dict.fromkeys(schemes)
            | {"customer_key": token(n), "excluded": None, "is_minor": False, "is_age_known": True}
            | {"is_internal": False, "contact_status": "fresh", "in_release": True, "messages_7d": 0}
            | {"messages_30d": 0, "rfm": "champions" if n < 30 else "hibernating", "value": "=high" if n == 3 else None}
            for n in people
        ]  # fmt: skip
        words = [(token(n), "marketing", "all", True) for n in people]
        known = pd.DataFrame(words, columns=["customer_key", "purpose", "channel", "is_granted"])
        known = known.assign(refused_by=None)
        self.patch.setattr(lists.source, "released_people", lambda *_: (pd.DataFrame(rows), known))
        told = lists.write(self.settings, folder, DAY, before)
        assert told is not None
        return told


@pytest.fixture
def day(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Day:  # noqa: F811
    # Whoever is held out follows from the key: one made for the test would hold out nobody in one run of 23.
    monkeypatch.setenv("STRATA_TOKEN_KEY", TOKEN_KEY)
    return Day(settings, monkeypatch)


def read(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row["customer_key"]: row for row in csv.DictReader(file)}


def one(told: dict, name: str) -> dict:  # type: ignore[type-arg]
    return next(found for found in told["lists"] if found["audience"] == name)


def published(day: Day, people: range) -> dict:  # type: ignore[type-arg]
    """Manifest of a release of these people, current from now on."""
    folder = day.settings.releases / ".tmp-made"
    told = day.write(folder, people)
    for name in ("index.html", "marts.duckdb"):
        (folder / name).write_text("of the release")
    columns = dict.fromkeys(pq.read_schema(folder / audience_lists.MEMBERSHIP).names, "")
    manifest = {
        "release": DAY.isoformat(), "as_of_date": DAY.isoformat(), "previous_release": None, "checks": [],
        "tables": {"audiences.segment_membership": {"columns": columns}}, "audiences": told,
    }  # fmt: skip
    commit.seal(day.settings, folder, manifest, is_current=True)
    return shelf.load_manifest(day.settings, DAY.isoformat())


def test_a_list_holds_the_addressed_with_the_classes_that_the_rules_name(day: Day, tmp_path: Path) -> None:
    told = day.write(tmp_path / "c", range(50))
    loyal, reminder = one(told, "loyal_benefits"), one(told, "reminder")
    assert (loyal["name_zh"], loyal["channel"]) == ("忠诚权益", "wechat")
    found = read(tmp_path / "c" / loyal["file"])
    salt = Vault(day.settings, "test").holdout_salt
    held = {token(n) for n in CHAMPIONS if lists.selection.held_out(salt, token(n), 0.10)}
    assert held and set(found) == {token(n) for n in CHAMPIONS} - held
    assert loyal["members"] == len(found) and reminder["members"] <= len(SLEEPERS)
    row = found[next(iter(found))]
    assert row["rfm"] == "champions" and row["lifecycle"] == "" and row["has_joined"] == ""
    assert {"rfm", "lifecycle", "value", "abc"} <= row.keys() and (loyal["joined"], loyal["left"]) == (
        None,
        None,
    )
    assert one(told, "winback")["members"] == 0, "an audience of nobody has a list of nobody"
    assert audience_lists.check(tmp_path / "c", told, {})[0].passed


def test_joins_and_leaves_are_against_the_release_before(day: Day, tmp_path: Path) -> None:
    before = published(day, range(2, 50))
    told = day.write(tmp_path / "c", range(0, 45), before)
    loyal, reminder = one(told, "loyal_benefits"), one(told, "reminder")
    old = {name: read(day.settings.releases / before["release"] / f"audiences/{name}.csv") for name in ("loyal_benefits", "reminder")}  # fmt: skip
    now = {name: read(tmp_path / "c" / f"audiences/{name}.csv") for name in old}
    assert told["since"] == before["release"] and loyal["joined"] == len(now["loyal_benefits"].keys() - old["loyal_benefits"].keys()) > 0  # fmt: skip
    assert reminder["left"] == len(old["reminder"].keys() - now["reminder"].keys()) > 0
    assert {k for k, row in now["loyal_benefits"].items() if row["has_joined"] == "true"} <= {
        token(0),
        token(1),
    }


def test_an_erased_person_is_in_no_list_of_a_kept_release(day: Day) -> None:
    before = published(day, range(50))
    gone = next(iter(read(day.settings.releases / DAY.isoformat() / "audiences/loyal_benefits.csv")))
    done = redact(day.settings, DAY.isoformat(), Who((gone,), ()), "E1", lambda a, b: shutil.copyfile(a, b))
    assert done is not None
    folder = day.settings.releases / done.release
    after = shelf.load_manifest(day.settings, done.release)
    assert one(after["audiences"], "loyal_benefits")["members"] == one(before["audiences"], "loyal_benefits")["members"] - 1  # fmt: skip
    assert gone not in "".join(path.read_text() for path in (folder / "audiences").glob("*.csv"))
    assert "audiences/loyal_benefits.csv" in after["files"] and shelf.verify_folder(folder) == []


def test_who_refuses_a_channel_that_the_memberships_do_not_state_leaves_its_list(
    day: Day, tmp_path: Path
) -> None:
    told = day.write(tmp_path / "old", range(50))
    gone = next(iter(read(tmp_path / "old" / "audiences/loyal_benefits.csv")))
    folder = membership(tmp_path / "new", range(50))
    after, left_out = audience_lists.carry(tmp_path / "old", folder, told, {"wechat": {gone}, "sms": {gone}})
    assert left_out == {gone} and gone not in read(folder / "audiences/loyal_benefits.csv")
    assert after and one(after, "loyal_benefits")["members"] == one(told, "loyal_benefits")["members"] - 1
    assert set(read(folder / "audiences/reminder.csv")) == set(read(tmp_path / "old/audiences/reminder.csv"))


@pytest.mark.parametrize("why", ["left the memberships", "withdrew the flag", "refused since"])
def test_the_gate_finds_who_does_not_belong_into_a_list(day: Day, tmp_path: Path, why: str) -> None:
    folder = tmp_path / "c"
    told = day.write(folder, range(50))
    stray = next(iter(read(folder / "audiences/reminder.csv")))
    path = folder / audience_lists.MEMBERSHIP
    rows = pq.read_table(path).to_pylist()
    if why == "left the memberships":
        rows = [row for row in rows if row["customer_key"] != stray]
    elif why == "withdrew the flag":
        rows = [row | {"consent_email": row["customer_key"] != stray} for row in rows]
    pq.write_table(pa.Table.from_pylist(rows), path)
    refused = {"email": {stray}} if why == "refused since" else {}
    (found,) = audience_lists.check(folder, told, refused)
    assert found.blocks and found.examples == (stray,) and "Q-16" in found.gate


def test_q_17_and_q_18_read_the_lists(day: Day, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    day.write(folder, range(50))
    gone = next(iter(read(folder / "audiences/reminder.csv")))
    membership(folder, range(0))
    rows = [{"customer_key": token(99), "scheme": "rfm", "class": "x", "consent_email": True}]
    pq.write_table(pa.Table.from_pylist(rows), folder / audience_lists.MEMBERSHIP)
    with duck.connect([folder]) as con:
        withheld.register(con, Refusals(frozenset(), frozenset({gone}), {}))
        stopped = withheld.still_published(con, folder)
    assert not stopped.passed and stopped.examples == (gone,)
    Vault(day.settings, "test").tombstones.add([("key", gone)], DAY)
    checks = {c.target: c for c in erasure_checks(day.settings, folder, DAY) if c.check == "erased_persons_absent"}  # fmt: skip
    assert checks["audiences"].blocks and checks["audiences"].observed == 1


def test_a_typo_in_the_audiences_publishes_without_lists_and_says_so(
    day: Day, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: date) -> policies.Policy:
        raise StrataError("audiences.csv line 2: no class rfm = championz")

    monkeypatch.setattr(lists.policies, "load", broken)
    said: list[str] = []
    told = lists.write(day.settings, membership(tmp_path / "c", range(5)), DAY, None, said.append)
    assert told == {"problem": "audiences.csv line 2: no class rfm = championz"} and "championz" in said[0]
    assert (
        audience_lists.check(tmp_path / "c", told, {}) == [] and audience_lists.keys(tmp_path / "c") is None
    )
    page = render_page({}, {"release": "r", "as_of_date": "2026-04-01", "audiences": told})
    assert "championz" in page and "mend the policy" in page


def test_the_page_tells_sizes_offers_the_list_and_names_the_command(day: Day, tmp_path: Path) -> None:
    told = day.write(tmp_path / "c", range(50))
    manifest = {"release": "r", "as_of_date": "2026-04-01", "audiences": told}
    page = render_page({}, manifest)
    assert '<a href="audiences/winback.csv" download>' in page and "流失挽回" in page
    told_to_type = " ".join(re.sub("<[^>]*>", " ", page).split())
    assert "strata audiences export --audience winback --destination excel_csv" in told_to_type
    assert token(3) not in page and "First release" in page
    few = {
        **told,
        "since": "q",
        "lists": [{**found, "members": 3, "joined": 12, "left": 0} for found in told["lists"]],
    }
    row = render_page({}, manifest | {"audiences": few}).split('audiences/winback.csv"')[0][-600:]
    assert "&lt;10" in row and ">12<" in row and ">0<" in row and ">3<" not in row


def test_every_list_is_a_file_of_the_release(day: Day) -> None:
    files = published(day, range(50))["files"]
    folder = day.settings.releases / DAY.isoformat()
    assert {name for name in files_of(folder) if name.startswith("audiences/")} <= files.keys()
    assert len([name for name in files if name.startswith("audiences/")]) == len(policies.load(DAY).audiences)
