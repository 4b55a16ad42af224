{{ config(materialized='incremental', incremental_strategy='replace_touched', unique_key=['source', 'order_id'],
          meta={'touched': 'int_orders_touched'}) }}
-- Line sums of orders that were never delivered. Three readers ask for them, and finding them costs a join of all orders.
select totals.source, totals.order_id, totals.line_n, totals.sale_n, totals.sale_amount
from {{ ref('int_order_totals') }} as totals
{{ only_touched(ref('int_orders_touched'), 'totals') }}
anti join {{ ref('int_orders') }} as orders
    on totals.is_current = orders.is_current and totals.source = orders.source and totals.order_id = orders.order_id
where totals.is_current
