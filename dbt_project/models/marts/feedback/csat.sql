-- M-10: satisfaction (top-2-box) and effort per survey wave, over all answers and per RFM segment.
{{ survey_cells('(select * from ' ~ source('history', 'csat') ~ ' where is_suppressed) as hidden', 'csat', 'ces') }}

select
    question_type,
    survey_id,
    wave,
    segment,
    as_of_date,
    is_suppressed,
    case when not is_suppressed then answers end as n,
    case when not is_suppressed then top_boxes end as top2_num,
    case when not is_suppressed then {{ rate('top_boxes', 'answers') }} end as top2_share,
    case when not is_suppressed then score_mean end as mean,
    case when not is_suppressed then invited end as response_den,
    case when not is_suppressed then {{ rate('answers', 'invited') }} end as response_rate,
    answers < low_n as is_low_n,
    answers >= survey_read_from_n as is_readable,
    policy_version
from cells
where answers > 0
