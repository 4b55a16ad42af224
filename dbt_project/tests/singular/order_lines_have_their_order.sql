{{ config(meta={'dagster': {'ref': {'name': 'fct_orders'}}, 'description': "More order lines than the policy allows name an order that was never delivered (Q-05): a delivery of orders is missing or cut short, and its revenue is in no customer."}) }}
with sold as (
    select source, sum(sale_n) as sale_n from {{ ref('int_order_totals') }}
    where is_current
    group by source
),

orphans as (
    select source, sum(sale_n) as orphans_n from {{ ref('int_lines_without_order') }}
    group by source
),

counted as (
    select sold.source, sold.sale_n, orphans.orphans_n
    from sold
    inner join orphans on sold.source = orphans.source
)

select counted.*
from counted
inner join {{ ref('int_run_policy') }} as policy
    on counted.orphans_n > policy.orphan_line_share_max * counted.sale_n
