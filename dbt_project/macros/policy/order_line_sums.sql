{#
  What one line adds to its order, as plain columns: DuckDB sums these at a third of the cost of filtered aggregates.
  `line` has kind, line_amount, qty, price_includes_tax; `product` has is_merchandise, unit_cost (the same on every day,
  else null), has_dated_cost, margin, margin_basis. Lines of products with a dated cost add no profit here: int_order_costs does.
#}
{% macro order_line_measures(line, product, tax_rate) -%}
    {{ line }}.kind = 'sale' as is_sale,
    case when {{ line }}.kind = 'sale' then {{ line }}.line_amount else 0 end as sale_amount,
    case when {{ line }}.kind = 'sale' then {{ without_tax(line ~ '.line_amount', line ~ '.price_includes_tax', tax_rate) }}
        else 0 end as sale_amount_ex_tax,
    case when {{ line }}.kind = 'sale' then {{ line }}.qty else 0 end as sale_qty,
    {{ line }}.kind = 'sale' and {{ product }}.is_merchandise as is_merchandise_sale,
    {{ line }}.kind = 'sale' and not {{ product }}.has_dated_cost as has_profit_here,
    {{ product }}.unit_cost,
    {{ product }}.margin,
    {{ product }}.margin_basis
{%- endmacro %}

{# The sums of one order over these columns. Contribution is before discount and before known costs. #}
{% macro order_line_sums() -%}
    cast(count(*) as bigint) as line_n,
    cast(sum(case when is_sale then 1 else 0 end) as bigint) as sale_n,
    {{ money('sum(sale_amount)') }} as sale_amount,
    {{ money('sum(sale_amount_ex_tax)') }} as sale_amount_ex_tax,
    cast(sum(sale_qty) as decimal(18, 3)) as sale_qty,
    bool_or(is_merchandise_sale) as has_merchandise,
    {{ contribution_sums('has_profit_here', 'sale_amount_ex_tax', 'sale_qty') }}
{%- endmacro %}

{% macro contribution_sums(counts, net, qty) -%}
    {{ money("sum(case when not " ~ counts ~ " then 0 when unit_cost is not null then " ~ net
        ~ " else " ~ money(net ~ " * margin") ~ " end)") }} as contribution,
    {{ money("sum(case when " ~ counts ~ " and unit_cost is not null then " ~ money(qty ~ " * unit_cost")
        ~ " else 0 end)") }} as cost_amount,
    bool_or({{ counts }} and unit_cost is null) as is_profit_estimated,
    bool_or({{ counts }} and unit_cost is null and coalesce(margin_basis, '') = 'default') as uses_default_margin,
    -- One line with neither cost nor margin makes the profit of the whole order unknown, never 0 (G-04).
    bool_or({{ counts }} and unit_cost is null and margin is null) as is_profit_unknown
{%- endmacro %}
