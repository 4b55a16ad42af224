-- S2-10: the market by need, spend and frequency. One cell per combination that anybody is in; a cell of few people is hidden.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

members as (
    select need_class || '|' || power_class || '|' || frequency_class as segment, customer_key
    from {{ ref('customer_360') }}
),

cells as (
    select distinct
        need_class || '|' || power_class || '|' || frequency_class as segment,
        need_class, power_class, frequency_class
    from {{ ref('customer_360') }}
),

{{ segment_profile('members') }},

{{ segment_profile_shown('policy.as_of_date') }}

select
    shown.segment,
    shown.as_of_date,
    cells.need_class,
    cells.power_class,
    cells.frequency_class,
    need_labels.label_zh || ' · ' || power_labels.label_zh || ' · ' || frequency_labels.label_zh as label_zh,
    need_labels.label_en || ' · ' || power_labels.label_en || ' · ' || frequency_labels.label_en as label_en,
    {{ segment_profile_columns() }},
    shown.policy_version
from shown
inner join cells using (segment)
inner join {{ ref('int_segment_labels') }} as need_labels
    on need_labels.scheme = 'need' and cells.need_class = need_labels.class
inner join {{ ref('int_segment_labels') }} as power_labels
    on power_labels.scheme = 'power' and cells.power_class = power_labels.class
inner join {{ ref('int_segment_labels') }} as frequency_labels
    on frequency_labels.scheme = 'frequency' and cells.frequency_class = frequency_labels.class
