-- S0-38. Declared size first, baskets second; that somebody has children is used and never told.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

-- Whoever is neither of class A nor HHH tells nothing here.
best as (
    select customer_key, min(high_value_by) as high_value_by
    from (
        select customer_key, 'A' as high_value_by from {{ ref('customer_abc') }}
        where abc_class = 'A'
        union all
        select customer_key, 'HHH' as high_value_by from {{ ref('customer_rfm') }}
        where rfm_code = 'HHH'
    ) as high_value
    group by customer_key
),

found as (
    select
        facts.customer_key,
        facts.as_of_date,
        facts.household_size,
        facts.household_size_stated_on,
        baskets.last_basket_date,
        best.high_value_by,
        case when baskets.lines_n >= policy.household_basket_min_lines
            then {{ rate('baskets.single_lines_n', 'baskets.lines_n') }} end as single_share,
        facts.household_size = 1
            and facts.plausible_age between policy.adult_age and policy.young_age_max
            and not facts.is_minor as is_young_single,
        facts.household_size is null and (
            coalesce(baskets.child_days_n >= policy.household_child_min_days, false)
            or coalesce(
                baskets.lines_n >= policy.household_basket_min_lines
                and {{ rate('baskets.bulk_lines_n', 'baskets.lines_n') }} >= policy.household_bulk_min_share, false
            )
        ) as has_family_basket,
        policy.household_family_min_size,
        policy.household_single_min_share,
        coverage.states_household,
        facts.policy_version
    from {{ ref('int_customer_facts') }} as facts
    cross join policy
    cross join {{ ref('int_declared_coverage') }} as coverage
    left join best on facts.customer_key = best.customer_key
    left join {{ ref('int_customer_baskets') }} as baskets on facts.customer_key = baskets.customer_key
),

typed as (
    select
        *,
        case
            when household_size >= household_family_min_size or has_family_basket
                then case when high_value_by is null then 'family' else 'high_value_family' end
            when coalesce(is_young_single, false) and coalesce(single_share >= household_single_min_share, false)
                then 'young_renter'
            when household_size is not null then 'other'
            else 'unknown'
        end as household_type
    from found
)

select
    customer_key,
    as_of_date,
    household_type,
    case
        when household_type = 'young_renter' then 'single_portions'
        when household_type = 'unknown' then case when states_household then 'not_stated' else 'not_collected' end
        when has_family_basket then 'basket' || case when high_value_by is null then '' else '_high_value' end
        when household_type = 'high_value_family' then 'declared_high_value'
        else 'declared'
    end as reason_code,
    case
        when household_type = 'unknown' then null
        when has_family_basket then 'behaviour'
        else 'declared'
    end as class_source,
    case
        when household_type = 'unknown' then null
        when has_family_basket then last_basket_date
        else household_size_stated_on
    end as observed_at,
    -- Nobody states that they rent.
    has_family_basket or household_type = 'young_renter' as is_inferred,
    household_size,
    case when household_type in ('family', 'high_value_family') then high_value_by end as high_value_by,
    single_share as single_portion_share,
    case
        when household_type <> 'unknown' then null
        when states_household then 'not_stated'
        else 'not_collected'
    end as unclassified_reason,
    policy_version
from typed
