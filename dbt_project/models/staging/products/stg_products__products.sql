-- Every delivery in force on D or on the refresh date: a reader filters on is_in_force or was_in_force.
with source as (
    select * from {{ source('raw', 'products') }}
),

deliveries as (
    select * from {{ ref('deliveries_in_force') }}
),

renamed as (
    select
        -- ids
        deliveries.source,
        source.product_id,

        -- attributes
        source.name,
        source.brand,
        source.category_l1,
        source.category_l2,
        source.category_l3,
        source.line,
        coalesce(source.is_service, false) as is_service,
        source.price_role,
        source.portion,
        source.status,

        -- numerics
        source.premium_tier,
        source.tax_rate,

        -- dates
        source.launch_date,
        source.retire_date,

        -- delivery
        deliveries.dt,
        deliveries.rev,
        source._delivery as delivery,
        source._row as delivery_row,
        deliveries.is_in_force,
        deliveries.was_in_force
    from source
    inner join deliveries on source._delivery = deliveries.delivery
)

select * from renamed
