{{ config(meta={'dagster': {'ref': {'name': 'segment_coverage'}}, 'description': "Classified people, excluded people and guests do not make all (Q-13): somebody is in no class and in no reason, or in a class although excluded."}) }}
-- People: counted from the class tables themselves. Orders and money: all that the facts hold as paid.
with people as (
    select
        (select count(*) from {{ ref('dim_customers') }}) as all_n,
        (select count(*) from {{ ref('customer_rfm') }}) as classified_n,
        (select count(*) from {{ ref('dim_customers') }} semi join {{ ref('int_persons_excluded') }} using (customer_key))
            as excluded_n,
        (select count(*) from {{ ref('customer_rfm') }} semi join {{ ref('int_persons_excluded') }} using (customer_key))
            as both_n,
        (select customers from {{ ref('segment_coverage') }} where population_group = 'classified') as published_n,
        (select bool_or(is_suppressed) from {{ ref('segment_coverage') }} where population_group = 'classified')
            as is_hidden
),

orders as (
    select count(*) as orders_n, coalesce(sum(net_revenue), 0) as revenue from {{ ref('fct_orders') }}
    where is_paid
),

coverage as (
    select
        coalesce(sum(orders_n), 0) as orders_n,
        coalesce(sum(revenue), 0) as revenue,
        bool_or(is_suppressed) as has_suppressed
    from {{ ref('segment_coverage') }}
)

select 'people' as rule, all_n as expected, classified_n + excluded_n as found from people
where all_n <> classified_n + excluded_n or both_n > 0

union all

select 'published classified people' as rule, classified_n as expected, published_n as found from people
where published_n is distinct from classified_n and not coalesce(is_hidden, false)

union all

-- Where a group is hidden the sum of the others cannot be compared with all.
select 'paid orders' as rule, orders.orders_n as expected, coverage.orders_n as found
from orders
cross join coverage
where not coverage.has_suppressed and (orders.orders_n <> coverage.orders_n or orders.revenue <> coverage.revenue)
   or orders.orders_n < coverage.orders_n
