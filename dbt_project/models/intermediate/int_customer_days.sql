-- Valid orders by customer and day. Several orders of one day are one purchase day; a day without merchandise that was
-- kept is none, though its revenue counts.
with days as (
    select
        customer_key,
        paid_date as day,
        count(*) filter (where makes_purchase_day) as orders_n,
        sum(net_revenue) as net_revenue,
        sum(profit) as profit,
        bool_or(profit is null) as is_profit_unknown,
        bool_or(profit_is_estimated) as profit_is_estimated,
        bool_and(not profit_uses_default_margin) as is_profit_category_based
    from {{ ref('fct_orders') }}
    where is_valid
    group by customer_key, paid_date
)

select
    *,
    orders_n > 0 as is_purchase_day,
    case when orders_n > 0 then {{ days_between('lag(day) over by_customer', 'day') }} end as gap_days,
    lead(day) over by_customer is null as is_last
from days
window by_customer as (partition by customer_key, orders_n > 0 order by day)
