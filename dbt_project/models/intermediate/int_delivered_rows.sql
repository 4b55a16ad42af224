{{ config(materialized='table') }}
-- What became of the delivered records at ingest, and how many rows of which feed they made: from the ledger alone.
-- A file that was read again counts once, as its last reading. `written` are rows in raw, by contract feed; `erased`
-- are those of them that an erasure took out again.
with known as (
    select ledger.*
    from {{ source('raw', 'ingest_ledger') }} as ledger
    inner join {{ source('run', 'run_context') }} as run
        on ledger.dt < run.known_at and ledger.known_from <= run.known_at
),

deliveries as (
    select known.*, coalesce(in_force.is_in_force, false) as is_in_force
    from known
    anti join (select replay_of as delivery from known where replay_of is not null) as replayed using (delivery)
    left join {{ ref('deliveries_in_force') }} as in_force using (delivery)
),

rejected as (
    select source, feed, {{ json_counts('reject_codes') }} as entry from deliveries
    where reject_codes is not null
),

written as (
    select source, is_in_force, {{ json_counts('feed_rows') }} as entry from deliveries
    where status = 'loaded' and feed_rows is not null
),

erased as (
    select deliveries.source, erased.feed, erased.rows_n
    from {{ source('raw', 'erased_rows') }} as erased
    inner join deliveries using (delivery)
    where deliveries.is_in_force
),

states as (
    select source, feed, 'read' as state, 'delivered' as reason, rows_read as rows_n from deliveries
    union all
    select source, feed, 'loaded' as state, 'good' as reason, rows_loaded as rows_n from deliveries
    union all
    select
        source,
        feed,
        'duplicate' as state,
        case when status = 'duplicate' then 'duplicate_file' else 'duplicate_row' end as reason,
        rows_duplicate as rows_n
    from deliveries
    union all
    select source, feed, 'rejected' as state, entry.key as reason, entry.value as rows_n from rejected
    union all
    select
        source,
        entry.key as feed,
        'written' as state,
        case when is_in_force then 'in_force' else 'corrected_file' end as reason,
        entry.value as rows_n
    from written
    union all
    select source, feed, 'erased' as state, 'in_force' as reason, rows_n from erased
    union all
    -- Taken in by a version of Strata that kept no counts by feed: nothing can be said of this source's rows in raw.
    select source, feed, 'uncounted' as state, 'earlier_version' as reason, rows_loaded as rows_n from deliveries
    where status = 'loaded' and feed_rows is null
)

select source, feed, state, reason, cast(sum(rows_n) as bigint) as rows_n
from states
group by source, feed, state, reason
having sum(rows_n) > 0 or state in ('read', 'uncounted')
