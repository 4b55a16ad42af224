-- M-05, first match wins. The own rhythm, shrunk towards the common one, decides when a customer declines or is lost.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

common as (
    select
        coalesce({{ quantile('facts.own_gap_days', 0.5) }}, max(policy.lifecycle_default_gap_days)) as gap_days
    from policy
    left join {{ ref('int_customer_facts') }} as facts on facts.purchase_days_n >= 2
),

rhythm as (
    select
        facts.*,
        {{ shrunk_gap('facts.purchase_days_n - 1', 'facts.own_gap_days') }} as expected_gap,
        -- The same as it stood before the last purchase.
        {{ shrunk_gap('facts.purchase_days_n - 2', 'facts.earlier_gap_days') }} as earlier_expected_gap
    from {{ ref('int_customer_facts') }} as facts
    cross join common
    cross join policy
),

limits as (
    select
        rhythm.*,
        {{ clamp('policy.lifecycle_decline_factor * expected_gap', 'policy.lifecycle_decline_min_days',
                 'policy.lifecycle_decline_max_days') }} as decline_days,
        {{ clamp('policy.lifecycle_churn_factor * expected_gap', 'policy.lifecycle_churn_min_days',
                 'policy.lifecycle_churn_max_days') }} as churn_days,
        {{ clamp('policy.lifecycle_churn_factor * earlier_expected_gap', 'policy.lifecycle_churn_min_days',
                 'policy.lifecycle_churn_max_days') }} as earlier_churn_days
    from rhythm
    cross join policy
),

staged as (
    select
        limits.*,
        case
            when purchase_days_n = 0 then 'prospect'
            when recency_days > churn_days then 'churned'
            when purchase_days_n = 1 and recency_days <= greatest(policy.lifecycle_new_min_days, decline_days) then 'new'
            when recency_days > decline_days then 'declining'
            when f180 <= policy.lifecycle_decline_frequency_ratio * f_prev180
                and f_prev180 >= policy.lifecycle_decline_frequency_previous_min
                and m180 <= policy.lifecycle_decline_monetary_ratio * m_prev180 then 'declining'
            when tenure_days >= policy.lifecycle_mature_tenure_days
                and f365 >= policy.lifecycle_mature_frequency_min
                and f180 >= policy.lifecycle_mature_recent_frequency_min then 'mature'
            else 'growing'
        end as stage,
        purchase_days_n >= 2 and last_gap_days > earlier_churn_days
            and recency_days <= policy.lifecycle_reactivated_recency_days as is_reactivated
    from limits
    cross join policy
)

select
    staged.customer_key,
    staged.as_of_date,
    staged.stage,
    case when staged.stage = 'prospect' then coalesce(steps.sub_stage, 'contacted') end as sub_stage,
    crosswalk.seed000_stage,
    crosswalk.seed002_stage,
    staged.recency_days,
    staged.tenure_days,
    cast(staged.purchase_days_n as integer) as purchase_days_n,
    cast(staged.expected_gap as double) as expected_gap,
    cast(staged.decline_days as double) as decline_days,
    cast(staged.churn_days as double) as churn_days,
    cast(staged.f365 as integer) as f365,
    cast(staged.f180 as integer) as f180,
    cast(staged.f_prev180 as integer) as f_prev180,
    staged.m180,
    staged.m_prev180,
    staged.is_reactivated,
    -- Known from today's facts alone for three stages; the others need the class history.
    cast(case
        when staged.stage = 'prospect' then {{ days_between('staged.first_seen', 'staged.as_of_date') }}
        when staged.stage = 'new' then staged.recency_days
        when staged.stage = 'churned' then staged.recency_days - floor(staged.churn_days) - 1
    end as integer) as days_in_stage,
    staged.policy_version
from staged
inner join {{ ref('lifecycle_stages') }} as crosswalk on staged.stage = crosswalk.stage
left join {{ ref('int_prospect_steps') }} as steps on staged.customer_key = steps.customer_key
