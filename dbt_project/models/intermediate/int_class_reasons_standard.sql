-- Every class of every customer, custom segments apart: these are rules over it. Whoever has bought nothing that counts, for
-- want of a rate, is told so instead of having never bought.
with told as (
    {% for family in class_families() -%}
    select
        customer_key, scheme, class, is_inferred, reason_code, value_1, value_2, value_3, value_4, value_5
    from {{ ref(family) }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
)

select
    told.customer_key, told.scheme, told.class, told.is_inferred,
    case when unrated.customer_key is null then told.reason_code else told.reason_code || '_unrated' end as reason_code,
    case when unrated.customer_key is null then told.value_1 else cast(unrated.orders_n as varchar) end as value_1,
    case when unrated.customer_key is null then told.value_2 else unrated.currency end as value_2,
    case when unrated.customer_key is null then told.value_3 end as value_3,
    case when unrated.customer_key is null then told.value_4 end as value_4,
    case when unrated.customer_key is null then told.value_5 end as value_5
from told
left join {{ ref('int_customers_unrated') }} as unrated
    on {{ key_where("told.reason_code = 'never_bought' or told.scheme = 'lifecycle' and told.reason_code = 'prospect'",
        'told.customer_key') }} = unrated.customer_key
