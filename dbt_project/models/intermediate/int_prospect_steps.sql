-- How far a person who never bought has come: the furthest step of their own events before D.
with events as (
    select links.customer_key, touchpoints.event_type
    from {{ ref('stg_web__touchpoints') }} as touchpoints
    inner join {{ ref('int_customer_links') }} as links
        on touchpoints.source = links.source and touchpoints.source_customer_id = links.source_customer_id
        and links.is_current
    cross join {{ ref('int_run_policy') }} as policy
    where touchpoints.event_date < policy.as_of_date
)

select
    customer_key,
    case
        when bool_or(event_type in ('add_cart', 'checkout_step')) then 'cart'
        when bool_or(event_type in ('trial_start', 'store_trial')) then 'trial'
        when bool_or(event_type in ('quote', 'download', 'join_group')) then 'lead'
        else 'contacted'
    end as sub_stage
from events
group by customer_key
