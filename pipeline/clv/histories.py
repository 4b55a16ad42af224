"""What each customer had done by a day and did after it, from the days on which he bought.

A purchase is a day with an order of zero or more that was not taken back the same day. A refund lowers the money on
its own date and never the number of purchases: which order it belongs to is not told, and nothing is guessed.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeVar

import duckdb
import numpy as np
from numpy.typing import NDArray

from pipeline.clv.arrays import Array
from pipeline.order_file import RELATION

DAYS_PER_WEEK = 7
T = TypeVar("T")
R = TypeVar("R")

# A number a customer, so that the days can be read in order of it and not of the ids.
NUMBERED = """
numbered as (
    select customer_id, row_number() over (order by customer_id) as customer_no
    from {days}
    group by customer_id
)

select days.*, numbered.customer_no
from {days} as days
inner join numbered on days.customer_id = numbered.customer_id
"""
# An amount and its negative of one customer and day cancel each other: an order of 80,995 pieces that was typed in by
# mistake and taken back at once is no purchase. `gap_days` is null where there is no earlier purchase.
_DAYS = f"""
create table customer_days as
with amounts as (
    select
        customer_id,
        ordered_on as day,
        abs(amount) as size,
        count(*) filter (where amount > 0) as bought,
        count(*) filter (where amount < 0) as returned,
        count(*) filter (where amount = 0) as free
    from {RELATION}
    where skipped is null
    group by all
),

days as (
    select
        customer_id,
        day,
        sum(bought - least(bought, returned) + free) > 0 as is_purchase,
        cast(sum((bought - least(bought, returned)) * size) as decimal(24, 4)) as value,
        cast(sum((returned - least(bought, returned)) * size) as decimal(24, 4)) as refund,
        cast(sum(returned - least(bought, returned)) as bigint) as refunds_n,
        cast(sum(least(bought, returned)) as bigint) as cancelled_n,
        cast(sum(free) as bigint) as free_n
    from amounts
    group by customer_id, day
),

spaced as (
    select
        *,
        case when is_purchase then day - lag(day) over (partition by customer_id, is_purchase order by day) end as gap_days
    from days
),

{NUMBERED.format(days="spaced")}
"""
_COUNTED = """
select
    count(*) filter (where is_purchase),
    coalesce(sum(refunds_n), 0),
    coalesce(sum(cancelled_n), 0),
    coalesce(sum(free_n), 0),
    count(distinct customer_id),
    count(distinct customer_id) filter (where is_purchase),
    min(day) filter (where is_purchase)
from customer_days
"""
# Money in ten-thousandths, so that sums are of whole numbers: exact, in whatever order.
_ORDERED = """
select
    cast(customer_no as integer) as customer,
    cast(day - date '1970-01-01' as integer) as day,
    is_purchase,
    cast(gap_days as integer) as gap,
    cast(value * 10000 as bigint) as value,
    cast(refund * 10000 as bigint) as refund
