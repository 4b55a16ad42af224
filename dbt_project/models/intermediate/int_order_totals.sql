-- Line sums per order, of today and of the refresh date: the optimistic ones where no line came twice, the repaired ones elsewhere.
{% set sums = ['lines_n', 'sale_n', 'adjustment_n', 'stock_movement_n', 'sale_amount', 'sale_amount_ex_tax',
               'adjustment_amount', 'sale_qty', 'has_merchandise', 'costed_net', 'cost_amount', 'margin_profit',
               'estimated_n', 'default_margin_n'] %}
with repaired as (
    select
        stg.*,
        {{ without_tax(
            'stg.line_amount', 'stg.price_includes_tax',
            "case when stg.is_current then products.effective_tax_rate"
            ~ " else products.effective_tax_rate_at_refresh end"
        ) }} as amount_ex_tax,
        products.is_merchandise,
        products.unit_cost,
        products.has_dated_cost,
        products.margin,
        products.margin_basis
    from {{ ref('int_order_lines_repaired') }} as stg
    inner join {{ ref('int_products') }} as products on stg.product_id = products.product_id
)

select true as is_current, source, order_id, {{ sums | join(', ') }}
from {{ ref('int_order_sums') }}
where not is_suspect

union all

select
    is_current,
    source,
    order_id,
    {{ order_line_sums('repaired', 'repaired') }}
from repaired
group by is_current, source, order_id
