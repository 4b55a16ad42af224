-- Every delivery in force on D or on the refresh date: a reader filters on is_in_force or was_in_force.
with source as (
    select * from {{ source('raw', 'orders') }}
),

deliveries as (
    select * from {{ ref('deliveries_in_force') }}
),

renamed as (
    select
        -- ids
        deliveries.source,
        source.order_id,
        source.source_customer_id,
        source.account_id,
        source.channel_id,
        source.store_id,
        source.dealer_id,
        source.coupon_id,
        source.campaign_code,

        -- attributes
        source.status,
        source.device,
        source.fulfilment_type,
        coalesce(source.is_test, false) as is_test,
        coalesce(source.currency, deliveries.currency) as currency,
        deliveries.price_includes_tax,

        -- money
        coalesce(source.order_discount, 0) as order_discount,
        coalesce(source.shipping_fee, 0) as shipping_fee,

        -- numerics
        source.delivery_promise_min,

        -- timestamps
        source.ordered_at,
        source.paid_at,
        source.updated_at,
        {{ looked_up_date('source.ordered_at', 'deliveries.zone', 'ordered_days') }} as ordered_date,
        {{ looked_up_date('source.paid_at', 'deliveries.zone', 'paid_days') }} as paid_date,
        {{ looked_up_hour('source.ordered_at', 'ordered_days') }} as ordered_hour,

        -- delivery
        deliveries.dt,
        deliveries.rev,
        source._delivery as delivery,
        source._row as delivery_row,
        deliveries.is_in_force,
        deliveries.was_in_force
    from source
    inner join deliveries on source._delivery = deliveries.delivery
    {{ join_local_days('source.ordered_at', 'deliveries.zone', 'ordered_days') }}
    {{ join_local_days('source.paid_at', 'deliveries.zone', 'paid_days') }}
)

select * from renamed
