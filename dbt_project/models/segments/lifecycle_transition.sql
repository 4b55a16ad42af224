-- From which stage to which in a month (S0-22), over the days that were built, with the share of those who were there.
with stages as (
    select
        {{ month_start('as_of_date') }} as month,
        from_class as from_stage,
        to_class as to_stage,
        cause,
        sum(customers) as customers
    from {{ ref('class_transition') }}
    where scheme = 'lifecycle'
    group by 1, 2, 3, 4
),

opening as (
    select
        {{ month_start('as_of_date') }} as month,
        class,
        -- As many as the month began with: of its first day, before that day's moves.
        min_by(customers - moved_in + moved_out, as_of_date) as customers_n
    from {{ ref('class_stability') }}
    where scheme = 'lifecycle'
    group by 1, 2
)

select
    stages.month,
    stages.from_stage,
    stages.to_stage,
    stages.cause,
    cast(stages.customers as bigint) as customers,
    cast(opening.customers_n as bigint) as opening_customers,
    {{ rate('stages.customers', 'opening.customers_n') }} as share_of_opening
from stages
left join opening on stages.month = opening.month and stages.from_stage = opening.class
