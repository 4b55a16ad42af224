"""Releases are kept as policy says, compared by their files, and served at one stable path."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from pipeline.errors import StrataError
from pipeline.privacy import access_log
from pipeline.publish import commit, pruning, republish, shelf
from pipeline.publish.commit import remove
from pipeline.publish.comparison import compare, told
from pipeline.publish.rollback import rollback
from pipeline.publish.shelf import list_releases, load_manifest, verify_folder
from pipeline.quality import suites
from tests.publish.test_release import AS_OF, Home, built, home, model  # noqa: F401

RFM = {"customer_key": "VARCHAR", "rfm_segment": "VARCHAR"}


def _published(made: Home, n: int) -> list[str]:
    """`n` releases of one day; the text in one table makes each another."""
    names = []
    for i in range(n):
        made.sql(f"update audiences.segment_summary set action_en = 'Call {i}'")
        made.build()
        names.append(made.publish(run=f"run{i}").release)
    return names


def test_the_newest_and_the_young_are_kept(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(pruning, "thresholds", lambda _: {"release_keep_count": 2, "release_keep_days": 7})
    names = _published(home, 4)
    now = datetime.now(UTC)
    assert pruning.prunable(home.settings, now) == [], "all are younger than seven days"
    later = now + timedelta(days=8)
    assert pruning.prune(home.settings, now=later) == names[:2]
    assert list_releases(home.settings) == names[2:]
    assert all(verify_folder(home.settings.releases / name) == [] for name in names[2:])
    assert pruning.prune(home.settings, now=later) == []


def test_the_current_release_is_kept_however_old(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(pruning, "thresholds", lambda _: {"release_keep_count": 1, "release_keep_days": 7})
    names = _published(home, 3)
    home.settings.pointer.write_text(json.dumps({"release": names[0], "path": f"releases/{names[0]}"}))
    assert pruning.prune(home.settings, now=datetime.now(UTC) + timedelta(days=30)) == [names[1]]


def test_the_one_before_is_kept_also_under_the_id_of_an_erasure(
    home: Home,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pruning, "thresholds", lambda _: {"release_keep_count": 1, "release_keep_days": 7})
    older, before, current = _published(home, 3)
    settings = home.settings
    for _ in range(2):
        # Twice: what stands in the place of one that stood in another's place.
        again = commit.next_id(settings, AS_OF)
        candidate = settings.releases / ".tmp-again"
        shutil.copytree(settings.releases / before, candidate)
        for path in (candidate, *candidate.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        told = load_manifest(settings, before)
        told |= {"release": again, "redacts": {"release": before, "earlier": told.get("redacts")}}
        for name in ("manifest.json", "manifest.sha256"):
            (candidate / name).unlink()
        commit.seal(settings, candidate, told, is_current=False)
        commit.delete(settings, before)
        before = again
    late = datetime.now(UTC) + timedelta(days=30)
    # The newest of the count is one more, made later than the one that is looked for.
    made = {older: "2024-05-01T00:00:00+00:00", before: "2024-05-02T00:00:00+00:00"}
    read = shelf.load_manifest
    monkeypatch.setattr(
        shelf,
        "load_manifest",
        lambda s, name: read(s, name) | ({"created_at": made[name]} if name in made else {}),
    )
    assert pruning.prune(settings, now=late) == [older]
    assert list_releases(settings) == [current, before]


def test_one_path_always_holds_the_current_release(home: Home) -> None:  # noqa: F811
    def served() -> str:
        with duckdb.connect() as con:
            con.execute(f"attach '{home.settings.serving}' as served (read_only)")
            return con.execute("select action_en from served.audiences.segment_summary").fetchone()[0]  # type: ignore[index]

    _published(home, 1)
    assert served() == "Call 0"
    # A tool that has the file open keeps its snapshot.
    with home.settings.serving.open("rb") as held:
        before = held.read()
        _published(home, 2)
        held.seek(0)
        assert held.read() == before
    assert served() == "Call 1"
    home.settings.serving.unlink()
    assert not home.publish(run="again").changed
    assert served() == "Call 1", "a run that changes nothing puts back what is missing"


def test_a_comparison_names_rows_columns_and_moves(home: Home) -> None:  # noqa: F811
    home.sql(
        "create table segments.customer_rfm (customer_key varchar, rfm_segment varchar)",
        "insert into segments.customer_rfm values (md5('a'), 'new'), (md5('b'), 'new'), (md5('c'), 'loyal')",
    )
    home.build()
    rfm = model("segments", "customer_rfm", RFM, ["customer_key"])
    rfm["columns"]["rfm_segment"]["config"]["meta"]["scheme"] = "rfm"
    with_rfm = {"nodes": {**_manifest()["nodes"], "r": rfm}}
    first = home.publish(run="one", manifest=with_rfm).release
    home.sql(
        "update segments.customer_rfm set rfm_segment = 'loyal' where customer_key = md5('a')",
        "delete from segments.customer_rfm where customer_key = md5('c')",
        "insert into segments.customer_rfm values (md5('d'), 'new'), (md5('e'), 'new')",
    )
    home.build()
    second = home.publish(run="two", manifest=with_rfm).release
    found = compare(home.settings, first, second)
    (table,) = [t for t in found.tables if not t.is_same]
    assert (table.table, table.rows_before, table.rows_after, table.only_before, table.only_after) == (
        "segments.customer_rfm",
        3,
        4,
        2,
        3,
    )
    assert [(m.before, m.after, m.customers) for m in found.moves] == [
        (None, "new", 2),
        ("loyal", None, 1),
        ("new", "loyal", 1),
    ]
    assert "new" in told(found) and f"{first} → {second}" in told(found)
    assert compare(home.settings, second, second).moves == ()
    with pytest.raises(StrataError, match="there is no release 1999-01-01"):
        compare(home.settings, "1999-01-01", second)


def _manifest() -> dict[str, dict[str, object]]:
    from tests.publish.test_release import MANIFEST

    return MANIFEST


def test_a_release_that_does_not_follow_the_current_one_is_refused(
    home: Home,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody else moves the pointer while a candidate is written: it was compared with another release."""
    from pipeline.publish import release as releases

    names = _published(home, 2)
    home.sql("update audiences.segment_summary set action_en = 'Call again'")
    home.build()
    real = releases.render_page

    def moved(*args: object) -> str:
        home.settings.pointer.write_text(json.dumps({"release": names[0], "path": f"releases/{names[0]}"}))
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(releases, "render_page", moved)
    with pytest.raises(StrataError, match=f"was built upon {names[1]}, but {names[0]} has become current"):
        home.publish(run="late")
    assert list_releases(home.settings) == names
    assert json.loads(home.settings.pointer.read_text())["release"] == names[0]
    assert AS_OF.isoformat() == names[0]
    assert not list(Path(home.settings.releases).glob(".tmp-*"))


