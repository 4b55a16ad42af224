{{ config(materialized='table') }}
-- S2-11: a customer's main category, the one of most spend, and the brand that has most of it: its share of requirement.
-- Of equal amounts the name decides. Spend without a known category is of no category, without a brand of no brand.
with spent as (
    select purchases.customer_key, purchases.category, purchases.brand, {{ money('sum(purchases.amount)') }} as amount
    from {{ ref('int_customer_purchases') }} as purchases
    inner join {{ ref('int_run_policy') }} as policy on purchases.day >= policy.behaviour_window_start
    where purchases.category <> ''
    group by purchases.customer_key, purchases.category, purchases.brand
),

totals as (
    select customer_key, category, {{ money('sum(amount)') }} as amount
    from spent
    group by customer_key, category
    having sum(amount) > 0
),

ranked as (
    select
        *,
        sum(amount) over (partition by customer_key) as all_amount,
        row_number() over (partition by customer_key order by amount desc, category) as place
    from totals
),

mains as (
    select * from ranked
    where place = 1
),

days as (
    select purchases.customer_key, count(distinct purchases.day) as days_n
    from {{ ref('int_customer_purchases') }} as purchases
    inner join mains on purchases.customer_key = mains.customer_key and purchases.category = mains.category
    inner join {{ ref('int_run_policy') }} as policy on purchases.day >= policy.behaviour_window_start
    group by purchases.customer_key
),

brands as (
    select
        spent.customer_key,
        spent.brand,
        spent.amount,
        row_number() over (partition by spent.customer_key order by spent.amount desc, spent.brand) as place
    from spent
    inner join mains on spent.customer_key = mains.customer_key and spent.category = mains.category
    where spent.brand <> '' and spent.amount > 0
)

select
    mains.customer_key,
    mains.category as main_category,
    round({{ rate('mains.amount', 'mains.all_amount') }}, 8) as main_category_share,
    cast(days.days_n as integer) as main_category_days,
    brands.brand as top_brand,
    round({{ rate('brands.amount', 'mains.amount') }}, 8) as top_brand_share
from mains
inner join days on mains.customer_key = days.customer_key
left join brands on mains.customer_key = brands.customer_key and brands.place = 1
