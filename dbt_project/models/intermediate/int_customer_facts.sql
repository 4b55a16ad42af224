{{ config(materialized='table') }}
-- The one base of the class models: whoever may not be profiled has left before it.
-- Everything that they need of a customer on D, in one pass over customer days. Windows are [D - k, D).
with policy as (
    select * from {{ ref('int_run_policy') }}
),
{{ customer_sums(ref('int_customer_days'), ref('int_customer_returns')) }}

select
    customers.customer_key,
    customers.first_seen,
    policy.policy_version,
    {{ customer_facts_columns() }}
from {{ ref('dim_customers') }} as customers
cross join policy
anti join {{ ref('int_persons_excluded') }} as excluded using (customer_key)
left join bought using (customer_key)
left join brought_back using (customer_key)
