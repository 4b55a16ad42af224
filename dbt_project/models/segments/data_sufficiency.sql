-- Is there enough data? What each use of them needs beside what there is; the page warns where a need is not met. Below
-- the buyers that quantiles need, the fixed cut-offs of the policy hold (M-01).
with policy as (
    select * from {{ ref('int_run_policy') }}
),

observed as (
    select
        count(*) filter (where facts.frequency_rfm > 0) as buyers_in_window,
        count(*) filter (where facts.purchase_days_n > 0) as buyers,
        count(*) filter (where facts.purchase_days_n >= 2) as repeat_buyers,
        coalesce(max(facts.tenure_days), 0) as history_days
    from {{ ref('int_customer_facts') }} as facts
),

recent as (
    select count(*) as purchases
    from (
        select distinct orders.customer_key, orders.paid_date
        from {{ ref('int_customer_orders') }} as orders
        inner join policy on orders.paid_date >= policy.clv_recent_start
    ) as days
),

asked as (
    select 'rfm' as purpose, 'buyers_in_window' as need, observed.buyers_in_window as observed,
        policy.rfm_min_buyers as required
    from observed cross join policy
    union all
    select 'clv', 'buyers', observed.buyers, policy.clv_min_buyers from observed cross join policy
    union all
    select 'clv', 'repeat_buyers', observed.repeat_buyers, policy.clv_min_repeat_buyers
    from observed cross join policy
    union all
    select 'clv', 'history_days', observed.history_days, policy.clv_min_history_days from observed cross join policy
    union all
    select 'clv', 'recent_purchases', recent.purchases, policy.clv_min_recent_purchases
    from recent cross join policy
)

select
    labels.purpose,
    labels.need,
    policy.as_of_date,
    cast(asked.observed as bigint) as observed,
    cast(asked.required as bigint) as required,
    asked.observed >= asked.required as is_met,
    labels.label_zh,
    labels.label_en,
    labels.consequence_zh,
    labels.consequence_en,
    policy.policy_version
from asked
inner join {{ ref('data_needs') }} as labels using (purpose, need)
cross join policy
