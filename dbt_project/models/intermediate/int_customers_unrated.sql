{{ config(materialized='table') }}
-- Who has paid, and only in a currency that has no rate on the day: the reason of their classes says so.
with orders as (
    select orders.customer_key, orders.currency, orders.exchange_rate
    from {{ ref('fct_orders') }} as orders
    inner join {{ ref('int_run_policy') }} as policy on orders.paid_date < policy.as_of_date
    where orders.customer_key is not null and not orders.is_test and {{ is_paid_status('orders.status') }}
),

unrated as (
    select customer_key, count(*) as orders_n, min(currency) as currency from orders
    where exchange_rate is null
    group by customer_key
)

select unrated.customer_key, unrated.orders_n, unrated.currency
from unrated
anti join orders on unrated.customer_key = orders.customer_key and orders.exchange_rate is not null
