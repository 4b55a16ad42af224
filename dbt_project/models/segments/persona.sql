-- S3-02: what the people of a segment are like, field by field with the three commonest values, how many say so and how many
-- are known. Of RFM segments and of custom segments; a value of few people is left out, and so is a segment of few, with
-- those from which its size would follow.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

members as (
    select 'rfm|' || rfm_class as segment, customer_key
    from {{ ref('customer_360') }}
    union all
    select 'custom:' || segment || '|' || class as segment, customer_key
    from {{ ref('int_custom_segment_members') }}
    where class = 'member'
),

names as (
    select scheme || '|' || class as segment, scheme, class, label_zh, label_en
    from {{ ref('int_segment_labels') }}
),

{{ segment_profile('members') }},

masks as (
    select
        figures.segment,
        {{ is_suppressed_cell('figures.customers', 'policy.k_anon_min', 'policy.as_of_date', 'figures.segment') }}
            as is_suppressed
    from figures
    cross join policy
    where figures.segment like 'rfm|%'
    union all
    select 'custom:' || segment || '|' || class as segment, is_suppressed from {{ ref('custom_segment') }}
)

select
    names.scheme,
    names.class,
    ranked.field,
    cast(ranked.place as integer) as place,
    policy.as_of_date,
    names.label_zh,
    names.label_en,
    ranked.value,
    ranked.n as customers,
    {{ rate('ranked.n', 'ranked.known_n') }} as share,
    ranked.known_n,
    figures.customers as segment_customers,
    {{ rate('ranked.known_n', 'figures.customers') }} as coverage,
    ranked.known_n < policy.low_n as is_low_n,
    policy.policy_version
from ranked
inner join figures using (segment)
inner join masks using (segment)
inner join names using (segment)
cross join policy
where ranked.place <= 3 and not masks.is_suppressed
