"""What the running sums of Days give, counted once more customer by customer."""

from datetime import date, timedelta
from decimal import Decimal
from random import Random
from statistics import median
from typing import Any

import duckdb
import numpy as np

from pipeline.clv.histories import Days, histories

ORIGIN = date(2026, 1, 1)
PERIOD, AHEAD, HALF, YEAR = 30, 20, 60, 120
# Where a window begins or ends, and the days beside it, come up again and again.
BOUNDS = (0, AHEAD, -PERIOD, -HALF, -2 * HALF, -YEAR)

Row = tuple[str, date, bool, int | None, Decimal, Decimal]


def _rows(seed: int) -> list[Row]:
    """Days of 60 people: purchases, some of them for nothing, refunds of the same day and of others, people without any."""
    draw, rows = Random(seed), []
    for person in range(60):
        days = sorted({draw.choice(BOUNDS) + draw.randint(-1, 1) for _ in range(draw.randint(0, 9))})
        before = None
        for ago in days:
            day = ORIGIN + timedelta(days=ago)
            bought = person % 10 != 3 and draw.random() < 0.8
            paid = Decimal(draw.choice((0, 1, 12345, 9_999_999))) / 1000
            if bought:
                gap = (day - before).days if before else None
                rows.append((f"p{person}", day, True, gap, paid, Decimal(0)))
                before = day
            if not bought or draw.random() < 0.3:
                rows.append((f"p{person}", day, False, None, Decimal(0), paid / 2))
    draw.shuffle(rows)
    return rows


def _counted(rows: list[Row]) -> dict[str, dict[str, float]]:
    """The same facts of each customer who had bought before the origin, by their definitions."""
    found: dict[str, dict[str, float]] = {}
    for person in sorted({row[0] for row in rows}):
        own = [row for row in rows if row[0] == person]
        bought = [row for row in own if row[2]]
        if not bought or min(row[1] for row in bought) >= ORIGIN:
            continue
        first = min(row[1] for row in bought)
        past = [row for row in bought if row[1] < ORIGIN]
        repeats = [row for row in past if row[1] > first]
        gaps = [row[3] for row in past if row[3] is not None]

        def within(begin: int, end: int, of: list[Row]) -> list[Row]:
            return [r for r in of if begin <= (r[1] - ORIGIN).days < end]

        def net(begin: int, end: int, of: list[Row] = own) -> float:
            return float(sum((r[4] - r[5] for r in within(begin, end, of)), Decimal(0)))

        known = [row for row in own if row[1] < ORIGIN]
        found[person] = {
            "purchases": len(past),
            "recency": (ORIGIN - max(row[1] for row in past)).days,
            "tenure": (ORIGIN - first).days,
            "own_gap": median(gaps) if gaps else np.nan,
            "paid_repeats": sum(row[4] > 0 for row in repeats),
            "repeat_value": float(sum((row[4] for row in repeats), Decimal(0))),
            "value": float(sum((row[4] for row in known), Decimal(0))),
            "refund": float(sum((row[5] for row in known), Decimal(0))),
            "f_year": len(within(-YEAR, 0, bought)),
            "f_half": len(within(-HALF, 0, bought)),
            "f_previous_half": len(within(-2 * HALF, -HALF, bought)),
            "m_half": net(-HALF, 0),
            "m_previous_half": net(-2 * HALF, -HALF),
            "period_purchases": len(within(-PERIOD, 0, bought)),
            "period_money": net(-PERIOD, 0),
            "next_purchases": len(within(0, AHEAD, bought)),
            "next_money": net(0, AHEAD),
        }
    return found


def _days(rows: list[Row]) -> Days:
    with duckdb.connect() as con:
        con.execute(
            "create table customer_days (customer_id varchar, day date, is_purchase boolean, gap_days integer, "
            "value decimal(18, 4), refund decimal(18, 4), customer_no bigint)"
        )
        number = {person: n for n, person in enumerate(sorted({row[0] for row in rows}), start=1)}
        if rows:
            con.executemany(
                "insert into customer_days values (?, ?, ?, ?, ?, ?, ?)",
                [[*row, number[row[0]]] for row in rows],
            )
        return Days(con, named=True)


def test_every_figure_is_what_a_count_by_hand_gives() -> None:
    for seed in range(5):
        rows = _rows(seed)
        seen = histories(_days(rows), ORIGIN, period=PERIOD, ahead=AHEAD, half=HALF, year=YEAR, named=True)
        wanted = _counted(rows)
        assert list(seen.customer_id) == list(wanted)
        assert 20 < len(seen) < 60
        for name in next(iter(wanted.values())):
            expected = np.array([own[name] for own in wanted.values()], float)
            np.testing.assert_array_equal(getattr(seen, name), expected, err_msg=f"{name}, seed {seed}")


def test_without_days_or_before_the_first_there_is_nobody() -> None:
    nobody: list[Any] = [histories(_days([]), ORIGIN, period=PERIOD, ahead=AHEAD)]
    nobody.append(histories(_days(_rows(1)), date(2020, 1, 1), period=PERIOD))
    assert [len(seen) for seen in nobody] == [0, 0]
