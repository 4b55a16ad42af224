with source as (
    select * from {{ source('raw', 'stores') }}
),

deliveries as (
    select * from {{ ref('deliveries_in_force') }}
),

renamed as (
    select
        -- ids
        deliveries.source,
        source.store_id,

        -- attributes
        source.region,

        -- numerics
        source.area,

        -- dates
        source.opened_on,

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
