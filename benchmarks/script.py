"""The peer to beat: the core path as one hand-written DuckDB script, straight from the landing Parquet.

clean → de-duplicate (order_id, line_no) → order facts → customer facts over [D−365, D) → RFM scores (M-01,
cut points as of D) → RF25 segment (M-02b) → ABC (M-03, profit = 30 % of net revenue) → lifecycle stage
(M-05) → one Parquet file, one row per customer id: customer, rfm_segment, abc_class, stage, recency,
frequency, monetary, r_score, f_score, m_score. Without a purchase in the window all but the
segment and the stage are NULL.

    python -m benchmarks.script --landing DIR --as-of 2026-01-01 --out FILE

No full-size relation is sorted and no window runs over one:
 * one hash aggregate turns lines into order totals; a line delivered twice shows as count(*) ≠ the number of
   different line numbers, and only the orders so caught, and those whose every line has a return, are
   settled line by line;
 * orders delivered twice are found by their key alone;
 * purchase days are lists of days, at customer level; scores and ABC come from cut points.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from pathlib import Path

import duckdb

from benchmarks.peer_command import main

# Asia/Shanghai has kept UTC+8 without summer time since 1991: days since 1970-01-01 by integer arithmetic.
LOCAL_DAY = "((epoch_us({}) + 28800000000) // 86400000000)::integer"
VALID = "status in ('paid', 'shipped', 'completed') and not coalesce(is_test, false)"
# Line numbers 62 apart share a bit: such an order is only suspected, never passed over.
BIT = "1::bigint << (line_no % 62)"
SALE = "qty > 0 and unit_price_paid >= 0 and line_no >= 0 and order_id is not null"

STEPS = {
    "returns": """
create temp table returned as
select order_id, line_no, source_customer_id, qty, refund_amount, {refund_day} as day
from read_parquet('{landing}/returns/*.parquet')
where type = 'refund' and {refund_day} < {d};

create temp table returned_lines as
select order_id, line_no, sum(qty) as qty from returned where order_id is not null group by all;
""",
    "order totals": """
create temp table totals as
select order_id,
       cast(sum(cast(qty * unit_price_paid as decimal(18, 4))) as decimal(18, 4)) as amount,
       bit_or({bit}) as lines,
       count(*) <> bit_count(bit_or({bit})) as suspect
from read_parquet('{landing}/order_lines/*.parquet')
where {sale}
group by order_id;
""",
    "settle": """
create temp table settle as
select order_id from totals where suspect
union
select order_id
from totals join (
    select order_id, bit_or({bit}) as lines from returned_lines group by order_id
) back using (order_id)
where totals.lines & back.lines = totals.lines;

create temp table settled as
select order_id,
       cast(sum(cast(l.qty * unit_price_paid as decimal(18, 4))) as decimal(18, 4)) as amount,
       bool_and(coalesce(r.qty, 0) >= l.qty) as all_back
from (
    select order_id, line_no, any_value(qty) as qty, any_value(unit_price_paid) as unit_price_paid
    from read_parquet('{landing}/order_lines/*.parquet') semi join settle using (order_id)
    where {sale}
    group by order_id, line_no
) l
left join returned_lines r using (order_id, line_no)
group by order_id;
""",
    "customers": """
create temp table twice as
select order_id from read_parquet('{landing}/orders/*.parquet') group by order_id having count(*) > 1;

create temp table customers as
with newest as (
    select max_by(o, updated_at) as o
    from (
        select order_id, source_customer_id, paid_at, order_discount, status, is_test, updated_at
        from read_parquet('{landing}/orders/*.parquet') semi join twice using (order_id)
    ) o
    group by order_id
),
orders as (
    select order_id, source_customer_id, order_discount, case when {valid} then {paid_day} end as day
    from read_parquet('{landing}/orders/*.parquet') anti join twice using (order_id)
    where source_customer_id is not null
    union all
    select order_id, source_customer_id, order_discount, case when {valid} then {paid_day} end as day
    from (select unnest(o) from newest)
    where source_customer_id is not null
),
-- An order that does not count (day is null) still makes its customer known.
moves as (
    select source_customer_id as customer, day,
           coalesce(s.amount, t.amount) - coalesce(order_discount, 0) as net,
           day < {d} and t.amount is not null and s.all_back is not true as is_purchase
    from orders left join totals t using (order_id) left join settled s using (order_id)
    union all
    select source_customer_id, day, -refund_amount, false
    from returned
    where source_customer_id is not null
)
select customer,
       list_sort(list(day) filter (is_purchase)) as days,
       sum(net) filter (day >= {d} - 365 and day < {d}) as m365,
       sum(net) filter (day >= {d} - 180 and day < {d}) as m180,
       sum(net) filter (day >= {d} - 360 and day < {d} - 180) as m_prev180
from moves
group by customer;
""",
    "classes": """
create temp table facts as
with gaps as (
    select *, list_filter(list_transform(days[2:], lambda x, i: x - days[i]), lambda x: x > 0) as gaps
    from customers
)
select customer, m180, m_prev180,
       {d} - days[-1] as r,
       {d} - days[1] as tenure,
       case when days is not null then len(gaps) + 1 else 0 end as n,
       cast(list_median(gaps) as double) as own_gap,
       coalesce(len(list_distinct(list_filter(days, lambda x: x >= {d} - 365))), 0) as f365,
       len(list_distinct(list_filter(days, lambda x: x >= {d} - 180))) as f180,
       len(list_distinct(list_filter(days, lambda x: x >= {d} - 360 and x < {d} - 180))) as f_prev180,
       m365
