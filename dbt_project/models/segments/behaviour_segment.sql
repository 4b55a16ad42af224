-- S2-11: the market by loyalty to a brand, frequency, channel and motive. One cell per combination that anybody is in; a cell of few people is hidden.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

people as (
    select
        wide.customer_key,
        brands.brand_loyalty_class || '|' || wide.frequency_class || '|' || wide.channel_class || '|' || wide.motive_class
            as segment,
        brands.brand_loyalty_class,
        wide.frequency_class,
        wide.channel_class,
        wide.motive_class
    from {{ ref('customer_360') }} as wide
    inner join {{ ref('customer_loyalty') }} as brands using (customer_key)
),

members as (
    select segment, customer_key from people
),

cells as (
    select distinct segment, brand_loyalty_class, frequency_class, channel_class, motive_class from people
),

{{ segment_profile('members') }},

{{ segment_profile_shown('policy.as_of_date') }}

select
    shown.segment,
    shown.as_of_date,
    cells.brand_loyalty_class,
    cells.frequency_class,
    cells.channel_class,
    cells.motive_class,
    brand_labels.label_zh || ' · ' || frequency_labels.label_zh || ' · ' || channel_labels.label_zh || ' · ' || motive_labels.label_zh as label_zh,
    brand_labels.label_en || ' · ' || frequency_labels.label_en || ' · ' || channel_labels.label_en || ' · ' || motive_labels.label_en as label_en,
    {{ segment_profile_columns() }},
    shown.policy_version
from shown
inner join cells using (segment)
inner join {{ ref('profile_labels') }} as brand_labels
    on brand_labels.field = 'brand_loyalty' and cells.brand_loyalty_class = brand_labels.value
inner join {{ ref('int_segment_labels') }} as frequency_labels
    on frequency_labels.scheme = 'frequency' and cells.frequency_class = frequency_labels.class
inner join {{ ref('int_segment_labels') }} as channel_labels
    on channel_labels.scheme = 'channel' and cells.channel_class = channel_labels.class
inner join {{ ref('int_segment_labels') }} as motive_labels
    on motive_labels.scheme = 'motive' and cells.motive_class = motive_labels.class
