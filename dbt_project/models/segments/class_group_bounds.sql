-- What classes are compared with that differs by group: the usual depth of price cuts and the share of what all spend by
-- category, the share of people who came back by stage and recency. Kept for every day, as class_bounds is.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

today as (
    select 'price_sensitivity' as scheme, category as group_name, cast(usual_depth as double) as bound
    from {{ ref('int_category_bounds') }}
    union all
    select 'affinity' as scheme, category as group_name, share_of_all as bound
    from {{ ref('int_category_bounds') }}
    where share_of_all is not null
    union all
    select 'clv' as scheme, {{ return_rate_group('stage', 'recency_bucket') }} as group_name, return_rate as bound
    from {{ ref('int_return_rates') }}
)

select policy.as_of_date, today.scheme, today.group_name, today.bound, policy.policy_version
from today
cross join policy
union all
select as_of_date, scheme, group_name, bound, policy_version from {{ source('history', 'class_group_bounds') }}
