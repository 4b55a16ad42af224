{{ config(materialized='table') }}
-- Which local day a UTC instant falls on, as a lookup by zone and UTC day: the engine's own conversion costs four
-- microseconds a row, which at millions of orders is most of a build. A UTC day holds at most two local midnights.
with run_context as (
    select * from {{ source('run', 'run_context') }}
),

days as (
    {{ days_from_to("date '2000-01-01'", date_plus('as_of_date', 7)) }} from run_context
),

zones as (
    select distinct zone from {{ ref('deliveries_in_force') }}
),

starts as (
    select
        zones.zone,
        days.date_day as utc_day,
        {{ local_date('cast(days.date_day as timestamp)', 'zones.zone') }} as local_day
    from zones
    cross join days
)

select
    zone,
    utc_day,
    local_day,
    {{ date_plus('local_day', 1) }} as next_local_day,
    {{ utc_of_local_midnight(date_plus('local_day', 1), 'zone') }} as next_midnight,
    {{ utc_of_local_midnight(date_plus('local_day', 2), 'zone') }} as second_midnight
from starts
