"""Q-15: classes that jump stop the release, until a named person lets this one candidate pass."""

import csv
import json
from datetime import date, timedelta
from unittest.mock import ANY

import pytest

from pipeline.errors import GateStopped, StrataError
from pipeline.publish import commit, drift, rollback
from pipeline.publish.shelf import current, list_releases
from pipeline.publish.tables import published_tables
from pipeline.quality import approvals
from pipeline.quality.policy import schemes, thresholds
from pipeline.transform.context import POLICY_DIR
from pipeline.transform.project import ensure_manifest
from tests.publish.test_release import AS_OF, MANIFEST, Home, built, home, model  # noqa: F401

CLASSED = model(
    "segments",
    "customer_lifecycle",
    {"customer_key": "VARCHAR", "stage": "VARCHAR", "policy_version": "VARCHAR"},
    ["customer_key"],
)
CLASSED["columns"]["stage"]["config"]["meta"]["scheme"] = "lifecycle"
SCORED = model(
    "segments", "customer_rfm", {"customer_key": "VARCHAR", "rfm_segment": "VARCHAR"}, ["customer_key"]
)
SCORED["columns"]["rfm_segment"]["config"]["meta"]["scheme"] = "rfm"
CUTS = model("segments", "rfm_breakpoints", {"measure": "VARCHAR", "effective_from": "DATE"}, ["measure"])
WITH_CLASSES = {"nodes": {**MANIFEST["nodes"], "f": CLASSED, "g": SCORED, "h": CUTS}}
NEXT = AS_OF + timedelta(days=1)


