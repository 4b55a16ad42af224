{{ config(materialized='table') }}
-- G-03: what one unit of another currency is worth on a day, in the reporting currency. As delivered (R54), the newest of the
-- last days, for no rate is quoted at weekends; else as policy has it for that day. On a day without either there is none.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

delivered as (
    select true as is_current, * from {{ ref('stg_reference__fx') }}
    where is_in_force
    union all
    select false as is_current, * from {{ ref('stg_reference__fx') }}
    where was_in_force
),

ranked as (
    select
        *,
        row_number() over (
            partition by is_current, currency, rate_date order by dt desc, rev desc, source, delivery_row desc
        ) as nth
    from delivered
),

quoted as (
    select
        *,
        lead(rate_date) over (partition by is_current, currency order by rate_date) as next_rate_date
    from ranked
    where nth = 1
),

periods as (
    select
        quoted.is_current,
        quoted.currency,
        quoted.rate_date as valid_from,
        least(
            {{ date_plus('quoted.rate_date', 'policy.exchange_rate_valid_days') }},
            coalesce(quoted.next_rate_date, policy.as_of_date)
        ) as valid_to,
        quoted.rate_to_reporting as rate,
        'delivered' as basis
    from quoted
    cross join policy
    union all
    -- Policy holds for the day of the order, whenever the row was written.
    select
        days.is_current,
        exchange_rates.currency,
        exchange_rates.valid_from,
        least(coalesce(exchange_rates.valid_to, policy.as_of_date), policy.as_of_date) as valid_to,
        exchange_rates.rate,
        'policy' as basis
    from {{ ref('exchange_rates') }} as exchange_rates
    inner join policy on exchange_rates.reporting_currency = policy.reporting_currency
    cross join (values (true), (false)) as days (is_current)
),

bounds as (
    select
        (select min(valid_from) from periods) as first_day,
        (select as_of_date from policy) as last_day
),

days as (
    {{ days_from_to('first_day', 'last_day') }} from bounds
),

chosen as (
    select
        periods.is_current,
        periods.currency,
        days.date_day as day,
        periods.rate,
        periods.basis,
        row_number() over (
            partition by periods.is_current, periods.currency, days.date_day
            order by case periods.basis when 'delivered' then 1 else 2 end, periods.valid_from desc
        ) as nth
    from periods
    inner join days on periods.valid_from <= days.date_day and periods.valid_to > days.date_day
)

select
    currency,
    day,
    max(case when is_current then rate end) as rate,
    max(case when not is_current then rate end) as rate_at_refresh,
    max(case when is_current then basis end) as basis
from chosen
where nth = 1
group by currency, day
