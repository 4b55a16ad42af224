"""Delivery over HTTP to a server that fails in every way it can: nothing lost, nothing doubled, nobody who refused."""

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.errors import StrataError
from pipeline.privacy import access_log
from pipeline.publish.audiences import delivery, endpoints, source
from pipeline.publish.audiences import diff as diffs
from pipeline.publish.audiences import policy as policies
from pipeline.publish.audiences import state as states
from pipeline.publish.audiences.delivery import Delivered, Parcel
from pipeline.publish.audiences.endpoints import Endpoint, Sender
from pipeline.publish.audiences.profiles import PROFILES
from pipeline.publish.audiences.writers import Batch, Row, write
from pipeline.settings import Settings
from tests.publish.audiences.api_server import MEMBER_CODE, PATIENCE, Server

EXPORT, TOKEN = "2026-07-01.20260701T060000Z", "not-to-be-told"
LIMITS = {
    "delivery_attempts": 4,
    "delivery_timeout_seconds": PATIENCE,
    "delivery_wait_seconds_max": 60,
    "delivery_rejected_rows_max": 3,
}
DESTINATIONS = ("google_data_manager", "meta", "wecom", "wechat_official_account", "tencent_ads")


@pytest.fixture
def serve() -> Iterator[Callable[[str], Server]]:
    made: list[Server] = []

    def one(destination: str) -> Server:
        made.append(Server(destination))
        return made[-1]

    yield one
    for server in made:
        server.close()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for one in endpoints.load(date(2026, 7, 1)).values():
        monkeypatch.setenv(one.credential_env, TOKEN)


def at_home(home: Path) -> Settings:
    return Settings(home, home / "landing", None, "UTC", None, None)


def row(destination: str, n: int) -> Row:
    if destination in ("google_data_manager", "meta"):
        return tuple(hashlib.sha256(f"{what}{n}".encode()).hexdigest() for what in ("mail", "phone"))
    if destination == "tencent_ads":
        return (hashlib.md5(f"{n:011d}".encode()).hexdigest(),)
    return ("anna", f"wm{n}") if destination == "wecom" else (f"o{n}",)


def said(rows: Any) -> set[str]:
    """Rows as the server holds them."""
    return {cell for r in rows for cell in ([f"{r[0]}/{r[1]}"] if r[0] == "anna" else r)}


def exported(home: Path, destination: str, joins: int, leaves: int = 2) -> tuple[Settings, set[str]]:
    """A home whose outbox adds `joins` people and removes `leaves`; what the destination shall hold in the end."""
    settings = at_home(home)
    profile = PROFILES[destination]
    snapshot = {f"k{n}": row(destination, n) for n in range(joins)}
    gone = {row(destination, 1000 + n): f"gone{n}" for n in range(leaves)}
    before = states.State(destination, "a", diffs.Holding({}, gone))
    change = diffs.diff(profile, before.held, snapshot, lambda _: "left_class")
    sent = states.Sent(1, EXPORT, "2026-07-01", "2026-07-01T06:00:00+00:00", joins)
    states.save(settings, states.after_export(before, sent, snapshot))
    place = settings.vault / "outbox" / EXPORT / destination / "a"
    place.mkdir(parents=True)
    files = []
    for kind, rows in (("adds", change.adds), ("removes", [r for r, _ in change.removes])):
        why = tuple("left_class" for _ in rows) if kind == "removes" else ()
        size = 1 if destination == "wecom" else 4
        batch = Batch(
            destination,
            "a",
            "名",
            "ads",
            kind,
            profile.columns,
            tuple(rows),
            why,
            "77",
            "5",
            request_rows=size,
            file_rows=4,
        )
        for made in write(batch):
            (place / made.name).write_bytes(made.content)
            digest = hashlib.sha256(made.content).hexdigest()
            files.append({"name": made.name, "kind": kind, "sha256": digest})
    own = {"audience": "a", "purpose": "marketing", "channel": "ads", "remote_id": "77", "files": files}
    own["account"] = "5"
    (place / "manifest.json").write_text(json.dumps(own), encoding="utf-8")
    top = {"created_at": "2026-07-01T06:00:00+00:00"}
    (settings.vault / "outbox" / EXPORT / "manifest.json").write_text(json.dumps(top), encoding="utf-8")
    return settings, said(snapshot.values())


def endpoint(destination: str, url: str) -> Endpoint:
    made = Endpoint(**vars(endpoints.load(date(2026, 7, 1))[destination]) | {"base_url": url})
    # Tencent names no code for a single member; that one may come is not to break anything.
    return replace(made, member_codes=frozenset({str(MEMBER_CODE)})) if destination == "tencent_ads" else made


