{{ config(materialized='table') }}
-- Facts of movers whose class is scored again, at every step of the re-scoring (docs/decisions/017-class-history.md).
with policy as (
    select * from {{ ref('int_rescoring_steps') }}
),

moved as (
    select distinct customer_key
    from {{ ref('int_class_changes') }}
    where from_class is not null and to_class is not null
        and (scheme in ('{{ rescored_schemes() | join("', '") }}') or scheme like 'custom:%')
),

own_days as (
    select days.* from {{ ref('int_customer_days') }} as days
    semi join moved using (customer_key)
),

days as (
    select
        policy.step,
        own_days.customer_key,
        own_days.day,
        own_days.orders_n,
        own_days.net_revenue,
        own_days.profit,
        own_days.is_profit_unknown,
        own_days.profit_is_estimated,
        own_days.is_profit_category_based,
        own_days.is_purchase_day,
        own_days.gap_days,
        lead(own_days.day) over (
            partition by policy.step, own_days.customer_key, own_days.is_purchase_day order by own_days.day
        ) is null as is_last
    from own_days
    inner join policy on own_days.day < policy.bought_before
),

returned as (
    select policy.step, own_returns.*
    from {{ ref('int_customer_returns') }} as own_returns
    inner join policy on own_returns.day < policy.returned_before
    semi join moved using (customer_key)
),

{{ customer_sums('days', 'returned', step='step') }},

facts as (
    select
        moved.customer_key,
        policy.step,
        coalesce(bought.quarters_365, 0) as quarters_365,
        {{ profit_ever() }} as profit_ever,
        {{ customer_facts_columns() }}
    from moved
    cross join policy
    left join bought on moved.customer_key = bought.customer_key and policy.step = bought.step
    left join brought_back on moved.customer_key = brought_back.customer_key and policy.step = brought_back.step
)

select * from facts
