"""A release in PostgreSQL: types, keys, words, and readers that never see parts of two releases."""

import copy
import json
import threading
import time
from decimal import Decimal

import duckdb
import psycopg
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.errors import StrataError
from pipeline.publish import contract
from pipeline.publish.postgres import export
from tests import postgres
from tests.publish.test_release import AS_OF, MANIFEST, Home, built, home  # noqa: F401

server = postgres.server_fixture
database = postgres.database_fixture


def address(database: postgres.Database) -> str:
    """Without the password, which comes from PGPASSWORD."""
    return f"postgresql://owner@127.0.0.1:{database.port}/{database.name}"


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", postgres.PASSWORD)


def next_release(home: Home, n: int) -> str:  # noqa: F811
    """A release in which every amount is `n`, in the tables of one row and of many."""
    home.sql(
        f"update segments.customer_small set monetary = {n}",
        f"update audiences.segment_summary set customers = {n + 100}",
    )
    home.build()
    return home.publish(run=f"run{n}").release


def test_a_copy_keeps_types_keys_and_values(home: Home, database: postgres.Database) -> None:  # noqa: F811
    home.sql(
        "update segments.customer_small set last_seen = null, monetary = null where monetary = 1",
        "update audiences.segment_membership set reason_zh = 'a \"b\",\nc' where customer_key = md5('1')",
        "update audiences.segment_membership set class_label_en = '' where customer_key = md5('2')",
        "update audiences.segment_membership set class_label_en = null where customer_key = md5('3')",
        "update audiences.segment_summary set revenue_share = 0.1::double + 0.2::double",
    )
    home.build()
    described = copy.deepcopy(MANIFEST)
    described["nodes"]["b"]["columns"]["customers"]["description"] = "People; null when suppressed."
    home.publish(manifest=described)
    done = export(home.settings, address(database))
    assert (done.release, done.tables, done.rows) == ("2024-05-10", 3, 81)
    with database.connect() as con:
        types = dict(
            con.execute(
                "select column_name, data_type || coalesce('(' || numeric_precision || ',' || numeric_scale || ')', '') "
                "from information_schema.columns where table_schema = 'strata' and table_name in "
                "('customer_small', 'segment_summary')"
            ).fetchall()
        )
        assert types["monetary"] == "numeric(18,2)" and types["class_label_zh"] == "text"
        assert types["revenue_share"].startswith("double precision") and types["customers"].startswith(
            "bigint"
        )
        keys = con.execute(
            "select relname, pg_get_constraintdef(o.oid) from pg_constraint o join pg_class c on c.oid = conrelid "
            "where contype = 'p' and connamespace = 'strata'::regnamespace order by 1"
        ).fetchall()
        assert ("segment_membership", "PRIMARY KEY (customer_key, scheme)") in keys
        ours = con.execute("select customer_key, monetary from strata.customer_small").fetchall()
        reasons = con.execute(
            "select reason_zh, class_label_en from strata.segment_membership where customer_key in (md5('1'), md5('2'), md5('3')) "
            "order by md5(class_label_en) nulls last"
        ).fetchall()
        share = con.execute("select revenue_share from strata.segment_summary").fetchone()
        state = con.execute("select * from strata.release").fetchone()
        said = con.execute(
            "select col_description('strata.segment_summary'::regclass, attnum) from pg_attribute "
            "where attrelid = 'strata.segment_summary'::regclass and attname = 'customers'"
        ).fetchone()
    assert said == ("人数；隐藏时为空。 · People; null when suppressed.",)
    file = home.settings.releases / done.release / "tables/segments/customer_small.parquet"
    assert sorted(ours, key=str) == sorted(duckdb.sql(f"from '{file}'").fetchall(), key=str)
    assert {type(value) for _, value in ours} == {Decimal, type(None)}
    assert set(reasons) == {('a "b",\nc', "Champions"), ("原因", ""), ("原因", None)}
    assert share == (0.1 + 0.2,)
    assert state == ("2024-05-10", AS_OF, "2024-1", contract.load().version, "CNY")


READ = (
    "select r.release, s.customers, count(*), min(m.monetary), max(m.monetary) from strata.release r, "
    "strata.segment_summary s, strata.customer_small m group by 1, 2"
)


def test_a_reader_never_sees_parts_of_two_releases(home: Home, database: postgres.Database) -> None:  # noqa: F811
    """Within a statement and over the statements of a transaction, on both levels, and no reader is cut off."""
    said = {next_release(home, n): n for n in (1, 2)}
    export(home.settings, address(database))
    seen: list[tuple] = []
    failed: list[BaseException] = []
    ended = threading.Event()

    def read(level: psycopg.IsolationLevel) -> None:
        try:
            with psycopg.connect(database.url()) as con:
                con.isolation_level = level
                while not ended.is_set():
                    with con.transaction():
                        # A snapshot that is older than the first look at our tables.
                        con.execute("select count(*) from pg_class")
                        first = con.execute(READ).fetchall()
                        # Time for a swap to come in between, were it not for our locks.
                        time.sleep(0.05)
                        assert con.execute("select release from strata.release").fetchone() == (first[0][0],)
                        assert con.execute(READ).fetchall() == first
                        seen.extend(first)
        except BaseException as error:
            failed.append(error)

    levels = [psycopg.IsolationLevel.READ_COMMITTED, psycopg.IsolationLevel.REPEATABLE_READ] * 2
    readers = [threading.Thread(target=read, args=(level,)) for level in levels]
    for reader in readers:
        reader.start()
    try:
        for _ in range(4):
            for release in said:
                export(home.settings, address(database), release=release)
    finally:
        ended.set()
        for reader in readers:
            reader.join()
    assert not failed, failed
    assert {row[0] for row in seen} == said.keys()
    for release, customers, rows, low, high in set(seen):
        assert (customers, rows, low, high) == (said[release] + 100, 40, said[release], said[release])


