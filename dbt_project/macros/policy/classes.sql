{#
  Families of schemes: each is one view `customer_key, scheme, class, is_inferred, reason_code, value_1 … value_5`. Custom
  segments are rules over these, so they stand outside.
#}
{% macro class_families() -%}
    {{ return(['int_class_reasons_core', 'int_class_reasons_behaviour', 'int_class_reasons_declared']) }}
{%- endmacro %}

{# Schemes with a column of their own in customer_360, in its order; a test finds a scheme that is missing here. #}
{% macro class_columns() -%}
    {{ return([
        'rfm', 'abc', 'value', 'lifecycle', 'loyalty', 'behaviour', 'frequency', 'power', 'income', 'channel', 'need',
        'motive', 'willingness', 'demographics', 'household', 'price_sensitivity',
    ]) }}
{%- endmacro %}
