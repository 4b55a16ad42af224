with source as (
    select * from {{ source('raw', 'channels') }}
),

deliveries as (
    select * from {{ ref('deliveries_in_force') }}
),

renamed as (
    select
        -- ids
        deliveries.source,
        source.channel_id,

        -- attributes
        source.name,
        source."group" as channel_group,
        source.mode,
        source.role,

        -- money
        source.cost_per_contact,

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
