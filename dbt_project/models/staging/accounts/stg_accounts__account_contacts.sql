with source as (
    select * from {{ source('raw', 'account_contacts') }}
),

deliveries as (
    select * from {{ ref('deliveries_in_force') }}
),

renamed as (
    select
        -- ids
        deliveries.source,
        source.contact_id,
        source.source_account_id,

        -- tokens
        source.name_token,
        source.phone_token,
        source.email_token,

        -- attributes
        source.role,

        -- numerics
        source.influence,

        -- timestamps
        source.valid_from,
        source.valid_to,

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
