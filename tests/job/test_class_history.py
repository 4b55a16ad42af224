"""Thirty days of class history, by the same SQL and functions as the job; `make soak` replays all of Online Retail."""

import csv
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest

from pipeline import settings as settings_module
from pipeline.errors import StrataError
from pipeline.identity import review
from pipeline.segments import custom, diff
from pipeline.settings import DBT_PROJECT_DIR, Settings
from pipeline.transform import past
from pipeline.transform.replay import Replay
from tests.job.conftest import TOKEN_KEY, Line

TABLES = (
    "segments.class_history",
    "segments.class_transition",
    "segments.class_stability",
    "segments.lifecycle_transition",
)
RESCORED = ("rfm", "abc", "value", "lifecycle")
CAUSES = {
    "own_order",
    "ageing",
    "refund_or_correction",
    "cut_points",
    "merge_split",
    "policy_change",
}
DAYS = 30


def replay(line: Line, folder: Path, wanted: tuple[str, ...] = TABLES) -> Replay:
    home = replace(settings_module.load(), home=line.home)
    return Replay(home, folder, wanted, families=("int_class_reasons_core",))


@pytest.fixture(scope="module")
def last(company: Line) -> date:
    return date.fromisoformat(company.manifest()["as_of_date"])


@pytest.fixture(scope="module", autouse=True)
def token_key() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STRATA_TOKEN_KEY", TOKEN_KEY)
        yield


