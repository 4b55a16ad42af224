"""Going back asks what may have changed since, and nothing twice; each planted defect stops it."""

import itertools
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from pipeline.duck import texts
from pipeline.errors import GateStopped, StrataError
from pipeline.identity import tables
from pipeline.ingest.load import sweep
from pipeline.privacy import access_log, consent
from pipeline.privacy.consent import Refusals
from pipeline.publish import commit, postgres, release, republish, withheld
from pipeline.publish.rollback import _allowed, rollback
from pipeline.publish.shelf import list_releases, load_manifest, pointed
from pipeline.quality import leaving
from tests.publish.test_release import AS_OF, Home, built, home  # noqa: F401
from tests.publish.test_releases_over_time import _published

Land = Callable[[str, bytes | str], Path]
SMALL = Path("tables") / "segments" / "customer_small.parquet"
MEMBERS = Path("tables") / "audiences" / "segment_membership.parquet"


def token(i: int) -> str:
    return duckdb.sql(f"select md5('{i}')").fetchall()[0][0]


def exclude(home: Home) -> None:  # noqa: F811
    """Of md5('7'), who is in both tables of persons, no profile may be made any more."""
    home.sql("insert into intermediate.int_persons_excluded values (md5('7'))")


def persons(home: Home, release: str, file: Path) -> set[str]:  # noqa: F811
    rows = duckdb.sql(f"select customer_key from '{home.settings.releases / release / file}'").fetchall()
    return {row[0] for row in rows}


def test_what_has_passed_is_not_asked_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    names = _published(home, 2)
    exclude(home)
    for module, name in ((leaving, "check"), (release, "audit")):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("a suite is asked of what has passed it"))
    made = rollback(home.settings, names[0], "op").release
    assert token(7) not in persons(home, made, SMALL) | persons(home, made, MEMBERS)
    assert len(persons(home, made, SMALL)) == 39
    assert rollback(home.settings, made, "op").rows == 0


def test_a_refused_person_left_in_one_table_stops_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """Planted: the cut passes over the tables of classes. The look at what was written has a text of its own."""
    names = _published(home, 2)
    exclude(home)
    real = withheld.condition

    def forgetful(schema: str, columns: tuple[str, ...]) -> str:
        return "true" if schema == "segments" else real(schema, columns)

    monkeypatch.setattr(withheld, "condition", forgetful)
    with pytest.raises(GateStopped, match=r"withdrawal_latency \(Q-17\) · observed 1"):
        rollback(home.settings, names[0], "op")
    assert pointed(home.settings) == names[1] and list_releases(home.settings) == names
    assert not list(home.settings.releases.glob(".tmp-*"))


@pytest.mark.parametrize(
    "sql",
    [
        "select * replace (monetary + 0.01 as monetary) from {}",
        "from {} where customer_key <> (select max(customer_key) from {})",
        "from {} union all (from {} limit 1)",
    ],
    ids=["a value", "a row too few", "a row twice"],
)
def test_other_rows_than_those_of_the_release_stop_it(
    home: Home,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    sql: str,
) -> None:
    """Planted: the table that is written again is not what was published less the refused."""
    names = _published(home, 2)
    exclude(home)
    real = republish._copy

    def spoiled(settings: object, candidate: Path, *more: object) -> int:
        rows = real(settings, candidate, *more)  # type: ignore[arg-type]
        path = candidate / SMALL
        table = duckdb.sql(sql.replace("{}", f"'{path}'")).to_arrow_table()
        path.unlink()
        duckdb.from_arrow(table).write_parquet(str(path))
        return rows

    monkeypatch.setattr(republish, "_copy", spoiled)
    with pytest.raises(GateStopped, match="rows_are_those_of_the_release"):
        rollback(home.settings, names[0], "op")
    assert pointed(home.settings) == names[1] and list_releases(home.settings) == names


@pytest.mark.parametrize("file", ["marts.duckdb", MEMBERS.as_posix(), SMALL.as_posix()])
def test_one_other_byte_in_any_file_stops_it(home: Home, file: str) -> None:  # noqa: F811
    names = _published(home, 2)
    path = home.settings.releases / names[0] / file
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(StrataError, match=f"cannot become current: {file} is not the file"):
        rollback(home.settings, names[0], "op")
    assert pointed(home.settings) == names[1]


