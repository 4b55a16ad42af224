{{ config(materialized='table') }}
{{ config(materialized='table') }}
-- M-09: share of people of a stage and recency who came back within the return window. A cell of few people takes the
-- rate of its stage, and a stage of few that of all.
with counted as (
    select
        stage,
        recency_bucket,
        count(*) as people_n,
        count(*) filter (where has_returned) as returned_n
    from {{ ref('int_customer_earlier_stages') }}
    group by grouping sets ((stage, recency_bucket), (stage), ())
),

cells as (
    select stages.stage, buckets.bucket as recency_bucket
    from {{ ref('lifecycle_stages') }} as stages
    cross join ({% for k in range(1, 6) %}select {{ k }} as bucket{{ ' union all ' if not loop.last }}{% endfor %}) as buckets
    where stages.stage <> 'prospect'
)

select
    cells.stage,
    cells.recency_bucket,
    case
        when cell.people_n >= policy.low_n then 'stage_and_recency'
        when stage.people_n >= policy.low_n then 'stage'
        else 'all'
    end as basis,
    case
        when cell.people_n >= policy.low_n then cell.people_n
        when stage.people_n >= policy.low_n then stage.people_n
        else everybody.people_n
    end as people_n,
    case
        when cell.people_n >= policy.low_n then {{ rate('cell.returned_n', 'cell.people_n') }}
        when stage.people_n >= policy.low_n then {{ rate('stage.returned_n', 'stage.people_n') }}
        else {{ rate('everybody.returned_n', 'everybody.people_n') }}
    end as return_rate
from cells
cross join {{ ref('int_run_policy') }} as policy
inner join counted as everybody on everybody.stage is null and everybody.recency_bucket is null
left join counted as stage on cells.stage = stage.stage and stage.recency_bucket is null
left join counted as cell on cells.stage = cell.stage and cells.recency_bucket = cell.recency_bucket
where everybody.people_n > 0