from customer_days
order by customer_no, day
"""
_NAMES = "select any_value(customer_id) as customer_id from customer_days group by customer_no order by customer_no"
_MONEY = 10_000
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Counted:
    """What became of the orders of the file."""

    purchase_days: int
    refunds: int
    cancelled_same_day: int
    zero_amounts: int
    customers: int
    buyers: int
    first_purchase: date | None

    @property
    def without_purchase(self) -> int:
        """Customers with refunds only, or whose orders were taken back the same day."""
        return self.customers - self.buyers


@dataclass(frozen=True)
class Histories:
    """One entry a customer with a purchase before `origin`, ordered by customer; days and money as floats.

    Attributes:
        customer_id: empty unless they were asked for.
        purchases: purchase days; recency, tenure: days from the last and the first to the origin (1 = the day before).
        own_gap: median days between purchases; NaN at one purchase.
        paid_repeats: purchase days after the first with a value above zero; repeat_value their value.
        value, refund: of all days.
        period_*: of the `period` days before the origin; next_*: of the `ahead` days from the origin on.
    """

    origin: date
    period: int
    ahead: int
    customer_id: NDArray[Any]
    purchases: Array
    recency: Array
    tenure: Array
    own_gap: Array
    paid_repeats: Array
    repeat_value: Array
    value: Array
    refund: Array
    f_year: Array
    f_half: Array
    f_previous_half: Array
    m_half: Array
    m_previous_half: Array
    period_purchases: Array
    period_money: Array
    next_purchases: Array
    next_money: Array

    def __len__(self) -> int:
        return len(self.purchases)

    @property
    def x(self) -> Array:
        """Repeat purchases."""
        return self.purchases - 1

    @property
    def t_x(self) -> Array:
        """Weeks from the first purchase to the last."""
        return (self.tenure - self.recency) / DAYS_PER_WEEK

    @property
    def T(self) -> Array:
        """Weeks from the first purchase to the last observed day, which is the day before the origin."""
        return (self.tenure - 1) / DAYS_PER_WEEK

    @property
    def kept_share(self) -> Array:
        """Share of the money that was not refunded; 0 where more came back than was paid."""
        with np.errstate(divide="ignore", invalid="ignore"):
            share = 1 - self.refund / self.value
        return np.where(self.value > 0, np.clip(share, 0.0, 1.0), 0.0)

    @property
    def spend(self) -> tuple[Array, Array]:
        """(x, mean) for gamma-gamma: paid repeat purchases and their mean after refunds; 0, 0 where nothing is left.

        Refunds are spread over all purchases by value.
        """
        kept = self.repeat_value * self.kept_share
        count = np.where(kept > 0, self.paid_repeats, 0.0)
        return count, np.divide(kept, count, out=np.zeros_like(kept), where=count > 0)

    @property
    def own_mean(self) -> Array:
        """Net money per purchase, not below zero."""
        return np.maximum(self.value - self.refund, 0.0) / self.purchases


def aggregate(con: duckdb.DuckDBPyConnection) -> Counted:
    """Make the table `customer_days` of the open order file."""
    con.execute(_DAYS)
    row = con.execute(_COUNTED).fetchone()
    assert row is not None
    return Counted(*row)


class Days:
    """`customer_days` in order of customer and day. Whatever is asked of a stretch of days is a difference of two running
    sums, which are worked out once for all origins.

    Attributes:
        customer_id: one entry a customer; empty unless named.
        start: where each customer's rows begin, and the end of the last.
        day, first_day, last_purchase: days since 1970-01-01; the last two a customer (a day after all others without a
            purchase) and a row (place of the last purchase up to it).
        sums: running sums over rows, 0 first: purchases, value, refund, net, and of purchases after the first paid
            (those of more than nothing) and repeat_value.
        gaps: (customer, day, gap) of purchases with one before, by customer and gap.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, named: bool = False) -> None:
        found = con.execute(_ORDERED).fetchnumpy()
        self.customer_id = np.asarray(con.execute(_NAMES).fetchnumpy()["customer_id"] if named else ())
        customer, self.day = _plain(found["customer"]) - 1, _plain(found["day"])
        purchase = _plain(found["is_purchase"]).astype(bool)
        people = int(customer[-1]) + 1 if len(customer) else 0
        self.start = np.searchsorted(customer, np.arange(people + 1))
        at = np.flatnonzero(purchase)
        self.first_day = np.full(people, np.iinfo(np.int32).max, np.int32)
        # The first of several is written last.
        self.first_day[customer[at[::-1]]] = self.day[at[::-1]]
        self.last_purchase = np.maximum.accumulate(np.where(purchase, np.arange(len(purchase)), 0))
        value, refund = _plain(found["value"]), _plain(found["refund"])
        repeat = purchase & (self.day > self.first_day[customer])
        self.sums = {
            "purchases": _running(purchase),
            "value": _running(value),
            "refund": _running(refund),
            "net": _running(value - refund),
            "paid": _running(repeat & (value > 0)),
            "repeat_value": _running(np.where(repeat, value, 0)),
        }
        gap = found["gap"]
        has_gap = ~np.ma.getmaskarray(gap)
        gap = _plain(gap)[has_gap]
        order = np.lexsort((gap, customer[has_gap]))
        self.gaps = (customer[has_gap][order], self.day[has_gap][order], gap[order])

    def until(self, day: int) -> NDArray[np.int64]:
        """By customer the place of the first row that is not before `day`."""
        before = _running(self.day < day, np.int32)
        return self.start[:-1] + before[self.start[1:]] - before[self.start[:-1]]

    def median_gap(self, day: int) -> Array:
        """By customer the median of the gaps before `day`; NaN where there is none."""
        customer, of, gap = self.gaps
        known = of < day
        gap, n = gap[known], np.bincount(customer[known], minlength=len(self.first_day))
        begin = np.cumsum(n) - n
        some = n > 0
        low, high = (begin + (n - 1) // 2)[some], (begin + n // 2)[some]
        median = np.full(len(n), np.nan)
        median[some] = (gap[low] + gap[high]) / 2
        return median


def _plain(values: Any) -> NDArray[Any]:
    return values.filled(0) if isinstance(values, np.ma.MaskedArray) else np.asarray(values)


def _running(values: NDArray[Any], kind: type[np.integer[Any]] = np.int64) -> NDArray[Any]:
    sums = np.zeros(len(values) + 1, kind)
    np.cumsum(values, out=sums[1:], dtype=kind)
    return sums


def of_each(work: Callable[[T], R], origins: Iterable[T]) -> list[R]:
    """`work` of every origin, in their order, by two threads: NumPy lets go of the interpreter, and none needs another.

    Two, not one a core: each holds the histories of its origin, about 20 columns of all customers. Raises what the first
    that failed has raised.
    """
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(work, origins))


