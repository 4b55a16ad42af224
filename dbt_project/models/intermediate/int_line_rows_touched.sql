{{ config(materialized='table', meta={'only_increments': true}) }}
-- Delivered lines of the touched orders, found in one scan for all who read them. None in a full build.
select delivered.* from {{ ref('stg_sales__order_lines') }} as delivered
{% if increments() %}
semi join {{ ref('int_orders_touched') }} as touched
    on delivered.source = touched.source and delivered.order_id = touched.order_id
{% else %}
-- depends_on: {{ ref('int_orders_touched') }}
limit 0
{% endif %}
