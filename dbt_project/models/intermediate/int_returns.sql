{{ config(materialized='table') }}
-- One row per return, of today and of the refresh date, booked on its own day, with the order it names and the customer it belongs to.
-- A link that the source does not give is never inferred.
with delivered as (
    select true as is_current, stg.*
    from {{ ref('stg_sales__returns') }} as stg
    where stg.is_in_force
    union all
    select false as is_current, stg.*
    from {{ ref('stg_sales__returns') }} as stg
    inner join {{ ref('int_run_policy') }} as policy on policy.refresh_date < policy.as_of_date
    where stg.was_in_force
),

ranked as (
    select
        *,
        row_number() over (
            partition by is_current, source, return_id order by dt desc, rev desc, delivery_row desc, delivery desc
        ) as nth,
        count(*) over (partition by is_current, source, return_id) as versions_n
    from delivered
),

-- One order in a hundred is named by a return, and only those are looked up.
named as (
    select source, order_id from delivered
    where order_id is not null
    group by source, order_id
),

named_orders as (
    select orders.* from {{ ref('int_orders') }} as orders
    semi join named using (source, order_id)
),

orders as (
    select is_current, source, order_id, customer_key, channel_id, ordered_date, is_paid, sale_amount, sale_amount_ex_tax
    from named_orders
    where is_current
    union all
    select
        false as is_current, orders.source, orders.order_id,
        coalesce(links.customer_key, guests.customer_key) as customer_key, orders.channel_id, orders.ordered_date,
        orders.is_paid, orders.sale_amount, orders.sale_amount_ex_tax
    from named_orders as orders
    inner join {{ ref('int_run_policy') }} as policy on policy.refresh_date < policy.as_of_date
    left join {{ ref('int_customer_links') }} as links
        on orders.source = links.source and orders.source_customer_id = links.source_customer_id
        and not links.is_current
    left join {{ ref('int_guest_orders') }} as guests
        on orders.source = guests.source and not guests.is_current
        and {{ key_where('orders.source_customer_id is null', 'orders.order_id') }} = guests.order_id
    where orders.is_known_at_refresh
),

joined as (
    select
        returns.*,
        orders.channel_id,
        coalesce(links.customer_key, orders.customer_key) as customer_key,
        coalesce(orders.ordered_date, returns.return_date) as cost_date,
        orders.order_id is not null as is_order_known,
        -- At the rate of its sale, so that nothing is left of an order that came back whole.
        cast(case
            when returns.currency = policy.reporting_currency then 1
            when returns.is_current then rates.rate
            else rates.rate_at_refresh
        end as decimal(18, 8)) as exchange_rate,
        coalesce(orders.is_paid, true) as is_order_countable,
        case
            when not returns.price_includes_tax then returns.refund_amount
            when products.product_id is null and orders.sale_amount > 0
                then {{ money_share('returns.refund_amount', 'orders.sale_amount_ex_tax', 'orders.sale_amount') }}
            else {{ without_tax(
                'returns.refund_amount', 'true', "coalesce(case when returns.is_current"
                ~ " then products.effective_tax_rate else products.effective_tax_rate_at_refresh end,"
                ~ " policy.default_tax_rate)"
            ) }}
        end as refund_amount_ex_tax
    from ranked as returns
    cross join {{ ref('int_run_policy') }} as policy
    left join orders using (is_current, source, order_id)
    left join {{ ref('int_customer_links') }} as links using (is_current, source, source_customer_id)
    left join {{ ref('int_products') }} as products on returns.product_id = products.product_id
    left join {{ ref('int_exchange_rates') }} as rates
        on {{ key_where('returns.currency <> policy.reporting_currency', 'returns.currency') }} = rates.currency
        and coalesce(orders.ordered_date, returns.return_date) = rates.day
    where returns.nth = 1
)

select
    is_current, source, return_id, order_id, line_no, product_id, source_customer_id, customer_key, channel_id, type,
    reason, currency, exchange_rate, qty, refund_amount,
    {{ converted('refund_amount_ex_tax', 'exchange_rate') }} as refund_net,
    return_date, cost_date, is_order_known,
    exchange_rate is not null and is_order_countable as is_countable,
    versions_n
from joined
