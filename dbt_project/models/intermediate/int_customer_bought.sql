{{ config(materialized='incremental', incremental_strategy='replace_touched', unique_key=['customer_key'],
          meta={'touched': 'int_customers_touched'}) }}
-- Sums of a customer's days up to D. They stand still until an order of the customer changes or a day leaves a window.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

days as (
    select days.* from {{ ref('int_customer_days') }} as days
    {{ only_touched(ref('int_customers_touched'), 'days', ['customer_key']) }}
)

select * from ({{ customer_bought('days') }}) as bought
