-- What arrived, and what became of it. Holds clock times: facts about runs stay out of byte-identity.
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
    ledger.rows_read,
    ledger.rows_loaded,
    ledger.rows_rejected,
    ledger.rows_duplicate,
    ledger.extra_columns,
    coalesce(in_force.is_in_force, false) as is_in_force,
    ledger.loaded_at,
    ledger.run_id
from {{ source('raw', 'ingest_ledger') }} as ledger
left join {{ ref('deliveries_in_force') }} as in_force using (delivery)
