-- Every delivery in force on D or on the refresh date: a reader filters on is_in_force or was_in_force.
with source as (
    select * from {{ source('raw', 'returns') }}
),

deliveries as (
    select * from {{ ref('deliveries_in_force') }}
),

renamed as (
    select
        -- ids
        deliveries.source,
        source.return_id,
        source.order_id,
        source.line_no,
        source.source_customer_id,
        source.product_id,

        -- attributes
        source.type,
        source.reason,
        coalesce(source.currency, deliveries.currency) as currency,
        deliveries.price_includes_tax,

        -- numerics
        source.qty,

        -- money
        source.refund_amount,

        -- timestamps
        source.requested_at,
        source.refunded_at,
        coalesce(
            {{ looked_up_date('coalesce(source.refunded_at, source.requested_at)', 'deliveries.zone', 'booked_days') }}, deliveries.dt
        ) as return_date,

        -- delivery
        deliveries.dt,
        deliveries.rev,
        source._delivery as delivery,
        source._row as delivery_row,
        deliveries.is_in_force,
        deliveries.was_in_force
    from source
    inner join deliveries on source._delivery = deliveries.delivery
    {{ join_local_days('coalesce(source.refunded_at, source.requested_at)', 'deliveries.zone', 'booked_days') }}
)

select * from renamed
