-- Labels of every scheme: those of the seed, and of each custom segment its own beside those that all of them share.
select scheme, class, label_zh, label_en, sort, is_unclassified from {{ ref('segment_labels') }}
where scheme <> 'custom'

union all

select
    'custom:' || segments.segment as scheme,
    labels.class,
    case when labels.class = 'member' then segments.label_zh else labels.label_zh end as label_zh,
    case when labels.class = 'member' then segments.label_en else labels.label_en end as label_en,
    labels.sort,
    labels.is_unclassified
from {{ ref('int_custom_segments') }} as segments
cross join {{ ref('segment_labels') }} as labels
where labels.scheme = 'custom'
