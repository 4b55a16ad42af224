{{ config(materialized='table') }}
-- The one base of the class models: whoever may not be profiled has left before it.
-- Everything that they need of a customer on D, from the sums over days and returns. Windows are [D - k, D).
with policy as (
    select * from {{ ref('int_run_policy') }}
),

brought_back as ({{ customer_brought_back(ref('int_customer_returns')) }})

select
    customers.customer_key,
    customers.first_seen,
    -- Of demographics and household: a join of everybody would cost such a model more than the rest of it.
    customers.age as stated_age,
    customers.plausible_age,
    customers.age_stated_on,
    customers.is_minor,
    customers.gender,
    customers.occupation,
    customers.education,
    cast(customers.household_size as integer) as household_size,
    customers.household_size_stated_on,
    policy.policy_version,
    {{ customer_facts_columns() }},
    -- Of the behaviour and value classes only.
    cast(coalesce(bought.quarters_365, 0) as integer) as quarters_365,
    cast(coalesce(bought.gaps_n, 0) as bigint) as gaps_n,
    cast(bought.gaps_sum as bigint) as gaps_sum,
    cast(bought.gaps_square_sum as bigint) as gaps_square_sum,
    {{ profit_ever() }} as profit_ever,
    coalesce(bought.is_profit_ever_estimated, false) or coalesce(brought_back.is_profit_ever_estimated, false)
        as is_profit_ever_estimated
from {{ ref('dim_customers') }} as customers
cross join policy
anti join {{ ref('int_persons_excluded') }} as excluded using (customer_key)
left join {{ ref('int_customer_bought') }} as bought using (customer_key)
left join brought_back using (customer_key)
