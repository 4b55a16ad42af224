-- M-05, first match wins. The own rhythm, shrunk towards the common one, decides when a customer declines or is lost.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

-- How far they came is told of those alone who never bought: few, and everybody else's events need not be joined.
prospects as (
    select steps.customer_key, steps.sub_stage
    from {{ ref('int_prospect_steps') }} as steps
    semi join (
        select customer_key from {{ ref('int_customer_facts') }} where purchase_days_n = 0
    ) as strangers on steps.customer_key = strangers.customer_key
),

common as ({{ common_gap(ref('int_customer_facts')) }}
),
{{ lifecycle_stages(ref('int_customer_facts')) }}

select
    staged.customer_key,
    staged.as_of_date,
    staged.stage,
    case when staged.stage = 'prospect' then coalesce(prospects.sub_stage, 'contacted') end as sub_stage,
    crosswalk.seed000_stage,
    crosswalk.seed002_stage,
    staged.recency_days,
    staged.tenure_days,
    cast(staged.purchase_days_n as integer) as purchase_days_n,
    cast(staged.expected_gap as double) as expected_gap,
    cast(staged.decline_days as double) as decline_days,
    cast(staged.churn_days as double) as churn_days,
    cast(staged.f365 as integer) as f365,
    staged.quarters_365,
    cast(staged.f180 as integer) as f180,
    cast(staged.f_prev180 as integer) as f_prev180,
    staged.m180,
    staged.m_prev180,
    -- From whole-number sums, so that the order of rows cannot show.
    case
        when staged.gaps_n >= 2 then round(
            sqrt(cast(staged.gaps_n * staged.gaps_square_sum - staged.gaps_sum * staged.gaps_sum as double)
                / (staged.gaps_n * (staged.gaps_n - 1))) / (cast(staged.gaps_sum as double) / staged.gaps_n), 8)
    end as gap_cv,
    staged.is_reactivated,
    -- For customer_clv, which is told by stage and profit: a join of everybody would cost it more than the rest of it.
    staged.profit_ever,
    staged.is_profit_ever_estimated,
    -- Facts alone tell it for some stages; for the others it is counted from the move, or from where history begins.
    cast(case
        when staged.stage = 'prospect' then {{ days_between('staged.first_seen', 'staged.as_of_date') }}
        when staged.stage = 'new' then staged.recency_days
        when staged.stage = 'churned' then staged.recency_days - floor(staged.churn_days) - 1
        when history.class = staged.stage then {{ days_between('history.valid_from', 'staged.as_of_date') }}
        else 0
    end as integer) as days_in_stage,
    staged.stage in ('prospect', 'new', 'churned')
        or coalesce(history.class <> staged.stage or history.cause <> 'first_build', false) as is_stage_since_known,
    staged.policy_version
from staged
inner join {{ ref('lifecycle_stages') }} as crosswalk on staged.stage = crosswalk.stage
left join prospects on staged.customer_key = prospects.customer_key
left join {{ source('history', 'class_history') }} as history
    on staged.customer_key = history.customer_key and history.scheme = 'lifecycle' and history.valid_to is null
