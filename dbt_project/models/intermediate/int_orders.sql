{{ config(materialized='table') }}
-- One row per version and order: the latest header with the sums of its lines. The window runs over repeated orders only.
{% set header = ['version', 'source', 'order_id', 'source_customer_id', 'channel_id', 'store_id', 'dealer_id',
                 'campaign_code', 'coupon_id', 'device', 'fulfilment_type', 'status', 'currency', 'ordered_date',
                 'paid_date', 'order_discount', 'shipping_fee', 'is_test', 'was_in_force'] %}
with repeated as (
    select version, source, order_id from {{ ref('int_order_headers') }}
    group by version, source, order_id
    having count(*) > 1
),

ranked as (
    select
        headers.*,
        row_number() over (
            partition by headers.version, headers.source, headers.order_id
            order by headers.updated_at desc nulls last, headers.dt desc, headers.rev desc,
                headers.delivery_row desc, headers.delivery desc
        ) as nth
    from {{ ref('int_order_headers') }} as headers
    semi join repeated using (version, source, order_id)
),

headers as (
    select {{ header | join(', ') }} from {{ ref('int_order_headers') }}
    anti join repeated using (version, source, order_id)
    union all
    select {{ header | join(', ') }} from ranked
    where nth = 1
),

people as (
    select source, source_customer_id, customer_key from {{ ref('int_customer_links') }}
    where version = 'current'
),

people_at_refresh as (
    select source, source_customer_id, customer_key from {{ ref('int_customer_links') }}
    where version = 'refresh'
)

select
    headers.*,
    people.customer_key,
    people_at_refresh.customer_key as customer_key_at_refresh,
    {{ is_paid_status('headers.status') }} and headers.paid_date is not null and not headers.is_test
        and headers.currency = policy.reporting_currency as is_paid,
    headers.version = 'refresh' or (headers.was_in_force and changed.order_id is null) as is_known_at_refresh,
    coalesce(totals.lines_n, 0) as lines_n,
    coalesce(totals.sale_n, 0) as sale_n,
    coalesce(totals.sale_qty, 0) as sale_qty,
    coalesce(totals.sale_amount, 0) as sale_amount,
    coalesce(totals.sale_amount_ex_tax, 0) as sale_amount_ex_tax,
    case
        when headers.order_discount = 0 or coalesce(totals.sale_amount, 0) = 0
            then coalesce(totals.sale_amount_ex_tax, 0)
        else {{ money_share(
            'totals.sale_amount_ex_tax', 'totals.sale_amount - headers.order_discount', 'totals.sale_amount'
        ) }}
    end as net_revenue,
    coalesce(totals.has_merchandise, false) as has_merchandise,
    totals.costed_net,
    totals.cost_amount,
    totals.margin_profit,
    coalesce(totals.estimated_n, 0) as estimated_n,
    coalesce(totals.default_margin_n, 0) as default_margin_n
from headers
cross join {{ ref('int_run_policy') }} as policy
left join {{ ref('int_order_totals') }} as totals using (version, source, order_id)
left join people using (source, source_customer_id)
left join people_at_refresh using (source, source_customer_id)
left join {{ ref('int_orders_changed') }} as changed using (source, order_id)
