"""The work of script.py in Spark SQL, local[*]: exact money, one Parquet file out.

    python -m benchmarks.spark_peer --landing DIR --as-of 2026-01-01 --out FILE [--memory 4g]

Needs PySpark 4 and its Java. Session zone UTC, no user interface, adaptive execution as it comes; 8 partitions a core
instead of 200, because with 200 small ones local Spark is slower. The JVM is waited for, so that whoever measures this
process sees its CPU seconds too.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import tempfile
import time
from pathlib import Path

from pyspark.sql import SparkSession

from benchmarks.peer_command import main

# Asia/Shanghai has kept UTC+8 without summer time since 1991: days since 1970-01-01 by integer arithmetic.
LOCAL_DAY = "cast((unix_micros({0}) + 28800000000) div 86400000000 as int)"
VALID = "status in ('paid', 'shipped', 'completed') and not coalesce(is_test, false)"
BIT = "shiftleft(1L, cast(line_no % 62 as int))"
SALE = "qty > 0 and unit_price_paid >= 0 and line_no >= 0 and order_id is not null"
AMOUNT = "cast({0}qty * unit_price_paid as decimal(18, 4))"
# Views in their order; those of CACHED are read more than once and kept in memory or on disk.
VIEWS = {
    "returned": """
select order_id, line_no, source_customer_id, qty, refund_amount, {refund_day} as day
from returns where type = 'refund' and {refund_day} < {d}""",
    "returned_lines": """
select order_id, line_no, sum(qty) as back from returned where order_id is not null group by order_id, line_no""",
    "totals": """
select order_id, sum({amount}) as amount, bit_or({bit}) as lines,
       count(*) <> bit_count(bit_or({bit})) as suspect
from order_lines where {sale} group by order_id""",
    "settle": """
select order_id from totals where suspect
union
select order_id
from totals join (select order_id, bit_or({bit}) as back from returned_lines group by order_id) using (order_id)
where lines & back = lines""",
    "settled": """
select order_id, sum({line_amount}) as amount, bool_and(coalesce(r.back, 0) >= l.qty) as all_back
from (
    select order_id, line_no, any_value(qty) as qty, any_value(unit_price_paid) as unit_price_paid
    from order_lines left semi join settle using (order_id)
    where {sale} group by order_id, line_no
) l
left join returned_lines r using (order_id, line_no)
group by order_id""",
    "twice": "select order_id from orders group by order_id having count(*) > 1",
    "states": """
select order_id, source_customer_id, order_discount, case when {valid} then {paid_day} end as day
from orders left anti join twice using (order_id)
union all
select order_id, o.source_customer_id, o.order_discount, o.day
from (
    select order_id, max_by(struct(source_customer_id, order_discount,
                                   case when {valid} then {paid_day} end as day), updated_at) as o
    from orders left semi join twice using (order_id) group by order_id
)""",
    "moves": """
select source_customer_id as customer, day,
       coalesce(s.amount, t.amount) - coalesce(order_discount, 0) as net,
       day < {d} and t.amount is not null and not coalesce(s.all_back, false) as is_purchase
from states left join totals t using (order_id) left join settled s using (order_id)
where source_customer_id is not null
union all
select source_customer_id, day, -refund_amount, false from returned where source_customer_id is not null""",
    "customers": """
select customer,
       sort_array(collect_set(day) filter (where is_purchase)) as days,
       sum(net) filter (where day >= {d} - 365 and day < {d}) as m365,
       sum(net) filter (where day >= {d} - 180 and day < {d}) as m180,
       sum(net) filter (where day >= {d} - 360 and day < {d} - 180) as m_prev180
from moves group by customer""",
    "gaps": """
select *, size(days) as n,
       case when size(days) > 1 then sort_array(
           zip_with(slice(days, 2, size(days) - 1), slice(days, 1, size(days) - 1), (a, b) -> a - b)) end as gaps
from customers""",
    "facts": """
select customer, m365, m180, m_prev180, n,
       case when n > 0 then {d} - element_at(days, -1) end as r,
       case when n > 0 then {d} - element_at(days, 1) end as tenure,
       case when n > 1 then (gaps[(n - 2) div 2] + gaps[(n - 1) div 2]) / 2.0D end as own_gap,
       size(filter(days, x -> x >= {d} - 365)) as f365,
       size(filter(days, x -> x >= {d} - 180)) as f180,
       size(filter(days, x -> x >= {d} - 360 and x < {d} - 180)) as f_prev180
from gaps""",
    "cuts": """
