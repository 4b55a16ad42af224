-- The action of every class, those of custom segments included. No segment of a person's own making sets a price (C-12).
select
    scheme, class, action_code, action_zh, action_en, service_level, channel_hint, pricing_use_allowed, priority
from {{ ref('playbook') }}
where scheme <> 'custom'

union all

select
    'custom:' || segments.segment as scheme,
    playbook.class,
    case when playbook.class = 'member' then segments.action_code else playbook.action_code end as action_code,
    case when playbook.class = 'member' then segments.action_zh else playbook.action_zh end as action_zh,
    case when playbook.class = 'member' then segments.action_en else playbook.action_en end as action_en,
    case when playbook.class = 'member' then segments.service_level else playbook.service_level end as service_level,
    case when playbook.class = 'member' then segments.channel_hint else playbook.channel_hint end as channel_hint,
    playbook.pricing_use_allowed,
    playbook.priority
from {{ ref('int_custom_segments') }} as segments
cross join {{ ref('playbook') }} as playbook
where playbook.scheme = 'custom'
