{{ config(meta={'dagster': {'ref': {'name': 'persona'}}, 'description': "A market cell, a custom segment or a persona tells of fewer than k people, who could be known by it (Q-21)."}) }}
with shown as (
    {%- for table in ['market_segment', 'behaviour_segment', 'custom_segment'] %}
    select '{{ table }}' as profile, segment, customers from {{ ref(table) }}
    where not is_suppressed
    union all
    {%- endfor %}
    select 'persona' as profile, scheme || ' ' || class || ' ' || field as segment, least(customers, segment_customers)
    from {{ ref('persona') }}
)

select shown.*
from shown
inner join {{ ref('int_run_policy') }} as policy on shown.customers < policy.k_anon_min
