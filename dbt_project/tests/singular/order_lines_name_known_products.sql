{{ config(meta={'dagster': {'ref': {'name': 'fct_order_lines'}}, 'description': "More order lines than the policy allows name a product that the master data lacks (Q-05): the product feed is cut short, and these lines are in no category."}) }}
-- Without a product feed there is nothing to be missing from.
with strangers as (
    select product_id from {{ ref('dim_products') }}
    where not is_in_master and exists (select 1 from {{ ref('dim_products') }} as products where products.is_in_master)
),

orphans as (
    select lines.source, count(*) as orphans_n, min(lines.product_id) as example
    from {{ ref('fct_order_lines') }} as lines
    semi join strangers on lines.product_id = strangers.product_id
    group by lines.source
),

counted as (
    select source, sum(sale_n) as lines_n from {{ ref('int_order_totals') }}
    where is_current
    group by source
)

select orphans.*, counted.lines_n
from orphans
inner join counted on orphans.source = counted.source
inner join {{ ref('int_run_policy') }} as policy
    on orphans.orphans_n > policy.orphan_rows_min
    and orphans.orphans_n > policy.orphan_product_share_max * counted.lines_n
