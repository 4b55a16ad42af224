"""The work of script.py in chDB, which is ClickHouse in the process: tables in memory, exact money, one Parquet file out.

    python -m benchmarks.chdb_peer --landing DIR --as-of 2026-01-01 --out FILE

Lines delivered twice are found as in script.py: one aggregate over all orders, and only the orders so caught, or
named by a return, are settled line by line. Intermediate results are tables, because ClickHouse works a CTE out
again for each of its readers.
"""

from __future__ import annotations

import datetime as dt
import tempfile
import time
from pathlib import Path

from chdb import session

from benchmarks.peer_command import main

# Asia/Shanghai has kept UTC+8 without summer time since 1991: days since 1970-01-01 by integer arithmetic.
LOCAL_DAY = "toInt32(intDiv(toUnixTimestamp64Micro(assumeNotNull({0})) + 28800000000, 86400000000))"
VALID = "status in ('paid', 'shipped', 'completed') and not coalesce(is_test, false)"
BIT = "bitShiftLeft(toUInt64(1), toUInt8(assumeNotNull(line_no) % 62))"
SALE = "qty > 0 and unit_price_paid >= 0 and line_no >= 0 and order_id is not null"
# A nullable key takes a slower path of the hash tables. Never the name of its column, which would then mean this
# expression in the WHERE clause too.
KEY = "assumeNotNull(order_id) as key"

