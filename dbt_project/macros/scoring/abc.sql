{# M-03: the class of a profit by the smallest profits that still are A and B; null cuts: nobody is. #}
{% macro abc_class(frequency, profit, cut_a, cut_b) -%}
    case
        when {{ frequency }} = 0 then 'no_purchase_in_window'
        when {{ profit }} is null then 'unclassified'
        when {{ profit }} <= 0 then 'C'
        when {{ profit }} >= {{ cut_a }} then 'A'
        when {{ profit }} >= {{ cut_b }} then 'B'
        else 'C'
    end
{%- endmacro %}

{# M-04: the same ranking in its second vocabulary. #}
{% macro value_tier(abc_class) -%}
    case {{ abc_class }} when 'A' then 'high' when 'B' then 'mid' when 'C' then 'low' else {{ abc_class }} end
{%- endmacro %}
