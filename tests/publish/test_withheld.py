"""Who may not leave stops the release, whatever the models made: each check on the written files has its planted defect."""

import os
from datetime import date

import duckdb
import pytest

from pipeline.errors import GateStopped
from pipeline.privacy import consent
from pipeline.privacy.consent import Refusals
from pipeline.publish import republish
from pipeline.publish.release import Published
from pipeline.publish.shelf import current
from pipeline.publish.tables import stated_tables, write_database
from pipeline.quality import approvals
from pipeline.settings import Settings
from pipeline.transform import history
from tests.publish.test_release import MANIFEST, Home, built, home, model  # noqa: F401


def test_every_check_on_the_written_files_is_made(home: Home) -> None:  # noqa: F811
    home.publish()
    made = {c["check"]: c["passed"] for c in (current(home.settings) or {})["checks"]}
    wanted = {
        "consent_enforced",
        "withdrawal_latency",
        "no_minor_leaves",
        "retention_limit",
        "erased_persons_absent",
        "delete_requests_met",
    }
    assert wanted <= {check for check, passed in made.items() if passed}


NEXT = date(2024, 5, 11)
_LEAVE = "delete from audiences.segment_membership where customer_key in (select md5(i::varchar) from range({}) t(i))"


def _next(made: Home, *planted: str) -> Published:
    made.sql(*planted)
    made.build(NEXT)
    return made.publish(NEXT, run="next")


def test_people_who_vanish_without_a_word_stop_it_until_somebody_answers_for_it(home: Home) -> None:  # noqa: F811
    """Of 40 members 25 are gone, as if a file of consents had been cut. One more said no: that is no loss."""
    home.publish()
    home.sql(
        _LEAVE.format(27),
        "insert into intermediate.int_persons_excluded values (md5('26'))",
        "delete from segments.customer_small where customer_key = md5('26')",
    )
    with pytest.raises(
        GateStopped, match=r"members_stay \(Q-15\) · observed 0.625, limit 0.1 · e.g. [0-9a-f]{32}"
    ):
        _next(home)
    assert (current(home.settings) or {})["release"] == "2024-05-10"
    approvals.approve(home.settings, ["members_stay"], by="Li Wei", why="the northern stores have closed")
    assert home.publish(NEXT, run="approved").changed


def test_nobody_left_stops_it_however_few_there_were(home: Home) -> None:  # noqa: F811
    home.sql("delete from audiences.segment_membership where customer_key <> md5('1')")
    home.build()
    home.publish()
    with pytest.raises(GateStopped, match=r"members_stay \(Q-15\) · observed 1.0"):
        _next(home, "delete from audiences.segment_membership")


@pytest.mark.parametrize(
    "planted",
    [
        # Few enough; refused; minors; taken up by another person; another policy.
        [_LEAVE.format(13)],
        [
            "create or replace view core.fct_consent_states as select md5(i::varchar) as customer_key, purpose, 'all' as channel, i > 30 "
            "as is_granted from range(41) t(i), (values ('marketing'), ('profiling')) as p (purpose)",
            _LEAVE.format(31),
        ],
        [
            "insert into core.dim_customers select md5(i::varchar), true from range(31) t(i)",
            _LEAVE.format(31),
        ],
        [_LEAVE.format(31), "update audiences.segment_membership set policy_version = '2024-2'"],
    ],
    ids=["few", "refused", "minors", "another policy"],
)
def test_people_who_leave_for_a_reason_stop_nothing(home: Home, planted: list[str]) -> None:  # noqa: F811
    home.publish()
    assert _next(home, *planted).changed


@pytest.mark.parametrize(
    ("planted", "check"),
    [
        (
            "create or replace view core.fct_consent_states as select customer_key, purpose, 'all' as channel, "
            "customer_key <> md5('7') or purpose <> 'profiling' as is_granted from audiences.segment_membership "
            "cross join (values ('marketing'), ('profiling')) as p (purpose)",
            r"consent_enforced \(Q-16\) · observed 1",
        ),
        (
            "insert into core.dim_customers values (md5('7'), true), (md5('nobody'), true), (md5('8'), false)",
            r"no_minor_leaves \(Q-19\) · observed 1",
        ),
        (
            # In a table of classes alone, without consent to anything: md5('0') is in no audience.
            "insert into intermediate.int_persons_excluded values (md5('0')), (md5('nobody'))",
            r"no_minor_leaves \(Q-19\) · observed 1",
        ),
    ],
)
def test_somebody_who_may_not_leave_stops_it(home: Home, planted: str, check: str) -> None:  # noqa: F811
    home.sql(planted)
    home.build()
    with pytest.raises(GateStopped, match=check):
        home.publish()
    assert not home.settings.pointer.exists()


