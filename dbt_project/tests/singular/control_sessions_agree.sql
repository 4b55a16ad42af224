{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'int_control_totals'}}, 'description': "Visits are not those that the platform itself reports, by more than the policy allows (Q-11): bots, a lost tag or another time zone."}) }}
select totals.*
from {{ ref('int_control_totals') }} as totals
inner join {{ ref('int_run_policy') }} as policy
    on abs(totals.fact_total - totals.control_total) > policy.control_sessions_share_max * totals.control_total
where totals.metric_id = 'control_sessions' and totals.is_period_known
