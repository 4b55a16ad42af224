-- Orders of the behaviour windows that count for a customer: valid, with merchandise, not come back whole. Whoever may not
-- be profiled has left: what all buy, and what goes with what, is learnt without them. A table, because several models
-- read it and the order facts behind it are wide.
{{ config(materialized='table') }}
select
    orders.source, orders.order_id, orders.customer_key, orders.channel_id, orders.paid_date, orders.ordered_hour,
    orders.sale_n, orders.exchange_rate
from {{ ref('int_orders') }} as orders
inner join {{ ref('int_run_policy') }} as policy
    on orders.paid_date
        >= least(policy.behaviour_window_start, policy.affinity_window_start, policy.clv_recent_start)
    and orders.paid_date < policy.as_of_date
left join {{ ref('int_orders_fully_returned') }} as returned
    on orders.source = returned.source and orders.order_id = returned.order_id and returned.is_current
anti join (select customer_key from {{ ref('int_internal_customers') }} where is_current) as internal
    on orders.customer_key = internal.customer_key
anti join {{ ref('int_persons_excluded') }} as excluded on orders.customer_key = excluded.customer_key
where orders.is_current and orders.is_paid and orders.customer_key is not null
    and orders.has_merchandise and returned.order_id is null
