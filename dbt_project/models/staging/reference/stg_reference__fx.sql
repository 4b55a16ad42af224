-- Every delivery in force on D or on the refresh date: a reader filters on is_in_force or was_in_force.
with source as (
    select * from {{ source('raw', 'fx') }}
),

deliveries as (
    select * from {{ ref('deliveries_in_force') }}
),

renamed as (
    select
        -- ids
        deliveries.source,
        source.currency,

        -- numerics
        source.rate_to_reporting,

        -- dates
        source.date as rate_date,

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
