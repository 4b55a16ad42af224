-- M-08 by cohort: of the customers who first bought in one month, who came back in each whole month after it. The stage
-- at a month's first day is taken from what had happened before that day, with the common gap of that day.
with policy as (
    select
        int_run_policy.*,
        {{ month_start('as_of_date') }} as window_end,
        {{ month_minus(month_start('as_of_date'), 'cohort_months') }} as window_start
    from {{ ref('int_run_policy') }} as int_run_policy
),

-- The first days of the window's months, and the day after the last of them.
bounds as (
    select
        dates.date_day as begins_on,
        lead(dates.date_day) over (order by dates.date_day) as ends_on
    from {{ ref('dim_dates') }} as dates
    inner join policy on dates.date_day between policy.window_start and policy.window_end
    where dates.date_day = dates.month_start
),

purchases as (
    select
        rhythms.customer_key,
        facts.first_purchase_date,
        rhythms.day,
        rhythms.purchase_days_by_then as purchase_days_n,
        rhythms.own_gap_by_then as own_gap_days,
        rhythms.next_purchase_day as next_day
    from {{ ref('int_customer_rhythms') }} as rhythms
    inner join {{ ref('int_customer_facts') }} as facts using (customer_key)
),

-- Where each customer stood on each of the days: her last purchase before it.
standing as (
    select purchases.*, bounds.begins_on, bounds.ends_on
    from purchases
    inner join bounds
        on purchases.day < bounds.begins_on
        and (purchases.next_day is null or purchases.next_day >= bounds.begins_on)
),

common as (
    select
        standing.begins_on,
        coalesce(
            {{ quantile('case when standing.purchase_days_n >= 2 then standing.own_gap_days end', 0.5) }},
            max(policy.lifecycle_default_gap_days)
        ) as gap_days
    from standing
    cross join policy
    group by standing.begins_on
),

judged as (
    select
        standing.customer_key,
        {{ month_start('standing.first_purchase_date') }} as cohort_month,
        standing.begins_on,
        standing.ends_on,
        coalesce(standing.next_day < standing.ends_on, false) as has_bought,
        {{ days_between('standing.day', 'standing.begins_on') }} > {{ clamp(
            'policy.lifecycle_churn_factor * ' ~ shrunk_gap('standing.purchase_days_n - 1', 'standing.own_gap_days'),
            'policy.lifecycle_churn_min_days', 'policy.lifecycle_churn_max_days'
        ) }} as is_churned
    from standing
    inner join common using (begins_on)
    inner join policy on standing.first_purchase_date >= policy.window_start
),

followed as (
    select
        *,
        lead(is_churned) over (partition by customer_key order by begins_on) as is_churned_after
    from judged
),

came_back as (
    select
        cohort_month,
        begins_on,
        count(*) filter (where has_bought) as buyers,
        count(*) filter (where not is_churned) as active,
        count(*) filter (where not is_churned and has_bought) as bought_again,
        count(*) filter (where not is_churned and is_churned_after) as churned
    from followed
    where ends_on is not null
    group by cohort_month, begins_on
),

money as (
    select
        {{ month_start('facts.first_purchase_date') }} as cohort_month,
        {{ month_start('booked.day') }} as begins_on,
        sum(booked.amount) as revenue
    from (
        select customer_key, day, net_revenue as amount from {{ ref('int_customer_days') }}
        union all
        select customer_key, day, -refund_net as amount from {{ ref('int_customer_returns') }}
    ) as booked
    inner join {{ ref('int_customer_facts') }} as facts using (customer_key)
    inner join policy
        on facts.first_purchase_date >= policy.window_start and facts.first_purchase_date < policy.window_end
        and booked.day >= policy.window_start and booked.day < policy.window_end
    group by 1, 2
),

cohorts as (
    select
        {{ month_start('facts.first_purchase_date') }} as cohort_month,
        count(*) as customers
    from {{ ref('int_customer_facts') }} as facts
    inner join policy
        on facts.first_purchase_date >= policy.window_start and facts.first_purchase_date < policy.window_end
    group by 1
),

hidden_before as (
    select distinct cohort_month from {{ source('history', 'retention_cohort') }}
    where is_suppressed and customers is null
),

sized as (
    select
        cohorts.*,
        policy.*,
        cohorts.cohort_month = first_of_all.month as is_first_month_of_data,
        {{ is_suppressed_cell(
            'cohorts.customers', 'policy.k_anon_min', 'policy.as_of_date', 'cohorts.cohort_month',
            'hidden_before.cohort_month is not null'
        ) }} as is_cohort_suppressed
    from cohorts
    cross join policy
    cross join (
        select {{ month_start('min(first_purchase_date)') }} as month from {{ ref('int_customer_facts') }}
    ) as first_of_all
    left join hidden_before on cohorts.cohort_month = hidden_before.cohort_month
),

steps as (
    select row_number() over (order by begins_on) as months_since
    from bounds
    where ends_on is not null
),

placed as (
    select
        sized.*,
        steps.months_since,
        {{ month_plus('sized.cohort_month', 'steps.months_since') }} as begins_on
    from sized
    inner join steps on steps.months_since < sized.cohort_months
),

cells as (
    select
        placed.*,
        came_back.buyers,
        came_back.active,
        came_back.bought_again,
        came_back.churned,
        case when came_back.buyers is not null then coalesce(money.revenue, 0) end as revenue,
        came_back.buyers is not null as is_complete,
        placed.is_cohort_suppressed
            or coalesce(came_back.buyers > 0 and came_back.buyers < placed.k_anon_min, false)
            or coalesce(came_back.active > 0 and came_back.active < placed.k_anon_min, false) as is_suppressed
    from placed
    left join came_back on placed.cohort_month = came_back.cohort_month and placed.begins_on = came_back.begins_on
    left join money on placed.cohort_month = money.cohort_month and placed.begins_on = money.begins_on
)

select
    cohort_month,
    cast(months_since as integer) as months_since,
    as_of_date,
    is_first_month_of_data,
    is_complete,
    is_suppressed,
    case when not is_cohort_suppressed then customers end as customers,
    case when not is_suppressed then buyers end as buyers,
    case when not is_suppressed then {{ rate('buyers', 'customers') }} end as buyer_share,
    case when not is_suppressed then active end as active,
    case when not is_suppressed then bought_again end as period_repurchase_num,
    case when not is_suppressed then {{ rate('bought_again', 'active') }} end as period_repurchase,
    case when not is_suppressed then churned end as churn_num,
    case when not is_suppressed then {{ rate('churned', 'active') }} end as churn,
    case when not is_suppressed then 1 - {{ rate('churned', 'active') }} end as retention,
    {{ money('case when not is_suppressed then revenue end') }} as revenue,
    customers < low_n as is_low_n,
    policy_version
from cells
