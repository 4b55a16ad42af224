{{ config(meta={'dagster': {'ref': {'name': 'int_orders'}}, 'description': "More was given off an order than its goods cost, too often (Q-04): discounts are doubled, in another unit or of another order, and net revenue is below zero."}) }}
with counted as (
    select
        source,
        count(*) as orders_n,
        count(*) filter (where order_discount > sale_amount) as excess_n,
        min(case when order_discount > sale_amount then order_id end) as example
    from {{ ref('int_orders') }}
    where is_current and is_paid and sale_n > 0
    group by source
)

select counted.*
from counted
inner join {{ ref('int_run_policy') }} as policy
    on counted.excess_n > policy.doubtful_rows_min
    and counted.excess_n > policy.discount_excess_share_max * counted.orders_n