def go(
    settings: Settings,
    server: Server,
    forbidden: Callable[[Parcel, Any], set[str]] = lambda *_: set(),
    pauses: list[float] | None = None,
    **limits: float,
) -> Delivered:
    """One delivery; the pauses are noted, not slept."""
    (parcel,) = delivery.found(settings, server.destination)
    where = endpoint(server.destination, server.url)
    told = Delivered(server.destination, "a", parcel.export, where.host, "dry_run")
    waits = pauses if pauses is not None else []
    sender = Sender(where, LIMITS | limits, waits.append)
    delivery.hand_over(settings, parcel, told, where, sender, LIMITS | limits, forbidden)
    return told


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_a_destination_that_fails_in_every_way_holds_the_wanted_set_once(
    destination: str, tmp_path: Path, serve: Callable[[str], Server]
) -> None:
    settings, wanted = exported(tmp_path, destination, 9)
    server, pauses = serve(destination), []
    server.holds = said(states.load(settings, destination, "a").held.possible) - wanted
    server.faults = ["429", "late", "", "500", "500", "", "drop", "deaf", ""]
    if destination in ("wecom", "wechat_official_account", "tencent_ads"):
        server.faults.insert(8, "busy")
    told = go(settings, server, pauses=pauses)
    assert server.holds == wanted
    assert (told.status, told.accepted, told.refused, told.withheld) == ("delivered", 11, 0, 0)
    assert pauses[0] >= 7, "the destination asked for 7 seconds"
    state = states.load(settings, destination, "a")
    assert state.acknowledged and state.acknowledged.export == EXPORT
    assert said(state.held.certain) == said(state.held.possible) == wanted
    # The second delivery finds all done: what is acknowledged is not sent again.
    count = len(server.requests)
    assert go(settings, server).acknowledged and len(server.requests) == count


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_single_members_that_are_refused_are_found_and_not_held_to_be_there(
    destination: str, tmp_path: Path, serve: Callable[[str], Server]
) -> None:
    settings, wanted = exported(tmp_path, destination, 9)
    server = serve(destination)
    stuck = row(destination, 1001)
    bad = [row(destination, 2), row(destination, 7), stuck]
    server.holds, server.bad = said([row(destination, 1000), stuck]), said(bad)
    told = go(settings, server)
    assert (told.accepted, told.refused, told.status) == (8, 3, "delivered")
    assert server.holds == wanted - said(bad[:2]) | said([stuck])
    held = states.load(settings, destination, "a").held
    # The next export adds the one two again and removes the other again.
    assert said(held.certain) == wanted - said(bad[:2]) and stuck in held.possible
    snapshot = {f"k{n}": row(destination, n) for n in range(9)}
    change = diffs.diff(PROFILES[destination], held, snapshot, lambda _: "left_class")
    assert set(change.adds) == set(bad[:2]) and [r for r, _ in change.removes] == [stuck]


def test_somebody_who_refuses_while_it_is_sent_is_kept_back(
    tmp_path: Path, serve: Callable[[str], Server]
) -> None:
    settings, wanted = exported(tmp_path, "wechat_official_account", 9, leaves=0)
    server, barred = serve("wechat_official_account"), {"k0"}
    # In the pause before the second attempt of the second request another one says no.
    server.faults = ["", "500", ""]

    def asked(_: Parcel, members: Any) -> set[str]:
        if server.requests[1:]:
            barred.add("k5")
        return barred & set(members)

    told = go(settings, server, asked)
    assert (told.accepted, told.withheld) == (7, 2)
    assert server.holds == wanted - {"o0", "o5"}
    assert all("o0" not in body["openid_list"] for _, _, body in server.requests)
    assert {"o0", "o5"}.isdisjoint(said(states.load(settings, "wechat_official_account", "a").held.certain))


