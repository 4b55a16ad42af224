-- Every class of every customer with what decided it, as codes: the one place that knows all schemes.
{% for part in ['int_class_reasons_standard', 'int_class_reasons_custom'] -%}
select
    customer_key, scheme, class, is_inferred, reason_code, value_1, value_2, value_3, value_4, value_5
from {{ ref(part) }}
{{ 'union all' if not loop.last }}
{% endfor %}
