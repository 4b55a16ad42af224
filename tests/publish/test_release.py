"""A release is complete, verified and read-only before the pointer names it, and nothing else ever moves."""

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from pipeline import settings as settings_module
from pipeline.errors import GateStopped, StrataError
from pipeline.home import layout
from pipeline.ingest.load import sweep
from pipeline.publish import commit
from pipeline.publish.release import Published, publish
from pipeline.publish.rollback import rollback
from pipeline.publish.shelf import current, list_releases, newest_as_of, verify, verify_folder
from pipeline.publish.tables import published_tables
from pipeline.quality.checks import Check
from pipeline.settings import Settings
from pipeline.transform import receipt
from pipeline.transform.context import fingerprint

AS_OF = date(2024, 5, 10)
NODES = ["model.strata.segment_membership", "test.strata.unique"]
Land = Callable[[str, bytes | str], Path]

MEMBERSHIP = {
    "customer_key": "VARCHAR",
    "scheme": "VARCHAR",
    "class": "VARCHAR",
    "class_label_zh": "VARCHAR",
    "class_label_en": "VARCHAR",
    "reason_zh": "VARCHAR",
    "pricing_use_allowed": "BOOLEAN",
    "policy_version": "VARCHAR",
}
SUMMARY = {
    "scheme": "VARCHAR",
    "class": "VARCHAR",
    "class_label_zh": "VARCHAR",
    "class_label_en": "VARCHAR",
    "customers": "BIGINT",
    "share": "DOUBLE",
    "revenue_share": "DOUBLE",
    "action_zh": "VARCHAR",
    "action_en": "VARCHAR",
}
RFM = {"customer_key": "VARCHAR", "monetary": "DECIMAL(18,2)", "last_seen": "DATE"}


def model(
    schema: str, name: str, columns: dict[str, str], grain: list[str], hidden: tuple[str, ...] = ()
) -> dict[str, Any]:
    """A model of dbt's manifest, every column published but the hidden ones."""
    return {
        "resource_type": "model",
        "schema": schema,
        "name": name,
        "columns": {c: {"meta": {}, "config": {"meta": {"publish": c not in hidden}}} for c in columns},
        "config": {
            "meta": {"grain": grain, "requires_feeds": ["consents"] if name == "segment_membership" else []}
        },
    }


MANIFEST: dict[str, Any] = {
    "nodes": {
        "a": model("audiences", "segment_membership", MEMBERSHIP, ["customer_key", "scheme"]),
        "b": model("audiences", "segment_summary", SUMMARY, ["scheme", "class"]),
        "c": model("segments", "customer_small", RFM, ["customer_key"], hidden=("last_seen",)),
        "d": {"resource_type": "test", "columns": {}, "config": {}},
        "e": model("core", "nothing_published", {"x": "BIGINT"}, [], hidden=("x",)),
    }
}


@dataclass
class Home:
    """A home with a hand-made warehouse and its receipt."""

    settings: Settings

    def sql(self, *statements: str) -> None:
        self.settings.warehouse.parent.mkdir(parents=True, exist_ok=True)
        with duckdb.connect(str(self.settings.warehouse)) as con:
            for statement in statements:
                con.execute(statement)

    def build(self, as_of: date = AS_OF, checks: tuple[Check, ...] = ()) -> None:
        self.settings.build.mkdir(parents=True, exist_ok=True)
        receipt.write(
            self.settings,
            as_of,
            fingerprint(self.settings, as_of),
            dict.fromkeys(NODES, "success"),
            list(checks),
        )

    def publish(
        self, as_of: date = AS_OF, run: str = "run1", manifest: dict[str, Any] | None = None
    ) -> Published:
        return publish(
            self.settings, as_of, run_id=run, dbt_manifest=manifest or MANIFEST, expected_nodes=NODES
        )

    def state(self) -> dict[str, bytes]:
        """Every file below releases/, and the pointer."""
        files = (
            [p for p in self.settings.releases.rglob("*") if p.is_file()]
            if self.settings.releases.exists()
            else []
        )
        found = {str(p.relative_to(self.settings.home)): p.read_bytes() for p in files}
        if self.settings.pointer.exists():
            found["CURRENT.json"] = self.settings.pointer.read_bytes()
        return found


