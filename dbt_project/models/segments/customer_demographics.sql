-- S2-12. As people state it; what cannot be true is unknown, and who is under age by any source is under age.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

bands as (
    select age_bands.* from {{ ref('age_bands') }} as age_bands
    inner join policy on {{ is_in_force('age_bands', 'policy.as_of_date') }}
),

stated as (
    select
        facts.customer_key,
        facts.as_of_date,
        case when not customers.is_minor then customers.plausible_age end as age,
        customers.age_stated_on,
        customers.is_minor,
        coalesce(customers.gender, 'undisclosed') as gender,
        customers.gender_stated_on,
        customers.occupation,
        customers.occupation_stated_on,
        customers.education,
        customers.education_stated_on,
        case
            when customers.is_minor then 'under_age'
            when customers.plausible_age is not null then 'stated'
            when customers.age is not null then 'implausible'
            when coverage.states_age then 'not_stated'
            else 'not_collected'
        end as reason_code,
        facts.policy_version
    from {{ ref('int_customer_facts') }} as facts
    cross join {{ ref('int_declared_coverage') }} as coverage
    inner join {{ ref('dim_customers') }} as customers using (customer_key)
)

select
    stated.customer_key,
    stated.as_of_date,
    case when stated.is_minor then 'minor' else coalesce(bands.age_band, 'unknown') end as age_band,
    cast(stated.age as integer) as age,
    stated.gender,
    case when stated.occupation is null then 'unknown' else coalesce(occupations.occupation_group, 'unlisted') end
        as occupation_group,
    case when stated.education is null then 'unknown' else coalesce(educations.education_level, 'unlisted') end
        as education_level,
    case when stated.reason_code = 'stated' and bands.age_band is null then 'implausible' else stated.reason_code end
        as reason_code,
    case when stated.reason_code in ('stated', 'under_age') then 'declared' end as class_source,
    stated.age_stated_on as observed_at,
    stated.gender_stated_on as gender_observed_at,
    stated.occupation_stated_on as occupation_observed_at,
    stated.education_stated_on as education_observed_at,
    false as is_inferred,
    case
        when stated.is_minor or bands.age_band is not null then null
        when stated.reason_code = 'stated' then 'implausible'
        else stated.reason_code
    end as unclassified_reason,
    stated.policy_version
from stated
cross join policy
left join bands on stated.age between bands.age_from and bands.age_to
left join {{ ref('occupation_groups') }} as occupations
    on lower(trim(stated.occupation)) = occupations.stated and {{ is_in_force('occupations', 'policy.as_of_date') }}
left join {{ ref('education_levels') }} as educations
    on lower(trim(stated.education)) = educations.stated and {{ is_in_force('educations', 'policy.as_of_date') }}