def test_a_snapshot_that_is_older_than_the_copy_finds_it_full(
    home: Home,  # noqa: F811
    database: postgres.Database,
) -> None:
    home.publish()
    export(home.settings, address(database))
    with psycopg.connect(database.url()) as con:
        con.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        con.execute("select 1 from pg_class limit 1")
        release = next_release(home, 7)
        export(home.settings, address(database))
        assert con.execute("select min(monetary), count(*) from strata.customer_small").fetchone() == (7, 40)
        assert con.execute("select release from strata.release").fetchone() == (release,)


def test_a_reader_in_its_transaction_keeps_its_copy_and_the_export_gives_up(
    home: Home,  # noqa: F811
    database: postgres.Database,
) -> None:
    home.publish()
    export(home.settings, address(database))
    release = next_release(home, 5)
    with psycopg.connect(database.url()) as con:
        con.execute("select count(*) from strata.customer_small")
        with pytest.raises(
            StrataError, match="readers have held tables of schema strata for 0.3 s; it is as it was"
        ):
            export(home.settings, address(database), wait_seconds=0.3)
        assert con.execute("select release from strata.release").fetchone() == ("2024-05-10",)
    assert export(home.settings, address(database)).release == release
    with database.connect() as con:
        schemas = con.execute("select nspname from pg_namespace where nspname like 'strata%'").fetchall()
    assert schemas == [("strata",)], "what the try that gave up left is gone"


def test_grants_go_over_and_new_tables_are_granted_to_nobody(home: Home, database: postgres.Database) -> None:  # noqa: F811
    home.publish()
    export(home.settings, address(database))
    database.run(
        "drop role if exists bi",
        "create role bi",
        "grant usage on schema strata to bi",
        "grant select on strata.segment_summary to bi",
    )
    next_release(home, 3)
    export(home.settings, address(database))
    with database.connect() as con:
        con.execute("set role bi")
        assert con.execute("select customers from strata.segment_summary").fetchone() == (103,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            con.execute("select * from strata.customer_small")


def test_what_is_not_ours_is_left_alone(home: Home, database: postgres.Database) -> None:  # noqa: F811
    home.publish()
    database.run(
        "create schema sales", "create table sales.mine (x int)", "insert into sales.mine values (1)"
    )
    with pytest.raises(StrataError, match="schema sales is not a copy that Strata made"):
        export(home.settings, address(database), schema="sales")
    export(home.settings, address(database))
    database.run("create view public.hangs as select * from strata.segment_summary")
    next_release(home, 3)
    with pytest.raises(StrataError, match="something of yours hangs on schema strata: view hangs"):
        export(home.settings, address(database))
    database.run("drop view public.hangs", "create table strata.mine (x int)")
    with pytest.raises(StrataError, match="something of yours hangs on schema strata: table strata"):
        export(home.settings, address(database))
    with database.connect() as con:
        assert con.execute("select customers from strata.segment_summary").fetchone() == (40,)
        assert con.execute("select x from sales.mine").fetchone() == (1,)


def test_a_damaged_release_is_not_copied(home: Home, database: postgres.Database) -> None:  # noqa: F811
    path = home.publish().path / "tables/segments/customer_small.parquet"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(StrataError, match="is damaged and was not copied"):
        export(home.settings, address(database))


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_the_command_says_nothing_of_the_password(
    home: Home,  # noqa: F811
    database: postgres.Database,
    flags: list[str],
) -> None:
    home.publish()
    where = ["--home", str(home.settings.home)]
    done = CliRunner().invoke(main, ["export", "postgres", "--url", database.url(), *where, *flags])
    assert done.exit_code == 0, done.output
    assert "2024-05-10" in done.output
    wrong = database.url().replace(str(database.port), "1")
    for bad in (
        wrong,
        database.url(password=postgres.MARK.decode()),
        f"host=127.0.0.1 password={postgres.PASSWORD} x",
    ):
        failed = CliRunner().invoke(main, ["export", "postgres", "--url", bad, *where, *flags])
        assert failed.exit_code == 1
        assert postgres.MARK.decode() not in failed.output + done.output
    if flags:
        assert json.loads(done.stdout) == {
            "release": "2024-05-10",
            "schema": "strata",
            "tables": 3,
            "rows": 81,
        }
