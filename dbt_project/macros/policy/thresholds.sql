{# A dated policy row that holds on a day: [valid_from, valid_to). #}
{% macro is_in_force(policy, day) -%}
    {{ policy }}.valid_from <= {{ day }} and ({{ policy }}.valid_to is null or {{ policy }}.valid_to > {{ day }})
{%- endmacro %}

{# One threshold of the seed as a typed column; null when the seed lacks it, which the policy's test refuses. #}
{% macro threshold(key, type) -%}
    cast(max(case when key = '{{ key }}' then value end) as {{ type }}) as {{ key }}
{%- endmacro %}
