-- Need, motive, willingness, income, household and age: each class with the code of what decided it and the figures, as
-- text, that its sentence shows. Of income and household no more is told than the sentence needs, of children nothing.
with policy as (
    select * from {{ ref('int_run_policy') }}
)

select
    need.customer_key,
    'need' as scheme,
    need.need_class as class,
    need.is_inferred,
    need.reason_code,
    case
        when need.f_score is not null then cast(need.frequency_days as varchar)
        when need.reason_code = 'lapsed' then cast(need.recency_days as varchar)
        when need.reason_code = 'views' then cast(need.product_views_n as varchar)
        when need.reason_code = 'no_signal' then cast(policy.need_signal_days as varchar)
        else cast(need.observed_at as varchar)
    end as value_1,
    case
        when need.f_score is not null then {{ money_text('need.monetary') }}
        when need.reason_code = 'views' then cast(need.observed_at as varchar)
        when need.reason_code = 'lapsed' then cast(policy.rfm_window_days as varchar)
    end as value_2,
    'F' || need.f_score || ' M' || need.m_score as value_3,
    cast(null as varchar) as value_4,
    cast(null as varchar) as value_5
from {{ ref('customer_need_class') }} as need
cross join policy

union all

select
    motive.customer_key,
    'motive' as scheme,
    motive.motive as class,
    motive.is_inferred,
    motive.reason_code,
    cast(motive.observed_at as varchar) as value_1,
    case when motive.reason_code = 'too_old' then cast(policy.motive_valid_days as varchar) end as value_2,
    cast(null as varchar) as value_3,
    cast(null as varchar) as value_4,
    cast(null as varchar) as value_5
from {{ ref('customer_motive') }} as motive
cross join policy

union all

select
    said.customer_key,
    'willingness' as scheme,
    said.willingness as class,
    said.is_inferred,
    said.reason_code,
    case
        when said.class_source = 'survey' then cast(cast(said.intent_score as decimal(9, 1)) as varchar)
            || ' (' || said.intent_scale_min || '–' || said.intent_scale_max || ')'
        when said.reason_code = 'unknown_scale' then said.intent_scale_min || '–' || said.intent_scale_max
        when said.reason_code = 'views' then cast(said.product_views_n as varchar)
        else cast(said.observed_at as varchar)
    end as value_1,
    case
        when said.class_source = 'survey' then cast(said.observed_at as varchar)
        when said.reason_code = 'too_old' then cast(policy.willingness_valid_days as varchar)
    end as value_2,
    cast(null as varchar) as value_3,
    cast(null as varchar) as value_4,
    cast(null as varchar) as value_5
from {{ ref('customer_willingness') }} as said
cross join policy

union all

select
    power.customer_key,
    'income' as scheme,
    power.income_tier as class,
    false as is_inferred,
    power.income_reason as reason_code,
    cast(power.income_observed_at as varchar) as value_1,
    cast(extract(year from power.income_observed_at) as varchar) as value_2,
    cast(null as varchar) as value_3,
    cast(null as varchar) as value_4,
    cast(null as varchar) as value_5
from {{ ref('customer_purchasing_power') }} as power

union all

select
    household.customer_key,
    'household' as scheme,
    household.household_type as class,
    household.is_inferred,
    household.reason_code,
    case
        when household.reason_code = 'single_portions'
            then cast(cast(floor(100 * household.single_portion_share) as integer) as varchar)
        else cast(household.household_size as varchar)
    end as value_1,
    household.high_value_by as value_2,
    cast(null as varchar) as value_3,
    cast(null as varchar) as value_4,
    cast(null as varchar) as value_5
from {{ ref('customer_household_type') }} as household

union all

select
    demographics.customer_key,
    'demographics' as scheme,
    demographics.age_band as class,
    demographics.is_inferred,
    demographics.reason_code,
    cast(demographics.age as varchar) as value_1,
    cast(null as varchar) as value_2,
    cast(null as varchar) as value_3,
    cast(null as varchar) as value_4,
    cast(null as varchar) as value_5
from {{ ref('customer_demographics') }} as demographics
