with source as (
    select * from {{ source('raw', 'dsr') }}
),

deliveries as (
    select * from {{ ref('deliveries_in_force') }}
),

renamed as (
    select
        -- ids
        deliveries.source,
        source.request_id,
        source.source_customer_id,

        -- attributes
        source.kind,

        -- timestamps
        source.received_at,
        source.due_at,
        source.done_at,
        source.lifted_at,
        source.updated_at,
        {{ local_date('source.received_at', 'deliveries.zone') }} as received_date,
        {{ local_date('source.due_at', 'deliveries.zone') }} as due_date,
        {{ local_date('source.done_at', 'deliveries.zone') }} as done_date,
        {{ local_date('source.lifted_at', 'deliveries.zone') }} as lifted_date,

        -- delivery
        deliveries.dt,
        deliveries.rev,
        source._delivery as delivery,
        source._row as delivery_row
    from source
    inner join deliveries on source._delivery = deliveries.delivery
    where deliveries.is_in_force
)

select * from renamed
