{{ config(materialized='table') }}
-- Source ids to people as known on D (`current`) and on the refresh date (`refresh`). A table: a score of models ask it, and
-- each would lay the parts of identity over their base again.
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
    history.source,
    history.source_customer_id,
    history.customer_key,
    history.rule,
    cast(history.confidence as double) as confidence,
    -- First and last delivery are those of D: nobody asks for them as of another day.
    cast(null as date) as first_seen,
    cast(null as date) as last_seen
from {{ source('identity', 'history') }} as history
cross join {{ source('run', 'run_context') }} as run_context
where history.valid_from <= run_context.refresh_date
    and (history.valid_to is null or run_context.refresh_date < history.valid_to)
