{{ config(materialized='table', meta={'only_increments': true}) }}
-- Customers whose valid orders are others than in the build before: those of restated orders, and who owned a touched one
-- then. None in a full build.
{% if increments() %}
select owner_before as customer_key from {{ ref('int_orders_touched') }}
where owner_before is not null
union
select orders.customer_key from {{ ref('int_orders') }} as orders
semi join {{ ref('int_orders_restated') }} as restated
    on orders.source = restated.source and orders.order_id = restated.order_id
where orders.is_current and orders.customer_key is not null
{% else %}
select customer_key from {{ ref('int_orders') }}
-- depends_on: {{ ref('int_orders_touched') }}, {{ ref('int_orders_restated') }}
limit 0
{% endif %}
