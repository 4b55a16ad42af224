"""Thirty days of class history, by the same SQL and functions as the job; `make soak` replays all of Online Retail."""

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from pipeline import settings as settings_module
from pipeline.transform.replay import Replay
from tests.job.conftest import TOKEN_KEY, Line

TABLES = (
    "segments.class_history",
    "segments.class_transition",
    "segments.class_stability",
    "segments.lifecycle_transition",
)
CAUSES = {"own_order", "ageing", "refund_or_correction", "cut_points", "merge_split", "policy_change"}
DAYS = 30


def replay(line: Line, folder: Path, wanted: tuple[str, ...] = TABLES) -> Replay:
    home = replace(settings_module.load(), home=line.home)
    return Replay(home, folder, wanted)


@pytest.fixture(scope="module")
def last(company: Line) -> date:
    return date.fromisoformat(company.manifest()["as_of_date"])


@pytest.fixture(scope="module")
def month(company: Line, last: date, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    """The company's last thirty days, each built upon the one before; two of them are passed over."""
    before = os.environ.get("STRATA_TOKEN_KEY")
    os.environ["STRATA_TOKEN_KEY"] = TOKEN_KEY
    one = replay(company, tmp_path_factory.mktemp("replay"))
    days = [last - timedelta(days=n) for n in reversed(range(DAYS)) if n not in (9, 10)]
    list(one.days(days))
    yield one
    one.close()
    os.environ.pop("STRATA_TOKEN_KEY")
    if before:
        os.environ["STRATA_TOKEN_KEY"] = before


def causes(one: Replay, scheme: str = "%") -> dict[str, int]:
    return dict(
        one.rows(
            "select cause, sum(customers) from segments.class_transition "
            f"where scheme like '{scheme}' group by cause"
        )
    )


def test_every_move_of_the_month_has_its_cause(month: Replay) -> None:
    found = causes(month)
    assert set(found) <= CAUSES | {"entered", "left"}
    assert {"own_order", "ageing", "cut_points"} <= set(found)
    moves = sum(n for cause, n in found.items() if cause not in ("entered", "left"))
    rescored = month.rows("select sum(rescored_n) from segments.class_transition")[0][0]
    assert rescored == moves > 300


def test_the_history_ends_in_the_classes_that_the_job_published(month: Replay, company: Line) -> None:
    ours = month.rows(
        "select customer_key, scheme, class from segments.class_history where valid_to is null order by all"
    )
    assert ours == company.query(
        "select customer_key, scheme, class from segments.class_history where valid_to is null order by all"
    )


def test_a_customer_has_one_class_a_day_and_the_counts_say_so(month: Replay) -> None:
    overlaps = month.rows(
        "select count(*) from segments.class_history as a join segments.class_history as b "
        "using (customer_key, scheme) where a.valid_from < b.valid_from "
        "and (a.valid_to is null or a.valid_to > b.valid_from)"
    )
    assert overlaps == [(0,)]
    counted = month.rows(
        "select as_of_date, scheme, class, customers from segments.class_stability where customers > 0 order by all"
    )
    assert len({row[0] for row in counted}) == DAYS - 2
    assert counted == month.rows(
        "select as_of_date, scheme, class, count(*) from segments.class_bounds join segments.class_history "
        "on valid_from <= as_of_date and (valid_to is null or valid_to > as_of_date) group by all order by all"
    )


def test_moves_by_time_are_shown_late_and_moves_by_people_at_once(month: Replay, last: date) -> None:
    lags = month.rows(
        "select cause in ('ageing', 'cut_points'), datediff('day', valid_from, published_from), count(*) "
        "from segments.class_history where published_from is not null and cause <> 'first_build' group by all"
    )
    assert {lag for slow, lag, _ in lags if not slow} == {0}
    slow = {lag: n for is_slow, lag, n in lags if is_slow}
    # Later only where days were passed over, earlier only where the customer did something or went back.
    assert max(slow, key=lambda lag: slow[lag]) == 3 and set(slow) <= {0, 1, 2, 3, 4, 5}
    waiting = month.rows(
        "select min(valid_from), count(*) from segments.class_history where published_from is null and valid_to is null"
    )
    assert waiting[0][1] > 0 and waiting[0][0] > last - timedelta(days=3)


def test_the_same_day_again_gives_the_same_bytes(month: Replay, last: date) -> None:
    def bytes_of(release: str) -> list[bytes]:
        folder = month.settings.releases / release / "tables" / "segments"
        return [(folder / f"{name}.parquet").read_bytes() for name in ("class_history", "class_bounds")]

    month.build(last)
    month.keep(last)
    assert bytes_of(f"{last}-r2") == bytes_of(str(last))


@pytest.fixture
def planted(month: Replay, last: date) -> Iterator[Replay]:
    """The last day, to be built again after something was changed; what is changed is put back."""
    seeds = {"policy.thresholds", "policy.rfm_refreshes"}
    kept = [*seeds, *month.raw_tables()]
    for table in kept:
        month.con.execute(f'create or replace table main."kept {table}" as from {table}')
    yield month
    for table in kept:
        month.con.execute(f'create or replace table {table} as from main."kept {table}"')
        month.con.execute(f'drop table main."kept {table}"')


def moved(one: Replay) -> dict[tuple[str, str], str]:
    """Cause by customer and scheme of the day's moves."""
    return {
        (key, scheme): cause
        for key, scheme, cause in one.rows(
            "select customer_key, scheme, cause from intermediate.int_class_moves "
            "where from_class is not null and to_class is not null"
        )
    }


def test_a_changed_threshold_is_a_change_of_policy(planted: Replay, last: date) -> None:
    planted.build(last)
    before = moved(planted)
    planted.con.execute("update policy.thresholds set value = 20 where key = 'lifecycle_decline_max_days'")
    planted.con.execute("update policy.thresholds set value = 15 where key = 'lifecycle_decline_min_days'")
    planted.build(last)
    new = {who: cause for who, cause in moved(planted).items() if who not in before}
    assert len(new) > 5 and set(new.values()) == {"policy_change"}
    assert {scheme for _, scheme in new} == {"lifecycle"}


def test_an_order_that_is_cancelled_later_is_a_correction(planted: Replay, last: date) -> None:
    """Orders of earlier days that yesterday's deliveries said were paid are not in today's."""
    planted.build(last)
    before = moved(planted)
    orders = planted.raw_table("orders")
    planted.con.execute(
        f"update {orders} set status = 'cancelled' where cast(paid_at as date) < date '{last - timedelta(days=3)}' "
        f"and cast(paid_at as date) > date '{last - timedelta(days=40)}'"
    )
    planted.build(last)
    new = {who: cause for who, cause in moved(planted).items() if who not in before}
    of_rfm = [cause for (_, scheme), cause in new.items() if scheme in ("rfm", "lifecycle")]
    assert len(of_rfm) > 5
    # Others' corrections move the bounds that all share.
    assert set(of_rfm) <= {"refund_or_correction", "cut_points"}
    assert of_rfm.count("refund_or_correction") > 5


def test_a_day_without_orders_of_anybody_is_ageing_alone(planted: Replay, last: date) -> None:
    orders = planted.raw_table("orders")
    planted.con.execute(
        f"delete from {orders} where cast(paid_at as date) >= date '{last - timedelta(days=2)}'"
    )
    planted.build(last)
    assert "own_order" not in set(moved(planted).values())


@pytest.mark.soak
@pytest.mark.skipif(os.environ.get("STRATA_SOAK") != "1", reason="replays 305 days; make soak")
def test_every_move_of_online_retail_has_its_cause(
    retail: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRATA_TOKEN_KEY", TOKEN_KEY)
    one = replay(retail, tmp_path)
    files = sorted((retail.landing / "online_retail" / "transactions").iterdir())
    days = [date.fromisoformat(path.name.partition(".")[0]) + timedelta(days=1) for path in files]
    assert len(days) == 305
    list(one.days(days))
    found = causes(one)
    assert set(found) <= CAUSES | {"entered", "left"}
    assert {"own_order", "ageing", "cut_points"} <= set(found)
    assert causes(one, "lifecycle").keys() >= {"own_order", "ageing"}