def test_the_database_of_a_release_made_again_says_what_its_files_say(settings: Settings) -> None:
    """It is a copy in which the refused are deleted and their flags cleared, in the format that old clients read."""
    before = settings.releases / "before"
    for table, columns in {
        "audiences/segment_membership": "i % 2 = 0 as consent_email, i % 3 = 0 as consent_sms",
        "segments/customer_small": "i as monetary",
        "segments/of_nobody": "i as n",
    }.items():
        path = before / "tables" / f"{table}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        key = "" if "nobody" in table else "md5(i::varchar) as customer_key, "
        duckdb.sql(f"copy (select {key}{columns} from range(300000) t (i)) to '{path}' (format parquet)")
    tables = {}
    for path in (before / "tables").rglob("*.parquet"):
        shown = duckdb.sql(f"describe select * from '{path}'").fetchall()
        rows = duckdb.sql(f"select count(*) from '{path}'").fetchall()[0][0]
        tables[f"{path.parent.name}.{path.stem}"] = {"columns": {r[0]: r[1] for r in shown}, "rows": rows}
    told = {"release": "before", "tables": tables}
    write_database(before, stated_tables(told))
    keys = [duckdb.sql(f"select md5('{i}')").fetchall()[0][0] for i in range(8)]
    refused = Refusals(
        frozenset({keys[0]}),
        frozenset({keys[1]}),
        {"email": frozenset(keys[2:5]), "sms": frozenset(keys[3:7])},
    )
    touched = republish._touched(before, refused)
    assert set(touched) == {"audiences.segment_membership", "segments.customer_small"}
    again = settings.releases / "again"
    republish._copy(settings, again, told, refused, touched)
    republish.database(before, again, refused, {key: tables[key]["columns"] for key in touched})
    with duckdb.connect() as con:
        con.execute(
            f"attach '{again / 'marts.duckdb'}' as m (read_only); attach '{before / 'marts.duckdb'}' as b (read_only)"
        )
        for key in tables:
            file = f"'{again / 'tables' / key.replace('.', '/')}.parquet'"
            for one, other in ((file, f"m.{key}"), (f"m.{key}", file)):
                assert con.execute(
                    f"select count(*) from (from {one} except all from {other})"
                ).fetchone() == (0,), key
        assert con.execute("select count(*) from m.audiences.segment_membership").fetchone() == (299_994,)
        stored = "select tags from duckdb_databases() where database_name in ('m', 'b')"
        (one,), (other,) = con.execute(stored).fetchall()
        assert one["storage_version"] == other["storage_version"] == "v1.0.0+"
    assert (before / "marts.duckdb").stat().st_nlink == 1 and not list(again.glob("*.wal"))


HISTORY = {"customer_key": "VARCHAR", "scheme": "VARCHAR", "valid_from": "DATE"}


@pytest.mark.parametrize("refuses", ["nobody", "before the publication", "after it, urgently"])
def test_history_goes_on_from_the_warehouse_only_where_it_has_no_row_that_the_release_has_not(
    home: Home,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    refuses: str,
) -> None:
    """Rows of whoever was left out are in the warehouse still: going on from them, the next day's history would have them
    back, and a full build would not."""
    nodes = {**MANIFEST["nodes"], "h": model("segments", "class_history", HISTORY, [*HISTORY])}
    home.sql(
        "create table segments.class_history as select md5(i::varchar) as customer_key, 'rfm' as scheme, "
        "date '2024-05-01' as valid_from from range(40) t(i)"
    )
    home.build()
    (key,) = duckdb.sql("select md5('7')").fetchall()[0]
    gone = Refusals(unprofiled=frozenset({key}))
    if refuses == "before the publication":
        monkeypatch.setattr(consent, "refusals", lambda *_: gone)
    home.publish(manifest={"nodes": nodes})
    if refuses == "after it, urgently":
        monkeypatch.setattr(consent, "refusals", lambda *_: gone)
        assert republish.without_refused(home.settings).rows > 0
    told = current(home.settings) or {}
    is_same = refuses == "nobody"
    assert told["tables"]["segments.class_history"]["rows"] == (40 if is_same else 39)
    # The next build lays out the release's rows and asks (tests/transform/test_history_before_a_build.py has the other ways
    # to a no): of the published columns none is missing here, so what it links is the file itself.
    laid_out = home.settings.build / "history" / "class_history.parquet"
    laid_out.parent.mkdir(parents=True, exist_ok=True)
    published = home.settings.releases / told["release"] / "tables" / "segments" / "class_history.parquet"
    os.link(published, laid_out)
    assert history.is_in_warehouse(home.settings, told["release"]) is is_same
