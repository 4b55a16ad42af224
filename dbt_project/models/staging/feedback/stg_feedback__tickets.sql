with source as (
    select * from {{ source('raw', 'tickets') }}
),

deliveries as (
    select * from {{ ref('deliveries_in_force') }}
),

renamed as (
    select
        -- ids
        deliveries.source,
        source.ticket_id,
        source.source_customer_id,
        source.order_id,
        source.product_id,

        -- attributes
        source.type as ticket_type,
        source.topic,
        source.channel,
        source.text_token,
        source.text_masked,

        -- numerics
        source.priority,
        source.csat as csat_score,

        -- timestamps
        source.created_at,
        source.assigned_at,
        source.first_response_at,
        source.resolved_at,
        source.reopened_at,
        source.updated_at,
        {{ local_date('source.created_at', 'deliveries.zone') }} as created_date,

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
