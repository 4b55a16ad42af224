-- From which class to which, day by day and by cause. The first build is no move; who comes or goes is `entered`, `left`.
with days as (
    select
        as_of_date,
        coalesce(policy_version <> lag(policy_version) over by_day, false) as is_policy_changed
    from {{ ref('class_bounds') }}
    window by_day as (order by as_of_date)
),

moves as (
    select valid_from as as_of_date, scheme, coalesce(from_class, 'entered') as from_class, class as to_class, cause,
        is_rescored
    from {{ ref('class_history') }}
    where cause <> 'first_build'
    union all
    select valid_to as as_of_date, scheme, class as from_class, 'left' as to_class, left_cause as cause,
        false as is_rescored
    from {{ ref('class_history') }}
    where left_cause is not null
),

counted as (
    select as_of_date, scheme, from_class, to_class, cause, count(*) as customers,
        count(*) filter (where is_rescored) as rescored_n
    from moves
    group by as_of_date, scheme, from_class, to_class, cause
)

select
    counted.as_of_date,
    counted.scheme,
    counted.from_class,
    counted.to_class,
    counted.cause,
    counted.customers,
    counted.rescored_n,
    {{ rate('counted.customers', 'sum(counted.customers) over (partition by counted.as_of_date, counted.scheme)') }} as share,
    days.is_policy_changed
from counted
inner join days using (as_of_date)
