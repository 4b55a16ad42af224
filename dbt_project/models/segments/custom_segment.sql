-- Custom segments with the rule that makes them, and what their members are like. The people outside and those whose facts
-- are missing stand in their own rows, so that a hidden segment cannot be told from the rest.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

members as (
    select segment || '|' || class as segment, customer_key
    from {{ ref('int_custom_segment_members') }}
),

names as (
    select distinct segment || '|' || class as segment, segment as name, class
    from {{ ref('int_custom_segment_members') }}
),

{{ segment_profile('members') }},

{{ segment_profile_shown("split_part(figures.segment, '|', 1)") }}

select
    names.name as segment,
    names.class,
    shown.as_of_date,
    labels.label_zh,
    labels.label_en,
    seed.rule,
    seed.owner,
    seed.purpose,
    {{ segment_profile_columns() }},
    shown.policy_version
from shown
inner join names using (segment)
inner join {{ ref('int_custom_segments') }} as seed on names.name = seed.segment
inner join {{ ref('int_segment_labels') }} as labels
    on labels.scheme = 'custom:' || names.name and names.class = labels.class
