{# Order headers as delivered, of today and, of changed orders, of the refresh date. `delivered`: rows of stg_sales__orders. #}
{% macro order_headers(delivered) %}
select true as is_current, stg.*
from {{ delivered }} as stg
where stg.is_in_force

union all

select false as is_current, stg.*
from {{ delivered }} as stg
semi join {{ ref('int_orders_changed') }} as changed
    on stg.source = changed.source and stg.order_id = changed.order_id
where stg.was_in_force
{% endmacro %}

{#
  Every order line once, of today and, of changed orders, of the refresh date: the delivered rows of orders in which no
  line came twice, the repaired rows elsewhere. `delivered`: rows of stg_sales__order_lines.
#}
{% macro order_lines(delivered) %}
{% set columns = ['source', 'order_id', 'line_no', 'product_id', 'promotion_id', 'kind', 'is_gift', 'currency',
                  'price_includes_tax', 'qty', 'list_price', 'unit_price_paid', 'line_discount', 'line_amount', 'dt'] %}
select true as is_current, {{ columns | join(', ') }}
from {{ delivered }} as lines
anti join (select source, order_id from {{ ref('int_order_sums') }} where is_suspect) as suspects
    using (source, order_id)
where lines.is_in_force

union all

select is_current, {{ columns | join(', ') }}
from {{ ref('int_order_lines_repaired') }}
{% endmacro %}
