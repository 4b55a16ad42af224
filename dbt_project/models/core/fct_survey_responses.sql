-- Answers with the scale of their question. Only `is_valid and is_latest` answers count: inside the scale, and the
-- customer's last one of the wave.
with questions as (
    select
        *,
        row_number() over (
            partition by source, survey_id, question_id order by dt desc, rev desc, delivery_row desc, delivery desc
        ) as nth
    from {{ ref('stg_feedback__surveys') }}
),

responses as (
    select
        *,
        row_number() over (
            partition by source, response_id, question_id order by dt desc, rev desc, delivery_row desc, delivery desc
        ) as nth,
        count(*) over (partition by source, response_id, question_id) as versions_n
    from {{ ref('stg_feedback__survey_responses') }}
),

joined as (
    select
        responses.source,
        responses.response_id,
        responses.question_id,
        responses.survey_id,
        questions.wave,
        questions.question_type,
        questions.touchpoint,
        links.customer_key,
        responses.invited_date,
        responses.answered_date,
        responses.answered_at,
        responses.mode,
        responses.score,
        responses.answer_option,
        responses.weight,
        responses.versions_n,
        questions.scale_min,
        questions.scale_max,
        coalesce(responses.score between questions.scale_min and questions.scale_max, false) as is_valid
    from responses
    inner join {{ ref('int_run_policy') }} as policy
        on coalesce(responses.answered_date, responses.invited_date, responses.dt) < policy.as_of_date
    left join questions
        on responses.source = questions.source
        and responses.survey_id = questions.survey_id
        and responses.question_id = questions.question_id
        and questions.nth = 1
    left join {{ ref('int_customer_links') }} as links
        on responses.source = links.source and responses.source_customer_id = links.source_customer_id
        and links.is_current
    where responses.nth = 1
)

select
    *,
    is_valid and (
        customer_key is null
        or row_number() over (
            partition by customer_key, source, survey_id, question_id, is_valid
            order by answered_at desc nulls last, response_id desc
        ) = 1
    ) as is_latest
from joined
