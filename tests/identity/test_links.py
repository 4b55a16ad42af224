"""Who is one person: only those whom a trusted identifier says to be, under a key that never changes."""

from collections.abc import Callable
from datetime import date, timedelta
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline.identity import tables
from pipeline.identity.history import key_of as minted
from pipeline.identity.links import write_links
from pipeline.identity.matching import cluster
from pipeline.identity.rules import load_rules
from pipeline.ingest.load import sweep
from pipeline.ingest.vault import token
from pipeline.settings import Settings

KEY = b"k" * 32
few = hypothesis_settings(deadline=None, max_examples=40, derandomize=True)
DAY = date(2024, 5, 6)
RULES = load_rules(date(2026, 1, 1))


def link(frame: pd.DataFrame, minting_key: bytes) -> tuple[np.ndarray, np.ndarray]:
    """(customer_key, rule) of each record."""
    found = cluster(frame, RULES)
    names = list(zip(frame["source"], frame["source_customer_id"], strict=True))
    made = [minted(minting_key, names[i]) for i in found.earliest]
    return np.array(made, dtype=object), found.rules["rule"].to_numpy()


def records(*rows: tuple[str, str, int, str | None, str | None]) -> pd.DataFrame:
    """(source, id, day of first delivery, phone, e-mail) of each record."""
    frame = pd.DataFrame(
        rows, columns=["source", "source_customer_id", "first_seen", "phone_token", "email_token"]
    )
    frame["first_seen"] = pd.to_datetime([DAY + timedelta(days=n) for n in frame["first_seen"]]).astype(
        "datetime64[us]"
    )
    for column in ("source", "source_customer_id", "phone_token", "email_token"):
        frame[column] = frame[column].astype(object)
    return frame


def keys(frame: pd.DataFrame) -> dict[tuple[str, str], str]:
    made, _ = link(frame, KEY)
    return dict(zip(zip(frame["source"], frame["source_customer_id"], strict=True), made, strict=True))


def key_of(source: str, name: str) -> str:
    return token(KEY, "customer", f"{source}\x1f{name}")


def test_a_single_record_keeps_its_own_key() -> None:
    assert keys(records(("app", "a", 0, None, None), ("crm", "a", 0, None, None))) == {
        ("app", "a"): key_of("app", "a"),
        ("crm", "a"): key_of("crm", "a"),
    }


def test_one_phone_in_three_sources_is_one_person_named_after_the_earliest_record() -> None:
    found = keys(
        records(("app", "a", 3, "p", None), ("crm", "c", 1, "p", None), ("marketplace", "m", 2, "p", None))
    )
    assert set(found.values()) == {key_of("crm", "c")}


def test_records_of_one_day_are_ordered_by_source_and_id() -> None:
    found = keys(records(("crm", "a", 0, "p", None), ("app", "z", 0, "p", None)))
    assert set(found.values()) == {key_of("app", "z")}


def test_a_household_phone_links_nobody() -> None:
    found = keys(
        records(("crm", "wife", 0, "p", None), ("crm", "man", 0, "p", None), ("app", "child", 0, "p", None))
    )
    assert len(set(found.values())) == 3


def test_a_shared_phone_does_not_spoil_a_trusted_mail() -> None:
    found = keys(records(("crm", "w", 0, "p", "w@"), ("crm", "m", 0, "p", "m@"), ("app", "m2", 1, "p", "m@")))
    assert found["app", "m2"] == found["crm", "m"] == key_of("crm", "m") != found["crm", "w"]


def test_identifiers_chain() -> None:
    frame = records(("app", "a", 0, "p", "e"), ("crm", "c", 1, "p", None), ("marketplace", "m", 2, None, "e"))
    made, rules = link(frame, KEY)
    assert set(made) == {key_of("app", "a")}
    assert list(rules) == ["phone", "phone", "email"], "the surest link of each record"


def test_a_phone_links_nobody_whose_names_contradict() -> None:
    """A number that was given back is another person's today."""
    frame = records(
        ("app", "a", 0, "p", None), ("crm", "c", 0, "p", None), ("marketplace", "m", 0, "q", None)
    )
    assert len(set(keys(frame.assign(name_token=["wang", "li", "wang"])).values())) == 3
    assert len(set(keys(frame.assign(birth_date=["1980-01-01", "1990-01-01", None])).values())) == 3
    assert len(set(keys(frame.assign(name_token=["wang", None, "li"])).values())) == 2, (
        "an unstated name says nothing"
    )