@pytest.mark.parametrize("build", ["complete", "under way", "another warehouse"])
def test_a_refusal_that_no_build_has_read_is_heeded(home: Home, land: Land, build: str) -> None:  # noqa: F811
    """Planted: a stale list of refusals. The word was delivered and taken in, and the run stopped before its build."""
    names = _published(home, 2)
    rows = [{"source": "crm", "id": str(i), "customer_key": token(i)} for i in range(1, 9)]
    tables.replace(home.settings, pa.Table.from_pylist(rows, tables.ROWS), AS_OF)
    land(
        "crm/consents/2024-05-09.csv",
        "consent_id,source_customer_id,purpose,channel,action,at\n"
        "c1,7,marketing,all,withdraw,2024-05-09T10:00:00+08:00\n"
        "c2,8,profiling,all,withdraw,2024-05-09T10:00:00+08:00\n"
        "c3,6,marketing,all,grant,2024-05-09T10:00:00+08:00\n",
    )
    (loaded,) = sweep(home.settings, AS_OF, run_id="stopped", released=None).entries
    assert (loaded.status, loaded.rows_loaded) == ("loaded", 3)
    if build == "under way":
        (home.settings.build / "receipt.json").unlink()
    if build == "another warehouse":
        home.sql("insert into operations.ingest_ledger values ('crm/consents/2024-05-09/rev=1', true)")
    done = rollback(home.settings, names[0], "op")
    assert (done.persons, done.rows) == (2, 3)
    assert {token(7), token(8)}.isdisjoint(persons(home, done.release, MEMBERS))
    assert persons(home, done.release, SMALL) >= {token(7), token(6)}
    assert token(8) not in persons(home, done.release, SMALL)


def test_an_urgent_withdrawal_takes_those_along_whom_a_stopped_run_has_read(home: Home, land: Land) -> None:  # noqa: F811
    (name,) = _published(home, 1)
    rows = [{"source": "crm", "id": "7", "customer_key": token(7)}]
    tables.replace(home.settings, pa.Table.from_pylist(rows, tables.ROWS), AS_OF)
    assert republish.without_refused(home.settings).release == name
    land(
        "crm/consents/2024-05-09.csv",
        "consent_id,source_customer_id,purpose,channel,action,at\n"
        "c1,7,marketing,all,withdraw,2024-05-09T10:00:00+08:00\n",
    )
    sweep(home.settings, AS_OF, run_id="stopped", released=None)
    made = republish.without_refused(home.settings)
    assert made.persons == 1 and token(7) not in persons(home, made.release, MEMBERS)


def test_who_left_by_a_message_that_a_stopped_run_has_read_is_left_out_of_its_channel(
    home: Home,  # noqa: F811
    land: Land,
) -> None:
    (name,) = _published(home, 1)
    rows = [{"source": "crm", "id": str(i), "customer_key": token(i)} for i in (6, 7)]
    tables.replace(home.settings, pa.Table.from_pylist(rows, tables.ROWS), AS_OF)
    land(
        "crm/messages/2024-05-09.csv",
        "message_id,source_customer_id,channel,sent_at,unsubscribed_at,updated_at\n"
        "m1,6,email,2024-05-09T10:00:00+08:00,,2024-05-09T10:00:00+08:00\n"
        "m2,7,email,2024-05-09T10:00:00+08:00,2024-05-09T11:00:00+08:00,2024-05-09T11:00:00+08:00\n",
    )
    (loaded,) = sweep(home.settings, AS_OF, run_id="stopped", released=None).entries
    assert (loaded.status, loaded.rows_loaded) == ("loaded", 2)
    refused = consent.delivered_since(home.settings, load_manifest(home.settings, name)["inputs"])
    assert refused == Refusals(
        channels={"email": frozenset({token(7)})}, by_message={"email": {token(7): "unsubscribe"}}
    )


def test_a_refusal_that_the_build_has_read_is_its_own_affair(home: Home, land: Land) -> None:  # noqa: F811
    """Whoever withdrew and came back is whom the states of consent say."""
    names = _published(home, 2)
    rows = [{"source": "crm", "id": "7", "customer_key": token(7)}]
    tables.replace(home.settings, pa.Table.from_pylist(rows, tables.ROWS), AS_OF)
    land(
        "crm/consents/2024-05-09.csv",
        "consent_id,source_customer_id,purpose,channel,action,at\n"
        "c1,7,marketing,all,withdraw,2024-05-09T10:00:00+08:00\n"
        "c2,7,marketing,all,grant,2024-05-09T11:00:00+08:00\n",
    )
    sweep(home.settings, AS_OF, run_id="built", released=None)
    home.sql("insert into operations.ingest_ledger values ('crm/consents/2024-05-09/rev=1', true)")
    home.build()
    assert rollback(home.settings, names[0], "op").release == names[0]


@pytest.mark.parametrize("refused", [False, True])
def test_the_act_is_written_down_before_anybody_can_see_it(
    home: Home,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    refused: bool,
) -> None:
    """Whoever dies between the two has written down an act that did not come about, and never done one in silence."""
    names = _published(home, 2)
    if refused:
        exclude(home)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commit, "point", dies)
    with pytest.raises(KeyboardInterrupt):
        rollback(home.settings, names[0], "op")
    last = access_log.read(home.settings)[-1]
    made = f"{AS_OF}-r3" if refused else names[0]
    assert (last["who"], last["what"], last["count"]) == (
        "op",
        f"rollback to {made} from {names[1]}",
        int(refused),
    )
    assert pointed(home.settings) == names[1]


