{{ config(materialized='view') }}
-- Returns on their own day. `profit_reversed` is the refund less the cost of the goods that came back.
with returns as (
    select * from {{ ref('int_returns') }}
    where is_current
),

costed as (
    select
        returns.*,
        coalesce(products.unit_cost, periods.unit_cost) as unit_cost,
        coalesce(products.margin, fallback.margin) as margin,
        coalesce(products.margin_basis, 'default') as margin_basis
    from returns
    cross join {{ ref('int_run_policy') }} as policy
    left join {{ ref('int_products') }} as products using (product_id)
    left join {{ ref('int_product_cost_periods') }} as periods
        on {{ key_where('products.has_dated_cost', 'returns.product_id') }} = periods.product_id
        and returns.cost_date >= periods.valid_from
        and returns.cost_date <= {{ last_day_or_never('periods.last_day') }}
    left join {{ ref('category_margins') }} as fallback
        on fallback.category_l1 = '*' and {{ is_in_force('fallback', 'policy.as_of_date') }}
)

select
    costed.source,
    costed.return_id,
    costed.order_id,
    costed.line_no,
    costed.product_id,
    costed.customer_key,
    costed.channel_id,
    costed.type,
    costed.reason,
    costed.currency,
    costed.exchange_rate,
    costed.qty,
    costed.refund_amount,
    costed.refund_net,
    costed.return_date,
    costed.is_countable and costed.return_date < policy.as_of_date as is_booked,
    costed.is_countable and costed.return_date < policy.as_of_date
        and costed.customer_key is not null and internal.customer_key is null as is_valid,
    case
        when costed.unit_cost is null then {{ money('costed.refund_net * costed.margin') }}
        when costed.type = 'refund' then {{ money('costed.refund_net - costed.qty * costed.unit_cost') }}
        else costed.refund_net
    end as profit_reversed,
    costed.versions_n,
    costed.unit_cost is null as profit_is_estimated,
    costed.unit_cost is null and costed.margin_basis = 'default' as profit_uses_default_margin
from costed
cross join {{ ref('int_run_policy') }} as policy
left join {{ ref('int_internal_customers') }} as internal
    on costed.customer_key = internal.customer_key and internal.is_current
