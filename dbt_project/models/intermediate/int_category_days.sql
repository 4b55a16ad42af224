{{ config(materialized='incremental', incremental_strategy='replace_touched', unique_key=['customer_key'],
          meta={'touched': 'int_customers_touched'}) }}
-- The one pass over order lines of the behaviour classes: what a customer bought of a category on a day of their windows.
-- Products without a category are the category ''. Amounts are as charged.
with orders as (
    select orders.* from {{ ref('int_customer_orders') }} as orders
    {{ only_touched(ref('int_customers_touched'), 'orders', ['customer_key']) }}
),

{{ lines_of_orders(
    'orders',
    ['customer_key', 'paid_date'],
    ['product_id', 'promotion_id', 'kind', 'is_gift', 'qty', 'list_price', 'unit_price_paid', 'line_amount']
) }}

select
    lines.customer_key,
    coalesce(products.category_l1, '') as category,
    lines.paid_date as day,
    sum(lines.line_amount) as amount,
    sum(lines.qty) as qty,
    sum(case when lines.list_price > 0 or lines.promotion_id is not null then lines.line_amount else 0 end)
        as known_amount,
    sum(case
        when lines.promotion_id is not null or lines.unit_price_paid < lines.list_price then lines.line_amount else 0
    end) as promo_amount,
    sum(case
        when lines.list_price > 0 and (lines.promotion_id is not null or lines.unit_price_paid < lines.list_price)
            then {{ money('lines.qty * lines.list_price') }} else 0
    end) as promo_list_amount,
    sum(case
        when lines.list_price > 0 and (lines.promotion_id is not null or lines.unit_price_paid < lines.list_price)
            then lines.line_amount else 0
    end) as promo_paid_amount
from lines
inner join {{ ref('int_products') }} as products on lines.product_id = products.product_id
where lines.kind = 'sale' and not lines.is_gift and products.is_merchandise
group by lines.customer_key, coalesce(products.category_l1, ''), lines.paid_date
