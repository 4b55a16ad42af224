-- E-09: the last evaluation that was known before D. In this schema because it depends on the day on which it was made,
-- which a rebuild of a home from its raw files need not repeat.
with known as (
    select backtest.*
    from {{ source('evaluation', 'model_backtest') }} as backtest
    inner join {{ ref('int_run_policy') }} as policy on backtest.evaluated_as_of < policy.as_of_date
),

latest as (
    select max(evaluated_as_of) as evaluated_as_of from known
)

select
    policy.as_of_date,
    known.evaluated_as_of,
    known.subject,
    known.measure,
    known.method,
    known.origin,
    known.ahead_days,
    known.bucket,
    -- Of a group of few people neither its size nor what it did is told.
    case when known.people >= policy.k_anon_min then known.people end as people,
    case when known.people is null or known.people >= policy.k_anon_min then known.predicted end as predicted,
    case when known.people is null or known.people >= policy.k_anon_min then known.actual end as actual,
    known.error,
    known.score,
    coalesce(known.is_chosen, false) as is_chosen,
    known.reason,
    known.reason_zh
from known
inner join latest using (evaluated_as_of)
cross join {{ ref('int_run_policy') }} as policy
