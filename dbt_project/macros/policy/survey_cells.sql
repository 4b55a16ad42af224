{#
  CTEs up to `cells`: valid latest answers of the question types counted per survey wave for all and per RFM segment.
  `hidden`: relation (question_type, survey_id, wave, segment) of the cells that the release of an earlier day hid.
#}
{% macro survey_cells(hidden) -%}
with policy as (
    select * from {{ ref('int_run_policy') }}
),

answers as (
    select
        responses.*,
        coalesce(rfm.rfm_segment, 'unknown') as segment,
        coalesce(responses.wave, '') as wave_key
    from {{ ref('fct_survey_responses') }} as responses
    left join {{ ref('customer_rfm') }} as rfm using (customer_key)
    where responses.question_type in ({% for type in varargs %}'{{ type }}'{{ ', ' if not loop.last }}{% endfor %})
),

counted as (
    select
        answers.question_type,
        answers.survey_id,
        answers.wave_key as wave,
        coalesce(answers.segment, 'all') as segment,
        count(*) as invited,
        count(*) filter (where is_latest) as answers,
        count(*) filter (where is_latest and score >= policy.nps_promoter_min) as promoters,
        count(*) filter (where is_latest and score <= policy.nps_detractor_max) as detractors,
        count(*) filter (
            where is_latest and score > scale_max - case
                when answers.question_type = 'ces' then policy.ces_top_boxes else policy.csat_top_boxes
            end
        ) as top_boxes,
        cast(sum(score) filter (where is_latest) as double) / nullif(count(*) filter (where is_latest), 0) as score_mean
    from answers
    cross join policy
    group by grouping sets (
        (answers.question_type, answers.survey_id, answers.wave_key),
        (answers.question_type, answers.survey_id, answers.wave_key, answers.segment)
    )
),

hidden_before as (
    select question_type, survey_id, wave, segment from {{ hidden }}
),

cells as (
    select
        counted.*,
        policy.*,
        {{ is_suppressed_cell(
            'counted.answers', 'policy.k_anon_min',
            "counted.question_type, counted.survey_id, counted.wave, counted.segment = 'all'", 'counted.segment',
            'hidden_before.segment is not null'
        ) }} as is_suppressed
    from counted
    cross join policy
    left join hidden_before using (question_type, survey_id, wave, segment)
)
{%- endmacro %}
