{{ config(meta={'dagster': {'ref': {'name': 'rfm_grids'}}, 'description': "A grid of named RFM segments leaves a cell out, names one twice, has a segment that no customer can reach, or its preset does not do what the job does (Q-13): some customers would fall out of every segment or into two. `strata policy check` names the cells."}) }}
with scores as (
    {{ rfm_score_values(5) }}
),

cells as (
    select presets.preset, presets.matching, presets.others, r.score as r_score, f.score as f_score, m.score as m_score
    from {{ ref('rfm_presets') }} as presets
    inner join scores as r on r.score <= presets.scores
    inner join scores as f on f.score <= presets.scores
    inner join scores as m on m.score <= presets.scores
),

met as (
    select
        cells.preset, cells.matching, cells.others, cells.r_score, cells.f_score, cells.m_score,
        count(grid.rfm_segment) as boxes_n,
        min_by(grid.rfm_segment, grid.priority) as rfm_segment
    from cells
    left join {{ ref('rfm_grids') }} as grid
        on cells.preset = grid.preset
        and cells.r_score between grid.r_from and grid.r_to
        and cells.f_score between grid.f_from and grid.f_to
        and cells.m_score between grid.m_from and grid.m_to
    group by cells.preset, cells.matching, cells.others, cells.r_score, cells.f_score, cells.m_score
)

select preset, 'cell R' || r_score || ' F' || f_score || ' M' || m_score || ' lies in ' || boxes_n || ' boxes' as problem
from met
where (boxes_n = 0 and others is null) or (boxes_n > 1 and matching <> 'first_match')

union all

select grid.preset, 'segment ' || grid.rfm_segment || ' is unreachable' as problem
from {{ ref('rfm_grids') }} as grid
anti join met on grid.preset = met.preset and grid.rfm_segment = met.rfm_segment

union all

-- A labelled segment that no cell leads to can never be reached.
select 'rf25' as preset, 'segment ' || labels.class || ' is unreachable' as problem
from {{ ref('segment_labels') }} as labels
anti join met on met.preset = 'rf25' and labels.class = met.rfm_segment
where labels.scheme = 'rfm' and labels.class not in ('prospects', 'lapsed')

union all

-- `strata score` must not score by another window than the job. A trade's preset of one home moves the job's alone.
select presets.preset, 'window_days is not that of the job' as problem
from {{ ref('rfm_presets') }} as presets
cross join {{ ref('int_run_policy') }} as policy
inner join {{ ref('thresholds') }} as thresholds
    on thresholds.key = 'rfm_window_days' and {{ is_in_force('thresholds', 'policy.as_of_date') }}
where presets.preset in ('rf25', 'cn_8') and presets.window_days is distinct from cast(thresholds.value as integer)
