-- Requests of people about their data, the newest state of each, with the day by which it must be done. An id that a
-- source gives to two people makes two requests: neither may cancel the other's.
with ranked as (
    select
        *,
        row_number() over (
            partition by source, request_id, source_customer_id
            order by updated_at desc nulls last, dt desc, rev desc, delivery_row desc, delivery desc
        ) as nth
    from {{ ref('stg_customers__dsr') }}
)

select
    ranked.source,
    ranked.request_id,
    ranked.source_customer_id,
    links.customer_key,
    ranked.kind,
    ranked.received_date,
    -- Who states no due date has the policy's.
    coalesce(ranked.due_date, {{ date_plus('ranked.received_date', 'policy.request_due_days') }}) as due_date,
    ranked.done_date,
    ranked.lifted_date,
    policy.as_of_date
from ranked
cross join {{ ref('int_run_policy') }} as policy
left join {{ ref('int_customer_links') }} as links
    on ranked.source = links.source and ranked.source_customer_id = links.source_customer_id and links.is_current
where ranked.nth = 1
