{#
  Every order line once, of today and, of changed orders, of the refresh date: the delivered rows of orders in which no
  line came twice, the repaired rows elsewhere. `delivered`: rows of stg_sales__order_lines.
#}
{% macro order_lines(delivered) %}
{% set columns = ['source', 'order_id', 'line_no', 'product_id', 'promotion_id', 'kind', 'is_gift', 'currency',
                  'price_includes_tax', 'qty', 'list_price', 'unit_price_paid', 'line_discount', 'line_amount', 'dt'] %}
select true as is_current, {{ columns | join(', ') }}
from {{ delivered }} as lines
anti join (select source, order_id from {{ ref('int_order_sums') }} where is_suspect) as suspects
    using (source, order_id)
where lines.is_in_force

union all

select is_current, {{ columns | join(', ') }}
from {{ ref('int_order_lines_repaired') }}
{% endmacro %}

{#
  Delivered rows typed and named, as the staging views have them. Macros, because who asks for the rows of few orders
  picks them from raw by their id first, and only they are typed. The same id in another source comes along.
#}
{% macro raw_rows_of(rows, orders) -%}
    select delivered.* from {{ rows }} as delivered
    semi join {{ orders }} as wanted on delivered.order_id = wanted.order_id
{%- endmacro %}

{% macro staged_orders(rows) -%}
with source as (
    select * from {{ rows }}
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
{%- endmacro %}

{% macro staged_order_lines(rows) -%}
with source as (
    select * from {{ rows }}
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
{%- endmacro %}

{# Rows of stg_sales__order_lines for the few of `orders`, a relation with order_id. #}
{% macro lines_of_few(orders) -%}
    ({{ staged_order_lines('(' ~ raw_rows_of(source('raw', 'order_lines'), orders) ~ ') as picked') }})
{%- endmacro %}
