{#
  Families of schemes: each is one view `customer_key, scheme, class, is_inferred, reason_code, value_1 … value_5`. Custom
  segments are rules over these, so they stand outside.
#}
{% macro class_families() -%}
    {{ return(['int_class_reasons_core', 'int_class_reasons_behaviour', 'int_class_reasons_declared']) }}
{%- endmacro %}

{#
  Where the class of a scheme stands, (mart, column): the schemes with a column of their own in customer_360, in its order.
  A test finds a scheme that is missing here.
#}
{% macro class_marts() -%}
    {{ return({
        'rfm': ('customer_rfm', 'rfm_segment'),
        'abc': ('customer_abc', 'abc_class'),
        'value': ('customer_value', 'value_tier'),
        'lifecycle': ('customer_lifecycle', 'stage'),
        'loyalty': ('customer_loyalty', 'loyalty_class'),
        'behaviour': ('customer_loyalty', 'behaviour_class'),
        'frequency': ('customer_frequency', 'frequency_class'),
        'power': ('customer_purchasing_power', 'spend_tier'),
        'income': ('customer_purchasing_power', 'income_tier'),
        'channel': ('customer_channel', 'channel_class'),
        'need': ('customer_need_class', 'need_class'),
        'motive': ('customer_motive', 'motive'),
        'willingness': ('customer_willingness', 'willingness'),
        'demographics': ('customer_demographics', 'age_band'),
        'household': ('customer_household_type', 'household_type'),
        'price_sensitivity': ('customer_price_sensitivity', 'price_sensitivity_class'),
        'affinity': ('customer_affinity', 'affinity_class'),
        'clv': ('customer_value', 'clv_tier'),
    }) }}
{%- endmacro %}

{% macro class_columns() -%}
    {{ return(class_marts().keys() | list) }}
{%- endmacro %}
