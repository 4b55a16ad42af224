{{ config(materialized='table') }}
-- What a customer bought of a category, net of what came back booked in the same window.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

refunds as (
    select refunds.* from ({{ category_refunds() }}) as refunds
    inner join policy on refunds.day < policy.as_of_date
),

{{ category_sums(ref('int_customer_purchases'), 'refunds') }}

select * from goods
