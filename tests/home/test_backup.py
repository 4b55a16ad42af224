"""A backup gives the home back, byte for byte, on another folder; a bad one is told; who was erased stays erased."""

import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from dagster import RunRequest, SkipReason, build_schedule_context

from pipeline.errors import StrataError
from pipeline.home import backup, doctor
from pipeline.privacy import consent, erasure, requests
from pipeline.publish import pruning, shelf
from pipeline.publish.audiences import holdings
from pipeline.publish.audiences import state as states
from pipeline.publish.audiences.diff import diff
from pipeline.publish.audiences.profiles import PROFILES
from pipeline.schedules import every_sunday, weekly_backup
from pipeline.settings import Settings
from tests.privacy.conftest import (  # noqa: F401
    AS_OF,
    HUSBAND,
    SHOP_ID,
    Home,
    built,
    daily,
    erase,
    home,
    key_of,
    writable,
)

AT = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)


def _tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and mode of every file that a backup is for."""
    left_out = {"warehouse", "build", "dbt", "dagster", "serving", "backups.json"}
    return {
        str(path.relative_to(folder)): (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.relative_to(folder).parts[0] not in left_out
        and path.relative_to(folder).parts[:2] not in (("vault", "outbox"), ("vault", "matching.duckdb"))
        and path.suffix != ".lock"
    }


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "elsewhere"


@pytest.fixture
def restored(home: Home, tmp_path: Path) -> Iterator[Settings]:  # noqa: F811
    """Where a home is to come back."""
    there = replace(home.settings, home=tmp_path / "restored")
    yield there
    writable(there)


def test_a_home_comes_back_as_it_was(home: Home, place: Path, restored: Settings) -> None:  # noqa: F811
    # What nothing else has: a busier home writes these too.
    for name in (
        "decisions/identity.jsonl",
        "decisions/gates.jsonl",
        "evaluation/verdict.json",
        "seen/shop.parquet",
        "vault/matching.json",
        "vault/matching.duckdb",
    ):
        path = home.settings.home / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("" if name.endswith("identity.jsonl") else name)
    made = backup.make(home.settings, place, now=AT)
    before, key = _tree(home.settings.home), key_of(home.settings, "shop", SHOP_ID)
    assert "decisions/gates.jsonl" in before
    found, erased = backup.restore(restored, place)
    assert (found, erased) == (made, 0)
    assert _tree(restored.home) == before
    assert stat.S_IMODE(restored.vault.stat().st_mode) == 0o700
    name, problems = shelf.verify(restored)
    assert (name, problems) == (made.release, [])
    assert restored.serving.exists()
    daily(restored, AS_OF)
    assert key_of(restored, "shop", SHOP_ID) == key


def test_what_has_not_changed_is_kept_once(home: Home, place: Path) -> None:  # noqa: F811
    first = backup.make(home.settings, place, now=AT)
    second = backup.make(home.settings, place, now=AT + timedelta(hours=1))
    assert first.copied == first.files
    assert second.copied < first.files / 4
    raw = next(p for p in (second.path / "files" / "raw").rglob("*.parquet"))
    assert raw.stat().st_nlink == 2
    shutil.rmtree(first.path)
    assert backup.check(home.settings, second).passed, "it stands without the one before"


@pytest.mark.parametrize("damage", ["a bit", "a file less"])
def test_a_backup_that_cannot_be_restored_is_told(
    home: Home,  # noqa: F811
    place: Path,
    restored: Settings,
    damage: str,
) -> None:
    made = backup.make(home.settings, place, now=AT)
    (place / "strata-restore-killed" / "home" / "vault").mkdir(parents=True)
    assert backup.check(home.settings, made).passed
    victim = next(p for p in sorted((made.path / "files" / "raw" / "shop").rglob("*.parquet")))
    if damage == "a bit":
        content = bytearray(victim.read_bytes())
        content[len(content) // 2] ^= 1
        victim.chmod(0o600)
        victim.write_bytes(content)
    else:
        victim.unlink()
    found = backup.check(home.settings, made)
    assert (found.passed, found.level, found.gate) == (False, "warn", "Q-27")
    assert victim.name in found.examples[0]
    with pytest.raises(StrataError, match=victim.name):
        backup.restore(restored, place)
    assert not restored.home.exists(), "half a home is none"
    assert [p.name for p in place.iterdir() if "restore" in p.name] == []


def test_an_unfinished_backup_is_none(home: Home, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    def dies(source: Path, target: Path) -> str:
        raise OSError("No space left on device")

    monkeypatch.setattr(backup, "_copy_file", dies)
    with pytest.raises(OSError, match="No space"):
        backup.make(home.settings, place, now=AT)
    assert backup.backups(place) == []
    assert list(place.iterdir()) == []


def test_who_is_erased_later_does_not_come_back(home: Home, place: Path, restored: Settings) -> None:  # noqa: F811
    made = backup.make(home.settings, place, now=AT)
    key = key_of(home.settings, "shop", SHOP_ID)
    erase(home.settings)
    assert (place / "tombstones.json").exists()
    found, erased = backup.restore(restored, made.path)
    assert (found.path, erased) == (made.path, 1)
    assert shelf.current(restored) is None, "what still holds the person is not current"
    daily(restored, AS_OF)
    current = shelf.current(restored)
    assert current is not None
    for path in (restored.releases / current["release"]).rglob("*"):
        assert not path.is_file() or key.encode() not in path.read_bytes()


def test_a_restore_that_dies_while_it_erases_gives_nobody_back(
    home: Home,  # noqa: F811
    place: Path,
    restored: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The home has its name only without them: a half-restored one would be run as if it were whole."""
    backup.make(home.settings, place, now=AT)
    erase(home.settings)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(backup.erasure, "settle", dies)
        with pytest.raises(KeyboardInterrupt):
            backup.restore(restored, place)
    assert not restored.home.exists()
    # A kill leaves what it had copied; the next attempt removes it.
    rest = restored.home.with_name(f".{restored.home.name}.restoring")
    (rest / "home" / "vault").mkdir(parents=True)
    assert backup.restore(restored, place)[1] == 1
    assert not rest.exists()