def test_whom_the_current_release_has_lost_is_not_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Withdrawn at once, and the build that knows it died on its way: its consents are still those of before."""
    keys = ["stays", "left"]
    people = pd.DataFrame(
        {"customer_key": keys, "excluded": None, "is_minor": False, "is_internal": False}
    ).assign(in_release=[True, False])
    consents = pd.DataFrame(
        [(key, purpose, "all", True) for key in keys for purpose in ("marketing", "third_party")],
        columns=["customer_key", "purpose", "channel", "is_granted"],
    )
    known = source.Home(
        "2026-07-01-r2", date(2026, 7, 2), "1", people, consents, pd.DataFrame(), [], frozenset()
    )
    monkeypatch.setattr(delivery.source, "read", lambda *_: known)
    settings = at_home(tmp_path)
    forbidden = delivery._Refusals(settings, policies.load(date(2026, 7, 1)))
    parcel = Parcel(EXPORT, tmp_path, "meta", "a", "marketing", "ads", "77", ())
    assert forbidden(parcel, keys) == {"left"}


def test_a_delivery_that_is_given_up_goes_on_where_it_stopped(
    tmp_path: Path, serve: Callable[[str], Server], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    settings, wanted = exported(tmp_path, "meta", 9)
    server = serve("meta")
    server.faults = ["", "", "500", "500", "500", "500"]
    with pytest.raises(delivery.Stopped, match="it answers 500, 4 times"):
        go(settings, server)
    assert not states.load(settings, "meta", "a").acknowledged
    count = len(server.requests)
    journal = settings.vault / "outbox" / EXPORT / "meta" / "a" / delivery.JOURNAL
    journal.write_text(journal.read_text() + '{"request": "a_ad', encoding="utf-8")
    assert go(settings, server).accepted == 11
    assert server.holds == wanted
    assert len(server.requests) == count + 2, "what was taken in before is not sent again"
    # Half a line, as a crash leaves it, hides neither what is before it nor what is after it.
    assert delivery.Journal(journal).count(delivery.ACCEPTED) == 11
    for told in (journal.read_text(), caplog.text, (settings.vault / "access_log.jsonl").read_text()):
        assert TOKEN not in told and not any(cell in told for cell in wanted)
    assert journal.stat().st_mode & 0o077 == 0
    lines = access_log.read(settings)
    assert [line["count"] for line in lines] == [0, 0] and "sent to meta at 127.0.0.1" in lines[0]["what"]


@pytest.mark.parametrize(
    ("faults", "limits", "told"),
    [
        (["401"], {}, "it answers 401;"),
        (["307"], {}, "it answers 307;"),
        (["429"], {"delivery_wait_seconds_max": 6}, "it answers 429 and asks to wait 7 seconds"),
        (["late", "late"], {"delivery_attempts": 2}, r"no answer \(ReadTimeout\), 2 times"),
    ],
)
def test_what_cannot_go_on_stops_and_acknowledges_nothing(
    faults: list[str],
    limits: dict[str, float],
    told: str,
    tmp_path: Path,
    serve: Callable[[str], Server],
) -> None:
    settings, _ = exported(tmp_path, "meta", 3)
    server = serve("meta")
    server.faults = [*faults]
    with pytest.raises(delivery.Stopped, match=told):
        go(settings, server, **limits)
    assert not states.load(settings, "meta", "a").acknowledged and len(server.requests) == len(faults)


def test_a_destination_that_refuses_everybody_is_not_asked_about_everybody(
    tmp_path: Path, serve: Callable[[str], Server]
) -> None:
    settings, wanted = exported(tmp_path, "wecom", 9, leaves=0)
    server = serve("wecom")
    server.bad = wanted
    with pytest.raises(delivery.Stopped, match="refused 4 members one by one"):
        go(settings, server)
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("http://example.com", False),
        ("http://localhost:1", False),
        ("http://127.0.0.1.example.com", False),
        ("https://user:word@example.com", False),
        ("ftp://127.0.0.1", False),
        ("https://example.com/v1", True),
        ("http://127.0.0.1:8080", True),
    ],
)
def test_contacts_go_over_https_or_stay_on_this_computer(url: str, good: bool) -> None:
    if good:
        assert endpoints.checked(url) == url
    else:
        with pytest.raises(StrataError):
            endpoints.checked(url)


def test_a_file_that_was_changed_and_a_credential_that_is_not_set_send_nothing(
    tmp_path: Path, serve: Callable[[str], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, _ = exported(tmp_path, "wecom", 3)
    server = serve("wecom")
    with monkeypatch.context() as patch:
        patch.delenv("STRATA_WECOM_TOKEN")
        with pytest.raises(StrataError, match="set STRATA_WECOM_TOKEN in the environment"):
            go(settings, server)
    file = settings.vault / "outbox" / EXPORT / "wecom" / "a" / "a_adds_0001.jsonl"
    file.write_text(file.read_text().replace("wm1", "wm9"), encoding="utf-8")
    with pytest.raises(StrataError, match="is not the file that was exported"):
        go(settings, server)
    assert not server.requests


_CHILD = """
import sys
from pathlib import Path
from tests.publish.audiences import test_audience_delivery as t
server = type("There", (), {"destination": sys.argv[2], "url": sys.argv[3]})
t.go(t.at_home(Path(sys.argv[1])), server)
"""


@pytest.mark.parametrize("at", [1, 3])
def test_a_delivery_that_is_killed_goes_on_and_doubles_nothing(
    at: int, tmp_path: Path, serve: Callable[[str], Server]
) -> None:
    """Killed when the destination has taken a request in and has not answered: removes first, then adds."""
    settings, wanted = exported(tmp_path, "wechat_official_account", 9)
    server = serve("wechat_official_account")
    server.holds, server.faults = {"o1000", "o1001"}, [""] * (at - 1) + ["kill"]
    child = subprocess.Popen([sys.executable, "-c", _CHILD, str(tmp_path), server.destination, server.url])
    server.victim = lambda: child.pid
    assert child.wait(60) == -signal.SIGKILL
    assert len(server.requests) == at and not states.load(settings, server.destination, "a").acknowledged
    told = go(settings, server)
    assert server.holds == wanted and told.status == "delivered" and told.accepted == 11
    # The request that was answered into the void is the only one that was sent twice.
    bodies = [json.dumps(body) for _, _, body in server.requests]
    assert len(bodies) == 5 and len(set(bodies)) == 4 and bodies[at - 1] == bodies[at]
    assert ["/batchuntagging?" in path for _, path, _ in server.requests].index(False) == (
        2 if at == 1 else 1
    )
