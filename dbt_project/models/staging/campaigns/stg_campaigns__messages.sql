with source as (
    select * from {{ source('raw', 'messages') }}
),

deliveries as (
    select * from {{ ref('deliveries_in_force') }}
),

renamed as (
    select
        -- ids
        deliveries.source,
        source.message_id,
        source.campaign_id,
        source.source_customer_id,

        -- attributes
        source.channel,
        source.bounce_type,

        -- money
        source.cost,

        -- timestamps
        source.sent_at,
        source.delivered_at,
        source.opened_at,
        source.clicked_at,
        source.bounced_at,
        source.unsubscribed_at,
        source.complained_at,
        source.updated_at,
        {{ looked_up_date('source.sent_at', 'deliveries.zone', 'sent_days') }} as sent_date,
        {{ local_date('source.bounced_at', 'deliveries.zone') }} as bounced_date,
        {{ local_date('source.unsubscribed_at', 'deliveries.zone') }} as unsubscribed_date,
        {{ local_date('source.complained_at', 'deliveries.zone') }} as complained_date,
        {{ local_hour('coalesce(source.clicked_at, source.opened_at)', 'deliveries.zone') }} as reacted_hour,

        -- delivery
        deliveries.dt,
        deliveries.rev,
        source._delivery as delivery,
        source._row as delivery_row
    from source
    inner join deliveries on source._delivery = deliveries.delivery
    {{ join_local_days('source.sent_at', 'deliveries.zone', 'sent_days') }}
    where deliveries.is_in_force
)

select * from renamed
