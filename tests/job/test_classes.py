"""What `strata explain` says of the people of the sample company, against the tables that were published."""

import json
from pathlib import Path

import pytest

from pipeline import settings as settings_module
from pipeline.errors import StrataError
from pipeline.segments.explain import explain, told
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
