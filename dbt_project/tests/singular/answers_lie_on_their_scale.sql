{{ config(meta={'dagster': {'ref': {'name': 'fct_survey_responses'}}, 'description': "Too many answers lie outside the scale of their question (Q-04): the scale of the survey is declared wrong, or the scores are of another question. They count nowhere."}) }}
with counted as (
    select
        source,
        survey_id,
        count(*) as answers_n,
        count(*) filter (where score < scale_min or score > scale_max) as off_scale_n
    from {{ ref('fct_survey_responses') }}
    where score is not null and scale_min is not null and scale_max is not null
    group by source, survey_id
)

select counted.*
from counted
inner join {{ ref('int_run_policy') }} as policy
    on counted.off_scale_n > policy.doubtful_rows_min
    and counted.off_scale_n > policy.off_scale_share_max * counted.answers_n
