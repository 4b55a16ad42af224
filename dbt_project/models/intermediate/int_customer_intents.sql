-- The last stated intent on the scale that the policy knows, if it is not too old.
with policy as (
    select * from {{ ref('int_run_policy') }}
)

select
    choices.customer_key,
    choices.intent_date,
    choices.intent_score,
    choices.intent_scale_min,
    choices.intent_scale_max,
    choices.intent_date >= {{ date_minus('policy.as_of_date', 'policy.willingness_valid_days') }} as is_recent,
    case
        when choices.intent_score >= scales.active_min then 'active'
        when choices.intent_score >= scales.hesitant_min then 'hesitant'
        when scales.scale_min is not null then 'refusal'
    end as stated_intent,
    reasons.intent_reason
from {{ ref('int_survey_choices') }} as choices
cross join policy
left join {{ ref('intent_scales') }} as scales
    on choices.intent_scale_min = scales.scale_min and choices.intent_scale_max = scales.scale_max
    and {{ is_in_force('scales', 'policy.as_of_date') }}
left join {{ ref('intent_reasons') }} as reasons
    on choices.intent_option = reasons.answer_option and {{ is_in_force('reasons', 'policy.as_of_date') }}
where choices.intent_date is not null
