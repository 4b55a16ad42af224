with source as (
    select * from {{ source('raw', 'ad_spend') }}
),

deliveries as (
    select * from {{ ref('deliveries_in_force') }}
),

renamed as (
    select
        -- ids
        deliveries.source,
        source.channel_id,
        source.campaign_code,
        source.keyword,

        -- attributes
        coalesce(source.currency, deliveries.currency) as currency,

        -- numerics
        source.impressions,
        source.clicks,

        -- money
        source.spend,

        -- dates
        source.date as spend_date,

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
