{{ config(materialized='table', meta={'only_increments': true}) }}
-- Customers whose sums an increment computes again: whose valid orders are others than in the build before, one of whose
-- days has entered or left a window since, or who may be profiled now and might not then, or the other way about; all, where
-- a scene of life has come into force or gone out of it. None in a full build.
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
union
select customer_key from {{ ref('int_customer_days') }}
where exists (
    select 1 from {{ ref('life_scenes') }} as scenes
    cross join now
    cross join before
    where ({{ is_in_force('scenes', 'now.as_of_date') }}) <> ({{ is_in_force('scenes', 'before.as_of_date') }})
)
{% else %}
select customer_key from {{ ref('int_customers_restated') }}
-- depends_on: {{ ref('int_customer_days') }}, {{ ref('int_run_policy') }}, {{ ref('int_persons_excluded') }}
-- depends_on: {{ ref('life_scenes') }}
limit 0
{% endif %}
