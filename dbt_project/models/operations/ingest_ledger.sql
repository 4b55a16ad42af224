-- What arrived, and what became of it. Holds clock times: facts about runs stay out of byte-identity.
-- A file that was read again after a rule was mended stands once, as its last reading, so that sums are sums.
with ledger as (
    select * from {{ source('raw', 'ingest_ledger') }}
),

replayed as (
    select replay_of as delivery from ledger
    where replay_of is not null
),

erased as (
    select delivery, sum(rows_n) as rows_n from {{ source('raw', 'erased_rows') }}
    group by delivery
)

select
    ledger.delivery,
    ledger.source,
    ledger.feed,
    ledger.file,
    ledger.dt,
    ledger.rev,
    ledger.known_from,
    ledger.sha256,
    ledger.bytes,
    ledger.status,
    ledger.reject_code,
    ledger.reject_detail,
    ledger.reject_codes,
    ledger.rows_read,
    ledger.rows_loaded,
    ledger.rows_rejected,
    ledger.rows_duplicate,
    cast(coalesce(erased.rows_n, 0) as bigint) as rows_erased,
    ledger.feed_rows,
    ledger.content_bytes,
    ledger.header_bytes,
    ledger.blank_bytes,
    ledger.record_bytes,
    ledger.extra_columns,
    coalesce(in_force.is_in_force, false) as is_in_force,
    ledger.replay_of,
    coalesce(ledger.first_seen_at, ledger.loaded_at) as first_seen_at,
    ledger.loaded_at,
    ledger.run_id
from ledger
anti join replayed using (delivery)
left join {{ ref('deliveries_in_force') }} as in_force using (delivery)
left join erased using (delivery)