def test_a_record_without_a_name_does_not_join_two_people() -> None:
    frame = records(
        ("app", "a", 0, "p", None), ("crm", "c", 0, "p", None), ("marketplace", "m", 0, "p", None)
    )
    found = keys(frame.assign(name_token=["wang", "li", None]))
    assert len(set(found.values())) == 3, "it may be either's"
    waiting = cluster(frame.assign(name_token=["wang", "li", None]), RULES).suspects
    assert waiting[["left", "right", "why"]].values.tolist() == [
        [0, 2, "shared value"],
        [1, 2, "shared value"],
    ]
    mailed = cluster(frame.assign(name_token=["wang", "li", None], email_token=["e", None, "e"]), RULES)
    assert mailed.cluster[0] == mailed.cluster[2] != mailed.cluster[1], (
        "unless a second identifier says whose"
    )


def test_two_records_of_one_source_stay_two_people() -> None:
    """The app account has the wife's phone and the husband's mail; the CRM knows both of them."""
    frame = records(("app", "a", 0, "p", "e"), ("crm", "wife", 0, "p", None), ("crm", "man", 0, None, "e"))
    found = keys(frame)
    assert found["crm", "wife"] != found["crm", "man"]


def test_missing_identifiers_are_not_equal() -> None:
    assert len(set(keys(records(("app", "a", 0, None, None), ("crm", "c", 0, None, None))).values())) == 2


def test_nobody_is_nobody() -> None:
    made, rules = link(records(), KEY)
    assert len(made) == len(rules) == 0


