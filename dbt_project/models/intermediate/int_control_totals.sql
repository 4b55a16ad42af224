{{ config(materialized='table') }}
-- What a source says its own totals are (feed `targets`, metrics control_*) beside what the facts hold for the same days.
-- `dimension` names the source, `period` is a day or a month; a period is compared once it is over.
with ranked as (
    select
        *,
        row_number() over (
            partition by metric_id, dimension, period order by dt desc, rev desc, delivery_row desc, delivery desc
        ) as nth
    from {{ ref('stg_reference__targets') }}
    where metric_id in ('control_orders', 'control_net_revenue', 'control_refunds', 'control_sessions')
),

-- `2026-06` is as long as its month, `2026-06-30` one day; another spelling has no days and is told as such.
periods as (
    select
        metric_id,
        dimension as source,
        period,
        cast(target as decimal(18, 4)) as control_total,
        case
            when length(period) = 10 then {{ date_of_text('period') }}
            when length(period) = 7 then {{ date_of_text("period || '-01'") }}
        end as first_day,
        length(period) = 7 as is_month
    from ranked
    where nth = 1
),

bounded as (
    select
        *,
        case when is_month then {{ month_start(date_plus('first_day', 31)) }} else {{ date_plus('first_day', 1) }} end as next_day
    from periods
),

facts as (
    select 'control_orders' as metric_id, source, paid_date as day, count(*) as amount
    from {{ ref('fct_orders') }}
    where is_paid
    group by source, paid_date
    union all
    select 'control_net_revenue' as metric_id, source, paid_date as day, sum(net_revenue) as amount
    from {{ ref('fct_orders') }}
    where is_paid
    group by source, paid_date
    union all
    select 'control_refunds' as metric_id, source, return_date as day, sum(refund_net) as amount
    from {{ ref('fct_returns') }}
    where is_booked
    group by source, return_date
    union all
    select 'control_sessions' as metric_id, source, session_date as day, count(*) as amount
    from {{ ref('fct_sessions') }}
    group by source, session_date
),

orders as (
    select source, day, amount as orders_n from facts
    where metric_id = 'control_orders'
)

select
    bounded.metric_id,
    bounded.source,
    bounded.period,
    bounded.first_day is not null as is_period_known,
    bounded.control_total,
    {{ money('coalesce(sum(facts.amount), 0)') }} as fact_total,
    coalesce(sum(orders.orders_n), 0) as orders_n
from bounded
cross join {{ ref('int_run_policy') }} as policy
left join facts
    on bounded.metric_id = facts.metric_id and bounded.source = facts.source
    and facts.day >= bounded.first_day and facts.day < bounded.next_day
left join orders on facts.source = orders.source and facts.day = orders.day
where bounded.first_day is null or bounded.next_day <= policy.as_of_date
group by bounded.metric_id, bounded.source, bounded.period, bounded.first_day, bounded.control_total
