{{ config(materialized='incremental', incremental_strategy='replace_touched', unique_key=['source', 'order_id'],
          meta={'touched': 'int_orders_touched'}) }}
-- Cost of the lines whose product changed its cost over time: the one part of an order's profit that needs its date.
with dated_products as (
    select * from {{ ref('int_products') }}
    where has_dated_cost
),

-- Before lines are put right: most companies have few such products, many have none.
dated_rows as (
    select delivered.* from {{ of_touched(ref('stg_sales__order_lines'), ref('int_line_rows_touched')) }} as delivered
    semi join dated_products on delivered.product_id = dated_products.product_id
),

dated_lines as (
    {{ order_lines('dated_rows') }}
),

lines as (
    select
        lines.*,
        {{ without_tax('lines.line_amount', 'lines.price_includes_tax', 'products.effective_tax_rate') }} as amount_ex_tax,
        products.margin,
        products.margin_basis
    from dated_lines as lines
    inner join dated_products as products on lines.product_id = products.product_id
    {{ only_touched(ref('int_orders_touched'), 'lines') }}
    where lines.is_current and lines.kind = 'sale'
),

dated as (
    select
        lines.*,
        periods.unit_cost
    from lines
    inner join {{ ref('int_orders') }} as orders
        on lines.source = orders.source and lines.order_id = orders.order_id and orders.is_current
    left join {{ ref('int_product_cost_periods') }} as periods
        on lines.product_id = periods.product_id
        and orders.ordered_date >= periods.valid_from
        and orders.ordered_date <= {{ last_day_or_never('periods.last_day') }}
)

select
    source,
    order_id,
    {{ contribution_sums('true', 'amount_ex_tax', 'qty') }}
from dated
group by source, order_id
