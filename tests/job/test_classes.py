"""What is told of the people of the sample company, in the tables and by `strata explain`."""

import json
from datetime import date
from pathlib import Path

import duckdb
import pytest

from pipeline import settings as settings_module
from pipeline.errors import StrataError
from pipeline.lock import run_lock
from pipeline.segments.explain import explain, told
from pipeline.segments.reasons import released
from pipeline.settings import Settings
from tests.job.conftest import Line


@pytest.fixture
def home(company: Line, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("STRATA_HOME", str(company.home))
    return settings_module.load()


def test_every_class_has_its_reason_for_people_who_consented_and_who_did_not(
    company: Line, home: Settings
) -> None:
    people = company.query(
        """
        select has_marketing and has_profiling, min(customer_key) from segments.customer_360
        where behaviour_purchase_days > 1 and (select count(*) from core.dim_identity_links as links
            where links.customer_key = customer_360.customer_key and valid_to is null) > 0
        group by 1 order by 1
        """
    )
    assert [consented for consented, _ in people] == [False, True]
    schemes = {scheme for (scheme,) in company.query("select distinct scheme from audiences.segment_summary")}
    for consented, key in people:
        found = explain(home, key)
        assert {item["scheme"] for item in found["classes"]} == schemes
        assert all(item["class"] and item["label_zh"] and item["label_en"] for item in found["classes"])
        assert all(item["reason_zh"] and item["reason_en"] for item in found["classes"])
        assert "{" not in json.dumps([item["reason_zh"] for item in found["classes"]])
        published = company.query(
            f"select scheme, class, reason_zh from audiences.segment_membership where customer_key = '{key}'"
        )
        assert len(published) in ((0,) if not consented else (0, len(schemes)))
        for scheme, name, reason in published:
            item = next(item for item in found["classes"] if item["scheme"] == scheme)
            assert (item["class"], item["reason_zh"]) == (name, reason)
        assert (found["action"]["step"] == "consent") is not consented
        assert f"decided by {found['action']['scheme']} = {found['action']['class']}" in told(found)
        assert [cut["score"] for cut in found["cut_points"]] == [
            found["inputs"]["customer_rfm"][score] for score in ("r_score", "f_score", "m_score")
        ]


# Every class mart of the domain specification (§5.2): the class that it gives, and the scheme that tells it to tools.
MARTS = (
    ("customer_rfm", "rfm_segment", "rfm"),
    ("customer_abc", "abc_class", "abc"),
    ("customer_value", "value_tier", "value"),
    ("customer_value", "clv_tier", "clv"),
    ("customer_lifecycle", "stage", "lifecycle"),
    ("customer_loyalty", "loyalty_class", "loyalty"),
    ("customer_loyalty", "behaviour_class", "behaviour"),
    ("customer_need_class", "need_class", "need"),
    ("customer_frequency", "frequency_class", "frequency"),
    ("customer_purchasing_power", "spend_tier", "power"),
    ("customer_purchasing_power", "income_tier", "income"),
    ("customer_channel", "channel_class", "channel"),
    ("customer_motive", "motive", "motive"),
    ("customer_willingness", "willingness", "willingness"),
    ("customer_demographics", "age_band", "demographics"),
    ("customer_household_type", "household_type", "household"),
    ("customer_price_sensitivity", "price_sensitivity_class", "price_sensitivity"),
    ("customer_affinity", "affinity_class", "affinity"),
)


def test_every_mart_classes_everybody_and_tells_why_in_both_languages(company: Line) -> None:
    """One row for each person with class and policy version; and of whom may be addressed the class, the reason in two
    languages and the action. The marts are all of them that are published."""
    published = {table for table in company.manifest()["tables"] if table.startswith("segments.customer_")}
    assert published == {f"segments.{mart}" for mart, *_ in MARTS} | {
        "segments.customer_360",
        # The figures behind customer_value.clv_tier.
        "segments.customer_clv",
    }
    people = company.query("select count(*), count(distinct customer_key) from segments.customer_360")[0]
    addressed = company.query("select count(distinct customer_key) from audiences.segment_membership")[0][0]
    assert people[0] == people[1] > addressed > 0
    for mart, column, scheme in MARTS:
        assert company.query(
            f"select count(*), count(distinct customer_key), count({column}), count(policy_version) "
            f"from segments.{mart}"
        ) == [(people[0],) * 4], mart
        reasons = company.query(
            f"""
            select count(*), count(distinct customer_key), count(*) filter (
                where reason_zh <> '' and reason_en <> '' and reason_zh <> reason_en and reason_zh not like '%{{%'
                and recommended_action_zh <> '' and recommended_action_en <> '' and class_label_zh <> ''
                and class_label_en <> '' and told.policy_version <> '' and not pricing_use_allowed
                and coalesce(pending_class, told.class) = mart.{column})
            from audiences.segment_membership as told inner join segments.{mart} as mart using (customer_key)
            where scheme = '{scheme}'
            """
        )
        assert reasons == [(addressed,) * 3], scheme


def test_a_release_alone_tells_everybodys_reasons_as_the_build_does(company: Line, home: Settings) -> None:
    tables = company.release / "tables"
    as_of = date.fromisoformat(company.manifest()["as_of_date"])
    with duckdb.connect() as con:
        con.execute(f"attach '{home.warehouse}' as warehouse (read_only)")
        con.execute(f"create table told as {released(tables, as_of)}")
        built = "warehouse.intermediate.int_class_reasons_standard"
        con.execute("use warehouse")
        counted = con.execute("select count(*), count(distinct scheme) from memory.told").fetchone()
        assert counted is not None and counted[0] > 5000 and counted[1] == len(MARTS)
        for one, other in (("memory.told", built), (built, "memory.told")):
            assert con.execute(f"select * from (from {one} except all from {other}) limit 3").fetchall() == []


def test_reasons_are_told_of_whom_nobody_may_address_while_a_run_is_at_work(
    company: Line, home: Settings
) -> None:
    (key,) = company.query("select min(customer_key) from segments.customer_360 where not has_marketing")[0]
    with run_lock(home, wait_seconds=0):
        found = explain(home, key)
    assert "not kept" not in told(found)
    assert all(item["reason_zh"] and item["reason_en"] for item in found["classes"])


def test_a_customer_is_found_by_the_id_of_a_source(company: Line, home: Settings) -> None:
    source, known_as, key = company.query(
        """
        select source, source_customer_id, customer_key from core.dim_identity_links
        where valid_to is null and customer_key in (select customer_key from segments.customer_360)
        order by source_customer_id limit 1
        """
    )[0]
    code, found, _ = company.strata("explain", known_as, "--source", source)
    assert (code, found["customer_key"]) == (0, key)
    assert {"source": source, "source_customer_id": known_as} in [
        {k: v for k, v in i.items() if k != "rule"} for i in found["ids"]
    ]
    with pytest.raises(StrataError, match="no source has a customer nobody in release"):
        explain(home, "nobody")
    with pytest.raises(StrataError, match="nobody has the token f{32}"):
        explain(home, "f" * 32)


def test_the_one_action_follows_the_precedence(company: Line) -> None:
    """C-24, from the published classes alone: the lowest priority of the playbook, after consent and complaint."""
    wrong = company.query(
        """
        with playbook as (select scheme, class, min(priority) as priority from audiences.segment_membership group by all),
        best as (
            select customer_key, min(priority) as priority from audiences.segment_membership group by customer_key
        )
        select wide.customer_key, wide.action_scheme, wide.action_class
        from segments.customer_360 as wide
        inner join best using (customer_key)
        left join playbook on wide.action_scheme = playbook.scheme and wide.action_class = playbook.class
        where wide.action_step <> 'complaint' and playbook.priority is distinct from best.priority
        """
    )
    assert wrong == []
    steps = dict(company.query("select action_step, count(*) from segments.customer_360 group by 1"))
    assert steps.keys() >= {"consent", "winback", "lifecycle"}


def test_explain_tells_nothing_of_the_home_that_has_no_release(tmp_path: Path) -> None:
    with pytest.raises(StrataError, match="no release has been published in"):
        explain(Settings(tmp_path, tmp_path, None, "Asia/Shanghai", None, None), "x")
