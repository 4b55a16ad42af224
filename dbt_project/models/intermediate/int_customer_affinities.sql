{{ config(materialized='table') }}
-- S1-32, S0-25: a customer's categories of the last half-year beside all customers.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

{{ category_leanings(ref('int_customer_categories'), ref('int_category_bounds')) }}

select * from leanings
