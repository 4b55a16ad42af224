-- The only place outside identity that holds source ids. What ended has valid_to, and merged_into says who took over.
with waiting as (
    select left_source as source, left_id as source_customer_id from {{ source('identity', 'review') }}
    union
    select right_source as source, right_id as source_customer_id from {{ source('identity', 'review') }}
    where right_source is not null
),

seen as (
    select source, source_customer_id, first_seen, last_seen from {{ ref('int_customer_links') }}
    where is_current
)

select
    history.source,
    history.source_customer_id,
    history.customer_key,
    history.rule,
    cast(history.confidence as double) as confidence,
    history.observed_at,
    history.valid_from,
    history.valid_to,
    history.merged_into,
    history.split_from,
    case
        when history.rule = 'reviewed' then 'reviewed'
        when waiting.source is not null and history.valid_to is null then 'waiting'
        else 'automatic'
    end as review_status,
    seen.first_seen,
    seen.last_seen,
    policy.as_of_date
from {{ source('identity', 'history') }} as history
cross join {{ ref('int_run_policy') }} as policy
left join seen using (source, source_customer_id)
left join waiting using (source, source_customer_id)
