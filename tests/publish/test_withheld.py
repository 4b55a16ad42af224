"""Who may not leave stops the release, whatever the models made: each check on the written files has its planted defect."""

from datetime import date

import pytest

from pipeline.errors import GateStopped
from pipeline.publish.release import Published
from pipeline.publish.shelf import current
from pipeline.quality import approvals
from tests.publish.test_release import Home, built, home  # noqa: F401


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
            "create or replace view core.fct_consent_states as select md5(i::varchar) as customer_key, purpose, i > 30 "
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
            "create or replace view core.fct_consent_states as select customer_key, purpose, "
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
