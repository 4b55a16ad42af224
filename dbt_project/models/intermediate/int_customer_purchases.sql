{{ config(materialized='incremental', incremental_strategy='replace_touched', unique_key=['customer_key'],
          meta={'touched': 'int_customers_touched'}) }}
-- The one pass over order lines of the behaviour classes: what a customer bought of a category and brand on a day.
-- Products without a category or brand are of ''. Amounts are as charged.
with counted as (
    select orders.* from {{ ref('int_customer_orders') }} as orders
    {{ only_touched(ref('int_customers_touched'), 'orders', ['customer_key']) }}
),

{{ lines_of_orders(
    'counted',
    ['customer_key', 'paid_date', 'exchange_rate'],
    ['product_id', 'promotion_id', 'kind', 'is_gift', 'qty', 'list_price', 'unit_price_paid', 'line_amount']
) }},

valued as (
    select
        *,
        {{ converted('line_amount', 'exchange_rate') }} as amount,
        promotion_id is not null or unit_price_paid < list_price as is_promoted
    from lines
)

select
    lines.customer_key,
    coalesce(products.category_l1, '') as category,
    coalesce(products.brand, '') as brand,
    lines.paid_date as day,
    sum(lines.amount) as amount,
    sum(lines.qty) as qty,
    sum(case when lines.list_price > 0 or lines.promotion_id is not null then lines.amount else 0 end)
        as known_amount,
    sum(case when lines.is_promoted then lines.amount else 0 end) as promo_amount,
    sum(case
        when lines.list_price > 0 and lines.is_promoted
            then {{ converted(money('lines.qty * lines.list_price'), 'lines.exchange_rate') }} else 0
    end) as promo_list_amount,
    sum(case when lines.list_price > 0 and lines.is_promoted then lines.amount else 0 end) as promo_paid_amount
from valued as lines
inner join {{ ref('int_products') }} as products on lines.product_id = products.product_id
where lines.kind = 'sale' and not lines.is_gift and products.is_merchandise
group by lines.customer_key, coalesce(products.category_l1, ''), coalesce(products.brand, ''), lines.paid_date
