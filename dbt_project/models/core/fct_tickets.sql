-- Service tickets in their latest state. Durations are clock minutes; an unanswered ticket has none.
with ranked as (
    select
        *,
        row_number() over (
            partition by source, ticket_id
            order by updated_at desc nulls last, dt desc, rev desc, delivery_row desc, delivery desc
        ) as nth,
        count(*) over (partition by source, ticket_id) as versions_n
    from {{ ref('stg_feedback__tickets') }}
)

select
    tickets.source,
    tickets.ticket_id,
    links.customer_key,
    tickets.order_id,
    tickets.product_id,
    tickets.ticket_type,
    tickets.topic,
    tickets.priority,
    tickets.channel,
    tickets.created_date,
    tickets.created_at,
    tickets.resolved_at,
    {{ seconds_between('tickets.created_at', 'tickets.first_response_at') }} / 60.0 as first_response_min,
    {{ seconds_between('tickets.created_at', 'tickets.resolved_at') }} / 60.0 as resolution_min,
    tickets.resolved_at is null as is_open,
    tickets.reopened_at is not null as is_reopened,
    tickets.csat_score,
    tickets.versions_n
from ranked as tickets
inner join {{ ref('int_run_policy') }} as policy on tickets.created_date < policy.as_of_date
left join {{ ref('int_customer_links') }} as links
    on tickets.source = links.source and tickets.source_customer_id = links.source_customer_id
    and links.is_current
where tickets.nth = 1
