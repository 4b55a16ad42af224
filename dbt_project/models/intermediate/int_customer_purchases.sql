{{ config(materialized='incremental', incremental_strategy='replace_touched', unique_key=['customer_key'],
          meta={'touched': 'int_customers_touched'}) }}
-- The one pass over order lines of the behaviour classes.
with counted as (
    select orders.* from {{ ref('int_customer_orders') }} as orders
    {{ only_touched(ref('int_customers_touched'), 'orders', ['customer_key']) }}
),

{{ customer_purchases('counted', of_touched(ref('stg_sales__order_lines'), lines_of_few('counted'))) }}

select * from purchases