def table(schema: str, name: str, columns: dict[str, str]) -> str:
    typed = ", ".join(f'"{column}" {kind}' for column, kind in columns.items())
    return f"create table {schema}.{name} ({typed})"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    folder = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("HOME", folder / "home"),
            ("LANDING", folder / "landing"),
            ("TOKEN_KEY", "ab" * 32),
        ):
            patch.setenv(f"STRATA_{name}", str(value))
        for name in ("STRATA_CURRENCY", "STRATA_TIMEZONE"):
            patch.delenv(name, raising=False)
        settings = settings_module.load()
        orders = settings.landing / "shop" / "orders" / "2024-05-06.csv"
        orders.parent.mkdir(parents=True)
        orders.write_text("order_id,ordered_at,status\na,2024-05-06,paid\nb,bad,paid\n")
        sweep(settings, AS_OF, run_id="test", released=None)
        _warehouse(Home(settings))
        yield settings


@pytest.fixture
def home(built: Settings, settings: Settings) -> Home:
    """A home of its own, before its first release."""
    shutil.copytree(built.home, settings.home)
    shutil.copytree(built.landing, settings.landing, dirs_exist_ok=True)
    layout.ensure(settings)
    return Home(settings)


def _warehouse(made: Home) -> None:
    made.sql(
        "create schema audiences",
        "create schema segments",
        "create schema core",
        "create schema intermediate",
        table("audiences", "segment_membership", MEMBERSHIP),
        # Everybody who is in it has consented.
        "create view core.fct_consent_states as select customer_key, purpose, 'all' as channel, true as is_granted "
        "from audiences.segment_membership cross join (values ('marketing'), ('profiling')) as p (purpose)",
        "create table core.dim_customers (customer_key varchar, is_minor boolean)",
        "create table intermediate.int_persons_excluded (customer_key varchar)",
        "create schema operations",
        "create table operations.ingest_ledger (delivery varchar, is_in_force boolean)",
        "insert into operations.ingest_ledger values ('shop/orders/2024-05-06/rev=1', true)",
        table("audiences", "segment_summary", SUMMARY),
        table("segments", "customer_small", RFM),
        "insert into audiences.segment_membership select md5(i::varchar), 'rfm', 'champions', '冠军客户', 'Champions', "
        "'原因', false, '2024-1' from range(40, 0, -1) t(i)",
        "insert into audiences.segment_summary values "
        "('rfm', 'champions', '冠军客户', 'Champions', 40, 1.0, 1.0, '专人联系', 'Call')",
        "insert into segments.customer_small select md5(i::varchar), i / 10, date '2024-05-01' from range(40) t(i)",
    )
    made.build()


def test_only_marked_columns_of_models_leave() -> None:
    found = published_tables(MANIFEST)
    assert [t.key for t in found] == [
        "audiences.segment_membership",
        "audiences.segment_summary",
        "segments.customer_small",
    ]
    small = found[2]
    assert (small.columns, small.grain) == (("customer_key", "monetary"), ("customer_key",))
    assert found[0].requires_feeds == ("consents",)


def test_a_mark_must_be_true_itself() -> None:
    """Nothing leaves by default: no mark, a false mark and another meta key all keep a column in."""
    columns = {
        "none": {"meta": {}},
        "false": {"meta": {"publish": False}},
        "other": {"meta": {"pii": True}},
        "old_style": {"meta": {"publish": True}},
        "new_style": {"config": {"meta": {"publish": True}}},
    }
    node = {"resource_type": "model", "schema": "main_core", "name": "t", "columns": columns, "config": {}}
    (found,) = published_tables({"nodes": {"t": node}})
    assert (found.key, found.columns) == ("core.t", ("old_style", "new_style"))


def test_a_release_is_whole(home: Home) -> None:
    published = home.publish()
    assert (published.release, published.changed) == ("2024-05-10", True)
    assert json.loads(home.settings.pointer.read_text()) == {
        "release": "2024-05-10",
        "path": "releases/2024-05-10",
    }
    assert verify(home.settings) == ("2024-05-10", [])
    manifest = current(home.settings) or {}
    files = {p.relative_to(published.path).as_posix() for p in published.path.rglob("*") if p.is_file()}
    assert (
        set(manifest["files"])
        == files - {"manifest.json", "manifest.sha256"}
        == {
            "docs/dictionary.html",
            "docs/dictionary.json",
            "index.html",
            "marts.duckdb",
            "tables/audiences/segment_membership.parquet",
            "tables/audiences/segment_summary.parquet",
            "tables/segments/customer_small.parquet",
        }
    )
    assert (manifest["as_of_date"], manifest["currency"], manifest["previous_release"]) == (
        "2024-05-10",
        "CNY",
        None,
    )
    assert manifest["policy_version"] == "2024-1"
    assert {name: t["rows"] for name, t in manifest["tables"].items()} == {
        "audiences.segment_membership": 40,
        "audiences.segment_summary": 1,
        "segments.customer_small": 40,
    }
    assert manifest["tables"]["segments.customer_small"]["columns"] == {
        "customer_key": "VARCHAR",
        "monetary": "DECIMAL(18,2)",
    }
    assert manifest["tables"]["audiences.segment_membership"]["status"] == "not_enabled"
    assert manifest["accounting"] == {
        "rows_read": 2,
        "rows_loaded": 1,
        "rows_rejected": 1,
        "rows_duplicate": 0,
    }
    assert list(manifest["inputs"]) == ["shop/orders/2024-05-06/rev=1"]
    assert manifest["feeds"] == {"shop/orders": {"files": 1, "latest_dt": "2024-05-06", "status": "enabled"}}
    assert newest_as_of(home.settings) == AS_OF


