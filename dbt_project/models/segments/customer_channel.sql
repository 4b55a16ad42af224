-- S2-07, C-21: where a customer's orders of the window were placed. Direct sales count as offline and have a flag; an
-- order of a channel whose mode nobody states tells nothing.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

counted as (
    select
        orders.customer_key,
        count(*) as orders_n,
        count(*) filter (where channels.mode = 'online' and not channels.is_direct_sales) as online_orders_n,
        count(*) filter (where channels.mode = 'offline' or channels.is_direct_sales) as offline_orders_n,
        count(*) filter (where channels.is_direct_sales) as direct_sales_orders_n
    from {{ ref('int_customer_orders') }} as orders
    inner join policy on orders.paid_date >= policy.behaviour_window_start
    left join {{ ref('dim_channels') }} as channels using (channel_id)
    group by orders.customer_key
),

shared as (
    select
        facts.customer_key,
        facts.as_of_date,
        facts.policy_version,
        facts.purchase_days_n,
        coalesce(counted.orders_n, 0) as orders_n,
        coalesce(counted.online_orders_n, 0) as online_orders_n,
        coalesce(counted.offline_orders_n, 0) as offline_orders_n,
        coalesce(counted.direct_sales_orders_n, 0) as direct_sales_orders_n,
        {{ rate('counted.online_orders_n', 'counted.online_orders_n + counted.offline_orders_n') }} as online_share,
        {{ rate('counted.online_orders_n + counted.offline_orders_n', 'counted.orders_n') }} as known_share
    from {{ ref('int_customer_facts') }} as facts
    left join counted using (customer_key)
)

select
    shared.customer_key,
    shared.as_of_date,
    {{ channel_class('shared.orders_n', 'shared.online_orders_n', 'shared.offline_orders_n') }} as channel_class,
    cast(shared.orders_n as integer) as orders_n,
    cast(shared.online_orders_n as integer) as online_orders_n,
    cast(shared.offline_orders_n as integer) as offline_orders_n,
    shared.online_share,
    shared.direct_sales_orders_n > 0 as has_direct_sales,
    case
        when shared.orders_n = 0 and shared.purchase_days_n = 0 then 'never_bought'
        when shared.orders_n = 0 then 'no_purchase_in_window'
        when shared.online_share is null or shared.known_share < policy.channel_known_share_min then 'channel_unknown'
    end as unclassified_reason,
    shared.policy_version
from shared
cross join policy
