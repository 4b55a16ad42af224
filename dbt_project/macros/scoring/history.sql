{#
  The steps between two builds under which a class is computed anew (docs/decisions/017-class-history.md). Each adds one
  thing to the step before: `facts` what is known and until when, `bounds` and `policy` whether they are those of before.
#}
{% macro rescoring_steps() -%}
    {{ return([
        {'cause': 'refund_or_correction', 'factor': 'correction', 'aged': false, 'bought': false, 'returned': false,
         'bounds': false, 'policy': false},
        {'cause': 'ageing', 'factor': 'ageing', 'aged': true, 'bought': false, 'returned': false,
         'bounds': false, 'policy': false},
        {'cause': 'own_order', 'factor': 'own_order', 'aged': true, 'bought': true, 'returned': false,
         'bounds': false, 'policy': false},
        {'cause': 'refund_or_correction', 'factor': 'refund', 'aged': true, 'bought': true, 'returned': true,
         'bounds': false, 'policy': false},
        {'cause': 'cut_points', 'factor': 'cut_points', 'aged': true, 'bought': true, 'returned': true,
         'bounds': true, 'policy': false},
        {'cause': 'policy_change', 'factor': 'policy', 'aged': true, 'bought': true, 'returned': true,
         'bounds': true, 'policy': true},
    ]) }}
{%- endmacro %}

{# Schemes that are computed anew; of any other the cause is told from what happened to the customer. #}
{% macro rescored_schemes() -%} {{ return(['rfm', 'abc', 'value', 'lifecycle']) }} {%- endmacro %}

{# Bounds that all customers share, by which classes are cut: (name, group). A group is drawn by thresholds of its own. #}
{% macro class_cut_points() -%}
    {%- set found = [] -%}
    {%- for measure in ['recency', 'frequency', 'monetary'] -%}
        {%- for k in range(1, 5) -%}{%- do found.append((measure ~ '_cut_' ~ k, 'rfm')) -%}{%- endfor -%}
    {%- endfor -%}
    {{ return(found + [('abc_cut_a', 'abc'), ('abc_cut_b', 'abc'), ('common_gap_days', 'lifecycle')]) }}
{%- endmacro %}

{# Customers who bought, or whose return was booked, since the build before. `before` is a row with its as_of_date, or none. #}
{% macro customers_active_since(before) -%}
    select customer_key, bool_or(has_bought) as has_bought, bool_or(not has_bought) as has_returned
    from (
        select facts.customer_key, true as has_bought
        from {{ ref('int_customer_facts') }} as facts
        inner join {{ before }} on facts.last_purchase_date >= {{ before }}.as_of_date
        union all
        select returns.customer_key, false as has_bought
        from {{ ref('int_customer_returns') }} as returns
        inner join {{ before }} on returns.day >= {{ before }}.as_of_date
    ) as seen
    group by customer_key
{%- endmacro %}
