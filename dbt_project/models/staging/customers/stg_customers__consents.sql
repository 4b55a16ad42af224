with source as (
    select * from {{ source('raw', 'consents') }}
),

deliveries as (
    select * from {{ ref('deliveries_in_force') }}
),

renamed as (
    select
        -- ids
        deliveries.source,
        source.consent_id,
        source.source_customer_id,

        -- attributes
        source.purpose,
        source.channel,
        source.action,
        source.legal_basis,
        source.text_version,
        source.proof,

        -- timestamps
        source.at as consented_at,
        {{ local_date('source.at', 'deliveries.zone') }} as consent_date,

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
