"""Who may not leave stops the release, whatever the models made: each check on the written files has its planted defect."""

import pytest

from pipeline.errors import GateStopped
from pipeline.publish.release import current
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
