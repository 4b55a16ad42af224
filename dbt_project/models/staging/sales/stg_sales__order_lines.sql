-- Every delivery in force on D or on the refresh date: a reader filters on is_in_force or was_in_force.
with source as (
    select * from {{ source('raw', 'order_lines') }}
),

deliveries as (
    select * from {{ ref('deliveries_in_force') }}
),

renamed as (
    select
        -- ids
        deliveries.source,
        source.order_id,
        source.line_no,
        source.product_id,
        source.promotion_id,

        -- attributes
        case
            when source.unit_price_paid < 0 then 'adjustment'
            when source.qty < 0 then 'stock_movement'
            else 'sale'
        end as kind,
        coalesce(source.is_gift, false) as is_gift,
        deliveries.currency,
        deliveries.price_includes_tax,

        -- numerics
        source.qty,

        -- money
        source.list_price,
        source.unit_price_paid,
        source.line_discount,
        {{ money('source.qty * source.unit_price_paid') }} as line_amount,

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
