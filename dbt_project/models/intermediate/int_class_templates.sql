-- The sentences of every reason; custom segments share theirs.
select scheme, reason_code, template_zh, template_en from {{ ref('class_reasons') }}
where scheme <> 'custom'

union all

select 'custom:' || segments.segment as scheme, templates.reason_code, templates.template_zh, templates.template_en
from {{ ref('int_custom_segments') }} as segments
cross join {{ ref('class_reasons') }} as templates
where templates.scheme = 'custom'