select percentile(cast(-r as double), array(0.2, 0.4, 0.6, 0.8)) as r_cuts,
       percentile(cast(f365 as double), array(0.2, 0.4, 0.6, 0.8)) as f_cuts,
       percentile(cast(m365 as double), array(0.2, 0.4, 0.6, 0.8)) as m_cuts,
       get(sort_array(collect_list(m365), false), cast(ceil(0.2 * count(*)) as int)) as below_a,
       get(sort_array(collect_list(m365), false), cast(ceil(0.5 * count(*)) as int)) as below_b
from facts where f365 > 0""",
    "scored": """
select facts.*, below_a, below_b, f365 > 0 as in_window,
       1 + size(filter(r_cuts, x -> x < -r)) as rs,
       1 + size(filter(f_cuts, x -> x < f365)) as fs,
       case when m365 <= 0 then 1 else 1 + size(filter(m_cuts, x -> x < cast(m365 as double))) end as ms,
       case when n > 1 then ((n - 1) * own_gap + 3 * all_gap) / (n - 1 + 3) else all_gap end as gap
from facts cross join cuts cross join (select percentile(own_gap, 0.5) as all_gap from facts)""",
    "result": """
select customer,
       case when n = 0 then 'prospects'
            when not in_window then 'lapsed'
            when rs <= 2 then case when fs <= 2 then 'hibernating' when fs <= 4 then 'at_risk' else 'cant_lose' end
            when rs = 3 and fs <= 2 then 'about_to_sleep'
            when rs = 3 and fs = 3 then 'need_attention'
            when rs <= 4 and fs >= 4 then 'loyal'
            when fs >= 4 then 'champions'
            when fs >= 2 then 'potential_loyalist'
            when rs = 4 then 'promising'
            else 'new' end as rfm_segment,
       case when not in_window then null
            when m365 <= 0 then 'C'
            when below_a is null or m365 > below_a then 'A'
            when below_b is null or m365 > below_b then 'B'
            else 'C' end as abc_class,
       case when n = 0 then 'prospect'
            when r > least(greatest(3 * gap, 90D), 365D) then 'churned'
            when n = 1 and r <= greatest(30D, least(greatest(1.5D * gap, 45D), 270D)) then 'new'
            when r > least(greatest(1.5D * gap, 45D), 270D) then 'declining'
            when f_prev180 >= 2 and 2 * f180 <= f_prev180
                 and 10 * coalesce(m180, 0) <= 7 * coalesce(m_prev180, 0) then 'declining'
            when tenure >= 180 and f365 >= 4 and f180 >= 1 then 'mature'
            else 'growing' end as stage,
       case when in_window then r end as recency,
       case when in_window then f365 end as frequency,
       case when in_window then cast(m365 as decimal(18, 4)) end as monetary,
       case when in_window then rs end as r_score,
       case when in_window then fs end as f_score,
       case when in_window then ms end as m_score
from scored""",
}
CACHED = ("totals", "facts")


def run(landing: Path, as_of: dt.date, out: Path, memory: str = "4g") -> dict[str, float]:
    """Write the result to `out`; seconds until Spark is up and of the work."""
    started = time.perf_counter()
    scratch = Path(tempfile.mkdtemp(prefix="spark-", dir=out.parent.resolve()))
    cores = len(os.sched_getaffinity(0))
    options = {
        "spark.driver.memory": memory,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.local.dir": str(scratch),
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(8 * cores),
        "spark.log.level": "ERROR",
    }
    # Nothing may listen beyond this machine, and Spark looks for an address before it reads its options.
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    builder = SparkSession.builder.master(f"local[{cores}]").appName("benchmark")
    for name, value in options.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    java = spark.sparkContext._gateway.proc
    up = time.perf_counter()
    names = {
        "d": (as_of - dt.date(1970, 1, 1)).days,
        "paid_day": LOCAL_DAY.format("paid_at"),
        "refund_day": LOCAL_DAY.format("refunded_at"),
        "valid": VALID,
        "sale": SALE,
        "bit": BIT,
        "amount": AMOUNT.format(""),
        "line_amount": AMOUNT.format("l."),
    }
    try:
        for feed in ("orders", "order_lines", "returns"):
            spark.read.parquet(str(landing / "bench" / feed)).createOrReplaceTempView(feed)
        for name, text in VIEWS.items():
            view = spark.sql(text.format(**names))
            (view.persist() if name in CACHED else view).createOrReplaceTempView(name)
        spark.table("result").coalesce(1).write.mode("overwrite").parquet(str(scratch / "result"))
        (part,) = (scratch / "result").glob("part-*.parquet")
        part.replace(out)
    finally:
        spark.stop()
        java.stdin.close()
        java.wait()
        shutil.rmtree(scratch, ignore_errors=True)
    return {"start": up - started, "work and stop": time.perf_counter() - up}


if __name__ == "__main__":
    main(__doc__, run, memory="4g")
