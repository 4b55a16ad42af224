-- S2-19, C-11, P-11. The survey first, behaviour second; a refusal is only ever said.
with policy as (
    select
        *,
        {{ date_minus('as_of_date', 'willingness_checkout_days') }} as checkout_start
    from {{ ref('int_run_policy') }}
),

reasoned as (
    select
        facts.customer_key,
        facts.as_of_date,
        intents.intent_date,
        intents.intent_score,
        intents.intent_scale_min,
        intents.intent_scale_max,
        intents.stated_intent,
        intents.intent_reason,
        signals.checkout_date,
        signals.open_cart_date,
        signals.open_view_date,
        cast(coalesce(signals.open_views_n, 0) as integer) as open_views_n,
        case
            when intents.is_recent and intents.stated_intent is not null
                then 'stated' || case
                    when intents.stated_intent <> 'active' and intents.intent_reason is not null
                        then '_' || intents.intent_reason
                    else ''
                end
            when signals.checkout_date >= policy.checkout_start then 'checkout'
            when signals.open_cart_date is not null then 'cart'
            when signals.open_views_n >= policy.willingness_view_min then 'views'
            when intents.is_recent then 'unknown_scale'
            when intents.intent_date is not null then 'too_old'
            when coverage.asks_intent or coverage.sees_events then 'no_answer'
            else 'not_collected'
        end as reason_code,
        facts.policy_version
    from {{ ref('int_customer_facts') }} as facts
    cross join policy
    cross join {{ ref('int_declared_coverage') }} as coverage
    left join {{ ref('int_customer_intents') }} as intents on facts.customer_key = intents.customer_key
    left join (
        select customer_key, checkout_date, open_cart_date, open_view_date, open_views_n from {{ ref('int_customer_signals') }}
        where checkout_date is not null or open_cart_date is not null or open_views_n > 0
    ) as signals on facts.customer_key = signals.customer_key
),

classed as (
    select
        *,
        case
            when reason_code like 'stated%' then 'survey'
            when reason_code in ('checkout', 'cart', 'views') then 'behaviour'
        end as class_source
    from reasoned
)

select
    customer_key,
    as_of_date,
    case
        when class_source = 'survey' then stated_intent
        when reason_code = 'checkout' then 'active'
        when class_source = 'behaviour' then 'hesitant'
        else 'unknown'
    end as willingness,
    -- Only who hesitates or refuses is asked why.
    case
        when class_source = 'survey' and stated_intent <> 'active' then coalesce(intent_reason, 'unknown')
    end as stated_reason,
    reason_code,
    class_source,
    case
        when class_source = 'survey' then intent_date
        when reason_code = 'checkout' then checkout_date
        when reason_code = 'cart' then open_cart_date
        when reason_code = 'views' then open_view_date
        else intent_date
    end as observed_at,
    coalesce(class_source = 'behaviour', false) as is_inferred,
    cast(intent_score as double) as intent_score,
    cast(intent_scale_min as integer) as intent_scale_min,
    cast(intent_scale_max as integer) as intent_scale_max,
    open_views_n as product_views_n,
    case when class_source is null then reason_code end as unclassified_reason,
    policy_version
from classed
