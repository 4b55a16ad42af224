{{ config(materialized='table') }}
-- The one pass over order lines of the behaviour classes: what a customer bought of a category, net of what came back
-- booked in the same window. Products without a category are the category ''. Amounts are as charged.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

{{ lines_of_orders(
    ref('int_customer_orders'),
    ['customer_key', 'paid_date'],
    ['product_id', 'promotion_id', 'kind', 'is_gift', 'qty', 'list_price', 'unit_price_paid', 'line_amount']
) }},

days as (
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
),

bought as (
    select
        days.customer_key,
        days.category,
        sum(amount) filter (where day >= policy.behaviour_window_start) as amount,
        sum(qty) filter (where day >= policy.behaviour_window_start) as qty,
        sum(known_amount) filter (where day >= policy.behaviour_window_start) as known_amount,
        sum(promo_amount) filter (where day >= policy.behaviour_window_start) as promo_amount,
        sum(promo_list_amount) filter (where day >= policy.behaviour_window_start) as promo_list_amount,
        sum(promo_paid_amount) filter (where day >= policy.behaviour_window_start) as promo_paid_amount,
        sum(amount) filter (where day >= policy.affinity_window_start) as recent_amount,
        count(*) filter (where day >= policy.affinity_window_start) as recent_days
    from days
    cross join policy
    group by days.customer_key, days.category
),

-- Refunds of orders that came back whole are left out with the orders themselves.
brought_back as (
    select
        returns.customer_key,
        coalesce(products.category_l1, '') as category,
        sum(returns.refund_amount) filter (where returns.return_date >= policy.behaviour_window_start) as refunds,
        sum(returns.refund_amount) filter (where returns.return_date >= policy.affinity_window_start) as recent_refunds
    from {{ ref('int_returns') }} as returns
    cross join policy
    left join {{ ref('int_products') }} as products on returns.product_id = products.product_id
    anti join (select source, order_id from {{ ref('int_orders_fully_returned') }} where is_current) as whole
        on returns.source = whole.source and returns.order_id = whole.order_id
    where returns.is_current and returns.is_countable and returns.customer_key is not null
        and returns.return_date >= least(policy.behaviour_window_start, policy.affinity_window_start)
        and returns.return_date < policy.as_of_date
    group by returns.customer_key, coalesce(products.category_l1, '')
)

select
    bought.customer_key,
    bought.category,
    {{ money('coalesce(bought.amount, 0)') }} as amount,
    cast(coalesce(bought.qty, 0) as decimal(18, 3)) as qty,
    {{ money('greatest(coalesce(bought.amount, 0) - coalesce(brought_back.refunds, 0), 0)') }} as net_amount,
    {{ money('coalesce(bought.known_amount, 0)') }} as known_amount,
    {{ money('coalesce(bought.promo_amount, 0)') }} as promo_amount,
    {{ money('coalesce(bought.promo_list_amount, 0)') }} as promo_list_amount,
    {{ money('coalesce(bought.promo_paid_amount, 0)') }} as promo_paid_amount,
    {{ money('greatest(coalesce(bought.recent_amount, 0) - coalesce(brought_back.recent_refunds, 0), 0)') }}
        as recent_amount,
    cast(bought.recent_days as integer) as recent_days
from bought
left join brought_back using (customer_key, category)
