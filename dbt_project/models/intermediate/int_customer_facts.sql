{{ config(materialized='table') }}
-- The one base of the class models: whoever may not be profiled has left before it.
-- Everything that they need of a customer on D, in one pass over customer days. Windows are [D - k, D).
with policy as (
    select * from {{ ref('int_run_policy') }}
),

bought as (
    select
        days.customer_key,
        count(*) filter (where is_purchase_day) as purchase_days_n,
        min(day) filter (where is_purchase_day) as first_purchase_date,
        max(day) filter (where is_purchase_day) as last_purchase_date,
        {{ quantile('gap_days', 0.5) }} filter (where is_purchase_day and gap_days is not null) as own_gap_days,
        {{ quantile('gap_days', 0.5) }} filter (where is_purchase_day and gap_days is not null and not is_last)
            as earlier_gap_days,
        max(gap_days) filter (where is_purchase_day and is_last) as last_gap_days,
        count(*) filter (where is_purchase_day and day >= policy.rfm_window_start) as frequency_rfm,
        sum(orders_n) filter (where day >= policy.rfm_window_start) as orders_rfm,
        sum(net_revenue) filter (where day >= policy.rfm_window_start) as sales_rfm,
        count(*) filter (where is_purchase_day and day >= policy.abc_window_start) as frequency_abc,
        sum(net_revenue) filter (where day >= policy.abc_window_start) as sales_abc,
        sum(profit) filter (where day >= policy.abc_window_start) as profit_abc,
        bool_or(is_profit_unknown) filter (where day >= policy.abc_window_start) as is_profit_unknown,
        bool_or(profit_is_estimated) filter (where day >= policy.abc_window_start) as profit_is_estimated,
        bool_or(is_profit_category_based) filter (where day >= policy.abc_window_start) as has_better_than_default,
        count(*) filter (where is_purchase_day and day >= policy.year_start) as f365,
        count(*) filter (where is_purchase_day and day >= policy.half_start) as f180,
        count(*) filter (where is_purchase_day and day >= policy.previous_half_start and day < policy.half_start)
            as f_prev180,
        sum(net_revenue) filter (where day >= policy.half_start) as sales_180,
        sum(net_revenue) filter (where day >= policy.previous_half_start and day < policy.half_start)
            as sales_prev180
    from {{ ref('int_customer_days') }} as days
    cross join policy
    group by days.customer_key
),

brought_back as (
    select
        returns.customer_key,
        sum(refund_net) filter (where day >= policy.rfm_window_start) as refunds_rfm,
        sum(refund_net) filter (where day >= policy.abc_window_start) as refunds_abc,
        sum(profit_reversed) filter (where day >= policy.abc_window_start) as profit_reversed_abc,
        bool_or(is_profit_unknown) filter (where day >= policy.abc_window_start) as is_profit_unknown,
        bool_or(profit_is_estimated) filter (where day >= policy.abc_window_start) as profit_is_estimated,
        sum(refund_net) filter (where day >= policy.half_start) as refunds_180,
        sum(refund_net) filter (where day >= policy.previous_half_start and day < policy.half_start)
            as refunds_prev180
    from {{ ref('int_customer_returns') }} as returns
    cross join policy
    group by returns.customer_key
)

select
    customers.customer_key,
    customers.first_seen,
    policy.as_of_date,
    policy.policy_version,
    coalesce(bought.purchase_days_n, 0) as purchase_days_n,
    bought.first_purchase_date,
    bought.last_purchase_date,
    {{ days_between('bought.last_purchase_date', 'policy.as_of_date') }} as recency_days,
    {{ days_between('bought.first_purchase_date', 'policy.as_of_date') }} as tenure_days,
    bought.own_gap_days,
    bought.earlier_gap_days,
    bought.last_gap_days,
    coalesce(bought.frequency_rfm, 0) as frequency_rfm,
    cast(coalesce(bought.orders_rfm, 0) as bigint) as orders_rfm,
    {{ money('coalesce(bought.sales_rfm, 0) - coalesce(brought_back.refunds_rfm, 0)') }} as monetary_rfm,
    coalesce(bought.frequency_abc, 0) as frequency_abc,
    {{ money('coalesce(bought.sales_abc, 0) - coalesce(brought_back.refunds_abc, 0)') }} as revenue_abc,
    case when not coalesce(bought.is_profit_unknown, false) and not coalesce(brought_back.is_profit_unknown, false)
        then {{ money('coalesce(bought.profit_abc, 0) - coalesce(brought_back.profit_reversed_abc, 0)') }}
    end as profit_abc,
    coalesce(bought.profit_is_estimated, false) or coalesce(brought_back.profit_is_estimated, false)
        as profit_is_estimated,
    coalesce(bought.has_better_than_default, false) as has_better_than_default,
    coalesce(bought.f365, 0) as f365,
    coalesce(bought.f180, 0) as f180,
    coalesce(bought.f_prev180, 0) as f_prev180,
    {{ money('coalesce(bought.sales_180, 0) - coalesce(brought_back.refunds_180, 0)') }} as m180,
    {{ money('coalesce(bought.sales_prev180, 0) - coalesce(brought_back.refunds_prev180, 0)') }} as m_prev180
from {{ ref('dim_customers') }} as customers
cross join policy
anti join {{ ref('int_persons_excluded') }} as excluded using (customer_key)
left join bought using (customer_key)
left join brought_back using (customer_key)
