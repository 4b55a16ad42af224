{{ config(meta={'dagster': {'ref': {'name': 'segment_summary'}}, 'description': "A published figure is outside what it can be (Q-28, Q-21): a rate above 1, shares that do not add up to 1, an NPS beyond 100, or a cell of fewer people than may be shown."}) }}
with shares as (
    select scheme, sum(share) as share, sum(revenue_share) as revenue_share, bool_or(is_suppressed) as has_suppressed
    from {{ ref('segment_summary') }}
    group by scheme
)

select 'segment shares add up to 1' as rule, scheme as place from shares
where not has_suppressed and (abs(share - 1) > 1e-9 or abs(revenue_share - 1) > 1e-9)

union all

select 'repurchase rate lies in [0, 1]' as rule, scheme || ' ' || class as place from {{ ref('segment_summary') }}
where repurchase_rate < 0 or repurchase_rate > 1

union all

select 'no cell below k is shown' as rule, summary.scheme || ' ' || summary.class as place
from {{ ref('segment_summary') }} as summary
inner join {{ ref('int_run_policy') }} as policy
    on summary.customers > 0 and summary.customers < policy.k_anon_min

union all

select 'no small group of excluded people is shown' as rule, coverage.population_group as place
from {{ ref('segment_coverage') }} as coverage
inner join {{ ref('int_run_policy') }} as policy
    on coverage.is_excluded and coverage.customers > 0 and coverage.customers < policy.k_anon_min

union all

select 'no small cohort or cell of one is shown' as rule, cast(cohorts.cohort_month as varchar) as place
from {{ ref('retention_cohort') }} as cohorts
inner join {{ ref('int_run_policy') }} as policy
    on (cohorts.customers > 0 and cohorts.customers < policy.k_anon_min)
    or (cohorts.buyers > 0 and cohorts.buyers < policy.k_anon_min)
    or (cohorts.active > 0 and cohorts.active < policy.k_anon_min)

union all

select 'nps lies in [-100, 100]' as rule, survey_id as place from {{ ref('nps') }}
where nps < -100 or nps > 100 or lo < -100 or hi > 100

union all

select 'top2 and response rates lie in [0, 1]' as rule, survey_id as place from {{ ref('csat') }}
where top2_share < 0 or top2_share > 1 or response_rate < 0 or response_rate > 1

union all

select 'profit shares of the classes add up to 1' as rule, 'pareto_check' as place
from (select sum(customer_share) as customers, sum(positive_profit_share) as profit from {{ ref('pareto_check') }}) as pareto
where abs(customers - 1) > 1e-9 or abs(profit - 1) > 1e-9
