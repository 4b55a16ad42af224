with source as (
    select * from {{ source('raw', 'contact_log') }}
),

deliveries as (
    select * from {{ ref('deliveries_in_force') }}
),

renamed as (
    select
        -- ids
        deliveries.source,
        source.contact_id,
        source.source_customer_id,
        source.account_id,
        source.employee_id,

        -- attributes
        source.kind,
        source.direction,
        source.code,

        -- money
        source.cost,

        -- timestamps
        source.at as contacted_at,
        {{ local_date('source.at', 'deliveries.zone') }} as contacted_date,

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
