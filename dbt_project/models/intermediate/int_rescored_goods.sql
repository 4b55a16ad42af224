{{ config(materialized='table') }}
-- Affinity of movers, and what they pay beside others, at every step of the re-scoring, and whether a bound of few people,
-- of which only today's is known, stands on the other side. Order lines are read of those days
-- alone that have left the windows since the build before.
with policy as (
    select * from {{ ref('int_rescoring_steps') }}
),

today as (
    select * from {{ ref('int_run_policy') }}
),

goods_movers as (
    select distinct customer_key from {{ ref('int_class_changes') }}
    where scheme in ('affinity', 'price_sensitivity') and from_class is not null and to_class is not null
),

-- What has left the windows since; the rest stands in int_customer_purchases.
older as (
    select
        min(least(policy.behaviour_window_start, policy.affinity_window_start)) as first_day,
        max(least(today.behaviour_window_start, today.affinity_window_start, today.clv_recent_start)) as last_day
    from policy
    cross join today
),

older_orders as (
    select orders.* from ({{ customer_orders('older', 'days.first_day', 'days.last_day') }}) as orders
    semi join goods_movers on orders.customer_key = goods_movers.customer_key
),

{{ customer_purchases('older_orders', lines_of_few('older_orders')) }},

own_purchases as (
    select customer_key, category, day, amount, qty, known_amount, promo_amount, promo_list_amount, promo_paid_amount
    from {{ ref('int_customer_purchases') }} as purchases
    semi join goods_movers using (customer_key)
    union all
    select customer_key, category, day, amount, qty, known_amount, promo_amount, promo_list_amount, promo_paid_amount
    from purchases
),

purchases_by_step as (
    select policy.step, own_purchases.* from own_purchases
    inner join policy on own_purchases.day < policy.bought_before
),

refunds_by_step as (
    select policy.step, refunds.*
    from ({{ category_refunds() }}) as refunds
    inner join policy on refunds.day < policy.returned_before
    semi join goods_movers on refunds.customer_key = goods_movers.customer_key
),

{{ category_sums('purchases_by_step', 'refunds_by_step', step='step') }},

shares as (
    select step, group_name as category, bound as share_of_all from {{ ref('int_rescoring_bounds') }}
    where scheme = 'affinity'
),

depths as (
    select step, group_name as category, cast(bound as decimal(9, 8)) as usual_depth
    from {{ ref('int_rescoring_bounds') }}
    where scheme = 'price_sensitivity'
),

{{ category_leanings('goods', 'shares', step='step') }},

leant_to as (
    select customer_key, step, bool_or(is_affine) as is_affine from leanings
    group by customer_key, step
),

bought_lately as (
    select distinct customer_key, step from goods
    where recent_days > 0
),

paid as (
    select goods.customer_key, goods.step, {{ price_sums() }}
    from goods
    inner join depths as usual on goods.category = usual.category and goods.step = usual.step
    group by goods.customer_key, goods.step
),

beside_few as (
    select
        goods.customer_key,
        goods.step,
        bool_or(bounds.scheme = 'affinity') as is_affinity_beside_few,
        bool_or(bounds.scheme = 'price_sensitivity') as is_price_beside_few
    from goods
    inner join {{ ref('int_rescoring_bounds') }} as bounds
        on goods.category = bounds.group_name and goods.step = bounds.step
    where bounds.is_bound_hidden and bounds.scheme in ('affinity', 'price_sensitivity')
    group by goods.customer_key, goods.step
)

select
    goods_movers.customer_key,
    policy.step,
    {{ affinity_class('coalesce(leant_to.is_affine, false)', 'leant_to.customer_key is not null',
                      'bought_lately.customer_key is not null') }} as affinity_class,
    paid.amount,
    {{ price_shares('paid') }},
    coalesce(beside_few.is_affinity_beside_few, false) as is_affinity_beside_few,
    coalesce(beside_few.is_price_beside_few, false) as is_price_beside_few
from goods_movers
cross join policy
left join leant_to on goods_movers.customer_key = leant_to.customer_key and policy.step = leant_to.step
left join bought_lately on goods_movers.customer_key = bought_lately.customer_key and policy.step = bought_lately.step
left join paid on goods_movers.customer_key = paid.customer_key and policy.step = paid.step
left join beside_few on goods_movers.customer_key = beside_few.customer_key and policy.step = beside_few.step
