-- Every class of every customer with what decided it, as codes: the one place that knows all schemes.
{{ union_class_families() }}
union all
select
    customer_key, scheme, class, is_inferred, reason_code, value_1, value_2, value_3, value_4, value_5
from {{ ref('int_class_reasons_custom') }}