@pytest.fixture
def classed(home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:  # noqa: F811
    """A release with 400 people in four classes, of a home that is old enough to be judged."""
    monkeypatch.setattr(drift, "thresholds", lambda day: thresholds(day) | {"history_weeks": 0})
    home.sql(
        "create table segments.customer_lifecycle as select md5(i::varchar) as customer_key, "
        "(['new', 'growing', 'mature', 'churned'])[1 + i % 4] as stage, '2024-1' as policy_version "
        "from range(400) t(i)",
        "create table segments.customer_rfm as select customer_key, "
        "if(stage = 'new', 'new', 'loyal') as rfm_segment from segments.customer_lifecycle",
        "create table segments.rfm_breakpoints as select 'recency' as measure, date '2024-05-01' as effective_from",
    )
    home.build()
    home.publish(run="first", manifest=WITH_CLASSES)
    return home


def _move(made: Home, share: float, table: str = "customer_lifecycle", column: str = "stage") -> None:
    """That share of the people goes over to the class 'mature', whatever they were."""
    made.sql(
        f"update segments.{table} set {column} = 'mature' where customer_key in (select customer_key from "
        f"segments.{table} where {column} <> 'mature' order by 1 limit {int(400 * share)})"
    )


def _publish(made: Home, as_of: date = NEXT) -> str:
    made.build(as_of)
    return made.publish(
        as_of, run=f"of-{as_of}-{len(list_releases(made.settings))}", manifest=WITH_CLASSES
    ).release


def _told(made: Home) -> dict[str, dict[str, object]]:
    found = current(made.settings)
    assert found is not None
    return {c["check"]: c for c in found["checks"] if c["gate"] == "Q-15"}


def test_a_few_moves_of_a_day_pass(classed: Home) -> None:
    _move(classed, 0.05)
    _publish(classed)
    checks = _told(classed)
    assert set(checks) == {
        f"{scheme}_{name}" for scheme in ("rfm", "lifecycle") for name in ("shares_steady", "few_moved")
    } | {"members_stay"}
    assert all(c["passed"] for c in checks.values())
    assert checks["lifecycle_few_moved"]["observed"] == 0.05


def test_many_moves_stop_it_and_name_the_people(classed: Home) -> None:
    before = classed.state()
    _move(classed, 0.15)
    with pytest.raises(
        GateStopped, match=r"lifecycle_few_moved \(Q-15\) · observed 0.15, limit 0.1 · e.g. [0-9a-f]{32}"
    ):
        _publish(classed)
    assert classed.state() == before


def test_a_longer_pause_allows_more(classed: Home) -> None:
    _move(classed, 0.15)
    assert _publish(classed, AS_OF + timedelta(days=2))


def test_shares_that_jump_stop_it_also_where_the_people_are_others(classed: Home) -> None:
    """Nobody who stays has moved: half of the people are new ones, all in one class."""
    classed.sql(
        "update segments.customer_lifecycle set customer_key = md5(customer_key), stage = 'mature' "
        "where stage in ('new', 'growing')"
    )
    with pytest.raises(GateStopped, match=r"lifecycle_shares_steady \(Q-15\).* → 300") as stopped:
        _publish(classed)
    assert "few_moved" not in str(stopped.value)


def test_new_cut_points_explain_the_scores_and_nothing_else(classed: Home) -> None:
    classed.sql("update segments.rfm_breakpoints set effective_from = date '2024-06-01'")
    _move(classed, 0.3, "customer_rfm", "rfm_segment")
    _publish(classed)
    checks = _told(classed)
    assert checks["rfm_few_moved"]["passed"] and checks["rfm_few_moved"]["limit"] == 0.4
    assert (checks["rfm_shares_steady"]["passed"], checks["rfm_shares_steady"]["level"]) == (False, "warn")
    _move(classed, 0.15)
    with pytest.raises(GateStopped, match="lifecycle_few_moved"):
        _publish(classed, NEXT + timedelta(days=1))


def test_another_policy_is_told_and_stops_nothing(classed: Home) -> None:
    classed.sql("update audiences.segment_membership set policy_version = '2024-2'")
    _move(classed, 0.6)
    _publish(classed)
    told = _told(classed)["lifecycle_few_moved"]
    assert (told["passed"], told["level"], told["observed"]) == (False, "warn", 0.6)


@pytest.mark.parametrize("why", ["few people", "young home", "long pause"])
def test_where_chance_is_large_it_only_warns(
    classed: Home, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    lax = {"few people": {"drift_customers_min": 500}, "young home": {"history_weeks": 8}, "long pause": {}}[
        why
    ]
    monkeypatch.setattr(drift, "thresholds", lambda day: thresholds(day) | {"history_weeks": 0} | lax)
    _move(classed, 0.7)
    _publish(classed, AS_OF + timedelta(days=8) if why == "long pause" else NEXT)
    assert _told(classed)["lifecycle_shares_steady"]["level"] == "warn"


def test_every_scheme_that_an_audience_or_an_action_may_name_is_guarded() -> None:
    """Custom segments are guarded from the memberships (below); a case is no class, and no audience may ask for rfm_code."""
    nodes = json.loads(ensure_manifest().read_text())
    guarded = [scheme for table in published_tables(nodes) for scheme in table.schemes]
    asked = {scheme for scheme in schemes() if not scheme.startswith("custom:")}
    with (POLICY_DIR / "playbook.csv").open(encoding="utf-8") as file:
        asked |= {row["scheme"] for row in csv.DictReader(file)} - {"case", "custom", "rfm_code"}
    assert len(asked) == 18 and sorted(guarded) == sorted(asked)


FORECAST = model(
    "segments", "customer_clv", {"customer_key": "VARCHAR", "model_as_of": "DATE"}, ["customer_key"]
)
VALUED = model(
    "segments", "customer_value", {"customer_key": "VARCHAR", "clv_tier": "VARCHAR"}, ["customer_key"]
)
VALUED["columns"]["clv_tier"]["config"]["meta"]["scheme"] = "clv"
RULED = model("segments", "custom_segment", {"segment": "VARCHAR", "rule": "VARCHAR"}, ["segment"])


@pytest.fixture
def foretold(classed: Home) -> Home:
    """The same with tiers of the coming year and a custom segment of half the people."""
    WITH_CLASSES["nodes"] |= {"i": FORECAST, "j": VALUED, "k": RULED}
    classed.sql(
        "create table segments.customer_clv as select customer_key, date '2024-05-01' as model_as_of "
        "from segments.customer_lifecycle",
        "create table segments.customer_value as select customer_key, "
        "if(stage = 'mature', 'mature', 'low') as clv_tier from segments.customer_lifecycle",
        "create table segments.custom_segment as select 'worth_a_call' as segment, 'value = high' as rule",
        "insert into audiences.segment_membership by name "
        "select * replace ('custom:worth_a_call' as scheme, 'other' as class) from audiences.segment_membership",
    )
    classed.build()
    classed.publish(run="foretold", manifest=WITH_CLASSES)
    yield classed
    for name in "ijk":
        del WITH_CLASSES["nodes"][name]


def test_tiers_of_the_coming_year_are_guarded_and_a_new_forecast_is_meant(foretold: Home) -> None:
    """`clv = high` may choose an audience."""
    _move(foretold, 0.2, "customer_value", "clv_tier")
    with pytest.raises(GateStopped, match="clv_few_moved"):
        _publish(foretold)
    foretold.sql("update segments.customer_clv set model_as_of = date '2024-06-01'")
    _publish(foretold)
    assert _told(foretold)["clv_few_moved"]["limit"] == 0.4


def test_a_custom_segment_is_guarded_until_its_rule_is_another(
    foretold: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    lax = thresholds(AS_OF) | {"history_weeks": 0, "drift_customers_min": 10}
    monkeypatch.setattr(drift, "thresholds", lambda day: lax)
    foretold.sql(
        "update audiences.segment_membership set class = 'member' where scheme = 'custom:worth_a_call'"
    )
    with pytest.raises(GateStopped, match="custom:worth_a_call_few_moved"):
        _publish(foretold)
    foretold.sql("update segments.custom_segment set rule = 'value in (high, mid)'")
    _publish(foretold)
    assert "custom:worth_a_call_few_moved" not in _told(foretold)


def test_a_named_person_lets_one_candidate_pass_once(classed: Home) -> None:
    _move(classed, 0.15)
    with pytest.raises(GateStopped):
        _publish(classed)
    waiting = approvals.stopped(classed.settings)
    assert waiting and [c["check"] for c in waiting["checks"]] == ["lifecycle_few_moved"]
    (line,) = approvals.approve(
        classed.settings, ["lifecycle_few_moved"], by="Li Wei", why="stores of the north joined"
    )
    published = _publish(classed)
    told = _told(classed)["lifecycle_few_moved"]
    assert told["approved"] == f"Li Wei: stores of the north joined ({line['id']})"
    assert (told["passed"], told["level"]) == (False, "block")
    assert approvals.stopped(classed.settings) is None
    spent = [json.loads(text) for text in classed.settings.approvals.read_text().splitlines()][-1]
    assert (spent["spent"], spent["release"]) == (line["id"], published)

    # The pointer goes back, and the same candidate comes again: the approval was for once.
    pointer = {"release": AS_OF.isoformat(), "path": f"releases/{AS_OF}"}
    classed.settings.pointer.write_text(json.dumps(pointer))
    with pytest.raises(GateStopped, match="lifecycle_few_moved"):
        classed.publish(NEXT, run="again", manifest=WITH_CLASSES)


@pytest.mark.parametrize("died", ["before the pointer", "before the note"])
def test_a_run_that_dies_leaves_no_approval_for_a_second_time(
    classed: Home, monkeypatch: pytest.MonkeyPatch, died: str
) -> None:
    """Killed after the release had its name, and after the pointer moved: the next run goes on, and then it is used up."""
    _move(classed, 0.15)
    with pytest.raises(GateStopped):
        _publish(classed)
    (line,) = approvals.approve(classed.settings, ["lifecycle_few_moved"], by="Li Wei", why="checked")

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if died == "before the pointer":
            patch.setattr(commit, "point", dies)
        else:
            patch.setattr(approvals, "_add", dies)
        with pytest.raises(KeyboardInterrupt):
            _publish(classed)
    assert classed.publish(NEXT, run="on", manifest=WITH_CLASSES).release == NEXT.isoformat()
    assert [json.loads(text) for text in classed.settings.approvals.read_text().splitlines()][1:] == [
        {"spent": line["id"], "release": NEXT.isoformat(), "at": ANY}
    ]
    rollback.rollback(classed.settings, AS_OF.isoformat(), "op")
    with pytest.raises(GateStopped, match="lifecycle_few_moved"):
        classed.publish(NEXT, run="again", manifest=WITH_CLASSES)


def test_going_back_at_once_after_a_run_that_died_uses_the_approval_up(
    classed: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    _move(classed, 0.15)
    with pytest.raises(GateStopped):
        _publish(classed)
    approvals.approve(classed.settings, ["lifecycle_few_moved"], by="Li Wei", why="checked")
    with monkeypatch.context() as patch:
        patch.setattr(approvals, "_add", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            _publish(classed)
    rollback.rollback(classed.settings, AS_OF.isoformat(), "op")
    with pytest.raises(GateStopped, match="lifecycle_few_moved"):
        classed.publish(NEXT, run="again", manifest=WITH_CLASSES)


def test_what_is_approved_is_not_approved_again(classed: Home) -> None:
    """Two lines would let it pass twice."""
    _move(classed, 0.15)
    with pytest.raises(GateStopped):
        _publish(classed)
    lines = approvals.approve(
        classed.settings, ["lifecycle_few_moved", "lifecycle_few_moved"], by="Li", why="x"
    )
    assert len(lines) == 1
    with pytest.raises(StrataError, match="lifecycle_few_moved is approved already, by Li: `strata run"):
        approvals.approve(classed.settings, ["lifecycle_few_moved"], by="Wang", why="y")


def test_an_approval_holds_for_these_deliveries_only(classed: Home) -> None:
    _move(classed, 0.15)
    with pytest.raises(GateStopped):
        _publish(classed)
    approvals.approve(classed.settings, ["lifecycle_few_moved"], by="Li Wei", why="checked")
    with pytest.raises(GateStopped, match="lifecycle_few_moved"):
        _publish(classed, AS_OF)


def test_an_approval_holds_for_what_was_looked_at_and_no_more(classed: Home) -> None:
    """As after going back: the same deliveries are further from the release that they are compared with now."""
    _move(classed, 0.15)
    with pytest.raises(GateStopped):
        _publish(classed)
    approvals.approve(classed.settings, ["lifecycle_few_moved"], by="Li Wei", why="checked")
    _move(classed, 0.05)
    with pytest.raises(GateStopped, match="lifecycle_few_moved"):
        _publish(classed)
    (line,) = approvals.approve(classed.settings, ["lifecycle_few_moved"], by="Wang", why="checked again")
    _publish(classed)
    assert line["id"] in _told(classed)["lifecycle_few_moved"]["approved"]
    # The first, which was never used, is none for another time.
    rollback.rollback(classed.settings, AS_OF.isoformat(), "op")
    with pytest.raises(GateStopped, match="lifecycle_few_moved"):
        classed.publish(NEXT, run="again", manifest=WITH_CLASSES)


@pytest.mark.parametrize(
    ("names", "by", "why", "said"),
    [
        (["rfm_few_moved"], "Li", "x", "rfm_few_moved did not stop .* that did: lifecycle_few_moved"),
        (["lifecycle_few_moved"], " ", "x", "--by and --why"),
        (["lifecycle_few_moved"], "Li", "", "--by and --why"),
    ],
)
def test_what_cannot_be_approved_says_why(
    classed: Home, names: list[str], by: str, why: str, said: str
) -> None:
    with pytest.raises(StrataError, match="there is nothing to approve"):
        approvals.approve(classed.settings, ["lifecycle_few_moved"], by="Li", why="x")
    _move(classed, 0.15)
    with pytest.raises(GateStopped):
        _publish(classed)
    with pytest.raises(StrataError, match=said):
        approvals.approve(classed.settings, names, by=by, why=why)
    assert not classed.settings.approvals.exists()


def test_no_other_gate_can_be_approved(classed: Home) -> None:
    classed.sql("update audiences.segment_membership set pricing_use_allowed = true")
    with pytest.raises(GateStopped):
        _publish(classed)
    with pytest.raises(StrataError, match="no_class_sets_a_price .* cannot be approved, only Q-15"):
        approvals.approve(classed.settings, ["no_class_sets_a_price"], by="Li", why="x")


def test_psi_is_the_sum_of_its_formula() -> None:
    assert drift.psi({"a": 50, "b": 50}, {"a": 50, "b": 50}) == 0
    # Shares .5/.5 against .8/.2 with half a person added: (.797-.5)·ln(.797/.5) twice over, worked out by hand.
    assert drift.psi({"a": 100, "b": 100}, {"a": 160, "b": 40}) == pytest.approx(0.4125, abs=2e-3)
    assert drift.psi({"a": 100}, {"b": 100}) > 5
