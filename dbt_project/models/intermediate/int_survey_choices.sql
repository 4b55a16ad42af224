{{ config(materialized='table') }}
-- The last motive and the last intent that each person stated, whenever that was: the marts judge their age.
with answers as (
    select
        customer_key,
        question_type,
        answered_date,
        score,
        scale_min,
        scale_max,
        lower(trim(answer_option)) as answer_option,
        row_number() over (
            partition by customer_key, question_type
            order by answered_date desc, answered_at desc, source, response_id desc, question_id
        ) as nth
    from {{ ref('fct_survey_responses') }}
    where customer_key is not null
        and answered_date is not null
        and (question_type = 'motive' and trim(answer_option) <> '' or question_type = 'intent' and is_valid)
)

select
    customer_key,
    max(answered_date) filter (where question_type = 'motive') as motive_date,
    max(answer_option) filter (where question_type = 'motive') as motive_option,
    max(answered_date) filter (where question_type = 'intent') as intent_date,
    max(score) filter (where question_type = 'intent') as intent_score,
    max(scale_min) filter (where question_type = 'intent') as intent_scale_min,
    max(scale_max) filter (where question_type = 'intent') as intent_scale_max,
    max(answer_option) filter (where question_type = 'intent') as intent_option
from answers
where nth = 1
group by customer_key
