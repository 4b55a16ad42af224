-- M-09: the stage that a customer had on the first day of the return window, from the days before it alone, and whether
-- a purchase followed in the window.
with policy as (
    select
        {%- for key, type in scoring_thresholds() %}
        run_policy.{{ key }},
        {%- endfor %}
        run_policy.lifecycle_default_gap_days,
        earlier.earlier_date as as_of_date,
        {{ window_starts('earlier.earlier_date', 'run_policy') }}
    from {{ ref('int_run_policy') }} as run_policy
    cross join {{ ref('int_return_window') }} as earlier
),

earlier_days as (
    select days.* from {{ ref('int_customer_days') }} as days
    inner join policy on days.day < policy.as_of_date
),

earlier_returns as (
    select returns.* from {{ ref('int_customer_returns') }} as returns
    inner join policy on returns.day < policy.as_of_date
),
{{ customer_sums('earlier_days', 'earlier_returns') }},

facts as (
    select
        bought.customer_key,
        people.last_purchase_date >= policy.as_of_date as has_returned,
        {{ customer_facts_columns() }}
    from bought
    cross join policy
    inner join {{ ref('int_customer_facts') }} as people using (customer_key)
    left join brought_back using (customer_key)
    where bought.purchase_days_n > 0
),

common as ({{ common_gap('facts') }}
),
{{ lifecycle_stages('facts') }}

select
    staged.customer_key,
    staged.stage,
    {{ recency_bucket('staged.recency_days', 'run_policy') }} as recency_bucket,
    staged.has_returned
from staged
cross join {{ ref('int_run_policy') }} as run_policy
