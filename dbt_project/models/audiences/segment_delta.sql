-- What a marketing tool has to change since the last release of an earlier day: applied to that one's memberships it
-- gives today's. Who may not be profiled any more is in no table of classes, so neither here.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

now as (
    select customer_key, scheme, class, change_cause from {{ ref('segment_membership') }}
),

before as (
    select memberships.*
    from {{ source('history', 'segment_membership') }} as memberships
    anti join {{ ref('int_persons_excluded') }} as excluded using (customer_key)
)

select
    coalesce(now.customer_key, before.customer_key) as customer_key,
    coalesce(now.scheme, before.scheme) as scheme,
    policy.as_of_date,
    case
        when before.customer_key is null then 'entered'
        when now.customer_key is null then 'left'
        else 'changed'
    end as change,
    before.class as from_class,
    now.class as to_class,
    case when before.class is not null and now.class is not null then now.change_cause end as cause,
    (select max(as_of_date) from before) as base_as_of_date,
    policy.policy_version
from now
full join before on now.customer_key = before.customer_key and now.scheme = before.scheme
cross join policy
where now.class is distinct from before.class
