{{ config(materialized='incremental', incremental_strategy='replace_touched', unique_key=['source', 'order_id'],
          meta={'touched': 'int_orders_restated'}) }}
-- The order as the business counts it. A table: a dozen models and tests read it, and what is joined here costs each of
-- them more than the rest of its query.
with orders as (
    select
        orders.*,
        orders.contribution + coalesce(costs.contribution, 0) as total_contribution,
        orders.cost_amount + coalesce(costs.cost_amount, 0) as total_cost,
        orders.is_profit_estimated or coalesce(costs.is_profit_estimated, false) as profit_is_estimated,
        orders.uses_default_margin or coalesce(costs.uses_default_margin, false) as profit_uses_default_margin,
        not orders.is_profit_unknown and not coalesce(costs.is_profit_unknown, false) as is_profit_known
    from {{ ref('int_orders') }} as orders
    {{ only_touched(ref('int_orders_restated'), 'orders') }}
    left join {{ ref('int_order_costs') }} as costs on orders.source = costs.source and orders.order_id = costs.order_id
    where orders.is_current
)

select
    orders.source,
    orders.order_id,
    orders.customer_key,
    orders.channel_id,
    orders.store_id,
    orders.dealer_id,
    orders.account_id,
    orders.campaign_code,
    orders.status,
    orders.currency,
    orders.exchange_rate,
    orders.ordered_date,
    orders.paid_date,
    orders.source_customer_id is null and orders.customer_key is null as is_guest,
    orders.is_test,
    orders.is_paid and orders.paid_date < policy.as_of_date as is_paid,
    orders.is_paid and orders.paid_date < policy.as_of_date
        and orders.customer_key is not null and internal.customer_key is null as is_valid,
    orders.has_merchandise and returned.order_id is null as makes_purchase_day,
    returned.order_id is not null as is_fully_returned,
    orders.versions_n,
    orders.line_n,
    orders.sale_n,
    orders.sale_qty,
    orders.sale_amount,
    orders.order_discount,
    orders.shipping_fee,
    orders.net_revenue,
    -- An order-level discount takes its share of every line, of the costed and of the estimated part alike.
    case
        when not orders.is_profit_known then null
        when orders.net_revenue = orders.sale_amount_ex_tax
            then {{ money('orders.total_contribution - orders.total_cost') }}
        else {{ money(
            money_share('orders.total_contribution', 'orders.net_revenue', 'orders.sale_amount_ex_tax')
            ~ ' - orders.total_cost'
        ) }}
    end as profit,
    orders.profit_is_estimated,
    orders.profit_uses_default_margin
from orders
cross join {{ ref('int_run_policy') }} as policy
left join {{ ref('int_orders_fully_returned') }} as returned
    on orders.source = returned.source and orders.order_id = returned.order_id and returned.is_current
left join {{ ref('int_internal_customers') }} as internal
    on orders.customer_key = internal.customer_key and internal.is_current