def test_going_back_moves_the_pointer_and_is_written_down(home: Home) -> None:  # noqa: F811
    names = _published(home, 3)
    before = home.state()
    done = rollback(home.settings, names[0], "op")
    assert (done.release, done.before, done.rows) == (names[0], names[2], 0)
    assert json.loads(home.settings.pointer.read_text())["release"] == names[0]
    assert {k: v for k, v in home.state().items() if k != "CURRENT.json"} == {
        k: v for k, v in before.items() if k != "CURRENT.json"
    }
    last = access_log.read(home.settings)[-1]
    assert (last["who"], last["what"]) == ("op", f"rollback to {names[0]} from {names[2]}")
    assert rollback(home.settings, names[0], "op").before == names[0], "once is enough"
    # What is published next follows the release that was gone back to.
    home.sql("update audiences.segment_summary set action_en = 'Call again'")
    home.build()
    assert home.publish(run="next").release == "2024-05-10-r4"


def test_going_back_leaves_out_who_has_withdrawn_since(
    home: Home,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = _published(home, 2)
    # It takes seconds to load, and the same suites can be asked of the files where they lie.
    monkeypatch.setattr(suites, "_context", lambda: pytest.fail("Great Expectations is loaded"))
    (gone,) = duckdb.sql("select md5('7')").fetchall()[0]
    home.sql(
        "create or replace view core.fct_consent_states as select customer_key, purpose, channel, "
        f"is_granted and customer_key <> '{gone}' as is_granted from (select customer_key, purpose, 'all' as channel, "
        "true as is_granted from audiences.segment_membership, (values ('marketing'), ('profiling')) t (purpose))"
    )
    # Somebody whom no profile may be made of any more; nothing is left out for one who is in no release.
    (excluded,) = duckdb.sql("select md5('0')").fetchall()[0]
    home.sql("insert into intermediate.int_persons_excluded values (md5('long ago')), (md5('0'))")
    done = rollback(home.settings, names[0], "op")
    assert (done.release, done.rows, done.persons) == ("2024-05-10-r3", 2, 2)
    folder = home.settings.releases / done.release
    assert json.loads((folder / "manifest.json").read_text())["withheld"] == {"persons": 2, "rows": 2}
    classed = duckdb.sql(
        f"select customer_key from read_parquet('{folder}/tables/segments/customer_small.parquet')"
    ).fetchall()
    assert len(classed) == 39 and (excluded,) not in classed
    assert verify_folder(folder) == []
    files = [
        home.settings.releases / r / "tables" / "audiences" / "{}.parquet" for r in (names[0], done.release)
    ]
    same = {
        t: len({Path(str(f).format(t)).stat().st_ino for f in files}) == 1
        for t in ("segment_summary", "segment_membership")
    }
    assert same == {"segment_summary": True, "segment_membership": False}, (
        "only what held them is written again"
    )
    kept = duckdb.sql(
        f"select customer_key from read_parquet('{folder}/tables/audiences/segment_membership.parquet')"
    ).fetchall()
    assert len(kept) == 39 and (gone,) not in kept
    with duckdb.connect() as con:
        con.execute(f"attach '{folder / 'marts.duckdb'}' as marts (read_only)")
        assert con.execute("select count(*) from marts.audiences.segment_membership").fetchone() == (39,)


def test_a_release_under_another_ones_name_is_no_release(home: Home) -> None:  # noqa: F811
    """A copied folder: every hash is right, and the day is not."""
    (name,) = _published(home, 1)
    shutil.copytree(home.settings.releases / name, home.settings.releases / "2024-05-12")
    with pytest.raises(StrataError, match=f"the folder 2024-05-12 holds release {name}"):
        rollback(home.settings, "2024-05-12", "op")
    assert json.loads(home.settings.pointer.read_text())["release"] == name


@pytest.mark.parametrize("how", ["lost", "damaged"])
def test_from_a_release_that_is_lost_or_damaged_one_can_go_back(home: Home, how: str) -> None:  # noqa: F811
    names = _published(home, 2)
    manifest = home.settings.releases / names[1] / "manifest.json"
    if how == "lost":
        remove(manifest.parent)
    else:
        manifest.chmod(0o644)
        manifest.write_text("{")
    home.build()
    said = {"lost": "which CURRENT.json names, is not there; .*rollback ID", "damaged": "is damaged"}[how]
    with pytest.raises(StrataError, match=f"{names[1]}.* {said}"):
        home.publish(run="next")
    assert rollback(home.settings, names[0], "op").before == names[1]
    if how == "lost":
        # The id of the lost one is not given to another.
        assert home.publish(run="next").release == f"{AS_OF}-r3"


def test_a_pointer_that_cannot_be_read_says_what_to_write(home: Home) -> None:  # noqa: F811
    (name,) = _published(home, 1)
    home.settings.pointer.write_text("half")
    with pytest.raises(
        StrataError, match=rf'CURRENT.json is damaged: write {{"release": .* there are: {name}'
    ):
        home.publish(run="next")


def test_a_damaged_release_is_not_made_again(home: Home) -> None:  # noqa: F811
    """An urgent withdrawal would give what is damaged a fresh hash."""
    (name,) = _published(home, 1)
    path = home.settings.releases / name / "tables" / "segments" / "customer_small.parquet"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-9] + b"x" + path.read_bytes()[-8:])
    with pytest.raises(StrataError, match="is damaged and is not made again: tables/segments/customer_small"):
        republish.without_refused(home.settings)
    assert list_releases(home.settings) == [name]


def test_a_damaged_release_is_not_gone_back_to(home: Home) -> None:  # noqa: F811
    names = _published(home, 2)
    path = home.settings.releases / names[0] / "index.html"
    path.chmod(0o644)
    path.write_text("other")
    with pytest.raises(StrataError, match="cannot become current: index.html is not the file"):
        rollback(home.settings, names[0], "op")
    assert json.loads(home.settings.pointer.read_text())["release"] == names[1]
