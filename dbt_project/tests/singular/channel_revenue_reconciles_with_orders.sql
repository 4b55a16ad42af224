{{ config(meta={'dagster': {'ref': {'name': 'channel_performance'}}, 'description': "Sales and refunds of the channels are not those of the orders and returns (Q-11): a join lost or doubled revenue on its way into the mart."}) }}
with facts as (
    select coalesce(sum(sales), 0) as sales, coalesce(sum(refunds), 0) as refunds, sum(orders_n) as orders_n
    from (
        select orders.net_revenue as sales, 0 as refunds, 1 as orders_n
        from {{ ref('fct_orders') }} as orders
        inner join {{ ref('int_run_policy') }} as policy on orders.paid_date >= policy.channel_window_start
        where orders.is_paid
        union all
        select 0 as sales, returns.refund_net as refunds, 0 as orders_n
        from {{ ref('fct_returns') }} as returns
        inner join {{ ref('int_run_policy') }} as policy on returns.return_date >= policy.channel_window_start
        where returns.is_booked
    ) as movements
),

channels as (
    select coalesce(sum(sales), 0) as sales, coalesce(sum(refunds), 0) as refunds from {{ ref('channel_performance') }}
)

select facts.sales as facts_sales, channels.sales, facts.refunds as facts_refunds, channels.refunds
from facts
cross join channels
where facts.sales <> channels.sales or facts.refunds <> channels.refunds
