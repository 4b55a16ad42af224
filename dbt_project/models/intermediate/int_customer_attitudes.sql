{{ config(materialized='table') }}
-- The last valid answer of a customer to the question of recommendation and to that of satisfaction, none older than
-- the policy allows. Of answers given at one instant the worst counts.
with answers as (
    select
        responses.customer_key,
        responses.question_type,
        responses.score,
        responses.answered_date,
        responses.score > responses.scale_max - policy.attitude_csat_top_boxes as is_top_box,
        rank() over (
            partition by responses.customer_key, responses.question_type
            order by responses.answered_at desc nulls last, responses.answered_date desc, responses.score
        ) as place
    from {{ ref('fct_survey_responses') }} as responses
    inner join {{ ref('int_run_policy') }} as policy
        on responses.answered_date >= policy.attitude_window_start and responses.answered_date < policy.as_of_date
    where responses.customer_key is not null and responses.is_latest and responses.question_type in ('nps', 'csat')
)

select
    answers.customer_key,
    cast(max(case when question_type = 'nps' then score end) as integer) as latest_nps,
    max(case when question_type = 'nps' then answered_date end) as nps_answered_on,
    bool_or(case when question_type = 'csat' then is_top_box end) as is_csat_top_box,
    max(answered_date) as answered_on
from answers
where place = 1
group by answers.customer_key
