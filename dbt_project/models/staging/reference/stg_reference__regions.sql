with source as (
    select * from {{ source('raw', 'regions') }}
),

deliveries as (
    select * from {{ ref('deliveries_in_force') }}
),

renamed as (
    select
        -- ids
        deliveries.source,
        source.region_code,

        -- attributes
        source.province,
        source.city,
        source.city_tier,
        source.climate,

        -- numerics
        source.year,

        -- money
        source.median_income,

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