def test_who_refuses_later_at_the_desk_is_heeded_after_a_restore(
    home: Home,  # noqa: F811
    place: Path,
    restored: Settings,
) -> None:
    """No source sends such a word again. What names a person in clear is left in no other place."""
    made = backup.make(home.settings, place, now=AT)
    key = key_of(home.settings, "shop", HUSBAND)
    consent.withdraw(home.settings, "shop", HUSBAND, purpose=None, channel=None, by="op")
    requests.rectify(home.settings, "shop", HUSBAND, {"city": "杭州"}, by="op")
    assert {p.parent.name for p in (place / "desk").glob("*/*/*")} == {"consents", "dsr"}
    backup.restore(restored, made.path)
    assert consent.refusals(restored, ()).unmarketed == {key}
    assert shelf.current(restored) is None, "who refused is still in what was current"
    # Erased, the words go there too.
    erasure.erase(home.settings, records=[("shop", HUSBAND)], by="tester", reason="request 8", run=daily)
    assert not list((place / "desk").glob("*/*/*.jsonl"))


def test_who_was_sent_since_the_backup_is_removed_after_a_restore(
    home: Home,  # noqa: F811
    place: Path,
    restored: Settings,
) -> None:
    """Else a withdrawal after it would leave the person at the destination for good."""

    def exported(number: int, *members: str) -> None:
        sent = states.Sent(number, f"export-{number}", f"2026-03-0{number}", AT.isoformat(), len(members))
        snapshot = {m: (m, f"+86138{m}", "") for m in members}
        states.save(
            home.settings,
            states.after_export(states.load(home.settings, "csv", "a"), sent, snapshot),
        )

    exported(1, "anna")
    holdings.acknowledge(home.settings, "csv")
    backup.make(home.settings, place, now=AT)
    exported(2, "anna", "bao")
    holdings.acknowledge(home.settings, "csv", release="2026-03-02")
    exported(3, "anna", "bao", "chen")
    files = [p for p in (place / "audiences").rglob("*") if p.is_file()]
    assert files and all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in files)
    backup.restore(restored, place)
    state = states.load(restored, "csv", "a")
    assert state == states.load(home.settings, "csv", "a")
    change = diff(PROFILES["csv"], state.held, {"anna": ("anna", "+86138anna", "")}, lambda _: "unsubscribed")
    assert {row[0]: reason for row, reason in change.removes} == dict.fromkeys(
        ("bao", "chen"), "unsubscribed"
    )
    assert not change.adds
    # And whoever is erased leaves there, too.
    holdings.forget(home.settings, ["bao"], now=AT)
    for path in (place / "audiences").rglob("*.parquet"):
        assert "bao" not in pq.read_table(path)["member"].to_pylist()


def test_a_home_that_knows_less_takes_no_tombstone_away(home: Home, place: Path, restored: Settings) -> None:  # noqa: F811
    """It was restored from a copy of a backup, away from the tombstones, and is backed up into the same folder."""
    made = backup.make(home.settings, place, now=AT)
    elsewhere = place.with_name("copied")
    shutil.copytree(made.path, elsewhere / made.path.name)
    erase(home.settings)
    left = (place / "tombstones.json").read_text()
    assert backup.restore(restored, elsewhere)[1] == 0
    (restored.vault / "tombstones.json").write_text("[]")
    backup.make(restored, place, now=AT + timedelta(hours=1))
    assert (place / "tombstones.json").read_text() == left


def test_old_backups_leave_and_the_newest_stays(home: Home, place: Path) -> None:  # noqa: F811
    backup.make(home.settings, place, now=AT)
    backup.make(home.settings, place, now=AT + timedelta(days=31))
    assert [b.made_at[:10] for b in backup.backups(place)] == ["2026-04-01"]
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


