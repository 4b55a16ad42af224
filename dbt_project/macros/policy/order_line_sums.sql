{#
  What one line adds to its order, as plain columns: DuckDB sums these at a third of the cost of filtered aggregates.
  `line` has kind, line_amount, qty, price_includes_tax; `product` comes from order_line_products(). Lines of products
  with a dated cost add no profit here: int_order_costs does.
#}
{% macro order_line_measures(line, product, tax_rate) -%}
    {{ line }}.kind = 'sale' as is_sale,
    case when {{ line }}.kind = 'sale' then {{ line }}.line_amount else 0 end as sale_amount,
    case when {{ line }}.kind = 'sale' then {{ without_tax(line ~ '.line_amount', line ~ '.price_includes_tax', tax_rate) }}
        else 0 end as sale_amount_ex_tax,
    case when {{ line }}.kind = 'sale' then {{ line }}.qty else 0 end as sale_qty,
    case when {{ line }}.kind = 'sale' then {{ product }}.sale_marks else 0 end as marks,
    {{ product }}.unit_cost,
    {{ product }}.contribution_share
{%- endmacro %}

{#
  Products as a line needs them, worked out once a product: the share of net sales that is contribution (all where the
  cost is known and comes off apart), and the marks that a sale gives its order, one bit each.
#}
{% macro order_line_products() -%}
    select
        product_id,
        effective_tax_rate,
        effective_tax_rate_at_refresh,
        unit_cost,
        case when has_dated_cost then 0 when unit_cost is not null then 1 else margin end as contribution_share,
        case when is_merchandise then 1 else 0 end
        + case when has_dated_cost or unit_cost is not null then 0 else
            2
            + case when margin_basis = 'default' then 4 else 0 end
            -- One line with neither cost nor margin makes the profit of the whole order unknown, never 0 (G-04).
            + case when margin is null then 8 else 0 end
        end as sale_marks
    from {{ ref('int_products') }}
{%- endmacro %}

{# The sums of one order over these columns. Contribution is before discount and before known costs. #}
{% macro order_line_sums() -%}
    cast(count(*) as bigint) as line_n,
    cast(sum(case when is_sale then 1 else 0 end) as bigint) as sale_n,
    {{ money('sum(sale_amount)') }} as sale_amount,
    {{ money('sum(sale_amount_ex_tax)') }} as sale_amount_ex_tax,
    cast(sum(sale_qty) as decimal(18, 3)) as sale_qty,
    {{ money('sum(' ~ money('sale_amount_ex_tax * contribution_share') ~ ')') }} as contribution,
    {{ money('coalesce(sum(' ~ money('sale_qty * unit_cost') ~ '), 0)') }} as cost_amount,
    bit_or(marks) as marks
{%- endmacro %}

{# The marks of an order as columns. #}
{% macro order_marks() -%}
    (marks & 1) > 0 as has_merchandise,
    (marks & 2) > 0 as is_profit_estimated,
    (marks & 4) > 0 as uses_default_margin,
    (marks & 8) > 0 as is_profit_unknown
{%- endmacro %}

{% macro contribution_sums(counts, net, qty) -%}
    {{ money("sum(case when not " ~ counts ~ " then 0 when unit_cost is not null then " ~ net
        ~ " else " ~ money(net ~ " * margin") ~ " end)") }} as contribution,
    {{ money("sum(case when " ~ counts ~ " and unit_cost is not null then " ~ money(qty ~ " * unit_cost")
        ~ " else 0 end)") }} as cost_amount,
    bool_or({{ counts }} and unit_cost is null) as is_profit_estimated,
    bool_or({{ counts }} and unit_cost is null and coalesce(margin_basis, '') = 'default') as uses_default_margin,
    bool_or({{ counts }} and unit_cost is null and margin is null) as is_profit_unknown
{%- endmacro %}
