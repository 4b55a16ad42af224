-- M-10: NPS per survey wave, over all answers and per RFM segment.
{{ survey_cells("(select 'nps' as question_type, * from " ~ source('history', 'nps') ~ " where is_suppressed) as hidden", 'nps') }}

select
    survey_id,
    wave,
    segment,
    as_of_date,
    is_suppressed,
    case when not is_suppressed then answers end as n,
    case when not is_suppressed then promoters end as promoters,
    case when not is_suppressed then answers - promoters - detractors end as passives,
    case when not is_suppressed then detractors end as detractors,
    case when not is_suppressed then nps end as nps,
    case when not is_suppressed then nps_se end as se,
    case when not is_suppressed then greatest(nps - survey_confidence_z * nps_se, -100) end as lo,
    case when not is_suppressed then least(nps + survey_confidence_z * nps_se, 100) end as hi,
    case when not is_suppressed then score_mean end as recommend_index,
    case when not is_suppressed then invited end as response_den,
    case when not is_suppressed then {{ rate('answers', 'invited') }} end as response_rate,
    answers < low_n as is_low_n,
    answers >= survey_read_from_n as is_readable,
    policy_version
from (
    select
        *,
        100 * {{ rate('promoters - detractors', 'answers') }} as nps,
        100 * sqrt(greatest(
            {{ rate('promoters + detractors', 'answers') }}
            - power({{ rate('promoters - detractors', 'answers') }}, 2), 0
        ) / answers) as nps_se
    from cells
    where answers > 0
) as scored
