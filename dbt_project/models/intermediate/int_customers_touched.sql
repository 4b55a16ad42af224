{{ config(materialized='table', meta={'only_increments': true}) }}
-- Customers whose sums an increment computes again: whose valid orders are others than in the build before, or one of
-- whose days has entered or left a window since. None in a full build.
{% if increments() %}
with before as (
    select * from {{ kept('int_run_policy') }}
),

now as (
    select * from {{ ref('int_run_policy') }}
)

select customer_key from {{ ref('int_customers_restated') }}
union
select days.customer_key from {{ ref('int_customer_days') }} as days
cross join now
cross join before
where {{ has_crossed('days.day', window_bounds()) }}
{% else %}
select customer_key from {{ ref('int_customers_restated') }}
-- depends_on: {{ ref('int_customer_days') }}, {{ ref('int_run_policy') }}
limit 0
{% endif %}
