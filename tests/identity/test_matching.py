"""The guard: what looks like one person and is not, is not merged, however many records there are."""

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest

from benchmarks.identity_scale import records as made_up
from pipeline.identity.matching import Clusters, Decisions, cluster
from pipeline.identity.rules import Rules, load_rules

RULES = load_rules(date(2026, 1, 1))
WIDE = Rules({k: replace(r, records_max=10**6, values_max=10**6) for k, r in RULES.by_type.items()}, 10**6)


def records(*rows: dict) -> pd.DataFrame:
    """Records of sources s0, s1, … unless the row names its source."""
    frame = pd.DataFrame(
        [{"source": f"s{n}", "source_customer_id": f"{n:06}", **row} for n, row in enumerate(rows)]
    )
    return frame.astype(object).where(frame.notna(), None).assign(first_seen=pd.Timestamp("2026-01-01"))


def reasons(found: Clusters) -> set[str]:
    return set(found.suspects["why"])


def chain(n: int) -> pd.DataFrame:
    return records(*({"phone_token": f"p{i // 2}", "email_token": f"e{(i + 1) // 2}"} for i in range(n)))


def test_a_chain_of_any_length_is_one_person_where_the_policy_lets_it() -> None:
    assert cluster(chain(10_000), WIDE).cluster.max() == 0


def test_a_chain_that_is_too_long_for_one_person_is_taken_apart_and_waits() -> None:
    found = cluster(chain(10_000), RULES)
    assert np.bincount(found.cluster).max() == 1
    assert found.suspects[["right", "why", "records_n"]].to_numpy().tolist() == [[-1, "too many ids", 10_000]]


def test_one_email_on_fifty_thousand_records_joins_nobody() -> None:
    n = 50_000
    frame = pd.DataFrame(
        {
            "source": np.where(np.arange(n) % 2, "app", "crm"),
            "source_customer_id": np.arange(n).astype(str),
            "first_seen": pd.Timestamp("2026-01-01"),
            "phone_token": [f"p{i // 2}" for i in range(n)],
            "email_token": "team",
        }
    )
    found = cluster(frame, RULES)
    assert np.bincount(found.cluster).tolist() == [2] * (n // 2), "each pair still has its own phone"
    assert found.suspects[["why", "records_n"]].to_numpy().tolist() == [["value of too many", n]]


def test_one_value_that_joins_two_groups_is_a_bridge() -> None:
    frame = records(*({"email_token": "a"} for _ in range(3)), *({"email_token": "b"} for _ in range(3)))
    frame["phone_token"] = None
    frame.loc[[2, 3], "phone_token"] = "p"
    found = cluster(frame, RULES)
    assert found.cluster.tolist() == [0, 0, 0, 1, 1, 1]
    assert reasons(found) == {"bridge"}
    joined = cluster(frame, RULES, decisions=Decisions(same=((2, 3),)))
    assert joined.cluster.max() == 0 and not len(joined.suspects), "a person may say that they are one"


def test_a_bridge_under_one_name_is_none() -> None:
    frame = records(*({"email_token": "a"} for _ in range(3)), *({"email_token": "b"} for _ in range(3)))
    frame["phone_token"], frame["name_token"] = None, None
    frame.loc[[2, 3], ["phone_token", "name_token"]] = ["p", "wang"]
    assert cluster(frame, RULES).cluster.max() == 0


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("birth_date", ("1980-01-01", "1990-01-01")),
        ("name_token", ("wang", "li")),
        ("member_id", ("crm/1", "crm/2")),
    ],
)
def test_two_shared_identifiers_against_a_contradiction_are_for_a_person_to_judge(
    column: str, values: tuple[str, str]
) -> None:
    frame = records(*({"phone_token": "p", "email_token": "e", column: value} for value in values))
    found = cluster(frame, RULES)
    assert found.cluster.tolist() == [0, 1]
    assert reasons(found) == {"contradiction"}


def test_a_household_is_no_case_for_review() -> None:
    found = cluster(
        records(*({"phone_token": "p", "name_token": name} for name in ("wang", "li", "wu"))), RULES
    )
    assert found.cluster.max() == 2 and not len(found.suspects)


def test_a_shared_phone_still_joins_who_has_one_name() -> None:
    frame = records(
        {"source": "crm", "phone_token": "p", "name_token": "wang"},
        {"source": "crm", "phone_token": "p", "name_token": "li"},
        {"source": "app", "phone_token": "p", "name_token": "li"},
        {"source": "crm", "phone_token": "p", "name_token": "li", "birth_date": "1980-01-01"},
    )
    assert cluster(frame, RULES).cluster.tolist() == [0, 1, 1, 1]


def test_a_person_of_more_phones_than_the_policy_has_is_nobody() -> None:
    rows = [
        {"email_token": f"e{i // 2}", "phone_token": f"p{i}", "openid": f"o{(i + 1) // 2}"} for i in range(7)
    ]
    found = cluster(records(*rows), RULES)
    assert found.cluster.max() == 6 and reasons(found) == {"too many ids"}


def test_a_device_supports_and_never_links_alone() -> None:
    frame = records({"device": "d"}, {"device": "d"})
    assert cluster(frame, RULES).cluster.max() == 1
    shared = records(
        {"source": "crm", "phone_token": "p"},
        {"source": "crm", "phone_token": "p", "device": "d"},
        {"source": "app", "phone_token": "p", "device": "d"},
    )
    assert cluster(shared, RULES).cluster.tolist() == [0, 1, 1]


def test_pairs_of_the_second_stage_are_guarded_too() -> None:
    """A typing error in a name is theirs to judge; two cards of one namespace, size and what it cannot see is not."""
    pairs = pd.DataFrame({"left": [0], "right": [1], "probability": [0.95]})
    typo = records({"name_token": "smith"}, {"name_token": "smyth"})
    found = cluster(typo, RULES, pairs)
    assert found.cluster.max() == 0
    assert found.edges[["rule", "confidence"]].to_numpy().tolist() == [["probabilistic", 0.95]]
    cards = records({"member_id": "crm/1"}, {"member_id": "crm/2"})
    assert cluster(cards, RULES, pairs).cluster.max() == 1
    unseen = records({"phone_token": "p"}, {"name_token": "wang"}, {"phone_token": "p", "name_token": "li"})
    found = cluster(unseen, RULES, pairs)
    assert found.cluster[0] == found.cluster[2] != found.cluster[1]
    star = pd.DataFrame({"left": [0] * 20, "right": range(1, 21), "probability": [0.99] * 20})
    found = cluster(records(*({"name_token": "x"} for _ in range(21))), RULES, star)
    assert np.bincount(found.cluster).max() <= RULES.ids_max and reasons(found) == {"too many ids"}


def test_the_order_of_the_records_changes_nothing() -> None:
    frame = made_up(3_000)
    shuffled = frame.sample(frac=1, random_state=1)
    one, other = cluster(frame, RULES), cluster(shuffled.reset_index(drop=True), RULES)
    names = (frame["source"] + frame["source_customer_id"]).to_numpy()
    again = names[shuffled.index]
    assert dict(zip(names, names[one.earliest], strict=True)) == dict(
        zip(again, again[other.earliest], strict=True)
    )
    assert len(one.suspects) == len(other.suspects) > 0
    assert np.bincount(one.cluster).max() <= RULES.ids_max
