"""Who gets which class and why: few customers, odd customers, and any order of rows."""

from datetime import date, timedelta
from decimal import Decimal
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.clv import histories
from pipeline.order_file import open_orders
from pipeline.score import presets
from pipeline.score.orders import Columns
from pipeline.score.told import notes, told
from tests.score.conftest import AS_OF, Scoring

ALL = list(presets.load())


def _crowd(n: int = 60) -> list:
    """Enough buyers for quantiles."""
    return [(f"x{i:02}", AS_OF - timedelta(days=1 + i * 5), 10 + i) for i in range(n)]


ODD = [
    ("returns", "2026-03-01", -5, "r1"),
    ("future", "2026-03-10", 5, "f1"),
    ("gift", "2026-03-01", 0, "g1"),
    # 80,995 pieces, cancelled at once.
    ("giant", "2026-03-01", "168469.60", "i1"),
    ("giant", "2026-03-01", "-168469.60", "i1"),
    ("lapsed", "2024-01-01", 5, "l1"),
    ("more back than bought", "2026-03-01", 5, "m1"),
    ("more back than bought", "2026-03-02", -9, "m2"),
]


@pytest.mark.parametrize("preset", ALL)
@pytest.mark.parametrize("crowd", [0, 60])
def test_odd_customers_have_a_class_and_a_reason(scoring: Scoring, preset: str, crowd: int) -> None:
    scored = scoring(
        [*((*row, f"o{i}") for i, row in enumerate(_crowd(crowd))), *ODD], preset=preset, order="order"
    )
    rows = scoring.rows
    assert {r["segment"] for r in rows.values()} <= set(scored.preset.labels)
    assert {c: rows[c]["segment"] for c in ("returns", "future", "giant")} == dict.fromkeys(
        ("returns", "future", "giant"), "prospects"
    )
    reasons = {("prospects", r): 1 for r in ("returns_only", "future_only", "all_returned")}
    if scored.preset.window_days:
        assert rows["lapsed"]["segment"] == "lapsed"
        reasons["lapsed", "bought_before_window"] = 1
    assert {(s, r): n for s, r, n in scored.reasons} | reasons == reasons | {
        ("lapsed", "bought_before_window"): 1 + max(0, crowd - 73)
    } or not scored.preset.window_days
    assert {(s, r): n for s, r, n in scored.reasons if s == "prospects"} == {
        key: n for key, n in reasons.items() if key[0] == "prospects"
    }
    for row in rows.values():
        has_score = row["segment"] not in ("prospects", "lapsed")
        assert all((row[k] is not None) == has_score for k in ("r_score", "f_score", "m_score"))
        assert row["frequency"] is not None and row["monetary"] is not None
    assert rows["more back than bought"]["m_score"] == 1
    assert rows["giant"]["monetary"] == 0
    # Goods at price 0 are a purchase without value.
    assert (rows["gift"]["frequency"], rows["gift"]["monetary"], rows["gift"]["m_score"]) == (1, 0, 1)


def test_an_order_that_came_back_is_no_purchase_only_where_the_file_says_so(scoring: Scoring) -> None:
    """Without the number of the order a return is money alone: the day of the purchase stays one."""
    rows = [
        ("a", "2026-03-01", 5, "o1"),
        ("a", "2026-03-05", -5, "o1"),
        ("b", "2026-03-01", 5, "o2"),
        ("b", "2026-03-05", -4, "o2"),
    ]
    scoring(rows, order="order")
    assert {c: (r["frequency"], r["monetary"]) for c, r in scoring.rows.items()} == {"a": (0, 0), "b": (1, 1)}
    scoring(rows)
    assert {c: (r["frequency"], r["monetary"]) for c, r in scoring.rows.items()} == {"a": (1, 0), "b": (1, 1)}


def test_a_purchase_of_amount_0_is_the_same_to_score_and_clv(scoring: Scoring) -> None:
    """A day of 0 alone, one beside a sale, one whose order had a return, and one before the window."""
    rows = [
        ("free", "2026-03-01", 0, "o1"),
        ("both", "2026-03-01", 0, "o2"),
        ("both", "2026-03-01", 5, "o3"),
        ("both", "2026-02-01", 0, "o4"),
        ("back", "2026-03-01", 0, "o5"),
        ("back", "2026-03-02", -5, "o6"),
        ("only back", "2026-03-02", -5, "o7"),
        ("sent back", "2026-03-01", 5, "o8"),
        ("sent back", "2026-03-01", -5, "o8"),
    ]
    days = {"free": 1, "both": 2, "back": 1, "only back": 0, "sent back": 0}
    scoring(rows, order="order")
    assert {c: r["frequency"] for c, r in scoring.rows.items()} == days
    with open_orders(scoring.folder / "orders.csv", Columns("customer", "date", "amount"), AS_OF) as file:
        histories.aggregate(file.con)
        seen = histories.histories(histories.Days(file.con, named=True), AS_OF, period=90, named=True)
        found = dict(zip(seen.customer_id.tolist(), seen.purchases.tolist(), strict=True))
    assert found == {c: n for c, n in days.items() if n}


def test_a_return_counts_from_its_own_day_on(scoring: Scoring) -> None:
    rows = [("a", "2026-02-01", 5, "o1"), ("a", "2026-03-05", -5, "o1")]
    scoring(rows, order="order", as_of=date(2026, 3, 5))
    assert scoring.rows["a"]["frequency"] == 1
    scoring(rows, order="order", as_of=date(2026, 3, 6))
    assert scoring.rows["a"]["frequency"] == 0


