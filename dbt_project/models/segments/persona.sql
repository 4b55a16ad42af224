-- S3-02: what the people of a segment are like, field by field with the three commonest values, how many say so and how many
-- are known. Of RFM segments and of custom segments; a value of few people, and a segment of few, is left out.
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

{{ segment_profile('members') }}

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
inner join names using (segment)
cross join policy
where ranked.place <= 3 and figures.customers >= policy.k_anon_min
