{{ config(meta={'dagster': {'ref': {'name': 'int_control_totals'}}, 'description': "Orders, revenue or refunds are not what the source itself says they are (Q-11): files are missing, doubled or mapped wrong. Without control totals of a source only marts and facts are compared."}) }}
-- At most one minor unit per order, and at most a thousandth of the total.
select totals.*
from {{ ref('int_control_totals') }} as totals
cross join {{ ref('int_run_policy') }} as policy
where not totals.is_period_known
    or (
        totals.metric_id <> 'control_sessions'
        and (
            abs(totals.fact_total - totals.control_total) > policy.revenue_gap_share_max * abs(totals.control_total)
            or (
                totals.metric_id <> 'control_orders'
                and abs(totals.fact_total - totals.control_total)
                > greatest(totals.orders_n, 1) * power(10, -policy.currency_digits)
            )
        )
    )
