-- S2-08, P-11. Motives are asked, never read from behaviour.
with policy as (
    select *, {{ date_minus('as_of_date', 'motive_valid_days') }} as valid_start from {{ ref('int_run_policy') }}
),

-- One option of a list comes as itself or as a list of one; several without rank are no motive of their own.
answers as (
    select
        choices.customer_key,
        choices.motive_date,
        {{ single_choice('choices.motive_option') }} as answer_option,
        {{ is_several_choices('choices.motive_option') }} as is_several
    from {{ ref('int_survey_choices') }} as choices
    where choices.motive_date is not null
),

reasoned as (
    select
        facts.customer_key,
        facts.as_of_date,
        answers.motive_date,
        options.motive,
        case
            when not coverage.asks_motive and answers.motive_date is null then 'not_collected'
            when answers.motive_date is null then 'no_answer'
            when answers.motive_date < policy.valid_start then 'too_old'
            when answers.is_several then 'several'
            when options.motive is null then 'unknown_option'
            else 'stated'
        end as reason_code,
        facts.policy_version
    from {{ ref('int_customer_facts') }} as facts
    cross join policy
    cross join {{ ref('int_declared_coverage') }} as coverage
    left join answers on facts.customer_key = answers.customer_key
    left join {{ ref('motive_options') }} as options
        on answers.answer_option = options.answer_option and {{ is_in_force('options', 'policy.as_of_date') }}
)

select
    customer_key,
    as_of_date,
    case reason_code when 'stated' then motive when 'several' then 'mixed' else 'unknown' end as motive,
    reason_code,
    case when reason_code in ('stated', 'several') then 'survey' end as class_source,
    motive_date as observed_at,
    false as is_inferred,
    case when reason_code not in ('stated', 'several') then reason_code end as unclassified_reason,
    policy_version
from reasoned
