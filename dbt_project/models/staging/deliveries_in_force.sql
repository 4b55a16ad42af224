-- A build for D reads, per stem, the last revision known by D; asked for what is known later, that of `known_at`. `was_in_force` says the same for the refresh date.
with ledger as (
    select * from {{ source('raw', 'ingest_ledger') }}
),

run_context as (
    select * from {{ source('run', 'run_context') }}
),

known as (
    select
        ledger.*,
        run_context.reporting_currency,
        ledger.dt < run_context.known_at and ledger.known_from <= run_context.known_at as is_known,
        ledger.dt < run_context.refresh_date and ledger.known_from <= run_context.refresh_date as was_known
    from ledger
    cross join run_context
),

last_revisions as (
    select
        *,
        max(case when is_known then rev end) over (partition by source, feed, stem) as last_rev,
        max(case when was_known then rev end) over (partition by source, feed, stem) as last_rev_at_refresh
    from known
),

in_force as (
    select
        delivery,
        source,
        feed,
        stem,
        dt,
        rev,
        known_from,
        zone,
        -- A source that nobody declared delivers in the home's own currency.
        coalesce(currency, reporting_currency) as currency,
        price_includes_tax,
        is_known and rev = last_rev as is_in_force,
        was_known and rev = last_rev_at_refresh as was_in_force
    from last_revisions
    where status = 'loaded'
)

select * from in_force
where is_in_force or was_in_force
