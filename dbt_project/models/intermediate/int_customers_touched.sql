{{ config(materialized='table', meta={'only_increments': true}) }}
-- Customers whose sums an increment computes again: whose valid orders are others than in the build before, one of whose
-- days has entered or left a window since, or who may be profiled now and might not then, or the other way about. None in
-- a full build.
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
union
select customer_key from {{ changed_rows(ref('int_persons_excluded')) }} as changed
{% else %}
select customer_key from {{ ref('int_customers_restated') }}
-- depends_on: {{ ref('int_customer_days') }}, {{ ref('int_run_policy') }}, {{ ref('int_persons_excluded') }}
limit 0
{% endif %}
