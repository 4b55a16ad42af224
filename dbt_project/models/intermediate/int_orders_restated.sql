{{ config(materialized='table', meta={'only_increments': true}) }}
-- Orders that count otherwise than in the build before: touched ones, those that have come back whole since or are
-- counted again, those of a day that is over since, and of who is staff or no longer. None in a full build.
{% if increments() %}
with before as (
    select * from {{ kept('int_run_policy') }}
),

now as (
    select * from {{ ref('int_run_policy') }}
),

internal as (
    select customer_key from {{ changed_rows(ref('int_internal_customers')) }} as changed
    where is_current
)

select source, order_id from {{ ref('int_orders_touched') }}
union
select source, order_id from {{ changed_rows(ref('int_orders_fully_returned')) }} as changed
where is_current
union
select orders.source, orders.order_id from {{ ref('int_orders') }} as orders
semi join internal on orders.customer_key = internal.customer_key
where orders.is_current
union
select orders.source, orders.order_id from {{ ref('int_orders') }} as orders
cross join now
cross join before
where orders.is_current
    and {{ has_crossed('orders.paid_date', ['as_of_date']) }}
{% else %}
select source, order_id from {{ ref('int_orders') }}
-- depends_on: {{ ref('int_orders_touched') }}, {{ ref('int_orders_fully_returned') }}
-- depends_on: {{ ref('int_internal_customers') }}, {{ ref('int_run_policy') }}
limit 0
{% endif %}
