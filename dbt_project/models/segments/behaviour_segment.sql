-- S2-11: the market by loyalty, frequency, channel and motive. One cell per combination that anybody is in; a cell of few people is hidden.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

members as (
    select loyalty_class || '|' || frequency_class || '|' || channel_class || '|' || motive_class as segment, customer_key
    from {{ ref('customer_360') }}
),

cells as (
    select distinct
        loyalty_class || '|' || frequency_class || '|' || channel_class || '|' || motive_class as segment,
        loyalty_class, frequency_class, channel_class, motive_class
    from {{ ref('customer_360') }}
),

{{ segment_profile('members') }},

{{ segment_profile_shown('policy.as_of_date') }}

select
    shown.segment,
    shown.as_of_date,
    cells.loyalty_class,
    cells.frequency_class,
    cells.channel_class,
    cells.motive_class,
    loyalty_labels.label_zh || ' · ' || frequency_labels.label_zh || ' · ' || channel_labels.label_zh || ' · ' || motive_labels.label_zh as label_zh,
    loyalty_labels.label_en || ' · ' || frequency_labels.label_en || ' · ' || channel_labels.label_en || ' · ' || motive_labels.label_en as label_en,
    {{ segment_profile_columns() }},
    shown.policy_version
from shown
inner join cells using (segment)
inner join {{ ref('int_segment_labels') }} as loyalty_labels
    on loyalty_labels.scheme = 'loyalty' and cells.loyalty_class = loyalty_labels.class
inner join {{ ref('int_segment_labels') }} as frequency_labels
    on frequency_labels.scheme = 'frequency' and cells.frequency_class = frequency_labels.class
inner join {{ ref('int_segment_labels') }} as channel_labels
    on channel_labels.scheme = 'channel' and cells.channel_class = channel_labels.class
inner join {{ ref('int_segment_labels') }} as motive_labels
    on motive_labels.scheme = 'motive' and cells.motive_class = motive_labels.class
