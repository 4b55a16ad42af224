-- S2-12. As people state it; what cannot be true is unknown, and who is under age by any source is under age.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

-- Looked up once per age and per wording: a range, or a text that must be trimmed, is dear to compare for every person.
bands as (
    select ages.age, age_bands.age_band
    from (select distinct plausible_age as age from {{ ref('int_customer_facts') }}) as ages
    cross join policy
    inner join {{ ref('age_bands') }} as age_bands
        on ages.age between age_bands.age_from and age_bands.age_to
        and {{ is_in_force('age_bands', 'policy.as_of_date') }}
),

occupations as (
    select wordings.occupation, groups.occupation_group
    from (select distinct occupation from {{ ref('int_customer_facts') }}) as wordings
    cross join policy
    inner join {{ ref('occupation_groups') }} as groups
        on lower(trim(wordings.occupation)) = groups.stated and {{ is_in_force('groups', 'policy.as_of_date') }}
),

educations as (
    select wordings.education, levels.education_level
    from (select distinct education from {{ ref('int_customer_facts') }}) as wordings
    cross join policy
    inner join {{ ref('education_levels') }} as levels
        on lower(trim(wordings.education)) = levels.stated and {{ is_in_force('levels', 'policy.as_of_date') }}
),

stated as (
    select
        facts.customer_key,
        facts.as_of_date,
        case when not facts.is_minor then facts.plausible_age end as age,
        facts.age_stated_on,
        facts.is_minor,
        coalesce(facts.gender, 'undisclosed') as gender,
        facts.occupation,
        facts.education,
        case
            when facts.is_minor then 'under_age'
            when facts.plausible_age is not null then 'stated'
            when facts.stated_age is not null then 'implausible'
            when coverage.states_age then 'not_stated'
            else 'not_collected'
        end as reason_code,
        facts.policy_version
    from {{ ref('int_customer_facts') }} as facts
    cross join {{ ref('int_declared_coverage') }} as coverage
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
    false as is_inferred,
    case
        when stated.is_minor or bands.age_band is not null then null
        when stated.reason_code = 'stated' then 'implausible'
        else stated.reason_code
    end as unclassified_reason,
    stated.policy_version
from stated
left join bands on stated.age = bands.age
left join occupations on stated.occupation = occupations.occupation
left join educations on stated.education = educations.education
