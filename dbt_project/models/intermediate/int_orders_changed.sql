{{ config(materialized='incremental', incremental_strategy='replace_touched', unique_key=['source', 'order_id'],
          meta={'touched': 'int_orders_touched'}) }}
-- Orders known on the refresh date that look different today: any row of theirs came, went or was revised since.
-- The frozen cut points need these, and only these, in their old version.
with touched as (
    select sums.source, sums.order_id from {{ ref('int_order_sums') }} as sums
    {{ only_touched(ref('int_orders_touched'), 'sums') }}
    where not is_same_at_refresh
    union
    select orders.source, orders.order_id from {{ ref('stg_sales__orders') }} as orders
    {{ only_touched(ref('int_orders_touched'), 'orders') }}
    where is_in_force <> was_in_force
    union
    select lines.source, lines.order_id from {{ ref('stg_sales__order_lines') }} as lines
    {{ only_touched(ref('int_orders_touched'), 'lines') }}
    where was_in_force and not is_in_force
)

select touched.source, touched.order_id
from touched
semi join (
    select orders.source, orders.order_id from {{ ref('stg_sales__orders') }} as orders
    {{ only_touched(ref('int_orders_touched'), 'orders') }}
    where was_in_force
) as known_at_refresh using (source, order_id)
