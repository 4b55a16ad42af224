-- S2-01. What somebody buys tells of their need; of those who never bought, what they look at and say.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

-- Who has said of late that they wish to buy.
wishes as (
    select intents.customer_key, intents.intent_date
    from {{ ref('int_customer_intents') }} as intents
    inner join policy
        on intents.intent_date >= {{ date_minus('policy.as_of_date', 'policy.need_signal_days') }}
    where intents.is_recent and intents.stated_intent in ('active', 'hesitant')
),

found as (
    select
        rfm.customer_key,
        rfm.as_of_date,
        rfm.recency_days,
        rfm.frequency_days,
        rfm.monetary,
        rfm.r_score,
        rfm.f_score,
        rfm.m_score,
        rfm.no_purchase_reason,
        {{ high_scores_n('rfm.f_score', 'rfm.m_score') }} as high_n,
        signals.need_cart_date,
        signals.need_lead_date,
        case when signals.need_views_n >= policy.need_view_min then signals.need_view_date end as need_view_date,
        cast(coalesce(signals.need_views_n, 0) as integer) as need_views_n,
        wishes.intent_date as need_intent_date,
        coverage.sees_events or coverage.asks_intent as is_collected,
        rfm.policy_version
    from {{ ref('customer_rfm') }} as rfm
    cross join policy
    cross join {{ ref('int_declared_coverage') }} as coverage
    left join (
        select customer_key, need_cart_date, need_lead_date, need_view_date, need_views_n from {{ ref('int_customer_signals') }}
        where need_views_n > 0 or need_cart_date is not null or need_lead_date is not null
    ) as signals on rfm.customer_key = signals.customer_key
    left join wishes on rfm.customer_key = wishes.customer_key
),

reasoned as (
    select
        *,
        case
            when f_score is not null
                then case high_n when 2 then 'both_high' when 1 then 'one_high' else 'none_high' end
            when no_purchase_reason <> 'never_bought' then 'lapsed'
            when need_cart_date is not null then 'cart'
            when need_lead_date is not null then 'lead'
            when need_intent_date is not null then 'intent'
            when need_view_date is not null then 'views'
            when is_collected then 'no_signal'
            else 'not_collected'
        end as reason_code
    from found
)

select
    customer_key,
    as_of_date,
    case
        when f_score is not null then {{ need_of_high_scores('high_n') }}
        when reason_code = 'lapsed' then 'lapsed'
        when reason_code in ('no_signal', 'not_collected') then 'unclassified'
        else 'potential'
    end as need_class,
    reason_code,
    case
        when reason_code in ('no_signal', 'not_collected') then null
        when reason_code = 'intent' then 'survey'
        else 'behaviour'
    end as class_source,
    case reason_code
        when 'cart' then need_cart_date
        when 'lead' then need_lead_date
        when 'intent' then need_intent_date
        when 'views' then need_view_date
        when 'no_signal' then null
        when 'not_collected' then null
        else {{ date_minus('as_of_date', 'recency_days') }}
    end as observed_at,
    -- What somebody did who never bought is a sign of a need, not the need.
    reason_code in ('cart', 'lead', 'views') as is_inferred,
    recency_days,
    frequency_days,
    monetary,
    r_score,
    f_score,
    m_score,
    need_views_n as product_views_n,
    case when reason_code in ('no_signal', 'not_collected') then reason_code end as unclassified_reason,
    policy_version
from reasoned
