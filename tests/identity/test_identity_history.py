"""Keys are permanent: whatever comes in which order, the deliveries and decisions in force decide them."""

import os
from dataclasses import asdict
from datetime import date, timedelta

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline.identity.history import History, Judgement, Likely, Name, Record, Value, key_of
from pipeline.identity.rules import Rule, Rules

KEY = b"k" * 32
DAY = date(2024, 5, 6)
RULES = Rules(
    {
        "member_id": Rule(1, 1.0, True, 10, 3),
        "phone": Rule(4, 0.97, True, 3, 3),
        "email": Rule(5, 0.97, True, 3, 3),
        "device": Rule(8, 0.5, False, 3, 20),
        "probabilistic": Rule(9, 0.9, True, 10, 10),
    },
    ids_max=5,
)
SOAK = os.environ.get("STRATA_SOAK")
few = hypothesis_settings(deadline=None, max_examples=300 if SOAK else 20, derandomize=not SOAK)
names = st.tuples(st.sampled_from(["app", "crm", "shop"]), st.sampled_from("abcd"))
records = st.builds(
    lambda first, person, born, phone, mail, device: Record(
        DAY + timedelta(days=first),
        person,
        born,
        None,
        tuple(
            Value(kind, value)
            for kind, value in (("phone", phone), ("email", mail), ("device", device))
            if value
        ),
    ),
    st.integers(0, 5),
    st.sampled_from([None, None, "wang", "li"]),
    st.sampled_from([None, None, "1980-01-01", "1990-02-02"]),
    st.sampled_from([None, "p1", "p2", "p3"]),
    st.sampled_from([None, "e1", "e2"]),
    st.sampled_from([None, "d1"]),
)
changes = st.dictionaries(names, st.one_of(st.none(), records), max_size=5)
judgements = st.lists(
    st.one_of(
        st.builds(Judgement, st.sampled_from(["accept", "reject"]), names, names, st.just("reviewed")),
        st.builds(Judgement, st.just("reject"), names, st.none(), st.sampled_from(["phone", "email", "*"])),
    ).filter(lambda j: j.left != j.right),
    max_size=3,
    unique_by=lambda j: (frozenset((j.left, j.right)), j.rule),
)
likely = st.lists(
    st.builds(Likely, names, names, st.just(0.95)).filter(lambda p: p.left < p.right),
    max_size=2,
    unique_by=lambda p: p[:2],
)
events = st.lists(st.tuples(changes, judgements, likely), min_size=1, max_size=6)


def told(history: History) -> tuple:
    """All that a reader can see of a history."""
    return (
        {name: asdict(i) for name, i in history.current.items()},
        sorted(((name, str(asdict(i))) for name, i in history.closed)),
        history.open_suspects(),
        history.pairs_made,
    )


def run(steps: list[tuple]) -> History:
    history = History(KEY)
    for n, (changed, judged, pairs) in enumerate(steps):
        history.advance(DAY + timedelta(days=n), changed, RULES, judged, pairs)
    return history


def at_once(steps: list[tuple]) -> History:
    """A home that gets everything on its first day."""
    state: dict[Name, Record | None] = {}
    for changed, _, _ in steps:
        state |= changed
    history = History(KEY)
    history.advance(DAY, {n: r for n, r in state.items() if r}, RULES, *steps[-1][1:])
    return history


@few
@given(events)
def test_day_by_day_and_all_at_once_give_the_same_persons(steps: list[tuple]) -> None:
    """Merges, splits, late records, vanished ones and decisions included: the past leaves no trace in a key."""
    slow, fast = run(steps), at_once(steps)
    assert {n: i.customer_key for n, i in slow.current.items()} == {
        n: i.customer_key for n, i in fast.current.items()
    }
    assert {n: (i.rule, i.confidence) for n, i in slow.current.items()} == {
        n: (i.rule, i.confidence) for n, i in fast.current.items()
    }
    assert [s._replace(since=DAY) for s in slow.open_suspects()] == [
        s._replace(since=DAY) for s in fast.open_suspects()
    ]
    assert slow.pairs_made == fast.pairs_made


@few
@given(events)
def test_a_key_is_that_of_the_earliest_record_of_the_person(steps: list[tuple]) -> None:
    history = run(steps)
    members: dict[str, list[Name]] = {}
    for name, interval in history.current.items():
        members.setdefault(interval.customer_key, []).append(name)
    for key, own in members.items():
        assert key == key_of(KEY, min(own, key=lambda name: (history.records[name].first_seen, name)))
        assert len(own) <= RULES.ids_max or any(j.verdict == "accept" for j in steps[-1][1])


@few
@given(events)
def test_every_key_that_ended_says_what_became_of_it(steps: list[tuple]) -> None:
    history = run(steps)
    alive = {i.customer_key for i in history.current.values()}
    by_record: dict[Name, list] = {}
    for name, interval in [*history.closed, *history.current.items()]:
        by_record.setdefault(name, []).append(interval)
    for name, own in by_record.items():
        own.sort(key=lambda i: i.valid_from)
        for before, after in zip(own, own[1:], strict=False):
            assert before.valid_to <= after.valid_from, "one person at a time"
            if before.valid_to == after.valid_from:
                assert before.customer_key != after.customer_key
                assert (before.merged_into == after.customer_key) != (
                    after.split_from == before.customer_key
                ), "each change of key is a merge or a split"
        assert (own[-1].valid_to is None) == (name in history.records)
    assert alive == {history.current[name].customer_key for name in history.records}


