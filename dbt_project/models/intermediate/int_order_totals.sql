-- Line sums per order, of today and of the refresh date: the optimistic ones where no line came twice, the repaired
-- ones elsewhere.
{% set sums = ['line_n', 'sale_n', 'sale_amount', 'sale_amount_ex_tax', 'sale_qty', 'contribution', 'cost_amount'] %}
with products as (
    {{ order_line_products() }}
),

repaired as (
    select
        stg.is_current,
        stg.source,
        stg.order_id,
        {{ order_line_measures('stg', 'products', 'case when stg.is_current then products.effective_tax_rate'
            ~ ' else products.effective_tax_rate_at_refresh end') }}
    from {{ ref('int_order_lines_repaired') }} as stg
    inner join products on stg.product_id = products.product_id
),

summed as (
    select
        is_current,
        source,
        order_id,
        {{ order_line_sums() }}
    from repaired
    group by is_current, source, order_id
)

select
    true as is_current, source, order_id, {{ sums | join(', ') }},
    has_merchandise, is_profit_estimated, uses_default_margin, is_profit_unknown
from {{ ref('int_order_sums') }}
where not is_suspect

union all

select is_current, source, order_id, {{ sums | join(', ') }}, {{ order_marks() }}
from summed
