{{ config(materialized='incremental', incremental_strategy='replace_touched', unique_key=['customer_key'],
          meta={'touched': 'int_customers_restated'}) }}
-- Valid orders by customer and day. Several orders of one day are one purchase day; a day without merchandise that was
-- kept is none, though its revenue counts. A table: all that is summed over customers reads it.
with days as (
    select
        customer_key,
        paid_date as day,
        count(*) filter (where makes_purchase_day) as orders_n,
        {{ money('sum(net_revenue)') }} as net_revenue,
        {{ money('sum(profit)') }} as profit,
        bool_or(profit is null) as is_profit_unknown,
        bool_or(profit_is_estimated) as profit_is_estimated,
        bool_and(not profit_uses_default_margin) as is_profit_category_based
    from {{ ref('fct_orders') }} as orders
    {{ only_touched(ref('int_customers_restated'), 'orders', ['customer_key']) }}
    where is_valid
    group by customer_key, paid_date
),

-- A gap is that to the purchase day before.
spaced as (
    select
        *,
        orders_n > 0 as is_purchase_day,
        case when orders_n > 0 then {{ days_between('lag(day) over by_customer', 'day') }} end as gap_days,
        lead(day) over by_customer is null as is_last
    from days
    window by_customer as (partition by customer_key, orders_n > 0 order by day)
)

select * from spaced
