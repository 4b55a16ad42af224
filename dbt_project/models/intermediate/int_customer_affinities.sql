{{ config(materialized='table') }}
-- S1-32, S0-25: a customer's categories of the last half-year beside all customers. The own share of spend is shrunk
-- towards the share of all by purchase days, or one purchase would make an affinity of everything.
with spent as (
    select customer_key, category, recent_amount, recent_days
    from {{ ref('int_customer_categories') }}
    where category <> '' and recent_amount > 0
),

customers as (
    select customer_key, sum(recent_amount) as amount, sum(recent_days) as category_days
    from spent
    group by customer_key
),

categories as (
    select
        spent.category,
        cast(sum(spent.recent_amount) as double) / max(cast(totals.amount as double)) as share_of_all
    from spent
    cross join (select sum(recent_amount) as amount from spent) as totals
    group by spent.category
),

shared as (
    select
        spent.customer_key,
        spent.category,
        spent.recent_amount,
        spent.recent_days,
        categories.share_of_all,
        {{ rate('spent.recent_amount', 'customers.amount') }} as share,
        customers.category_days,
        policy.affinity_shrink_weight,
        policy.affinity_purchase_days_min,
        policy.affinity_index_min
    from spent
    inner join customers using (customer_key)
    inner join categories using (category)
    cross join {{ ref('int_run_policy') }} as policy
)

select
    customer_key,
    category,
    recent_amount,
    recent_days,
    share,
    round((category_days * share / share_of_all + affinity_shrink_weight) / (category_days + affinity_shrink_weight), 8)
        as affinity_index,
    recent_days >= affinity_purchase_days_min
        and round((category_days * share / share_of_all + affinity_shrink_weight)
            / (category_days + affinity_shrink_weight), 8) >= affinity_index_min as is_affine
from shared
