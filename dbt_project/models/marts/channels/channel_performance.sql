-- S0-11, per channel and day of the window. Guests are the channel's customers too, so they count here.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

orders as (
    select
        coalesce(channel_id, 'unknown') as channel_id,
        paid_date as day,
        count(*) as orders,
        count(*) filter (where is_guest) as guest_orders,
        count(distinct customer_key) as buyers,
        sum(net_revenue) as sales,
        sum(profit) as profit
    from {{ ref('fct_orders') }}
    cross join policy
    where is_paid and paid_date >= policy.channel_window_start
    group by all
),

brought_back as (
    select
        coalesce(channel_id, 'unknown') as channel_id,
        return_date as day,
        sum(refund_net) as refunds,
        sum(profit_reversed) as profit_reversed
    from {{ ref('fct_returns') }}
    cross join policy
    where is_booked and return_date >= policy.channel_window_start
    group by all
),

spent as (
    select channel_id, spend_date as day, sum(cost) as cost, sum(impressions) as impressions, sum(clicks) as clicks
    from {{ ref('int_ad_spend') }}
    cross join policy
    where spend_date >= policy.channel_window_start and spend_date < policy.as_of_date
    group by all
),

visits as (
    select coalesce(platform, 'unknown') as channel_id, session_date as day, count(*) as sessions,
        count(distinct visitor_id) as visitors
    from {{ ref('fct_sessions') }}
    cross join policy
    where session_date >= policy.channel_window_start
    group by all
),

days as (
    select channel_id, day from orders
    union
    select channel_id, day from brought_back
    union
    select channel_id, day from spent
    union
    select channel_id, day from visits
)

select
    days.channel_id,
    days.day,
    policy.as_of_date,
    channels.name as channel_name,
    channels.channel_group,
    channels.mode,
    coalesce(visits.sessions, 0) as sessions,
    coalesce(visits.visitors, 0) as visitors,
    coalesce(orders.orders, 0) as orders,
    coalesce(orders.guest_orders, 0) as guest_orders,
    coalesce(orders.buyers, 0) as buyers,
    {{ money('coalesce(orders.sales, 0)') }} as sales,
    {{ money('coalesce(brought_back.refunds, 0)') }} as refunds,
    {{ money('coalesce(orders.sales, 0) - coalesce(brought_back.refunds, 0)') }} as revenue,
    {{ money('coalesce(orders.profit, 0) - coalesce(brought_back.profit_reversed, 0)') }} as profit,
    {{ rate('orders.sales', 'orders.orders') }} as aov,
    cast(coalesce(spent.impressions, 0) as bigint) as impressions,
    cast(coalesce(spent.clicks, 0) as bigint) as clicks,
    {{ money('coalesce(spent.cost, 0)') }} as cost,
    policy.policy_version
from days
cross join policy
left join orders using (channel_id, day)
left join brought_back using (channel_id, day)
left join spent using (channel_id, day)
left join visits using (channel_id, day)
left join {{ ref('dim_channels') }} as channels on days.channel_id = channels.channel_id