from gaps;

create temp table cuts as
select quantile_cont(-r::double, [0.2, 0.4, 0.6, 0.8]) as r_cuts,
       quantile_cont(f365::double, [0.2, 0.4, 0.6, 0.8]) as f_cuts,
       quantile_cont(m365::double, [0.2, 0.4, 0.6, 0.8]) as m_cuts,
       count(*) as buyers
from facts
where f365 > 0;

-- Class A holds those whose worst rank is within k: all above the (k+1)-th largest profit.
create temp table abc as
select (select m365 * 0.30 from facts where f365 > 0 order by 1 desc
        offset (select ceil(0.2 * buyers)::bigint from cuts) limit 1) as below_a,
       (select m365 * 0.30 from facts where f365 > 0 order by 1 desc
        offset (select ceil(0.5 * buyers)::bigint from cuts) limit 1) as below_b;

copy (
    with scored as (
        select f.*,
               1 + (r_cuts[1] < -r)::int + (r_cuts[2] < -r)::int + (r_cuts[3] < -r)::int
                   + (r_cuts[4] < -r)::int as r_score,
               1 + (f_cuts[1] < f365)::int + (f_cuts[2] < f365)::int + (f_cuts[3] < f365)::int
                   + (f_cuts[4] < f365)::int as f_score,
               case when m365 <= 0 then 1
                    else 1 + (m_cuts[1] < m365::double)::int + (m_cuts[2] < m365::double)::int
                       + (m_cuts[3] < m365::double)::int + (m_cuts[4] < m365::double)::int end as m_score,
               f365 > 0 as in_window,
               case when n > 1 then ((n - 1) * own_gap + 3 * all_gap) / (n - 1 + 3) else all_gap end as gap
        from facts f, cuts, (select median(own_gap) as all_gap from facts)
    )
    select customer,
           case when n = 0 then 'prospects'
                when not in_window then 'lapsed'
                when r_score <= 2 then case when f_score <= 2 then 'hibernating'
                                            when f_score <= 4 then 'at_risk' else 'cant_lose' end
                when r_score = 3 and f_score <= 2 then 'about_to_sleep'
                when r_score = 3 and f_score = 3 then 'need_attention'
                when r_score <= 4 and f_score >= 4 then 'loyal'
                when f_score >= 4 then 'champions'
                when f_score >= 2 then 'potential_loyalist'
                when r_score = 4 then 'promising'
                else 'new' end as rfm_segment,
           case when not in_window then null
                when m365 <= 0 then 'C'
                when below_a is null or m365 * 0.30 > below_a then 'A'
                when below_b is null or m365 * 0.30 > below_b then 'B'
                else 'C' end as abc_class,
           case when n = 0 then 'prospect'
                when r > least(greatest(3 * gap, 90), 365) then 'churned'
                when n = 1 and r <= greatest(30, least(greatest(1.5 * gap, 45), 270)) then 'new'
                when r > least(greatest(1.5 * gap, 45), 270) then 'declining'
                when f_prev180 >= 2 and f180 <= 0.5 * f_prev180
                     and coalesce(m180, 0) <= 0.7 * coalesce(m_prev180, 0) then 'declining'
                when tenure >= 180 and f365 >= 4 and f180 >= 1 then 'mature'
                else 'growing' end as stage,
           case when in_window then r end as recency,
           case when in_window then f365 end::integer as frequency,
           case when in_window then cast(m365 as decimal(18, 4)) end as monetary,
           case when in_window then r_score end as r_score,
           case when in_window then f_score end as f_score,
           case when in_window then m_score end as m_score
    from scored, abc
) to '{out}' (format parquet);
""",
}


def sql(landing: Path, as_of: dt.date, out: Path) -> dict[str, str]:
    """The statements by step. Paths go into SQL literals, so quotes are doubled."""

    def quoted(path: Path) -> str:
        return str(path).replace("'", "''")

    names = {
        "landing": quoted(landing / "bench"),
        "out": quoted(out),
        "d": (as_of - dt.date(1970, 1, 1)).days,
        "paid_day": LOCAL_DAY.format("paid_at"),
        "refund_day": LOCAL_DAY.format("refunded_at"),
        "valid": VALID,
        "sale": SALE,
        "bit": BIT,
    }
    return {step: text.format(**names) for step, text in STEPS.items()}


def run(landing: Path, as_of: dt.date, out: Path, memory: str | None = None) -> dict[str, float]:
    """Write the result to `out`; seconds per step."""
    # A directory of its own for spilling: an in-memory database has none beside it.
    config = {"preserve_insertion_order": False, "temp_directory": str(out.parent / f"spill-{os.getpid()}")}
    if memory:
        config["memory_limit"] = memory
    seconds = {}
    with duckdb.connect(config=config) as connection:
        for step, text in sql(landing, as_of, out).items():
            started = time.perf_counter()
            connection.execute(text)
            seconds[step] = round(time.perf_counter() - started, 3)
    return seconds


if __name__ == "__main__":
    main(__doc__, run, memory=None)