def test_days_and_orders_are_counted_as_the_preset_says(scoring: Scoring) -> None:
    """Three lines of two orders of one day, and one order on another."""
    rows = [
        ("a", "2026-03-01", 5, "o1"),
        ("a", "2026-03-01", 5, "o1"),
        ("a", "2026-03-01", 5, "o2"),
        ("a", "2026-02-01", 5, "o3"),
    ]
    for preset, frequency in (("rf25", 2), ("r_rfm", 3)):
        scoring(rows, preset=preset, order="order")
        assert scoring.rows["a"]["frequency"] == frequency


def test_the_window_ends_before_the_day_and_begins_its_length_before(scoring: Scoring) -> None:
    first = AS_OF - timedelta(days=365)
    scoring(
        [
            ("in", first, 1),
            ("out", first - timedelta(days=1), 1),
            ("last", AS_OF - timedelta(days=1), 1),
            ("today", AS_OF, 1),
        ]
    )
    assert {c: (r["recency_days"], r["frequency"]) for c, r in scoring.rows.items()} == {
        "in": (365, 1), "out": (366, 0), "last": (1, 1), "today": (None, 0),
    }  # fmt: skip


def test_few_buyers_are_scored_by_the_fixed_cut_offs_and_it_is_said(scoring: Scoring) -> None:
    """M-01: R below 31, 90, 180, 270 days; F above 1, 2, 4, 8; M above 100, 300, 1000, 3000."""
    scored = scoring(
        [("a", "2026-03-09", "3000.01"), ("b", "2026-02-07", 3000), ("c", "2025-06-13", 100)]
        + [("d", AS_OF - timedelta(days=90 + i), "33.34") for i in range(9)]
    )
    assert scored.cuts.mode == "absolute"
    assert {c: (r["r_score"], r["f_score"], r["m_score"]) for c, r in scoring.rows.items()} == {
        "a": (5, 1, 5), "b": (4, 1, 4), "c": (1, 1, 1), "d": (3, 5, 3),
    }  # fmt: skip
    said = told(scored, scoring.folder / "orders.csv", None, None)
    assert "too few buyers for quantiles (4; 50 are needed): the fixed cut-offs of policy 2026.1 hold" in said
    assert (
        "Cut points fixed: R 270 | 180 | 90 | 31 days · F 1 | 2 | 4 | 8 · M 100 | 300 | 1,000 | 3,000" in said
    )


@pytest.mark.parametrize(("buyers", "mode"), [(49, "absolute"), (50, "quantile")])
def test_fifty_buyers_are_enough(scoring: Scoring, buyers: int, mode: str) -> None:
    scored = scoring(_crowd(buyers))
    assert scored.cuts.mode == mode
    assert bool(notes(scored, with_values=True)) == (mode == "absolute")


@pytest.mark.parametrize("preset", ALL)
def test_a_window_without_a_purchase_is_told_and_no_crash(scoring: Scoring, preset: str) -> None:
    scored = scoring([("a", "2026-03-01", -1), ("b", "2026-03-01", -2)], preset=preset)
    assert (scored.buyers, scored.customers) == (0, 2)
    assert any("nobody bought" in en for _, en in notes(scored, with_values=True))


def test_cut_points_are_frozen_from_the_first_of_the_month(scoring: Scoring) -> None:
    """What is bought in the month moves who bought it and nobody else."""
    before = [(f"x{i:02}", date(2026, 2, 28) - timedelta(days=i), 10 + i) for i in range(60)]
    scored = scoring(before)
    others = scoring.rows
    assert (scored.cuts.effective_from, scored.cuts.is_frozen) == (date(2026, 3, 1), True)
    scoring([*before, *((f"new{i}", "2026-03-05", 99999) for i in range(60))])
    assert {c: r for c, r in scoring.rows.items() if c in others} == others
    assert scoring([*before, ("x00", "2026-03-05", 1)]).cuts == scored.cuts


def test_without_a_day_the_one_after_the_last_row_is_meant(scoring: Scoring) -> None:
    assert scoring([("a", "2026-03-01", 1), ("b", "2026-03-04", 1)], as_of=None).as_of == date(2026, 3, 5)


_rows = st.lists(
    st.tuples(
        st.sampled_from([f"c{i}" for i in range(80)]),
        st.integers(-3, 500).map(lambda days: AS_OF - timedelta(days=days)),
        st.integers(-300, 900).map(lambda cents: Decimal(cents) / 100),
        st.sampled_from(["", "o1", "o2", "o3"]),
    ),
    min_size=1,
    max_size=250,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=_rows, preset=st.sampled_from(ALL), by_order=st.booleans(), seed=st.integers(0, 99))
def test_the_order_of_rows_changes_no_byte_and_equal_values_score_alike(
    scoring: Scoring, rows: list, preset: str, by_order: bool, seed: int
) -> None:
    order = "order" if by_order else None
    scoring(rows, preset=preset, order=order)
    first, known = scoring.out.read_bytes(), list(scoring.rows.values())
    mixed = list(rows)
    Random(seed).shuffle(mixed)
    scoring(mixed, preset=preset, order=order)
    assert scoring.out.read_bytes() == first
    for value, score in (("recency_days", "r_score"), ("frequency", "f_score"), ("monetary", "m_score")):
        scores: dict = {}
        for row in (row for row in known if row[score] is not None):
            assert scores.setdefault(row[value], row[score]) == row[score]
        ranked = [scores[v] for v in sorted(scores, reverse=value == "recency_days")]
        assert ranked == sorted(ranked)