def test_the_database_opens_alone_and_equals_the_tables(home: Home, tmp_path: Path) -> None:
    path = home.publish().path
    assert not list(path.glob("*.wal"))
    copy = tmp_path / "elsewhere.duckdb"
    shutil.copy(path / "marts.duckdb", copy)
    with duckdb.connect(str(copy), read_only=True) as con:
        tables = con.execute(
            "select table_schema, table_name from information_schema.tables order by all"
        ).fetchall()
        assert tables == [
            ("audiences", "segment_membership"),
            ("audiences", "segment_summary"),
            ("segments", "customer_small"),
        ]
        for schema, name in tables:
            parquet = path / "tables" / schema / f"{name}.parquet"
            assert (
                con.execute(f"from {schema}.{name}").to_arrow_table().to_pylist()
                == pq.read_table(parquet).to_pylist()
            )
        stored = con.execute(
            "select tags from duckdb_databases() where database_name = 'elsewhere'"
        ).fetchone()
    assert stored and dict(stored[0])["storage_version"].startswith("v1.0.0")


def test_a_column_that_is_not_marked_leaves_nowhere(home: Home) -> None:
    path = home.publish().path
    assert pq.read_schema(path / "tables/segments/customer_small.parquet").names == [
        "customer_key",
        "monetary",
    ]
    with duckdb.connect(str(path / "marts.duckdb"), read_only=True) as con:
        found = con.execute(
            "select count(*) from information_schema.columns where column_name = 'last_seen'"
        ).fetchone()
    assert found == (0,)
    assert b"2024-05-01" not in (path / "index.html").read_bytes()


def test_tables_are_sorted_by_their_grain(home: Home) -> None:
    path = home.publish().path
    keys = pq.read_table(path / "tables/audiences/segment_membership.parquet")["customer_key"].to_pylist()
    assert keys == sorted(keys) and len(keys) == 40


def test_files_and_folders_are_read_only(home: Home) -> None:
    path = home.publish().path
    modes = {p: stat.S_IMODE(p.stat().st_mode) for p in [path, *path.rglob("*")]}
    assert {mode for p, mode in modes.items() if p.is_file()} == {0o444}
    assert {mode for p, mode in modes.items() if p.is_dir()} == {0o555}


def test_publishing_the_same_again_changes_nothing(home: Home) -> None:
    home.publish()
    before = home.state()
    assert home.publish(run="run2").changed is False
    home.build()
    again = home.publish(run="run3")
    assert (again.release, again.changed) == ("2024-05-10", False)
    assert home.state() == before


def test_another_input_makes_the_day_s_next_release(home: Home, land: Land) -> None:
    home.publish()
    first = home.state()
    land("shop/orders/2024-05-07.csv", "order_id,ordered_at,status\nc,2024-05-07,paid\n")
    sweep(home.settings, AS_OF, run_id="test", released=AS_OF)
    with pytest.raises(GateStopped, match="deliveries or policy changed since the build"):
        home.publish(run="run2")
    home.build()
    assert home.publish(run="run3").release == "2024-05-10-r2"
    manifest = current(home.settings) or {}
    assert manifest["previous_release"] == "2024-05-10"
    assert list_releases(home.settings) == ["2024-05-10", "2024-05-10-r2"]
    assert {k: v for k, v in home.state().items() if "r2" not in k and k != "CURRENT.json"} == {
        k: v for k, v in first.items() if k != "CURRENT.json"
    }, "the first release is as it was"


