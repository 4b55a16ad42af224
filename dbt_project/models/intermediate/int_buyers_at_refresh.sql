-- Buyers as the refresh date knew them: deliveries and identity links in force then, windows ending then. Orders that
-- look the same today are read from today's version. Empty when the refresh date is D itself.
with policy as (
    select * from {{ ref('int_run_policy') }}
    where refresh_date < as_of_date
),

orders as (
    select
        coalesce(links.customer_key, guests.customer_key) as customer_key,
        orders.paid_date,
        orders.net_revenue,
        orders.has_merchandise and returned.order_id is null as makes_purchase_day
    from {{ ref('int_orders') }} as orders
    inner join policy
        on orders.paid_date >= policy.rfm_window_start_at_refresh and orders.paid_date < policy.refresh_date
    left join {{ ref('int_customer_links') }} as links
        on orders.source = links.source and orders.source_customer_id = links.source_customer_id
        and not links.is_current
    left join {{ ref('int_guest_orders') }} as guests
        on orders.source = guests.source and not guests.is_current
        and {{ key_where('orders.source_customer_id is null', 'orders.order_id') }} = guests.order_id
    left join {{ ref('int_orders_fully_returned') }} as returned
        on orders.source = returned.source and orders.order_id = returned.order_id and not returned.is_current
    where orders.is_known_at_refresh and orders.is_paid
        and coalesce(links.customer_key, guests.customer_key) is not null
),

bought as (
    select
        customer_key,
        max(case when makes_purchase_day then paid_date end) as last_purchase_date,
        count(distinct case when makes_purchase_day then paid_date end) as frequency_days,
        sum(net_revenue) as sales
    from orders
    group by customer_key
),

brought_back as (
    select returns.customer_key, sum(returns.refund_net) as refunds
    from {{ ref('int_returns') }} as returns
    inner join policy
        on returns.return_date >= policy.rfm_window_start_at_refresh and returns.return_date < policy.refresh_date
    where not returns.is_current and returns.is_countable and returns.customer_key is not null
    group by returns.customer_key
)

select
    bought.customer_key,
    {{ days_between('bought.last_purchase_date', 'policy.refresh_date') }} as recency_days,
    bought.frequency_days,
    {{ money('bought.sales - coalesce(brought_back.refunds, 0)') }} as monetary
from bought
cross join policy
left join brought_back using (customer_key)
anti join (select customer_key from {{ ref('int_internal_customers') }} where not is_current) as internal
    using (customer_key)
anti join (
    -- The cut points are frozen: who left after the refresh date was among the buyers then.
    select excluded.customer_key
    from {{ ref('int_persons_excluded') }} as excluded
    inner join policy on excluded.excluded_from < policy.refresh_date
) as excluded using (customer_key)
where bought.frequency_days > 0
