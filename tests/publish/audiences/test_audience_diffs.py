"""A destination that got some of the diffs, some twice, some never, still ends at the newest snapshot."""

import contextlib
from pathlib import Path

from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from pipeline.publish.audiences import state as states
from pipeline.publish.audiences.diff import CHANGED, Holding, diff, distinct, entries, replay
from pipeline.publish.audiences.profiles import PROFILES, identifiers
from pipeline.settings import Settings

META, HUBSPOT, WECOM = PROFILES["meta"], PROFILES["hubspot"], PROFILES["wecom"]
MEMBERS = [f"c{i}" for i in range(7)]


def rows(profile, few: int = 4):  # type: ignore[no-untyped-def]
    """Snapshots of few people and few contacts, so that these are shared, swapped and given up."""
    cell = st.sampled_from(["", *(f"v{i}" for i in range(few))])
    row = st.tuples(*[cell.map(lambda v, c=c: v and f"{c}-{v}") for c in profile.columns])
    known = row.filter(lambda r: any(identifiers(profile, r)))
    return st.dictionaries(st.sampled_from(MEMBERS), known).map(lambda found: distinct(profile, found)[0])


def steps(profile):  # type: ignore[no-untyped-def]
    """Each export: its snapshot, how often its diff arrives, and whether an arrived one is acknowledged."""
    return st.lists(st.tuples(rows(profile), st.integers(0, 2), st.booleans()), min_size=1, max_size=8)


def exported(state: states.State, snapshot, number: int):  # type: ignore[no-untyped-def]
    sent = states.Sent(number, f"e{number}", "r", "2026-07-01", len(snapshot))
    return states.after_export(state, sent, snapshot)


def check(profile, plan) -> None:  # type: ignore[no-untyped-def]
    state = states.State("meta", "a", Holding())
    there: dict = {}
    for number, (snapshot, times, acks) in enumerate(plan, 1):
        last = number == len(plan)
        change = diff(profile, state.held, snapshot, lambda _: "left_class")
        for _ in range(max(times, 1) if last else times):
            there = replay(profile, there, [row for row, _ in change.removes], change.adds)
            assert there == entries(profile, snapshot.values())
        state = exported(state, snapshot, number)
        if acks and times:
            state = states.after_ack(state, number)
    assert there == entries(profile, plan[-1][0].values())


@effort(max_examples=300, deadline=None)
@given(steps(META))
def test_replayed_diffs_equal_the_snapshot_whatever_arrived(plan) -> None:  # type: ignore[no-untyped-def]
    check(META, plan)


@effort(max_examples=40, deadline=None)
@given(steps(HUBSPOT))
def test_attributes_follow_too(plan) -> None:  # type: ignore[no-untyped-def]
    check(HUBSPOT, plan)


@effort(max_examples=40, deadline=None)
@given(steps(WECOM))
def test_ids_of_two_parts_too(plan) -> None:  # type: ignore[no-untyped-def]
    check(WECOM, plan)


@effort(max_examples=60, deadline=None)
@given(st.lists(rows(META), min_size=2, max_size=6), st.data())
def test_a_late_acknowledgement_of_any_export_is_safe(snapshots, data) -> None:  # type: ignore[no-untyped-def]
    """All diffs arrive, one of them is acknowledged only after later ones were made; then comes a roll-back."""
    state = states.State("meta", "a", Holding())
    there: dict = {}
    for number, snapshot in enumerate(snapshots, 1):
        change = diff(META, state.held, snapshot, lambda _: "x")
        there = replay(META, there, [row for row, _ in change.removes], change.adds)
        state = exported(state, snapshot, number)
    state = states.after_ack(state, data.draw(st.integers(1, len(snapshots))))
    back = data.draw(st.sampled_from(snapshots))
    change = diff(META, state.held, back, lambda _: "x")
    assert replay(META, there, [row for row, _ in change.removes], change.adds) == entries(
        META, back.values()
    )


@given(st.dictionaries(st.sampled_from(MEMBERS), st.tuples(*[st.sampled_from(["", "1", "2", "3"])] * 2)))
def test_no_identifier_stands_in_two_rows(found) -> None:  # type: ignore[no-untyped-def]
    found = {m: (e and f"e{e}", p and f"p{p}") for m, (e, p) in found.items()}
    found = {m: r for m, r in found.items() if any(r)}
    kept, shares = distinct(META, found)
    seen = [i for row in kept.values() for i in identifiers(META, row)]
    assert len(seen) == len(set(seen))
    assert set(seen) == {i for row in found.values() for i in identifiers(META, row)}
    assert set(kept) | set(shares) == set(found)
    assert set(shares.values()) <= set(kept)


def test_a_remove_has_its_reason_and_only_what_must_go() -> None:
    held = states.acknowledged({"a": ("e1", "p1"), "b": ("e2", "p2"), "c": ("e3", "p3")})
    new = {"a": ("e1", "p9"), "c": ("e3", "p3")}
    change = diff(META, held, new, {"b": "consent_withdrawn"}.__getitem__)
    assert change.adds == (("e1", "p9"),)
    assert dict(change.removes) == {("", "p1"): CHANGED, ("e2", "p2"): "consent_withdrawn"}


def test_a_phone_that_moves_to_another_person_is_never_removed() -> None:
    held = states.acknowledged({"a": ("e1", "p1")})
    change = diff(META, held, {"b": ("e2", "p1")}, lambda _: "left_class")
    assert dict(change.removes) == {("e1", ""): "left_class"}
    assert change.adds == (("e2", "p1"),)


def test_state_survives_its_file(settings: Settings) -> None:
    state = states.load(settings, "meta", "winback")
    assert state.next_number == 1
    state = exported(state, {"a": ("e1", "p1"), "b": ("", "p2")}, 1)
    state = exported(state, {"a": ("e1", "p1")}, 2)
    states.save(settings, state)
    assert states.load(settings, "meta", "winback") == state
    acked = states.after_ack(state, 1)
    states.save(settings, acked)
    again = states.load(settings, "meta", "winback")
    assert again == acked and again.next_number == 3
    assert set(again.held.certain) == {("e1", "p1")} and set(again.held.possible) == {
        ("e1", "p1"),
        ("", "p2"),
    }
    place = states.folder(settings, "meta", "winback")
    assert sorted(p.name for p in place.iterdir()) == [
        "2.parquet",
        "certain-2.parquet",
        "last-2.parquet",
        "possible-2.parquet",
        "state.json",
    ]
    assert {oct(p.stat().st_mode & 0o777) for p in place.iterdir()} == {"0o600"}
    assert states.known(settings) == [("meta", "winback")]


def test_a_write_that_dies_leaves_the_old_state(settings: Settings, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    first = exported(states.load(settings, "meta", "a"), {"a": ("e1", "p1")}, 1)
    states.save(settings, first)

    def dies(path: Path, text: str) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(states, "write_private", dies)
        with contextlib.suppress(OSError):
            states.save(settings, states.after_ack(first, 1))
    assert states.load(settings, "meta", "a") == first
    second = exported(first, {"b": ("e2", "")}, 2)
    states.save(settings, second)
    assert states.load(settings, "meta", "a") == second


def test_a_forgotten_person_is_in_no_part_of_the_state() -> None:
    state = exported(states.State("meta", "a", Holding()), {"a": ("e1", ""), "b": ("e2", "")}, 1)
    left = states.without(state, {"a"})
    assert "'e1'" not in repr((left.held, left.snapshots)) and "'e2'" in repr(left.snapshots)
