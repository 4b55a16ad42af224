-- Every class of every customer with what decided it, as codes: the one place that knows all schemes. A family of
-- schemes is one view of this shape and one line here.
{% set families = [
    'int_class_reasons_core',
    'int_class_reasons_declared',
] -%}

{% for family in families -%}
select
    customer_key, scheme, class, is_inferred, reason_code, value_1, value_2, value_3, value_4, value_5
from {{ ref(family) }}
{{ 'union all' if not loop.last }}
{% endfor %}
