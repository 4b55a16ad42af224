-- Custom segments as schemes of their own. The rule stands in the reason.
select
    members.customer_key,
    'custom:' || members.segment as scheme,
    members.class,
    false as is_inferred,
    members.class as reason_code,
    seed.rule as value_1,
    cast(null as varchar) as value_2,
    cast(null as varchar) as value_3,
    cast(null as varchar) as value_4,
    cast(null as varchar) as value_5
from {{ ref('int_custom_segment_members') }} as members
inner join {{ ref('int_custom_segments') }} as seed using (segment)
