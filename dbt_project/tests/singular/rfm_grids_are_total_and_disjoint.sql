{{ config(meta={'dagster': {'ref': {'name': 'rfm_grids'}}, 'description': "A grid of named RFM segments leaves a cell out, names one twice, or names a segment without label and action: some customers would fall out of every segment or into two."}) }}
with cells as (
    select presets.preset, r.score as r_score, f.score as f_score
    from (select distinct preset from {{ ref('rfm_grids') }}) as presets
    cross join (values (1), (2), (3), (4), (5)) as r (score)
    cross join (values (1), (2), (3), (4), (5)) as f (score)
),

counted as (
    select cells.preset, cells.r_score, cells.f_score, count(grid.rfm_segment) as segments_n
    from cells
    left join {{ ref('rfm_grids') }} as grid
        on cells.preset = grid.preset and cells.r_score = grid.r_score and cells.f_score = grid.f_score
    group by cells.preset, cells.r_score, cells.f_score
)

select preset, 'cell R' || r_score || ' F' || f_score || ' has ' || segments_n || ' segments' as problem
from counted
where segments_n <> 1

union all

select grid.preset, 'cell R' || grid.r_score || ' F' || grid.f_score || ' is outside the grid' as problem
from {{ ref('rfm_grids') }} as grid
anti join cells on grid.preset = cells.preset and grid.r_score = cells.r_score and grid.f_score = cells.f_score

union all

-- A labelled segment that no cell leads to can never be reached.
select 'rf25' as preset, 'segment ' || labels.class || ' is unreachable' as problem
from {{ ref('segment_labels') }} as labels
anti join {{ ref('rfm_grids') }} as grid on grid.preset = 'rf25' and labels.class = grid.rfm_segment
where labels.scheme = 'rfm' and labels.class not in ('prospects', 'lapsed')
