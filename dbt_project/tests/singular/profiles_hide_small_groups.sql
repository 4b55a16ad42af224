{{ config(meta={'dagster': {'ref': {'name': 'persona'}}, 'description': "A market cell, a custom segment, a persona or a bound of a category tells of fewer than k people, who could be known by it (Q-21)."}) }}
with shown as (
    {%- for table in ['market_segment', 'behaviour_segment', 'custom_segment'] %}
    select '{{ table }}' as profile, segment, customers from {{ ref(table) }}
    where not is_suppressed
    union all
    {%- endfor %}
    select 'class_group_bounds' as profile, bounds.scheme || ' ' || bounds.group_name as segment, groups.people_n as customers
    from {{ ref('class_group_bounds') }} as bounds
    inner join {{ ref('int_run_policy') }} as policy on bounds.as_of_date = policy.as_of_date
    inner join {{ ref('int_group_bounds') }} as groups
        on bounds.scheme = groups.scheme and bounds.group_name = groups.group_name
    where bounds.bound is not null
    union all
    select 'persona' as profile, scheme || ' ' || class || ' ' || field as segment, least(customers, segment_customers)
    from {{ ref('persona') }}
)

select shown.*
from shown
inner join {{ ref('int_run_policy') }} as policy on shown.customers < policy.k_anon_min
