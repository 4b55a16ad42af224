with source as (
    select * from {{ source('raw', 'web_sessions') }}
),

deliveries as (
    select * from {{ ref('deliveries_in_force') }}
),

renamed as (
    select
        -- ids
        deliveries.source,
        source.session_id,
        source.visitor_id,
        source.source_customer_id,
        source.campaign_code,

        -- attributes
        source.source as traffic_source,
        source.medium,
        source.landing_page,
        source.device,
        source.region,
        source.platform,
        coalesce(source.is_bot, false) as is_bot,

        -- numerics
        source.pageviews,

        -- timestamps
        source.started_at,
        source.ended_at,
        {{ looked_up_date('source.started_at', 'deliveries.zone', 'started_days') }} as session_date,

        -- delivery
        deliveries.dt,
        deliveries.rev,
        source._delivery as delivery,
        source._row as delivery_row
    from source
    inner join deliveries on source._delivery = deliveries.delivery
    {{ join_local_days('source.started_at', 'deliveries.zone', 'started_days') }}
    where deliveries.is_in_force
)

select * from renamed
