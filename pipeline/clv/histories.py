"""What each customer had done by a day and did after it, from the days on which he bought.

A purchase is a day with an order of zero or more that was not taken back the same day. A refund lowers the money on
its own date and never the number of purchases: which order it belongs to is not told, and nothing is guessed.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from pipeline.clv.arrays import Array
from pipeline.order_file import RELATION

DAYS_PER_WEEK = 7

# Every origin groups the days by customer: by a number and in its order that costs three fifths of what the ids do.
NUMBERED = """
numbered as (
    select
        customer_id,
        row_number() over (order by customer_id) as customer_no,
        min(case when is_purchase then day end) as first_day
    from {days}
    group by customer_id
)

select days.*, numbered.customer_no, numbered.first_day, days.value - days.refund as net
from {days} as days
inner join numbered on days.customer_id = numbered.customer_id
order by numbered.customer_no, days.day
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
# Before the origin: history. From it on: what came, for the back-test.
_BY_CUSTOMER = """
with before as (
    select *, is_purchase and day > first_day as is_repeat
    from customer_days
    where first_day < $origin and day < $until
)

select
    {ids}
    count(*) filter (where is_purchase and day < $origin) as purchases,
    cast($origin as date) - max(day) filter (where is_purchase and day < $origin) as recency,
    cast($origin as date) - min(first_day) as tenure,
    cast(median(cast(gap_days as double)) filter (where day < $origin) as double) as own_gap,
    count(*) filter (where is_repeat and value > 0 and day < $origin) as paid_repeats,
    cast(coalesce(sum(value) filter (where is_repeat and day < $origin), 0) as double) as repeat_value,
    cast(coalesce(sum(value) filter (where day < $origin), 0) as double) as value,
    cast(coalesce(sum(refund) filter (where day < $origin), 0) as double) as refund,
    count(*) filter (where is_purchase and day >= $year_start and day < $origin) as f_year,
    count(*) filter (where is_purchase and day >= $half_start and day < $origin) as f_half,
    count(*) filter (where is_purchase and day >= $previous_half_start and day < $half_start) as f_previous_half,
    cast(coalesce(sum(net) filter (where day >= $half_start and day < $origin), 0) as double) as m_half,
    cast(coalesce(sum(net) filter (where day >= $previous_half_start and day < $half_start), 0) as double)
        as m_previous_half,
    count(*) filter (where is_purchase and day >= $period_start and day < $origin) as period_purchases,
    cast(coalesce(sum(net) filter (where day >= $period_start and day < $origin), 0) as double)
        as period_money,
    count(*) filter (where is_purchase and day >= $origin) as next_purchases,
    cast(coalesce(sum(net) filter (where day >= $origin), 0) as double) as next_money
from before
group by customer_no
order by customer_no
"""


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


def histories(
    con: duckdb.DuckDBPyConnection,
    origin: date,
    *,
    period: int,
    ahead: int = 0,
    half: int = 180,
    year: int = 365,
    named: bool = False,
) -> Histories:
    """Everybody who had bought before `origin`, from `customer_days`; with their ids where `named`."""
    found = con.execute(
        _BY_CUSTOMER.format(ids="any_value(customer_id) as customer_id," if named else ""),
        {
            "origin": origin,
            "until": origin + timedelta(days=ahead),
            "period_start": origin - timedelta(days=period),
            "half_start": origin - timedelta(days=half),
            "previous_half_start": origin - timedelta(days=2 * half),
            "year_start": origin - timedelta(days=year),
        },
    ).fetchnumpy()
    customers = np.asarray(found.pop("customer_id", ()))
    columns = {name: _floats(values) for name, values in found.items()}
    return Histories(origin, period, ahead, customers, **columns)


def _floats(values: Any) -> Array:
    if isinstance(values, np.ma.MaskedArray):
        values = values.astype(float).filled(np.nan)
    return np.asarray(values, float)