def test_other_rows_from_equal_inputs_make_a_release_too(home: Home) -> None:
    """Code that is no SQL, such as the identity step, may change what equal inputs come to."""
    home.publish()
    home.sql("update segments.customer_small set monetary = 7 where monetary = 0")
    home.build()
    assert home.publish(run="run2").release == "2024-05-10-r2"


def test_revisions_are_ordered_by_number(home: Home) -> None:
    home.publish()
    for n in range(2, 10):
        shutil.copytree(home.settings.releases / "2024-05-10", home.settings.releases / f"2024-05-10-r{n}")
    for n in (10, 11):
        home.sql(f"update segments.customer_small set monetary = {n}")
        home.build()
        assert home.publish(run=f"run{n}").release == f"2024-05-10-r{n}"
    assert list_releases(home.settings)[-3:] == ["2024-05-10-r9", "2024-05-10-r10", "2024-05-10-r11"]


def test_an_id_is_given_once_also_where_its_folder_was_taken_away(home: Home) -> None:
    def another(n: int) -> str:
        home.sql(f"update segments.customer_small set monetary = {n}")
        home.build()
        return home.publish(run=f"run{n}").release

    home.publish()
    assert [another(2), another(3)] == ["2024-05-10-r2", "2024-05-10-r3"]
    rollback(home.settings, "2024-05-10-r2", "op")
    commit.remove(home.settings.releases / "2024-05-10-r3")
    assert another(4) == "2024-05-10-r4"
    rollback(home.settings, "2024-05-10-r2", "op")
    commit.remove(home.settings.releases / "2024-05-10-r4")
    home.settings.release_ids.write_text("[]")
    with pytest.raises(StrataError, match=r"release_ids.json is damaged"):
        another(5)
    # A home of before the file: what is there counts, and what is given from now on.
    home.settings.release_ids.unlink()
    assert another(6) == "2024-05-10-r3"
    assert json.loads(home.settings.release_ids.read_text()) == {"2024-05-10": 3}


def test_an_older_day_is_refused(home: Home) -> None:
    home.publish()
    before = home.state()
    home.build(date(2024, 5, 9))
    with pytest.raises(StrataError, match="a release for 2024-05-09 would turn time back"):
        home.publish(date(2024, 5, 9), run="run2")
    assert home.state() == before


def nothing_moved(home: Home, before: dict[str, bytes]) -> None:
    assert home.state() == before
    assert not list(home.settings.releases.glob(".tmp-*"))


@pytest.mark.parametrize(
    ("defect", "check"),
    [
        ("update audiences.segment_membership set customer_key = '13812345678'", "keys_are_tokens"),
        (
            "insert into audiences.segment_membership from audiences.segment_membership",
            "one_class_per_customer_and_scheme",
        ),
        ("update audiences.segment_summary set customers = 3", "no_small_cells"),
    ],
)
def test_a_failing_suite_leaves_everything_as_it_was(home: Home, defect: str, check: str) -> None:
    """The suites judge the candidate's own files, so tables that were changed after the build are caught as well."""
    home.publish()
    before = home.state()
    home.sql(defect)
    home.build()
    with pytest.raises(GateStopped, match=rf"(?s)nothing was published: .*{check}"):
        home.publish(run="run2")
    nothing_moved(home, before)


def test_without_a_receipt_nothing_is_published(home: Home) -> None:
    receipt.invalidate(home.settings)
    with pytest.raises(GateStopped, match="there is no receipt"):
        home.publish()
    assert home.state() == {}


def test_a_warning_is_published_with_the_release(home: Home) -> None:
    warned = Check("feed", "returns", "delivered", "warn", False, 1, 0, "late")
    home.build(checks=(warned,))
    home.publish()
    assert warned.as_dict() in (current(home.settings) or {})["checks"]


def flip(file: Path) -> None:
    file.chmod(0o644)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


@pytest.mark.parametrize("name", ["marts.duckdb", "index.html", "tables/segments/customer_small.parquet"])
def test_one_flipped_bit_is_found(home: Home, name: str) -> None:
    path = home.publish().path
    flip(path / name)
    assert verify(home.settings) == ("2024-05-10", [f"{name} is not the file that was published"])


def test_a_missing_and_an_extra_file_are_found(home: Home) -> None:
    path = home.publish().path
    for folder in (path, path / "tables/segments"):
        folder.chmod(0o755)
    (path / "tables/segments/customer_small.parquet").unlink()
    (path / "marts.duckdb.wal").write_bytes(b"replay me")
    assert verify_folder(path) == [
        "tables/segments/customer_small.parquet is missing",
        "marts.duckdb.wal does not belong to the release",
    ]


