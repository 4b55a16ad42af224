{{ config(materialized='table') }}
-- Baskets of the people whose household they may tell of: nobody stated its size, or a young person lives alone. Only
-- lines of the products that tell are read, and of those only the ones in orders of these people.
with policy as (
    select *, {{ date_minus('as_of_date', 'household_window_days') }} as window_start from {{ ref('int_run_policy') }}
),

telling as (
    select
        products.product_id,
        bool_or(signals.signal = 'child') as is_child,
        bool_or(signals.signal = 'bulk') as is_bulk,
        bool_or(signals.signal = 'single') as is_single
    from {{ ref('int_products') }} as products
    cross join policy
    inner join {{ ref('household_signals') }} as signals
        on lower(case signals.product_column when 'category_l1' then products.category_l1 else products.portion end)
            = signals.product_value
        and {{ is_in_force('signals', 'policy.as_of_date') }}
    group by products.product_id
),

candidates as (
    select facts.customer_key
    from {{ ref('int_customer_facts') }} as facts
    cross join policy
    where facts.last_purchase_date >= policy.window_start
        and (
            facts.household_size is null
            or facts.household_size = 1 and facts.plausible_age between policy.adult_age and policy.young_age_max
        )
),

baskets as (
    select orders.source, orders.order_id, orders.customer_key, orders.paid_date, orders.sale_n
    from {{ ref('fct_orders') }} as orders
    cross join policy
    semi join candidates on orders.customer_key = candidates.customer_key
    where orders.is_valid and not orders.is_fully_returned and orders.paid_date >= policy.window_start
),

-- Before lines are put right and looked up in orders: few products tell, and often none.
telling_rows as (
    select delivered.* from {{ ref('stg_sales__order_lines') }} as delivered
    semi join telling on delivered.product_id = telling.product_id
),

telling_lines as (
    {{ order_lines('telling_rows') }}
),

told as (
    select
        baskets.customer_key,
        count(distinct case when telling.is_child then baskets.paid_date end) as child_days_n,
        sum(case when telling.is_bulk then 1 else 0 end) as bulk_lines_n,
        sum(case when telling.is_single then 1 else 0 end) as single_lines_n
    from telling_lines as lines
    inner join telling on lines.product_id = telling.product_id
    inner join baskets on lines.source = baskets.source and lines.order_id = baskets.order_id
    where lines.is_current and lines.kind = 'sale'
    group by baskets.customer_key
),

sizes as (
    select customer_key, sum(sale_n) as lines_n, max(paid_date) as last_basket_date
    from baskets
    group by customer_key
)

select
    sizes.customer_key,
    sizes.last_basket_date,
    cast(sizes.lines_n as bigint) as lines_n,
    cast(coalesce(told.child_days_n, 0) as bigint) as child_days_n,
    cast(coalesce(told.bulk_lines_n, 0) as bigint) as bulk_lines_n,
    cast(coalesce(told.single_lines_n, 0) as bigint) as single_lines_n
from sizes
left join told on sizes.customer_key = told.customer_key
