{#
  The sums of one order over its lines, in one pass. Expects `line` with: kind, line_amount, amount_ex_tax, qty and
  `product` with: is_merchandise, unit_cost (the same on every day, else null), has_dated_cost, margin, margin_basis.
  Lines of products with a dated cost stay out of cost and margin here: int_order_costs adds them.
#}
{% macro order_line_sums(line, product) -%}
    {%- set is_sale = line ~ ".kind = 'sale'" -%}
    {%- set undated = is_sale ~ " and not coalesce(" ~ product ~ ".has_dated_cost, false)" -%}
    {%- set costed = undated ~ " and " ~ product ~ ".unit_cost is not null" -%}
    {%- set estimated = undated ~ " and " ~ product ~ ".unit_cost is null" -%}
    count(*) as lines_n,
    count(*) filter (where {{ is_sale }}) as sale_n,
    count(*) filter (where {{ line }}.kind = 'adjustment') as adjustment_n,
    count(*) filter (where {{ line }}.kind = 'stock_movement') as stock_movement_n,
    {{ money("coalesce(sum(" ~ line ~ ".line_amount) filter (where " ~ is_sale ~ "), 0)") }} as sale_amount,
    {{ money("coalesce(sum(" ~ line ~ ".amount_ex_tax) filter (where " ~ is_sale ~ "), 0)") }} as sale_amount_ex_tax,
    {{ money("coalesce(sum(" ~ line ~ ".line_amount) filter (where " ~ line ~ ".kind = 'adjustment'), 0)") }}
        as adjustment_amount,
    cast(coalesce(sum({{ line }}.qty) filter (where {{ is_sale }}), 0) as decimal(18, 3)) as sale_qty,
    coalesce(bool_or({{ is_sale }} and {{ product }}.is_merchandise), false) as has_merchandise,
    {{ money("coalesce(sum(" ~ line ~ ".amount_ex_tax) filter (where " ~ costed ~ "), 0)") }} as costed_net,
    {{ money("coalesce(sum(" ~ line ~ ".qty * " ~ product ~ ".unit_cost) filter (where " ~ costed ~ "), 0)") }}
        as cost_amount,
    -- Null as soon as one line has neither cost nor margin: an unknown profit is never 0 (G-04).
    case
        when count(*) filter (where {{ estimated }}) = count({{ product }}.margin) filter (where {{ estimated }})
            then {{ money("sum(" ~ line ~ ".amount_ex_tax * " ~ product ~ ".margin) filter (where " ~ estimated ~ ")") }}
    end as margin_profit,
    count(*) filter (where {{ estimated }}) as estimated_n,
    count(*) filter (where {{ estimated }} and {{ product }}.margin_basis = 'default') as default_margin_n
{%- endmacro %}
