{#
  CTE `lines`: today's lines of some orders, as int_order_lines has them, with columns of the order. Which orders were
  repaired is asked of the orders; int_order_lines asks it of every line of the project, which costs more than the rest.
  `orders` is a relation with source and order_id, one row per order; `delivered` are rows of stg_sales__order_lines.
#}
{% macro lines_of_orders(orders, order_columns, line_columns, delivered) -%}
lines as (
    select
        {% for column in order_columns %}orders.{{ column }}, {% endfor -%}
        {% for column in line_columns %}lines.{{ column }}{{ ', ' if not loop.last }}{% endfor %}
    from {{ delivered }} as lines
    inner join (
        select chosen.* from {{ orders }} as chosen
        anti join (select source, order_id from {{ ref('int_order_sums') }} where is_suspect) as suspects
            on chosen.source = suspects.source and chosen.order_id = suspects.order_id
    ) as orders
        on lines.source = orders.source and lines.order_id = orders.order_id
    where lines.is_in_force

    union all

    select
        {% for column in order_columns %}orders.{{ column }}, {% endfor -%}
        {% for column in line_columns %}lines.{{ column }}{{ ', ' if not loop.last }}{% endfor %}
    from {{ ref('int_order_lines_repaired') }} as lines
    inner join {{ orders }} as orders on lines.source = orders.source and lines.order_id = orders.order_id
    where lines.is_current
)
{%- endmacro %}
