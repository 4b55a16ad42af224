{{ config(materialized='incremental', incremental_strategy='replace_touched', unique_key=['source', 'order_id'],
          meta={'touched': 'int_orders_touched'}) }}
-- Orders known on the refresh date that look different today: any row of theirs came, went or was revised since.
-- The frozen cut points need these, and only these, in their old version.
{% set orders = of_touched(ref('stg_sales__orders'), ref('int_order_rows_touched')) %}
{% set lines = of_touched(ref('stg_sales__order_lines'), ref('int_line_rows_touched')) %}
with touched as (
    select sums.source, sums.order_id from {{ ref('int_order_sums') }} as sums
    {{ only_touched(ref('int_orders_touched'), 'sums') }}
    where not is_same_at_refresh
    union
    select source, order_id from {{ orders }} as orders
    where is_in_force <> was_in_force
    union
    select source, order_id from {{ lines }} as lines
    where was_in_force and not is_in_force
    union
    select orders.source, orders.order_id from {{ orders }} as orders
    semi join (select * from {{ ref('int_exchange_rates') }} where rate is distinct from rate_at_refresh) as rates
        on orders.currency = rates.currency and orders.ordered_date = rates.day
    where orders.is_in_force
)

select touched.source, touched.order_id
from touched
semi join (
    select source, order_id from {{ orders }} as orders
    where was_in_force
) as known_at_refresh using (source, order_id)