STEPS = {
    "returns": """
create table returned engine = Memory as
select order_id, line_no, source_customer_id, qty, refund_amount, {refund_day} as day
from file('{landing}/returns/*.parquet', Parquet)
where type = 'refund' and refunded_at is not null and {refund_day} < {d};

create table returned_lines engine = Memory as
select {key}, assumeNotNull(line_no) as line, sum(assumeNotNull(qty)) as back
from returned where order_id is not null and line_no is not null group by key, line;

create table returned_orders engine = Memory as
select key, groupBitOr(bitShiftLeft(toUInt64(1), toUInt8(line % 62))) as lines from returned_lines group by key;
""",
    "order totals": """
create table totals engine = Memory as
select {key},
       sum(assumeNotNull(qty) * assumeNotNull(unit_price_paid)) as amount,
       groupBitOr({bit}) as lines,
       count() <> bitCount(lines) as suspect
from file('{landing}/order_lines/*.parquet', Parquet)
where {sale}
group by key;
""",
    "settle": """
create table settle engine = Memory as
select key from totals where suspect
union distinct
select key from totals join returned_orders back using (key)
where bitAnd(totals.lines, back.lines) = totals.lines;

create table settled engine = Memory as
select l.key as key, sum(l.pieces * l.price) as amount, min(coalesce(r.back, 0) >= l.pieces) as all_back
from (
    select {key}, assumeNotNull(line_no) as line, any(assumeNotNull(qty)) as pieces,
           any(assumeNotNull(unit_price_paid)) as price
    from file('{landing}/order_lines/*.parquet', Parquet)
    where {sale} and order_id in (select key from settle)
    group by key, line
) l
left join returned_lines r on r.key = l.key and r.line = l.line
group by key;
""",
    "customers": """
create table twice engine = Memory as
select {key} from file('{landing}/orders/*.parquet', Parquet) group by key having count() > 1;

create table purchases engine = Memory as
select o.customer as customer, o.day as day, coalesce(s.amount, t.amount) - o.discount as net,
       o.day is not null and o.day < {d} and t.amount is not null and coalesce(s.all_back, 0) = 0 as is_purchase
from (
    select {key}, assumeNotNull(source_customer_id) as customer, coalesce(order_discount, 0) as discount,
           if({valid} and paid_at is not null, {paid_day}, null) as day
    from file('{landing}/orders/*.parquet', Parquet)
    where source_customer_id is not null and order_id not in (select key from twice)
    union all
    select key, assumeNotNull(tupleElement(o, 1)) as customer, tupleElement(o, 2) as discount,
           tupleElement(o, 3) as day
    from (
        select {key},
               argMax(tuple(source_customer_id, coalesce(order_discount, 0),
                            if({valid} and paid_at is not null, {paid_day}, null)), updated_at) as o
        from file('{landing}/orders/*.parquet', Parquet)
        where order_id in (select key from twice)
        group by key
    )
    where tupleElement(o, 1) is not null
) o
left join totals t on t.key = o.key
left join settled s on s.key = o.key;

create table facts engine = Memory as
with arrayDifference(days) as steps
select customer, m365, m180, m_prev180, length(days) as n,
       if(n > 0, {d} - days[-1], null) as r,
       if(n > 0, {d} - days[1], null) as tenure,
       if(n > 1, arrayReduce('quantileExactInclusive(0.5)', arraySlice(steps, 2)), null) as own_gap,
       arrayCount(x -> x >= {d} - 365, days) as f365,
       arrayCount(x -> x >= {d} - 180, days) as f180,
       arrayCount(x -> x >= {d} - 360 and x < {d} - 180, days) as f_prev180
from (
    select customer,
           arraySort(groupUniqArrayIf(assumeNotNull(day), is_purchase)) as days,
           sumIf(coalesce(net, 0), day >= {d} - 365 and day < {d}) as m365,
           sumIf(coalesce(net, 0), day >= {d} - 180 and day < {d}) as m180,
           sumIf(coalesce(net, 0), day >= {d} - 360 and day < {d} - 180) as m_prev180
    from (
        select customer, day, net, is_purchase from purchases
        union all
        select assumeNotNull(source_customer_id), day, -refund_amount, false from returned
        where source_customer_id is not null
    )
    group by customer
);
""",
    # A place beyond the end of an array is 0, and whoever has a profit has more than that.
    "classes": """
create table cuts engine = Memory as
select quantilesExactInclusive(0.2, 0.4, 0.6, 0.8)(toFloat64(-r)) as r_cuts,
       quantilesExactInclusive(0.2, 0.4, 0.6, 0.8)(toFloat64(f365)) as f_cuts,
       quantilesExactInclusive(0.2, 0.4, 0.6, 0.8)(toFloat64(m365)) as m_cuts,
       arrayReverseSort(groupArray(m365)) as ranked,
       ranked[toUInt64(ceil(0.2 * count())) + 1] as below_a,
       ranked[toUInt64(ceil(0.5 * count())) + 1] as below_b
from facts where f365 > 0;

insert into function file('{out}', Parquet)
with
    (select (r_cuts, f_cuts, m_cuts, below_a, below_b) from cuts) as cut,
    (select quantileExactInclusive(0.5)(own_gap) from facts) as all_gap,
    f365 > 0 as in_window,
    arrayCount(x -> x < toFloat64(-r), cut.1) + 1 as rs,
    arrayCount(x -> x < toFloat64(f365), cut.2) + 1 as fs,
    if(m365 <= 0, 1, arrayCount(x -> x < toFloat64(m365), cut.3) + 1) as ms,
    if(n > 1, ((n - 1) * own_gap + 3 * all_gap) / (n - 1 + 3), all_gap) as gap,
    least(greatest(1.5 * gap, 45), 270) as decline
select customer,
       multiIf(n = 0, 'prospects', not in_window, 'lapsed',
               rs <= 2, multiIf(fs <= 2, 'hibernating', fs <= 4, 'at_risk', 'cant_lose'),
               rs = 3 and fs <= 2, 'about_to_sleep', rs = 3 and fs = 3, 'need_attention',
               rs <= 4 and fs >= 4, 'loyal', fs >= 4, 'champions', fs >= 2, 'potential_loyalist',
               rs = 4, 'promising', 'new') as rfm_segment,
       multiIf(not in_window, null, m365 <= 0, 'C', m365 > cut.4, 'A', m365 > cut.5, 'B', 'C') as abc_class,
       multiIf(n = 0, 'prospect', r > least(greatest(3 * gap, 90), 365), 'churned',
               n = 1 and r <= greatest(30, decline), 'new', r > decline, 'declining',
               f_prev180 >= 2 and 2 * f180 <= f_prev180 and 10 * m180 <= 7 * m_prev180, 'declining',
               tenure >= 180 and f365 >= 4 and f180 >= 1, 'mature', 'growing') as stage,
       if(in_window, toInt32(r), null) as recency,
       if(in_window, toInt32(f365), null) as frequency,
       if(in_window, toDecimal128(m365, 4), null) as monetary,
       if(in_window, toInt32(rs), null) as r_score,
       if(in_window, toInt32(fs), null) as f_score,
       if(in_window, toInt32(ms), null) as m_score
from facts
settings engine_file_truncate_on_insert = 1;
""",
}


def run(landing: Path, as_of: dt.date, out: Path) -> dict[str, float]:
    """Write the result to `out`; seconds per step."""

    def quoted(path: Path) -> str:
        return str(path.resolve()).replace("\\", "\\\\").replace("'", "\\'")

    names = {
        "landing": quoted(landing / "bench"),
        "out": quoted(out),
        "d": (as_of - dt.date(1970, 1, 1)).days,
        "paid_day": LOCAL_DAY.format("paid_at"),
        "refund_day": LOCAL_DAY.format("refunded_at"),
        "valid": VALID,
        "sale": SALE,
        "bit": BIT,
        "key": KEY,
    }
    seconds = {}
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        chdb = session.Session(folder)
        chdb.query("set join_use_nulls = 1")
        for step, text in STEPS.items():
            started = time.perf_counter()
            for statement in text.format(**names).split(";"):
                if statement.strip():
                    chdb.query(statement)
            seconds[step] = time.perf_counter() - started
        chdb.close()
    return seconds


if __name__ == "__main__":
    main(__doc__, run)