def histories(
    days: Days,
    origin: date,
    *,
    period: int,
    ahead: int = 0,
    half: int = 180,
    year: int = 365,
    named: bool = False,
) -> Histories:
    """Everybody who had bought before `origin`; with their ids where `named`, which the days have to be too."""
    now = (origin - _EPOCH).days
    chosen = days.first_day < now
    places = {ago: days.until(now - ago)[chosen] for ago in {0, -ahead, period, year, half, 2 * half}}
    first = days.start[:-1][chosen]

    def between(what: str, begin: NDArray[np.int64], end: NDArray[np.int64]) -> Array:
        sums = days.sums[what]
        return (sums[end] - sums[begin]).astype(float)

    def money(what: str, begin: NDArray[np.int64], end: NDArray[np.int64]) -> Array:
        return between(what, begin, end) / _MONEY

    here = places[0]
    return Histories(
        origin,
        period,
        ahead,
        days.customer_id[chosen] if named else np.asarray(()),
        purchases=between("purchases", first, here),
        recency=(now - days.day[days.last_purchase[here - 1]]).astype(float),
        tenure=(now - days.first_day[chosen]).astype(float),
        own_gap=days.median_gap(now)[chosen],
        paid_repeats=between("paid", first, here),
        repeat_value=money("repeat_value", first, here),
        value=money("value", first, here),
        refund=money("refund", first, here),
        f_year=between("purchases", places[year], here),
        f_half=between("purchases", places[half], here),
        f_previous_half=between("purchases", places[2 * half], places[half]),
        m_half=money("net", places[half], here),
        m_previous_half=money("net", places[2 * half], places[half]),
        period_purchases=between("purchases", places[period], here),
        period_money=money("net", places[period], here),
        next_purchases=between("purchases", here, places[-ahead]),
        next_money=money("net", here, places[-ahead]),
    )
