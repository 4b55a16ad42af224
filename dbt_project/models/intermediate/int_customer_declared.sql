-- What people say of their income, as a tier of the median of their region in the year in which they said it (P-08).
-- Never from what they spend (C-09).
with policy as (
    select * from {{ ref('int_run_policy') }}
),

-- A year that was delivered again counts as delivered last.
medians as (
    select
        province,
        coalesce(city, '') as city,
        year,
        max_by(median_income, (dt, rev, delivery_row)) as median_income
    from {{ ref('stg_reference__regions') }}
    where median_income > 0
    group by province, coalesce(city, ''), year
),

bands as (
    select income_bands.* from {{ ref('income_bands') }} as income_bands
    inner join policy on {{ is_in_force('income_bands', 'policy.as_of_date') }}
),

stated as (
    select
        customers.customer_key,
        customers.income_month,
        customers.income_month_band,
        customers.income_province,
        customers.income_city,
        customers.income_stated_on,
        extract(year from customers.income_stated_on) as income_year,
        coalesce(customers.income_month, bands.month_from) as month_from,
        case when customers.income_month is null then bands.month_to else customers.income_month end as month_to,
        customers.income_month is null and bands.income_band is not null as is_band,
        coalesce(cities.median_income, provinces.median_income) / policy.income_median_months as median_month,
        coalesce(case when cities.median_income is not null then customers.income_city end, customers.income_province)
            as income_region
    from {{ ref('dim_customers') }} as customers
    cross join policy
    left join bands on customers.income_month_band = bands.income_band
    left join medians as cities
        on customers.income_province = cities.province and customers.income_city = cities.city
        and extract(year from customers.income_stated_on) = cities.year
    left join medians as provinces
        on customers.income_province = provinces.province and provinces.city = ''
        and extract(year from customers.income_stated_on) = provinces.year
),

compared as (
    select
        stated.*,
        cast({{ rate('stated.month_from', 'stated.median_month') }} as double) as lowest,
        cast({{ rate('stated.month_to', 'stated.median_month') }} as double) as highest
    from stated
),

tiered as (
    select
        compared.*,
        case
            when lowest > policy.income_high_min then 'high'
            -- The upper end itself is not in a band, and an open band has none.
            when is_band and highest <= policy.income_low_max or not is_band and highest < policy.income_low_max then 'low'
            when lowest >= policy.income_low_max and highest <= policy.income_high_min then 'mid'
        end as tier
    from compared
    cross join policy
)

select
    tiered.customer_key,
    coalesce(tiered.tier, 'unknown') as income_tier,
    case
        when tiered.tier is not null then 'stated'
        when not coverage.states_income then 'not_collected'
        when tiered.income_stated_on is null then 'not_stated'
        when tiered.month_from is null then 'unknown_band'
        when tiered.median_month is null then 'no_median'
        else 'band_spans_tiers'
    end as income_reason,
    tiered.income_month,
    tiered.income_month_band as income_band,
    case when not tiered.is_band then tiered.lowest end as income_to_median,
    tiered.income_region,
    cast(tiered.income_year as integer) as income_year,
    case when tiered.tier is not null then 'declared' end as income_source,
    tiered.income_stated_on as income_observed_at
from tiered
cross join {{ ref('int_declared_coverage') }} as coverage
