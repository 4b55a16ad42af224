{{ config(materialized='table', meta={'only_increments': true}) }}
-- Delivered lines of the touched orders.
with touched_rows as (
    {{ raw_rows_of_touched_orders(source('raw', 'order_lines')) }}
),

delivered as (
    {{ staged_order_lines('touched_rows') }}
)

select delivered.* from delivered
{{ in_touched_orders('delivered') }}