@pytest.fixture(scope="module")
def month(company: Line, last: date, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    """The company's last thirty days, each built upon the one before; two of them are passed over."""
    one = replay(company, tmp_path_factory.mktemp("replay"))
    days = [last - timedelta(days=n) for n in reversed(range(DAYS)) if n not in (9, 10)]
    list(one.days(days))
    yield one
    one.close()


@pytest.fixture(scope="module")
def two_days(company: Line, last: date, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    """The last two days with every scheme."""
    home = replace(settings_module.load(), home=company.home)
    one = Replay(
        home,
        tmp_path_factory.mktemp("two"),
        ("segments.class_transition", "segments.customer_360", "segments.data_sufficiency"),
    )
    list(one.days([last - timedelta(days=1), last]))
    yield one
    one.close()


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
    again = "cause not in ('entered', 'left')"
    rows = month.rows(f"select sum(customers), sum(rescored_n) from segments.class_transition where {again}")
    assert rows[0][0] == rows[0][1] > 300


def test_the_history_ends_in_the_classes_that_the_job_published(month: Replay, company: Line) -> None:
    sql = (
        "select customer_key, scheme, class from segments.class_history "
        f"where valid_to is null and scheme in {RESCORED} order by all"
    )
    assert month.rows(sql) == company.query(sql) != []


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
        "select cause in ('ageing', 'cut_points', 'other'), datediff('day', valid_from, published_from), count(*) "
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


def test_a_past_day_by_what_was_known_then_is_what_was_published(
    company: Line, last: date, month: Replay, tmp_path: Path
) -> None:
    home = replace(settings_module.load(), home=company.home)
    out = tmp_path / "classes.parquet"
    found = past.segments(home, last, out=out)
    assert found.corrections == () and found.release == str(last)
    published = company.query(
        "select customer_key, scheme, class, class, false from segments.class_history order by customer_key, scheme"
    )
    assert duckdb.sql(f"from '{out}'").fetchall() == published != []
    assert not list(company.home.glob("build/.past-*"))
    with pytest.raises(StrataError, match=f"both up to {last}"):
        past.segments(home, last, last + timedelta(days=1))


@contextmanager
def changed(one: Replay) -> Iterator[Replay]:
    """A day to be built again after something was changed; what is changed is put back."""
    pointer = one.settings.pointer.read_text()
    kept = ["policy.thresholds", "policy.rfm_refreshes", *one.raw_tables()]
    for table in kept:
        one.con.execute(f'create or replace table main."kept {table}" as from {table}')
    yield one
    one.settings.pointer.write_text(pointer)
    for table in kept:
        one.con.execute(f'create or replace table {table} as from main."kept {table}"')
        one.con.execute(f'drop table main."kept {table}"')


@pytest.fixture
def planted(month: Replay) -> Iterator[Replay]:
    with changed(month) as one:
        yield one


@pytest.fixture
def bad(two_days: Replay) -> Iterator[Replay]:
    with changed(two_days) as one:
        yield one


def moved(one: Replay) -> dict[tuple[str, str], str]:
    """Cause by customer and scheme of the day's moves."""
    return {
        (key, scheme): cause
        for key, scheme, cause in one.rows(
            "select customer_key, scheme, cause from intermediate.int_class_moves "
            f"where from_class is not null and to_class is not null and scheme in {RESCORED}"
        )
    }


def arrived(one: Replay) -> set[str]:
    """Who has a class today and had none in the build before."""
    return {
        key
        for (key,) in one.rows(
            "select distinct customer_key from intermediate.int_class_moves where from_class is null"
        )
    }


@pytest.fixture(scope="module")
def moves_as_delivered(month: Replay, last: date) -> set[tuple[str, str]]:
    """Customer and scheme of the last day's moves before anything is changed."""
    month.build(last)
    return set(moved(month))


def test_a_changed_threshold_is_a_change_of_policy(
    moves_as_delivered: set[tuple[str, str]], planted: Replay, last: date
) -> None:
    planted.con.execute("update policy.thresholds set value = 20 where key = 'lifecycle_decline_max_days'")
    planted.con.execute("update policy.thresholds set value = 15 where key = 'lifecycle_decline_min_days'")
    planted.build(last)
    new = {who: cause for who, cause in moved(planted).items() if who not in moves_as_delivered}
    assert len(new) > 5 and set(new.values()) == {"policy_change"}
    assert {scheme for _, scheme in new} == {"lifecycle"}


def test_an_order_that_is_cancelled_later_is_a_correction(
    moves_as_delivered: set[tuple[str, str]], planted: Replay, last: date
) -> None:
    """Orders of earlier days that yesterday's deliveries said were paid are not in today's."""
    orders = planted.raw_table("orders")
    planted.con.execute(
        f"update {orders} set status = 'cancelled' where cast(paid_at as date) < date '{last - timedelta(days=3)}' "
        f"and cast(paid_at as date) > date '{last - timedelta(days=40)}'"
    )
    planted.build(last)
    new = {who: cause for who, cause in moved(planted).items() if who not in moves_as_delivered}
    of_rfm = [cause for (_, scheme), cause in new.items() if scheme in ("rfm", "lifecycle")]
    # Corrections of others move the bounds that all share, and a corrected customer may age into the next class.
    assert of_rfm.count("refund_or_correction") > len(of_rfm) / 2 > 3


def test_a_refund_that_comes_in_late_is_unknown_then_and_a_correction_since(
    planted: Replay, last: date
) -> None:
    """Yesterday the app told of a refund of five days ago: of a past day by what was known then, and by what is known now."""
    one = planted
    then = last - timedelta(days=3)
    one.link([then, last])
    # The tables are those of the test before.
    one.build(last)
    sql = "select customer_key, scheme, class from {} {} order by all"
    published = one.rows(
        sql.format(
            "segments.class_history",
            f"where valid_from <= '{then}' and (valid_to is null or valid_to > '{then}')",
        )
    )
    key, order, customer = one.rows(
        "select facts.customer_key, orders.order_id, links.source_customer_id "
        "from intermediate.int_customer_facts as facts join core.fct_orders as orders using (customer_key) "
        "join intermediate.int_customer_links as links using (customer_key) "
        "where purchase_days_n = 1 and orders.is_valid and orders_rfm = 1 and orders.source = 'app' "
        "and links.source = 'app' and links.is_current "
        f"and orders.paid_date < date '{then}' - 6 and not orders.is_fully_returned order by 1 limit 1"
    )[0]
    returns, lines = (one.raw_table(feed) for feed in ("returns", "order_lines"))
    day = f"timestamp '{last - timedelta(days=5)} 04:00:00'"
    one.con.execute(
        f"insert into {returns} by name select 'late ' || line_no as return_id, order_id, line_no, "
        f"'{customer}' as source_customer_id, product_id, 'CNY' as currency, qty, "
        f"qty * unit_price_paid as refund_amount, {day} as requested_at, {day} as refunded_at, 'refund' as type, "
        f"'app/returns/{last - timedelta(days=1)}/rev=1' as _delivery, 900 + line_no as _row "
        f"from {lines} where order_id = '{order}'"
    )
    one.build(then)
    assert one.rows(sql.format("intermediate.int_class_reasons", "")) == published != []
    one.build(then, known_at=last)
    now = set(one.rows(sql.format("intermediate.int_class_reasons", "")))
    corrected = {scheme: name for who, scheme, name in now - set(published) if who == key}
    assert (corrected["lifecycle"], corrected["rfm"]) == ("prospect", "prospects")
    one.build(last)
    found = moved(one)
    assert {found[key, scheme] for scheme in RESCORED} == {"refund_or_correction"}


def test_a_day_without_orders_of_anybody_is_ageing_alone(planted: Replay, last: date) -> None:
    orders = planted.raw_table("orders")
    planted.con.execute(
        f"delete from {orders} where cast(paid_at as date) >= date '{last - timedelta(days=2)}'"
    )
    planted.build(last)
    assert "own_order" not in set(moved(planted).values())


@pytest.fixture
def relinked(month: Replay, last: date) -> Iterator[Replay]:
    """The last day, before which somebody decides about records; the decisions are taken back."""
    yield month
    month.settings.decisions.unlink()
    month.link([last])


def test_records_that_are_joined_or_taken_apart_move_their_people_by_that(
    relinked: Replay, last: date
) -> None:
    """Two buyers become one person, and one person becomes two."""
    one = relinked
    one.build(last)
    before, strangers = moved(one), arrived(one)
    # Whoever bought yesterday moves by that as well.
    people = f"""
        select customer_key, list(source || '/' || source_customer_id order by links.first_seen, source) as records,
            any_value(purchase_days_n) as days_n
        from intermediate.int_customer_links as links join intermediate.int_customer_facts using (customer_key)
        where is_current and last_purchase_date < date '{last}' - 1
        group by customer_key having count(*) = {{}} and count(distinct source) = {{}}
    """
    # The rarest buyer of the app and the most frequent one of the marketplace; of two records that bought, the best person.
    (rare, often) = (
        one.rows(
            f"select customer_key, records[1] from ({people.format(1, 1)}) where records[1] like '{source}/%' "
            f"and days_n > 0 order by days_n {order}, customer_key limit 1"
        )[0]
        for source, order in (("app", "asc"), ("marketplace", "desc"))
    )
    joined = {rare[0], often[0]}
    parted, records = one.rows(
        f"select customer_key, records from ({people.format(2, 2)}) as found "
        "where (select count(distinct source) from core.fct_orders as orders "
        "where orders.customer_key = found.customer_key and is_valid) = 2 "
        "order by days_n desc, customer_key limit 1"
    )[0]
    for verdict, targets in (("accept", (rare[1], often[1])), ("reject", tuple(records))):
        review.decide(one.settings, verdict, targets, who="a", why="b", known_from=last)
    one.link([last])
    one.build(last)
    gone = {
        key
        for (key,) in one.rows(
            "select distinct customer_key from intermediate.int_class_moves where to_class is null"
        )
    }
    came = arrived(one) - strangers
    assert len(gone) == len(came) == 1 and gone < joined and parted not in came
    caused = one.rows(
        "select distinct customer_key, cause from intermediate.int_class_moves where to_class is null or from_class is null"
    )
    assert {cause for key, cause in caused if key in gone | came} == {"merge_split"}
    new = {who: cause for who, cause in moved(one).items() if who not in before}
    of_both = {cause for (key, _), cause in new.items() if key in joined | {parted}}
    # One buyer fewer also moves the bounds that all share.
    assert "merge_split" in of_both <= {"merge_split", "cut_points"}
    counted = one.rows(
        "select from_class = 'entered', to_class = 'left', sum(customers) from segments.class_transition "
        f"where as_of_date = '{last}' and cause = 'merge_split' and scheme = 'rfm' group by all order by all"
    )
    assert [row[2] for row in counted if row[0] or row[1]] == [1, 1]


# Schemes that are compared with what differs by category or by stage, and rules over any class.
COMPARED = ("affinity", "price_sensitivity", "clv", "custom:")
ACTS = {"own_answer", "complaint", "profile_update", "own_activity"}


# A rule over classes that are compared, and over the age.
_RULES = {"leaning": "affinity = affine and clv in (high, mid)", "young": "age < 40"}


def every_scheme(home: Settings, folder: Path, last: date) -> Replay:
    """Seven days with every scheme and two more custom segments, under windows of 25 days, so that purchases leave them; one
    of the days is passed over."""
    one = Replay(home, folder / "home", ("segments.class_transition",))
    one.con.execute(
        "update policy.thresholds set value = 25 where key in "
        "('affinity_window_days', 'behaviour_window_days', 'lifecycle_year_window_days', 'clv_recent_days')"
    )
    seeds = shutil.copytree(custom.SEEDS, folder / "seeds")
    with (seeds / "custom_segments.csv").open("a", encoding="utf-8") as file:
        for name, rule in _RULES.items():
            file.write(f'{name},客群,{name},"{rule}",a,b,call,致电,Call,standard,call,2000-01-01,\n')
            one.con.execute(
                f"insert into policy.custom_segments by name select * replace ('{name}' as segment, '{rule}' as rule) "
                "from policy.custom_segments where segment = 'worth_a_call'"
            )
    build = one.build

    def under_these_rules(day: date, known_at: date | None = None) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(custom.write, "__defaults__", (seeds,))
            build(day, known_at)

    one.build = under_these_rules  # type: ignore[method-assign]
    list(one.days([last - timedelta(days=n) for n in (7, 6, 5, 3, 2, 1, 0)]))
    return one


@pytest.fixture(scope="module")
def week(company: Line, last: date, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    home = replace(settings_module.load(), home=company.home)
    one = every_scheme(home, tmp_path_factory.mktemp("week"), last)
    yield one
    one.close()


def _compared(one: Replay) -> list[tuple[str, str, str, str, bool, str | None]]:
    """Customer, scheme, new class, cause, whether it was re-scored, and factors of the day's moves in those schemes."""
    return [
        row
        for row in one.rows(
            "select customer_key, scheme, to_class, cause, is_rescored, factors from intermediate.int_class_moves "
            "where from_class is not null and to_class is not null"
        )
        if row[1].startswith(COMPARED)
    ]


def test_moves_that_hang_on_what_others_do_are_scored_again(week: Replay) -> None:
    found = week.rows(
        "select scheme, cause, sum(customers), sum(rescored_n) from segments.class_transition "
        "where cause not in ('entered', 'left') group by all"
    )
    assert not {cause for _, cause, *_ in found} & {"unexplained", "other"}
    seen = {scheme: {row[1] for row in found if row[0].startswith(scheme)} for scheme in COMPARED}
    for scheme in ("affinity", "price_sensitivity"):
        assert {"own_order", "ageing"} <= seen[scheme] <= CAUSES
    assert {"own_order", "cut_points"} <= seen["clv"] <= CAUSES
    assert seen["custom:"] and seen["custom:"] <= CAUSES | ACTS
    always = {"rfm", "abc", "value", "lifecycle", "frequency", "power", "loyalty", "behaviour", "channel"}
    assert all(again == n for scheme, _, n, again in found if scheme in always or scheme.startswith(COMPARED))


def test_what_was_known_yesterday_gives_yesterdays_class_again(week: Replay) -> None:
    """Nothing is corrected where no order of earlier days was: else the step of the day before is not what was computed on
    it. Who is corrected in one scheme is so in one that needs neither categories nor shares."""
    rows = week.rows(
        "select customer_key, scheme, valid_from, contains(factors, 'correction') from segments.class_history "
        "where is_rescored and cause <> 'first_build'"
    )
    corrected = {(key, day) for key, scheme, day, is_ in rows if is_ and scheme in ("rfm", "channel")}
    others = {(key, day) for key, scheme, day, is_ in rows if is_ and scheme.startswith(COMPARED[:3])}
    assert others <= corrected and len(rows) > 300


@pytest.fixture(scope="module")
def compared_as_delivered(week: Replay, last: date) -> set[tuple[str, str]]:
    """Customer and scheme of the last day's moves in those schemes before anything is changed."""
    week.build(last)
    return {row[:2] for row in _compared(week)}


@pytest.fixture
def altered(week: Replay) -> Iterator[Replay]:
    with changed(week) as one:
        yield one


@pytest.mark.parametrize(
    ("thresholds", "moving"),
    [
        (
            {"affinity_index_min": 1.05, "price_insensitive_share_max": 0.05, "abc_a_share": 0.4},
            {"affinity", "price_sensitivity", "clv"},
        ),
        # A shorter year shrinks everybody's worth and the cuts with it.
        ({"affinity_window_days": 12, "clv_horizon_days": 90}, {"affinity"}),
    ],
)
def test_another_threshold_of_a_compared_scheme_is_policy(
    compared_as_delivered: set[tuple[str, str]],
    altered: Replay,
    last: date,
    thresholds: dict[str, float],
    moving: set[str],
) -> None:
    """One threshold or none of each scheme, whose moves are told apart."""
    for key, value in thresholds.items():
        altered.con.execute(f"update policy.thresholds set value = {value} where key = '{key}'")
    altered.build(last)
    new = [row for row in _compared(altered) if row[:2] not in compared_as_delivered]
    of_schemes = {(scheme, cause) for _, scheme, _, cause, *_ in new if not scheme.startswith("custom:")}
    assert of_schemes == {(scheme, "policy_change") for scheme in moving}


def test_a_bound_that_was_hidden_is_a_cut_point_and_no_correction(altered: Replay, last: date) -> None:
    """With a k that no group reaches the release of the day tells no bound, and the day after goes on from that."""
    altered.con.execute("update policy.thresholds set value = 1000000 where key = 'k_anon_min'")
    days = altered.days([last, last + timedelta(days=1)])
    next(days)
    told = "select count(*), count(bound) from segments.class_group_bounds where as_of_date = "
    assert altered.rows(f"{told} date '{last - timedelta(days=1)}'")[0][1] > 0
    rows, bounds = altered.rows(f"{told} date '{last}'")[0]
    assert rows > 0 and bounds == 0
    next(days)
    moves = [row for row in _compared(altered) if row[1] in COMPARED[:3]]
    assert {cause for _, _, _, cause, *_ in moves} <= {"cut_points", "ageing"}
    assert [row for row in moves if row[3] == "cut_points" and str(row[5]).startswith("cut_points")]


def test_a_cancelled_order_corrects_what_is_compared(
    compared_as_delivered: set[tuple[str, str]], altered: Replay, last: date
) -> None:
    orders = altered.raw_table("orders")
    altered.con.execute(
        f"update {orders} set status = 'cancelled' where cast(paid_at as date) < date '{last - timedelta(days=3)}' "
        f"and cast(paid_at as date) > date '{last - timedelta(days=20)}'"
    )
    altered.build(last)
    new = [row for row in _compared(altered) if row[:2] not in compared_as_delivered]
    causes_of = {
        scheme: Counter(row[3] for row in new if row[1] == scheme)
        for scheme in ("affinity", "price_sensitivity")
    }
    for found in causes_of.values():
        assert found["refund_or_correction"] > found.total() / 2 > 3 and "unexplained" not in found


def test_a_birthday_moves_a_custom_segment_by_time(altered: Replay, last: date) -> None:
    """`age < 40` of people who turn 40 on D; by what is known today they were young yesterday."""
    people = altered.rows(
        "select any_value(links.source_customer_id) from intermediate.int_custom_segment_members as members "
        "join intermediate.int_customer_links as links using (customer_key) "
        "where segment = 'young' and class = 'member' and links.is_current group by customer_key having count(*) = 1"
    )
    altered.con.execute(
        f"update {altered.raw_table('customers')} set birth_year = {last.year - 40}, birth_month_day = '{last:%m-%d}' "
        f"where source_customer_id in ({', '.join(repr(id_) for (id_,) in people)})"
    )
    altered.build(last)
    found = {row[0]: row[3] for row in _compared(altered) if row[1] == "custom:young" and row[2] == "other"}
    assert len(found) > 10 and set(found.values()) == {"ageing"}


def _classes(one: Replay, *keys: str) -> dict[str, dict[str, tuple[str, str]]]:
    """Class and reason by customer and scheme; of everybody where no key is given."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for key, scheme, name, reason in one.rows(
        "select customer_key, scheme, class, reason_code from intermediate.int_class_reasons"
    ):
        assert name and reason, (key, scheme)
        if not keys or key in keys:
            found.setdefault(key, {})[scheme] = (name, reason)
    assert len({len(schemes) for schemes in found.values()}) == 1
    return found


def test_odd_customers_of_a_small_company_have_a_class_and_a_reason_each(bad: Replay, last: date) -> None:
    """Three who buy, and beside them returns alone, future orders alone, prices of zero, 80,995 pieces cancelled at once,
    and a currency without a rate."""
    one = bad
    orders, lines, returns = (one.raw_table(feed) for feed in ("orders", "order_lines", "returns"))
    people = one.rows(
        "select customer_key, any_value(source_customer_id) from intermediate.int_customer_links "
        "join intermediate.int_customer_facts using (customer_key) where is_current and purchase_days_n > 1 "
        "group by customer_key having count(*) = 1 and any_value(source) = 'app' order by 1 limit 7"
    )
    own = {
        name: id_
        for name, (_, id_) in zip(("returns", "future", "free", "giant", "foreign"), people, strict=False)
    }
    key = {name: key for name, (key, _) in zip(own, people, strict=False)}
    kept = ", ".join(f"'{id_}'" for _, id_ in people)
    that = "order_id in (select order_id from {} where source_customer_id = '{}')"
    shift = f"date '{last}' - date '{last - timedelta(days=400)}'"
    for sql in (
        f"delete from {orders} where source_customer_id is null or source_customer_id not in ({kept})",
        f"update {returns} set order_id = null, line_no = null, source_customer_id = '{own['returns']}' "
        f"where return_id = (select min(return_id) from {returns} where source_customer_id like 'A%' "
        "and refunded_at is not null and type = 'refund')",
        f"delete from {orders} where source_customer_id = '{own['returns']}'",
        f"update {orders} set paid_at = paid_at + to_days(cast({shift} as integer)), "
        f"ordered_at = ordered_at + to_days(cast({shift} as integer)) where source_customer_id = '{own['future']}'",
        f"update {lines} set unit_price_paid = 0, list_price = 0, line_discount = 0 where {that.format(orders, own['free'])}",
        f"update {lines} set qty = 80995 where {that.format(orders, own['giant'])}",
        f"update {orders} set status = 'cancelled' where source_customer_id = '{own['giant']}'",
        f"update {orders} set currency = 'USD' where source_customer_id = '{own['foreign']}'",
    ):
        one.con.execute(sql)
    one.build(last)
    found = _classes(one, *key.values())
    for name in ("returns", "future", "giant", "foreign"):
        classes = found[key[name]]
        unrated = "_unrated" if name == "foreign" else ""
        assert classes["rfm"] == ("prospects", f"never_bought{unrated}"), name
        assert classes["lifecycle"] == ("prospect", f"prospect{unrated}"), name
        assert classes["abc"][0] == "no_purchase_in_window", name
    assert one.rows(
        f"select monetary, m_score from segments.customer_rfm where customer_key = '{key['free']}'"
    ) == [(0, 1)]
    assert found[key["free"]]["lifecycle"][0] != "prospect" and found[key["free"]]["abc"][0] == "C"
    # Three buyers: the fixed cut-offs of policy, and the sufficiency check says so.
    assert one.rows("select distinct scoring_mode, buyers_n from segments.rfm_breakpoints") == [
        ("absolute", 3)
    ]
    assert one.rows("select distinct scoring_mode from segments.customer_rfm where r_score is not null") == [
        ("absolute",)
    ]
    assert one.rows(
        "select observed, is_met from segments.data_sufficiency where purpose = 'rfm' and need = 'buyers_in_window'"
    ) == [(3, False)]
    _classes(one)


def test_a_window_without_any_purchase_leaves_nobody_without_a_class(bad: Replay, last: date) -> None:
    one = bad
    for feed, columns in (
        ("orders", ("ordered_at", "paid_at")),
        ("returns", ("requested_at", "refunded_at")),
    ):
        back = ", ".join(f"{column} = {column} - interval 900 day" for column in columns)
        one.con.execute(f"update {one.raw_table(feed)} set {back}")
    one.build(last)
    everybody = _classes(one).values()
    assert {classes["rfm"][0] for classes in everybody} == {"lapsed", "prospects"}
    assert {classes["abc"][0] for classes in everybody} == {"no_purchase_in_window"}
    assert {classes["lifecycle"][0] for classes in everybody} == {"churned", "prospect"}
    assert one.rows(
        "select count(*) from segments.customer_360 where action_zh is null or rfm_class is null"
    ) == [(0,)]


# (threshold, value, days after D from which it holds): one of today, and one that is announced for a day to come.
_DATED = (
    ("lifecycle_decline_max_days", "20", 0),
    ("lifecycle_decline_min_days", "15", 0),
    ("rfm_window_days", "45", 40),
)


def _dated(project: Path, last: date) -> None:
    """End the rows of some thresholds and add others, each from its own day."""
    seed = project / "seeds" / "policy" / "thresholds.csv"
    with seed.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        columns, rows = list(reader.fieldnames or ()), list(reader)
    for key, value, days in _DATED:
        (row,) = (row for row in rows if row["key"] == key)
        day = str(last + timedelta(days=days))
        rows.append(row | {"value": value, "valid_from": day})
        row["valid_to"] = day
    with seed.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def test_the_diff_of_a_policy_foretells_every_move_of_the_build_under_it(
    company: Line, bad: Replay, last: date, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, project = bad, tmp_path / "dbt_project"
    shutil.copytree(DBT_PROJECT_DIR, project, ignore=shutil.ignore_patterns("target", "logs"))
    _dated(project, last)
    monkeypatch.setattr(diff, "DBT_PROJECT_DIR", project)
    monkeypatch.setattr(diff, "POLICY_DIR", project / "seeds" / "policy")
    found = diff.diff(replace(settings_module.load(), home=company.home))
    assert not (company.home / "build" / "policy-diff").exists()
    assert (found["as_of_date"], found["policy_day"]) == (last, last + timedelta(days=40))
    assert {
        name: (len(rows["removed"]), len(rows["added"])) for name, rows in found["changed_seeds"].items()
    } == {"thresholds": (3, 6)}
    foretold = {
        scheme["scheme"]: {(move["from"], move["to"]): move["customers"] for move in scheme["moves"]}
        for scheme in found["schemes"]
    }
    assert all(foretold[scheme] for scheme in ("rfm", "lifecycle", "frequency"))

    published = "select customer_key, scheme, class from segments.class_history where valid_to is null"
    old = {(key, scheme): name for key, scheme, name in company.query(published)}
    for key, value, _ in _DATED:
        one.con.execute(f"update policy.thresholds set value = {value} where key = '{key}'")
    one.build(last)
    new = {
        (key, scheme): name
        for key, scheme, name in one.rows(
            "select customer_key, scheme, class from intermediate.int_class_reasons"
        )
    }
    assert old.keys() == new.keys()
    happened: dict[str, Counter[tuple[str, str]]] = {scheme: Counter() for _, scheme in new}
    for who, name in new.items():
        if name != old[who]:
            happened[who[1]][old[who], name] += 1
    assert foretold == happened
    assert found["moved"] == len({key for key, scheme in new if new[key, scheme] != old[key, scheme]})


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
