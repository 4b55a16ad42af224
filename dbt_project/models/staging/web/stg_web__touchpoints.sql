with source as (
    select * from {{ source('raw', 'touchpoints') }}
),

deliveries as (
    select * from {{ ref('deliveries_in_force') }}
),

renamed as (
    select
        -- ids
        deliveries.source,
        source.event_id,
        source.session_id,
        source.visitor_id,
        source.source_customer_id,
        source.object_id,
        source.channel_id,

        -- attributes
        source.event_type,
        source.search_term_masked as search_term,
        source.value,

        -- timestamps
        source.occurred_at,
        {{ looked_up_date('source.occurred_at', 'deliveries.zone', 'occurred_days') }} as event_date,

        -- delivery
        deliveries.dt,
        deliveries.rev,
        source._delivery as delivery,
        source._row as delivery_row
    from source
    inner join deliveries on source._delivery = deliveries.delivery
    {{ join_local_days('source.occurred_at', 'deliveries.zone', 'occurred_days') }}
    where deliveries.is_in_force
)

select * from renamed
