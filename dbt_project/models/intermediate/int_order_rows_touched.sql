{{ config(materialized='table', meta={'only_increments': true}) }}
-- Delivered headers of the touched orders.
with touched_rows as (
    {{ raw_rows_of_touched_orders(source('raw', 'orders')) }}
),

delivered as (
    {{ staged_orders('touched_rows') }}
)

select delivered.* from delivered
{{ in_touched_orders('delivered') }}
