-- How large each class was on each day that was built, and how many came and went (S2-15). As computed, before the dwell
-- rule.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

days as (
    select distinct as_of_date from {{ ref('class_bounds') }}
),

changes as (
    select valid_from as as_of_date, scheme, class, 1 as change, cause <> 'first_build' as is_move
    from {{ ref('class_history') }}
    union all
    select valid_to as as_of_date, scheme, class, -1 as change, true as is_move
    from {{ ref('class_history') }}
    where valid_to is not null
),

counted as (
    select
        as_of_date,
        scheme,
        class,
        sum(change) as change,
        count(*) filter (where change > 0 and is_move) as moved_in,
        count(*) filter (where change < 0) as moved_out
    from changes
    group by as_of_date, scheme, class
),

classes as (
    select scheme, class, min(as_of_date) as first_date from counted group by scheme, class
),

cells as (
    select
        days.as_of_date,
        classes.scheme,
        classes.class,
        sum(coalesce(counted.change, 0)) over (
            partition by classes.scheme, classes.class order by days.as_of_date
            rows between unbounded preceding and current row
        ) as customers,
        coalesce(counted.moved_in, 0) as moved_in,
        coalesce(counted.moved_out, 0) as moved_out
    from days
    inner join classes on classes.first_date <= days.as_of_date
    left join counted
        on days.as_of_date = counted.as_of_date and classes.scheme = counted.scheme and classes.class = counted.class
),

shared as (
    select
        cells.*,
        {{ rate('customers', 'sum(customers) over (partition by as_of_date, scheme)') }} as share,
        lag(customers, 1, 0) over (partition by scheme, class order by as_of_date) as customers_before
    from cells
)

select
    shared.as_of_date,
    shared.scheme,
    shared.class,
    cast(shared.customers as bigint) as customers,
    shared.share,
    shared.share < policy.class_share_min as is_small,
    shared.moved_in,
    shared.moved_out,
    {{ rate('shared.moved_in + shared.moved_out', 'shared.customers + shared.customers_before') }} as turnover,
    playbook.class is not null as has_action
from shared
cross join policy
left join {{ ref('int_playbook') }} as playbook on shared.scheme = playbook.scheme and shared.class = playbook.class
