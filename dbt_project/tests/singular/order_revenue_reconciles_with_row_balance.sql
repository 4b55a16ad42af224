{{ config(meta={'dagster': {'ref': {'name': 'row_balance'}}, 'description': "Orders do not add up to the lines that were loaded (Q-11): a join lost or doubled revenue between the lines and the orders."}) }}
with orders as (
    select source, sum(sale_amount) as amount from {{ ref('fct_orders') }}
    group by source
),

orphans as (
    select source, sum(sale_amount) as amount from {{ ref('int_lines_without_order') }}
    group by source
),

balance as (
    -- The same lines stand on both sides: a sum over currencies says nothing, a difference of two does.
    select source, sum(amount) as amount from {{ ref('row_balance') }}
    where kind = 'sale'
    group by source
)

select balance.source, balance.amount, orders.amount as orders_amount, orphans.amount as orphans_amount
from balance
left join orders using (source)
left join orphans using (source)
where balance.amount <> coalesce(orders.amount, 0) + coalesce(orphans.amount, 0)
