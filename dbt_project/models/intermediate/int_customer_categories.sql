{{ config(materialized='table') }}
-- What a customer bought of a category, net of what came back booked in the same window. Products without a category
-- are the category ''. Amounts are as charged.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

bought as (
    select
        purchases.customer_key,
        purchases.category,
        sum(amount) filter (where day >= policy.behaviour_window_start) as amount,
        sum(qty) filter (where day >= policy.behaviour_window_start) as qty,
        sum(known_amount) filter (where day >= policy.behaviour_window_start) as known_amount,
        sum(promo_amount) filter (where day >= policy.behaviour_window_start) as promo_amount,
        sum(promo_list_amount) filter (where day >= policy.behaviour_window_start) as promo_list_amount,
        sum(promo_paid_amount) filter (where day >= policy.behaviour_window_start) as promo_paid_amount,
        sum(amount) filter (where day >= policy.affinity_window_start) as recent_amount,
        count(distinct case when day >= policy.affinity_window_start then day end) as recent_days
    from {{ ref('int_customer_purchases') }} as purchases
    cross join policy
    group by purchases.customer_key, purchases.category
),

-- Refunds of orders that came back whole are left out with the orders themselves.
brought_back as (
    select
        returns.customer_key,
        coalesce(products.category_l1, '') as category,
        sum(returns.refund) filter (where returns.return_date >= policy.behaviour_window_start) as refunds,
        sum(returns.refund) filter (where returns.return_date >= policy.affinity_window_start) as recent_refunds
    from (
        select *, {{ converted('refund_amount', 'exchange_rate') }} as refund from {{ ref('int_returns') }}
    ) as returns
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