@few
@given(events, st.integers(0, 5))
def test_a_history_taken_up_again_goes_on_as_if_it_had_never_stopped(steps: list[tuple], cut: int) -> None:
    whole, first = run(steps), run(steps[:cut])
    again = History(KEY)
    again.closed, again.suspects = list(first.closed), dict(first.suspects)
    again.pairs_made, again.crowded = dict(first.pairs_made), dict(first.crowded)
    judged, pairs = steps[cut - 1][1:] if 0 < cut <= len(steps) else steps[-1][1:] if cut else ((), ())
    if cut:
        again.restore(first.records, first.current, judged, pairs, RULES)
    for n, (changed, judged, pairs) in enumerate(steps[cut:], cut):
        again.advance(DAY + timedelta(days=n), changed, RULES, judged, pairs)
    assert told(again) == told(whole)


def record(first: int, phone: str | None = None, mail: str | None = None, name: str | None = None) -> Record:
    own = (("phone", phone), ("email", mail))
    return Record(DAY + timedelta(days=first), name, None, None, tuple(Value(k, v) for k, v in own if v))


def test_a_merge_keeps_the_older_key_and_a_split_gives_the_younger_one_back() -> None:
    """The app learns the phone of the CRM, and later that it was a typing error."""
    app, crm = ("app", "a"), ("crm", "c")
    older, younger = key_of(KEY, crm), key_of(KEY, app)
    history = History(KEY)
    history.advance(DAY, {crm: record(0, "p")}, RULES)
    history.advance(DAY + timedelta(1), {app: record(1, "q")}, RULES)
    history.advance(DAY + timedelta(2), {app: record(1, "p")}, RULES)
    history.advance(DAY + timedelta(3), {app: record(1, "q")}, RULES)
    own = [i for name, i in history.closed if name == app] + [history.current[app]]
    assert [(i.customer_key, i.valid_from, i.valid_to, i.merged_into, i.split_from) for i in own] == [
        (younger, DAY + timedelta(1), DAY + timedelta(2), older, None),
        (older, DAY + timedelta(2), DAY + timedelta(3), None, None),
        (younger, DAY + timedelta(3), None, None, older),
    ]
    assert history.current[crm].customer_key == older
    assert not [i for name, i in history.closed if name == crm], "the older one never changes"


def test_who_leaves_a_shared_phone_leaves_it_to_the_others() -> None:
    """They are not named by the day's delivery, and yet it changes who they are."""
    wife, man, app = ("crm", "w"), ("crm", "m"), ("app", "a")
    history = History(KEY)
    history.advance(DAY, {name: record(0, "p") for name in (wife, man, app)}, RULES)
    assert len({i.customer_key for i in history.current.values()}) == 3 == len(history.open_suspects())
    history.advance(DAY + timedelta(1), {wife: record(0)}, RULES)
    assert history.current[man].customer_key == history.current[app].customer_key
    assert history.open_suspects() == []


def test_a_day_costs_what_it_touches() -> None:
    history = History(KEY)
    crowd = {("app", f"{n}"): record(0, f"p{n}", "team@") for n in range(300)}
    history.advance(DAY, crowd, RULES)
    assert history.advance(DAY + timedelta(1), {("crm", "new"): record(1, "p7", "team@")}, RULES) == 2


def test_one_mailbox_of_many_makes_nobody_one_person_until_it_is_judged() -> None:
    history = History(KEY)
    history.advance(DAY, {("app", f"{n:02}"): record(0, mail="team@") for n in range(20)}, RULES)
    assert len({i.customer_key for i in history.current.values()}) == 20
    (suspect,) = history.open_suspects()
    assert (suspect.left, suspect.right, suspect.records_n) == (("app", "00"), None, 20)
    history.advance(DAY + timedelta(1), {}, RULES, [Judgement("reject", ("app", "00"), None, "email")])
    assert history.open_suspects() == []
    assert len({i.customer_key for i in history.current.values()}) == 20


def test_what_people_decide_goes_before_every_rule() -> None:
    one, other = ("app", "a"), ("crm", "c")
    history = History(KEY)
    history.advance(DAY, {one: record(0, "p"), other: record(0, "p")}, RULES)
    assert len({i.customer_key for i in history.current.values()}) == 1
    history.advance(DAY + timedelta(1), {}, RULES, [Judgement("reject", one, other, "phone")])
    assert len({i.customer_key for i in history.current.values()}) == 2
    history.advance(DAY + timedelta(2), {}, RULES, [Judgement("accept", other, one, "reviewed")])
    assert len({i.customer_key for i in history.current.values()}) == 1
    assert history.current[other].rule == "reviewed"
