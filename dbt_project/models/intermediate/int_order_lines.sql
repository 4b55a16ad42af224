-- Every order line once, of today and of the refresh date: the delivered rows of orders in which no line came twice, the repaired rows elsewhere.
-- Cheap to filter by order, dear to scan: at scale this is the largest relation of the project.
{% set columns = ['source', 'order_id', 'line_no', 'product_id', 'promotion_id', 'kind', 'is_gift', 'currency',
                  'price_includes_tax', 'qty', 'list_price', 'unit_price_paid', 'line_discount', 'line_amount', 'dt'] %}
select true as is_current, {{ columns | join(', ') }}
from {{ ref('stg_sales__order_lines') }} as lines
anti join (select source, order_id from {{ ref('int_order_sums') }} where is_suspect) as suspects
    using (source, order_id)
where lines.is_in_force

union all

select is_current, {{ columns | join(', ') }}
from {{ ref('int_order_lines_repaired') }}
