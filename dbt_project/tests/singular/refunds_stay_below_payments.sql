{{ config(meta={'dagster': {'ref': {'name': 'fct_returns'}}, 'description': "More came back of an order than was paid for it, too often (Q-04): refunds are doubled or in another unit, and net revenue is too low."}) }}
-- One minor unit of rounding per returned position is no excess. In the reporting currency: a refund may come in another than
-- the payment.
with refunds as (
    select
        source, order_id, sum({{ converted('refund_amount', 'exchange_rate') }}) as refunded, count(*) as returns_n
    from {{ ref('fct_returns') }}
    where is_booked and order_id is not null
    group by source, order_id
),

judged as (
    select
        refunds.source,
        refunds.order_id,
        refunds.refunded
        > {{ converted('orders.sale_amount - orders.order_discount + orders.shipping_fee', 'orders.exchange_rate') }}
            + refunds.returns_n * power(10, -policy.currency_digits) as is_excess
    from refunds
    inner join {{ ref('fct_orders') }} as orders
        on refunds.source = orders.source and refunds.order_id = orders.order_id
    cross join {{ ref('int_run_policy') }} as policy
    where orders.is_paid
),

counted as (
    select
        source,
        count(*) as orders_n,
        count(*) filter (where is_excess) as excess_n,
        min(case when is_excess then order_id end) as example
    from judged
    group by source
)

select counted.*
from counted
inner join {{ ref('int_run_policy') }} as policy
    on counted.excess_n > policy.doubtful_rows_min
    and counted.excess_n > policy.refund_excess_share_max * counted.orders_n
