-- Every class of every customer, custom segments apart: these are rules over it.
{% for family in class_families() -%}
select
    customer_key, scheme, class, is_inferred, reason_code, value_1, value_2, value_3, value_4, value_5
from {{ ref(family) }}
{{ 'union all' if not loop.last }}
{% endfor %}
