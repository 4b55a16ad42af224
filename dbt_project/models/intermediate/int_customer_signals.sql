{{ config(materialized='table') }}
-- Own events that tell of a wish to buy, within the days that the policy looks at. What lies on or before the last
-- purchase day has been answered by it.
with policy as (
    select
        *,
        {{ date_minus('as_of_date', 'need_signal_days') }} as need_start,
        {{ date_minus('as_of_date', 'willingness_signal_days') }} as signal_start,
        {{ date_minus('as_of_date', 'greatest(need_signal_days, willingness_signal_days, willingness_checkout_days)') }}
            as first_day
    from {{ ref('int_run_policy') }}
),

events as (
    select
        facts.customer_key,
        touchpoints.source,
        touchpoints.event_id,
        touchpoints.event_date,
        signals.signal,
        touchpoints.event_date >= policy.need_start as is_of_need,
        touchpoints.event_date >= policy.signal_start
            and touchpoints.event_date > coalesce(facts.last_purchase_date, policy.first_day) as is_unanswered
    from {{ ref('stg_web__touchpoints') }} as touchpoints
    cross join policy
    inner join {{ ref('event_signals') }} as signals
        on touchpoints.event_type = signals.event_type and {{ is_in_force('signals', 'policy.as_of_date') }}
    inner join {{ ref('int_customer_links') }} as links
        on touchpoints.source = links.source and touchpoints.source_customer_id = links.source_customer_id
        and links.is_current
    inner join {{ ref('int_customer_facts') }} as facts on links.customer_key = facts.customer_key
    where touchpoints.event_date >= policy.first_day and touchpoints.event_date < policy.as_of_date
)

select
    customer_key,
    max(event_date) filter (where signal in ('cart', 'checkout') and is_of_need) as need_cart_date,
    max(event_date) filter (where signal = 'lead' and is_of_need) as need_lead_date,
    max(event_date) filter (where signal = 'view' and is_of_need) as need_view_date,
    count(distinct case when signal = 'view' and is_of_need then source || '|' || event_id end) as need_views_n,
    max(event_date) filter (where signal = 'checkout') as checkout_date,
    max(event_date) filter (where signal in ('cart', 'checkout') and is_unanswered) as open_cart_date,
    max(event_date) filter (where signal = 'view' and is_unanswered) as open_view_date,
    count(distinct case when signal = 'view' and is_unanswered then source || '|' || event_id end) as open_views_n
from events
group by customer_key