def test_the_looks_and_the_cut_agree_on_every_kind_of_refusal(tmp_path: Path) -> None:
    """Two texts of one rule: what the looks find is what the cut takes out or changes, and nothing is found afterwards."""
    path, after = tmp_path / MEMBERS, tmp_path / "after" / MEMBERS
    for file in (path, after):
        file.parent.mkdir(parents=True)
    flags = "i % 2 = 0 as consent_email, i % 3 = 0 as consent_sms"
    duckdb.sql(f"copy (select md5(i::varchar) as customer_key, {flags} from range(60) t (i)) to '{path}'")
    names = ("customer_key", "consent_email", "consent_sms")
    keys = [token(i) for i in range(60)]
    refused = Refusals(
        frozenset(keys[:5]),
        frozenset(keys[3:9]),
        {"email": frozenset(keys[10:20]), "sms": frozenset(keys[15:30])},
    )
    with duckdb.connect() as con:
        withheld.register(con, refused)
        (look,) = withheld.looks_at(con, tmp_path).values()
        found = {row[0] for row in con.execute(look).fetchall()}
        cut = f"select {withheld.columns('audiences', names)} from '{path}' where {withheld.condition('audiences', names)}"
        changed = {row[0] for row in con.execute(f"from '{path}' except ({cut})").fetchall()}
        assert found == changed and len(found) > 20
        con.execute(f"copy ({cut}) to '{after}'")
        (look,) = withheld.looks_at(con, tmp_path / "after").values()
        assert con.execute(look).fetchall() == []


def test_a_copy_is_not_made_of_a_release_that_holds_a_refused_person_under_an_older_key(home: Home) -> None:  # noqa: F811
    """A merge since has given the person another key, under which the desk writes the refusal down."""
    (name,) = _published(home, 1)
    folder = home.settings.releases / name
    links = folder / "tables" / "core" / "dim_identity_links.parquet"
    (folder / "tables").chmod(0o755)
    links.parent.mkdir()
    named = {"source": ["crm"], "source_customer_id": ["7"], "customer_key": [token(7)]}
    duckdb.from_arrow(pa.table(named)).write_parquet(str(links))
    rows = [{"source": "crm", "id": "7", "customer_key": "merged"}]
    tables.replace(home.settings, pa.Table.from_pylist(rows, tables.ROWS), AS_OF)
    manifest = load_manifest(home.settings, name)
    postgres._require_none_refused(home.settings, folder, manifest)
    consent.withdraw(home.settings, "crm", "7", purpose="marketing", channel=None, by="Wang")
    with pytest.raises(GateStopped, match="1 persons in it have refused since"):
        postgres._require_none_refused(home.settings, folder, manifest)


def test_who_is_allowed_what_by_every_mixture_of_words() -> None:
    """Against the rule as it is said: any grant of marketing and one of profiling let her be addressed; a channel wants a
    grant of its own or on all, and no refusal of its own."""
    words = [
        (purpose, channel, given)
        for purpose, channels in (("marketing", ("all", "email", "sms", "push")), ("profiling", ("all",)))
        for channel in channels
        for given in (True, False)
    ]
    said = {
        f"{sum(1 << i for i in chosen)}": [words[i] for i in chosen]
        for n in range(1, len(words) + 1)
        for chosen in itertools.combinations(range(len(words)), n)
    }
    rows = [(person, *word) for person, own in said.items() for word in own]
    flags = [withheld.FLAG + "email", withheld.FLAG + "sms"]
    with duckdb.connect() as con:
        con.execute("create schema core")
        listed = [f"unnest({texts(str(row[i]) for row in rows)}) as c{i}" for i in range(4)]
        con.execute(
            "create table core.fct_consent_states as select c0 as customer_key, c1 as purpose, c2 as channel, "
            f"c3 = 'True' as is_granted from (select {', '.join(listed)})"
        )
        found = {person: tuple(told) for person, *told in con.execute(_allowed(flags)).fetchall()}

    def granted(own: list[tuple[str, str, bool]], purpose: str, *channels: str) -> bool:
        return any(p == purpose and given and c in channels for p, c, given in own)

    def meant(own: list[tuple[str, str, bool]]) -> tuple[bool, ...]:
        marketing = granted(own, "marketing", "all", "email", "sms", "push")
        by = [
            granted(own, "marketing", "all", channel) and ("marketing", channel, False) not in own
            for channel in ("email", "sms")
        ]
        return (marketing and granted(own, "profiling", "all"), *by)

    assert len(found) == 1023
    assert found == {person: meant(own) for person, own in said.items()}