def test_errors_say_what_to_do(home: Home, place: Path, restored: Settings) -> None:  # noqa: F811
    with pytest.raises(StrataError, match="lies in the home"):
        backup.make(home.settings, home.settings.home / "backups")
    with pytest.raises(StrataError, match="holds no complete backup"):
        backup.restore(restored, place)
    backup.make(home.settings, place, now=AT)
    with pytest.raises(StrataError, match="is not empty: restore into a new home"):
        backup.restore(home.settings, place)
    with pytest.raises(StrataError, match="nothing to back up yet"):
        backup.make(restored, place)
    (backup.backups(place)[0].path / "backup.json").write_text("{")
    with pytest.raises(StrataError, match="this backup is damaged"):
        backup.backups(place)


def test_doctor_sees_what_is_wrong(home: Home, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    def states() -> dict[str, str]:
        return {f.what: f.state for f in doctor.examine(home.settings, AT + timedelta(days=1)).findings}

    found = states()
    assert "broken" not in found.values()
    assert found["backup"] == "look"
    backup.make(home.settings, place, now=AT)
    assert states()["backup"] == "ok"
    os.link(home.settings.serving, home.settings.serving.with_name("second.duckdb"))
    files = [p for p in home.settings.home.rglob("*") if p.is_file() and p.name != "second.duckdb"]
    assert sum(doctor.examine(home.settings).bytes.values()) == sum(p.stat().st_size for p in files)

    def warehouse() -> tuple[str, str]:
        found = next(f for f in doctor.examine(home.settings).findings if f.what == "warehouse")
        return found.state, found.told

    assert warehouse() == ("ok", "none yet; the next run builds it")
    home.settings.warehouse.parent.mkdir(exist_ok=True)
    with duckdb.connect(str(home.settings.warehouse)) as con:
        for name in ("kept", "dropped"):
            con.execute(
                f"create table {name} as select hash(range) as n, hash(range + 1) as m from range(200000)"
            )
    assert re.match(r"0 B of its [\d.]+ MB are kept", warehouse()[1]), warehouse()
    # What was dropped stays in the file until the next build writes there.
    with duckdb.connect(str(home.settings.warehouse)) as con:
        con.execute("drop table dropped")
    assert re.match(r"[1-9][\d.]* MB of its [\d.]+ MB are kept", warehouse()[1]), warehouse()
    home.settings.warehouse.write_bytes(home.settings.warehouse.read_bytes()[:5000])
    assert warehouse()[0] == "broken"
    home.settings.warehouse.unlink()

    (home.settings.vault / "keys.json").chmod(0o644)
    assert states()["vault"] == "broken"
    (home.settings.vault / "keys.json").chmod(0o600)
    (home.settings.releases / ".tmp-dead").mkdir()
    assert states()["leftovers"] == "look"
    monkeypatch.delenv("STRATA_TOKEN_KEY")
    assert states()["token key"] == "broken"
    current = shelf.current(home.settings)
    assert current is not None
    page = home.settings.releases / current["release"] / "index.html"
    page.chmod(0o644)
    page.write_text("another page")
    examined = doctor.examine(home.settings)
    assert {f.what: f.state for f in examined.findings}["release"] == "broken"
    assert not examined.is_sound
    assert "BROKEN  release" in doctor.told(examined)


def test_doctor_counts_what_pruning_would_free(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    assert doctor.examine(home.settings).prunable == {}
    monkeypatch.setattr(pruning, "thresholds", lambda _: {"release_keep_count": 1, "release_keep_days": 7})
    daily(home.settings, date(2024, 5, 10))
    oldest, *_ = shelf.list_releases(home.settings)
    found = doctor.examine(home.settings, datetime.now(UTC) + timedelta(days=8))
    assert list(found.prunable) == [oldest]
    assert found.prunable[oldest] > 0
    assert f"would remove 1: {oldest}" in doctor.told(found)


def test_the_weekly_job_proves_its_backup_and_fails_where_it_cannot(
    home: Home,  # noqa: F811
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sunday = build_schedule_context(scheduled_execution_time=AT)
    monkeypatch.delenv("STRATA_BACKUP", raising=False)
    assert isinstance(every_sunday(sunday), SkipReason)
    assert not weekly_backup.execute_in_process(raise_on_error=False).success
    monkeypatch.setenv("STRATA_BACKUP", str(place))
    assert isinstance(every_sunday(sunday), RunRequest)
    assert weekly_backup.execute_in_process().success
    assert len(backup.backups(place)) == 1
    monkeypatch.setattr(backup, "_counted", lambda *_: ["raw holds 1 rows, and 2 were backed up"])
    time.sleep(1)
    result = weekly_backup.execute_in_process(raise_on_error=False)
    assert not result.success
    assert "raw holds 1 rows" in str(result.failure_data_for_node("back_up"))
