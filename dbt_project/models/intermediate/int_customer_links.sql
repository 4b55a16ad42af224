-- Source ids to people as known on D (`current`) and on the refresh date (`refresh`).
select
    true as is_current,
    links.source,
    links.source_customer_id,
    links.customer_key,
    links.rule,
    links.confidence,
    links.first_seen,
    links.last_seen
from {{ source('identity', 'links') }} as links
inner join {{ source('run', 'run_context') }} as run_context on links.known_at = run_context.as_of_date

union all

select
    false as is_current,
    links.source,
    links.source_customer_id,
    links.customer_key,
    links.rule,
    links.confidence,
    links.first_seen,
    links.last_seen
from {{ source('identity', 'links') }} as links
inner join {{ source('run', 'run_context') }} as run_context on links.known_at = run_context.refresh_date
