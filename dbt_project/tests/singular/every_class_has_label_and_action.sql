{{ config(meta={'dagster': {'ref': {'name': 'segment_labels'}}, 'description': "A class lacks its label, its one action or its place in customer_360, a label is too long for the tools that show it, or the playbook allows a price by class (Q-20, Q-22)."}) }}
with actions as (
    select scheme, class, count(*) as actions_n, bool_or(pricing_use_allowed) as allows_pricing
    from {{ ref('playbook') }}
    group by scheme, class
)

select labels.scheme, labels.class, 'has not exactly one action' as problem
from {{ ref('segment_labels') }} as labels
left join actions on labels.scheme = actions.scheme and labels.class = actions.class
where coalesce(actions.actions_n, 0) <> 1

union all

select scheme, class, 'label is empty, repeated or longer than 10 characters' as problem
from {{ ref('segment_labels') }}
group by scheme, class
having count(*) > 1 or max(length(label_zh)) > 10 or min(coalesce(length(label_zh), 0)) = 0

union all

select grid.preset as scheme, grid.rfm_segment as class, 'segment has no label' as problem
from {{ ref('rfm_grids') }} as grid
anti join {{ ref('segment_labels') }} as labels on labels.scheme = 'rfm' and grid.rfm_segment = labels.class
where grid.preset = 'rf25'

union all

select grid.preset as scheme, grid.rfm_segment as class, 'segment has no label' as problem
from {{ ref('rfm_grids') }} as grid
anti join {{ ref('rfm_preset_segments') }} as labels
    on grid.preset = labels.preset and grid.rfm_segment = labels.rfm_segment
where grid.preset <> 'rf25'

union all

select scheme, class, 'price by class' as problem from actions
where allows_pricing

union all

select scheme, reason_code as class, 'its sentence has another mark than {1} to {5}' as problem
from {{ ref('class_reasons') }}
where
    {%- for brace in ['{', '}'] %}
    {%- for language in ['zh', 'en'] %}
    replace(replace(replace(replace(replace(template_{{ language }}, '{1}', ''), '{2}', ''), '{3}', ''), '{4}', ''), '{5}', '') like '%{{ brace }}%' {{ 'or' if not (loop.last and brace == '}') }}
    {%- endfor %}
    {%- endfor %}

union all

select playbook.scheme, playbook.class, 'its priority lies in ' || count(steps.step) || ' steps' as problem
from {{ ref('playbook') }} as playbook
left join {{ ref('action_steps') }} as steps on playbook.priority between steps.priority_from and steps.priority_to
group by playbook.scheme, playbook.class
having count(steps.step) <> 1

union all

select 'case' as scheme, cases.class, 'what to do then is not in the playbook' as problem
from (select 'no_consent' as class union all select 'open_complaint' as class) as cases
anti join {{ ref('playbook') }} as playbook on playbook.scheme = 'case' and cases.class = playbook.class

union all

select distinct scheme, cast(null as varchar) as class, 'has no column in customer_360 (macros/policy/classes.sql)' as problem
from {{ ref('segment_labels') }}
where scheme <> 'custom' and scheme not in ('{{ class_columns() | join("', '") }}')
{%- for side in [1, 2] %}

union all

-- As many classes as separators and one.
select
    conflicts.scheme_{{ side }} as scheme,
    conflicts.classes_{{ side }} as class,
    'conflict ' || conflicts.conflict || ' names a class that does not exist' as problem
from {{ ref('class_conflicts') }} as conflicts
left join {{ ref('segment_labels') }} as labels
    on conflicts.scheme_{{ side }} = labels.scheme
    and '|' || conflicts.classes_{{ side }} || '|' like '%|' || labels.class || '|%'
group by conflicts.conflict, conflicts.scheme_{{ side }}, conflicts.classes_{{ side }}
having count(labels.class) <> length(conflicts.classes_{{ side }}) - length(replace(conflicts.classes_{{ side }}, '|', '')) + 1
{%- endfor %}
