-- The calendar. Day-of-week numbering differs between engines: join here instead of asking one.
with bounds as (
    select
        make_date(calendar_first_year, 1, 1) as first_date,
        make_date(cast(extract(year from as_of_date) as integer) + calendar_years_ahead, 12, 31) as last_date
    from {{ ref('int_run_policy') }}
),

days as (
    {{ days_from_to('first_date', 'last_date') }} from bounds
)

select
    date_day,
    cast(extract(year from date_day) as integer) as year,
    cast(extract(quarter from date_day) as integer) as quarter,
    cast(extract(month from date_day) as integer) as month,
    {{ month_start('date_day') }} as month_start,
    {{ iso_year('date_day') }} as iso_year,
    cast(extract(week from date_day) as integer) as iso_week,
    {{ iso_weekday('date_day') }} as iso_weekday,
    {{ iso_weekday('date_day') }} >= 6 as is_weekend
from days
