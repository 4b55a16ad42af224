{{ config(materialized='table', meta={'only_increments': true}) }}
-- Customers whose valid orders are others than in the build before: both owners of a touched order, those of an order
-- that has come back whole since or is counted again, of a day that is over since, and who is staff or no longer.
-- None in a full build.
{% if increments() %}
with before as (
    select * from {{ kept('int_run_policy') }}
),

now as (
    select * from {{ ref('int_run_policy') }}
),

returned as (
    select source, order_id from {{ changed_rows(ref('int_orders_fully_returned')) }} as changed
    where is_current
)

select owner_before as customer_key from {{ ref('int_orders_touched') }}
where owner_before is not null
union
select orders.customer_key from {{ ref('int_orders') }} as orders
semi join {{ ref('int_orders_touched') }} as touched
    on orders.source = touched.source and orders.order_id = touched.order_id
where orders.is_current and orders.customer_key is not null
union
select orders.customer_key from {{ ref('int_orders') }} as orders
semi join returned on orders.source = returned.source and orders.order_id = returned.order_id
where orders.is_current and orders.customer_key is not null
union
select customer_key from {{ changed_rows(ref('int_internal_customers')) }} as changed
where is_current
union
select orders.customer_key from {{ ref('int_orders') }} as orders
cross join now
cross join before
where orders.is_current and orders.customer_key is not null
    and {{ has_crossed('orders.paid_date', ['as_of_date']) }}
{% else %}
select customer_key from {{ ref('int_orders') }}
-- depends_on: {{ ref('int_orders_touched') }}, {{ ref('int_orders_fully_returned') }}
-- depends_on: {{ ref('int_internal_customers') }}, {{ ref('int_run_policy') }}
limit 0
{% endif %}
