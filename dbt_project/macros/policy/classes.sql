{# Schemes with a column of their own in customer_360, in its order; a test finds a scheme that is missing here. #}
{% macro class_columns() -%}
    {{ return(['rfm', 'abc', 'value', 'lifecycle']) }}
{%- endmacro %}