people = st.lists(
    st.tuples(
        st.sampled_from(["app", "crm", "marketplace"]),
        st.sampled_from(list("abcdef")),
        st.integers(0, 4),
        st.sampled_from([None, "p1", "p2", "p3"]),
        st.sampled_from([None, "e1", "e2", "e3"]),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda r: r[:2],
)


@few
@given(people, st.randoms(use_true_random=False))
def test_keys_do_not_depend_on_the_order_of_records(rows: list[tuple], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert keys(records(*rows)) == keys(records(*shuffled))


@few
@given(people, people)
def test_who_joins_later_never_renames_a_person(rows: list[tuple], later: list[tuple]) -> None:
    """A later record may join two persons or part a household, but each key is that of its earliest member."""
    old = {r[:2] for r in rows}
    joined = rows + [(s, n, day + 10, p, e) for s, n, day, p, e in later if (s, n) not in old]
    first_day = {r[:2]: (r[2], *r[:2]) for r in joined}
    found = keys(records(*joined))
    members: dict[str, list[tuple[str, str]]] = {}
    for pair, key in found.items():
        members.setdefault(key, []).append(pair)
    for key, pairs in members.items():
        assert key == key_of(*min(pairs, key=first_day.__getitem__))
    # One more record of a stranger changes nothing for anyone.
    stranger = ("zz", "stranger", 99, None, None)
    assert {k: v for k, v in keys(records(*joined, stranger)).items() if k[0] != "zz"} == found


@few
@given(people)
def test_an_identifier_that_one_source_has_twice_links_only_who_shares_another(rows: list[tuple]) -> None:
    frame = records(*rows)
    made = cluster(frame, RULES).edges
    for column, rule in (("phone_token", "phone"), ("email_token", "email")):
        counts = frame.groupby([column, "source"]).size()
        shared = {value for (value, _), n in counts.items() if n > 1}
        for edge in made[made["rule"] == rule].itertuples():
            one, other = frame.loc[edge.left], frame.loc[edge.right]
            assert one[column] == other[column]
            if one[column] in shared:
                assert (one[["phone_token", "email_token"]] == other[["phone_token", "email_token"]]).all()


@few
@given(people, st.lists(st.sampled_from([None, "wang", "li"]), min_size=12, max_size=12))
def test_a_person_has_one_name_and_two_records_of_a_source_only_under_it(
    rows: list[tuple], names: list[str | None]
) -> None:
    frame = records(*rows).assign(name_token=np.array(names[: len(rows)], dtype=object))
    found = cluster(frame, RULES)
    joined = {frozenset(p) for p in zip(found.edges["left"], found.edges["right"], strict=True)}
    for _, person in frame.groupby(found.cluster):
        assert person["name_token"].nunique() <= 1
        for a, b in combinations(person.index, 2):
            if person.loc[a, "source"] == person.loc[b, "source"]:
                assert person.loc[a, "name_token"] == person.loc[b, "name_token"] or {a, b} in joined


@few
@given(people)
def test_two_records_with_one_trusted_identifier_are_one_person(rows: list[tuple]) -> None:
    """Where nothing speaks against it: two records in all, of two sources."""
    frame = records(*rows).drop_duplicates("source").head(2).reset_index(drop=True)
    made, _ = link(frame, KEY)
    if len(frame) == 2:
        equal = (
            frame.loc[0, ["phone_token", "email_token"]] == frame.loc[1, ["phone_token", "email_token"]]
        ).any()
        assert (made[0] == made[1]) == equal


Land = Callable[[str, bytes | str], Path]


def deliver(land: Land, file: str, *rows: str) -> None:
    land(file, "source_customer_id,phone,email,updated_at\n" + "".join(f"{row}\n" for row in rows))


def links(settings: Settings, *known_at: date) -> dict[tuple[date, str, str], dict[str, object]]:
    sweep(settings, max(known_at), run_id="test", released=None)
    write_links(settings, known_at)
    rows = tables.links(settings).to_pylist()
    found = {(r["known_at"], r["source"], r["source_customer_id"]): r for r in rows}
    assert len(found) == len(rows), "one row per known_at, source and source id"
    return found


def test_links_are_answered_for_each_day_from_what_was_known_on_it(settings: Settings, land: Land) -> None:
    deliver(land, "crm/customers/2024-05-01.csv", "c1,13812345678,,")
    deliver(land, "app/customers/2024-05-03.csv", "a1,138-1234-5678,,")
    found = links(settings, date(2024, 5, 2), date(2024, 5, 4))
    assert set(found) == {
        (date(2024, 5, 2), "crm", "c1"),
        (date(2024, 5, 4), "crm", "c1"),
        (date(2024, 5, 4), "app", "a1"),
    }
    assert len({row["customer_key"] for row in found.values()}) == 1
    assert found[date(2024, 5, 4), "app", "a1"]["rule"] == "phone"


def test_ids_seen_in_orders_only_have_a_key_too(settings: Settings, land: Land) -> None:
    land(
        "app/orders/2024-05-06.csv",
        "order_id,source_customer_id,ordered_at,status\n1,x,2024-05-06,paid\n2,,2024-05-06,paid\n",
    )
    found = links(settings, date(2024, 5, 7))
    assert set(found) == {(date(2024, 5, 7), "app", "x")}


def test_a_till_reads_the_card_numbers_of_the_crm(settings: Settings, land: Land) -> None:
    head = "order_id,source_customer_id,ordered_at,status\n"
    deliver(land, "crm/customers/2024-05-01.csv", "0042,,,", "0043,,,")
    land("store_pos/orders/2024-05-02.csv", head + "1,0042,2024-05-02,paid\n")
    land("app/orders/2024-05-02.csv", head + "2,0043,2024-05-02,paid\n")
    found = {pair[1:]: row["customer_key"] for pair, row in links(settings, date(2024, 5, 3)).items()}
    assert found["store_pos", "0042"] == found["crm", "0042"]
    assert found["app", "0043"] != found["crm", "0043"], "equal ids of sources that share none are two people"


def test_the_newest_phone_of_a_record_counts(settings: Settings, land: Land) -> None:
    deliver(land, "crm/customers/2024-05-01.csv", "c1,13812345678,,2024-05-01 09:00:00")
    deliver(land, "crm/customers/2024-05-02.csv", "c1,13912345678,,2024-05-02 09:00:00")
    deliver(land, "app/customers/2024-05-02.csv", "a1,13812345678,,", "a2,13912345678,,")
    found = links(settings, date(2024, 5, 3))
    key = {
        name: found[date(2024, 5, 3), source, name]["customer_key"]
        for source, name in (("crm", "c1"), ("app", "a1"), ("app", "a2"))
    }
    assert key["a2"] == key["c1"] != key["a1"]


def test_a_phone_that_was_removed_links_nobody(settings: Settings, land: Land) -> None:
    """The customer asked to take the number off; whoever has it now is somebody else."""
    deliver(land, "crm/customers/2024-05-01.csv", "c1,13812345678,,2024-05-01 09:00:00")
    deliver(land, "crm/customers/2024-05-02.csv", "c1,,,2024-05-02 09:00:00")
    deliver(land, "app/customers/2024-05-02.csv", "a1,13812345678,,")
    found = links(settings, date(2024, 5, 3))
    assert len({row["customer_key"] for row in found.values()}) == 2


def test_keys_stay_when_everything_is_read_again_in_another_home(
    settings: Settings, land: Land, tmp_path: Path
) -> None:
    from dataclasses import replace

    deliver(land, "crm/customers/2024-05-01.csv", "c1,13812345678,a@example.org,")
    deliver(land, "marketplace/customers/2024-05-01.csv", "m1,,a@example.org,")
    once = links(settings, date(2024, 5, 3))
    again = links(replace(settings, home=tmp_path / "second"), date(2024, 5, 3))
    assert once == again
