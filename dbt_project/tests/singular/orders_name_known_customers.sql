{{ config(meta={'dagster': {'ref': {'name': 'fct_orders'}}, 'description': "More orders than the policy allows name a customer whom no source has delivered (Q-05): the customer feed is cut short, and these orders are in no profile."}) }}
-- Guests name nobody. A source of whose customers not one is known has no customer feed, here or in the source whose
-- ids it uses, and is not judged.
with known as (
    select distinct links.customer_key
    from {{ ref('stg_customers__customers') }} as customers
    inner join {{ ref('int_customer_links') }} as links
        on customers.source = links.source and customers.source_customer_id = links.source_customer_id
        and links.is_current
    where customers.is_in_force
),

counted as (
    select
        orders.source,
        count(*) as orders_n,
        count(*) filter (where known.customer_key is null) as orphans_n,
        min(case when known.customer_key is null then orders.order_id end) as example
    from {{ ref('int_orders') }} as orders
    left join known on orders.customer_key = known.customer_key
    where orders.is_current and orders.source_customer_id is not null
    group by orders.source
)

select counted.*
from counted
inner join {{ ref('int_run_policy') }} as policy
    on counted.orphans_n > policy.orphan_rows_min
    and counted.orphans_n > policy.orphan_customer_share_max * counted.orders_n
where counted.orphans_n < counted.orders_n