def test_a_release_that_is_not_there_is_told_with_those_that_are(home: Home) -> None:
    with pytest.raises(StrataError, match="no release has been published in .*: run `strata run`"):
        verify(home.settings)
    home.publish()
    with pytest.raises(StrataError, match="there is no release 2020-01-01; there are: 2024-05-10"):
        verify(home.settings, "2020-01-01")


def test_what_a_dead_run_left_is_swept(home: Home) -> None:
    left = home.settings.releases / ".tmp-dead" / "tables"
    left.mkdir(parents=True)
    (left / "x.parquet").write_bytes(b"half")
    home.publish()
    assert [p.name for p in home.settings.releases.iterdir()] == ["2024-05-10"]


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(
            "HUGEINT",
        ),
        "BIGINT[]",
        "STRUCT(a BIGINT)",
        "TIME",
        "UUID",
        "BLOB",
        "MAP(VARCHAR, BIGINT)",
        "TIMESTAMP_NS[]",
    ],
)
def test_a_type_that_older_readers_cannot_open_is_refused(home: Home, kind: str) -> None:
    home.publish()
    before = home.state()
    home.sql(
        "drop table segments.customer_small",
        f"create table segments.customer_small (customer_key varchar, monetary {kind}, last_seen date)",
    )
    home.build()
    with pytest.raises(StrataError, match="segments.customer_small.monetary has type"):
        home.publish(run="run2")
    nothing_moved(home, before)


def test_a_crash_between_rename_and_pointer_leaves_the_old_release_current(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.publish()
    home.sql("update segments.customer_small set monetary = 7")
    home.build()
    real = os.replace

    def dies(source: Any, target: Any, **more: Any) -> None:
        if Path(target).name == "CURRENT.json":
            raise OSError(28, "No space left on device")
        real(source, target, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dies)
        with pytest.raises(OSError, match="No space left"):
            home.publish(run="run2")
    assert (current(home.settings) or {})["release"] == "2024-05-10"
    assert verify(home.settings) == ("2024-05-10", [])
    home.build()
    done = home.publish(run="run3")
    assert done.changed and (current(home.settings) or {})["release"] == done.release
    assert verify(home.settings) == (done.release, [])


@pytest.mark.parametrize("step", ["release.render_page", "release.write_database", "commit._commit"])
def test_a_crash_at_any_step_before_leaves_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    home.publish()
    before = home.state()
    home.sql("update segments.customer_small set monetary = 7")
    home.build()

    def dies(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"pipeline.publish.{step}", dies)
    with pytest.raises(KeyboardInterrupt):
        home.publish(run="run2")
    nothing_moved(home, before)


def test_a_warehouse_that_changed_after_its_receipt_is_not_published(home: Home) -> None:
    """A dbt run by hand after the build: the tests that the receipt speaks of never saw these rows."""
    home.sql("update segments.customer_small set monetary = monetary * 1000")
    with pytest.raises(GateStopped):
        home.publish()


def test_a_flipped_bit_in_the_manifest_is_found(home: Home) -> None:
    path = home.publish().path / "manifest.json"
    path.chmod(0o644)
    path.write_text(path.read_text().replace('"rows_rejected": 1', '"rows_rejected": 0'))
    assert verify(home.settings)[1] == ["manifest.json is not the file that was published"]


def test_a_manifest_that_is_no_json_is_a_clear_error(home: Home) -> None:
    path = home.publish().path / "manifest.json"
    path.chmod(0o644)
    path.write_text(path.read_text()[:-40])
    with pytest.raises(StrataError, match="manifest"):
        verify(home.settings)


def test_an_unchanged_table_is_one_file_for_both_releases(home: Home) -> None:
    """Only what changed takes room again; a file that was damaged since is written anew and not taken over."""
    first = home.publish().path
    tables = Path("tables")
    small, summary, members = (
        tables / name
        for name in (
            "segments/customer_small.parquet",
            "audiences/segment_summary.parquet",
            "audiences/segment_membership.parquet",
        )
    )
    (first / summary).chmod(0o644)
    (first / summary).write_bytes(b"x" * (first / summary).stat().st_size)
    home.sql("update segments.customer_small set monetary = 7")
    home.build()
    second = home.publish().path
    assert second != first and verify(home.settings) == ("2024-05-10-r2", [])
    assert (first / members).samefile(second / members)
    assert not (first / summary).samefile(second / summary)
    assert not (first / small).samefile(second / small)
