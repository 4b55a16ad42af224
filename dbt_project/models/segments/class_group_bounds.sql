-- What classes are compared with that differs by group, as far as it tells of no few people (G-10). Kept for every day, as
-- class_bounds is; the re-scoring knows of an earlier day what stands here.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

sized as (
    select
        bounds.*,
        policy.as_of_date,
        policy.policy_version,
        policy.k_anon_min,
        coalesce(bounds.people_n, 0) between 1 and policy.k_anon_min - 1 as is_small,
        coalesce(sum(bounds.people_n) over (
            partition by bounds.scheme order by bounds.people_n, bounds.group_name
            rows between unbounded preceding and 1 preceding
        ), 0) as people_of_smaller_n
    from {{ ref('int_group_bounds') }} as bounds
    cross join policy
),

-- Shares of what all spend add up to one: those that are hidden are so many that together they tell of no few either.
today as (
    select
        *,
        is_small
        or scheme = 'affinity' and people_of_smaller_n between 1 and k_anon_min - 1 as is_suppressed
    from sized
)

select
    as_of_date,
    scheme,
    group_name,
    case when not is_suppressed then bound end as bound,
    is_suppressed,
    policy_version
from today
union all
-- Earlier versions did not say of how many people a bound was drawn.
select
    as_of_date,
    scheme,
    group_name,
    case when not is_suppressed then bound end as bound,
    coalesce(is_suppressed, true) as is_suppressed,
    policy_version
from {{ source('history', 'class_group_bounds') }}
