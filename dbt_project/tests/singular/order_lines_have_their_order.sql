{{ config(meta={'dagster': {'ref': {'name': 'fct_orders'}}, 'description': "More order lines than the policy allows name an order that was never delivered (Q-05): a delivery of orders is missing or cut short, and its revenue is in no customer."}) }}
with counted as (
    select
        totals.source,
        sum(totals.sale_n) as sale_n,
        coalesce(sum(totals.sale_n) filter (where orders.order_id is null), 0) as orphans_n
    from {{ ref('int_order_totals') }} as totals
    left join {{ ref('int_orders') }} as orders
        on totals.is_current = orders.is_current and totals.source = orders.source and totals.order_id = orders.order_id
    where totals.is_current
    group by totals.source
)

select counted.*
from counted
inner join {{ ref('int_run_policy') }} as policy
    on counted.orphans_n > policy.orphan_line_share_max * counted.sale_n
