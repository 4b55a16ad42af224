"""Which revision of a file counts on which day, and that the answer depends on nothing else."""

from datetime import date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest.ledger import Entry, in_force

DAY = date(2024, 5, 6)


def entry(
    rev: int = 1,
    *,
    dt: date | None = DAY,
    known_from: date | None = None,
    status: str = "loaded",
    stem: str = "2024-05-06",
    source: str = "shop",
) -> Entry:
    return Entry(
        delivery=f"{source}/orders/{stem}/rev={rev}",
        source=source,
        feed="orders",
        stem=stem,
        file="f",
        dt=dt,
        rev=rev,
        known_from=known_from or (dt + timedelta(days=1) if dt else DAY),
        sha256="",
        bytes=0,
        status=status,
        loaded_at=datetime(2024, 5, 7),
        run_id="r",
        file_stat="",
    )


def revs(entries: list[Entry], as_of: date) -> list[int]:
    return [e.rev for e in in_force(entries, as_of)]


def test_the_highest_revision_counts() -> None:
    assert revs([entry(1), entry(3), entry(2)], DAY + timedelta(days=1)) == [3]


def test_a_delivery_counts_from_the_day_after_its_own() -> None:
    assert revs([entry()], DAY) == []
    assert revs([entry()], DAY + timedelta(days=1)) == [1]


def test_a_late_restatement_is_invisible_before_it_was_known() -> None:
    entries = [entry(1), entry(2, known_from=DAY + timedelta(days=20))]
    assert revs(entries, DAY + timedelta(days=19)) == [1]
    assert revs(entries, DAY + timedelta(days=20)) == [2]


def test_a_refused_revision_is_in_force_so_that_the_gate_sees_it() -> None:
    found = in_force([entry(1), entry(2, status="rejected")], DAY + timedelta(days=1))
    assert [(e.rev, e.status) for e in found] == [(2, "rejected")]


def test_parts_and_sources_stand_beside_each_other() -> None:
    entries = [entry(1), entry(1, stem="2024-05-06.b"), entry(2, source="app")]
    assert len(in_force(entries, DAY + timedelta(days=1))) == 3


def test_a_file_without_a_place_is_never_in_force() -> None:
    assert in_force([entry(dt=None)], DAY + timedelta(days=9)) == []


some_entries = st.lists(
    st.builds(
        lambda n, rev, late: entry(
            rev, dt=DAY + timedelta(days=n), stem=f"s{n}", known_from=DAY + timedelta(days=n + 1 + late)
        ),
        st.integers(0, 4),
        st.integers(1, 4),
        st.integers(0, 6),
    ),
    max_size=12,
    unique_by=lambda e: (e.stem, e.rev),
)


@given(some_entries, st.randoms(use_true_random=False), st.integers(0, 12))
def test_the_answer_does_not_depend_on_the_order_of_entries(
    entries: list[Entry], random: object, n: int
) -> None:
    shuffled = list(entries)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    as_of = DAY + timedelta(days=n)
    found = in_force(entries, as_of)
    assert found == in_force(shuffled, as_of)
    assert all(e.dt < as_of and e.known_from <= as_of for e in found)
    assert len({(e.source, e.feed, e.stem) for e in found}) == len(found)
