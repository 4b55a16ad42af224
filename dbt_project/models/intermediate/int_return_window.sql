{{ config(materialized='table') }}
-- M-09: the day from which coming back is measured. A year before D, or half of the history where that is shorter; no
-- row while there is none.
with firsts as (
    select min(first_purchase_date) as first_date from {{ ref('int_customer_facts') }}
),

measured as (
    select
        policy.as_of_date,
        cast(least(
            policy.clv_return_window_days,
            floor({{ days_between('firsts.first_date', 'policy.as_of_date') }} / 2)
        ) as integer) as return_days
    from {{ ref('int_run_policy') }} as policy
    inner join firsts on firsts.first_date is not null
)

select as_of_date, return_days, {{ date_minus('as_of_date', 'return_days') }} as earlier_date
from measured
where return_days > 0
