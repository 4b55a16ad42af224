{{ config(meta={'dagster': {'ref': {'name': 'segment_labels'}}, 'description': "A class lacks its label or its one action, a label is too long for the tools that show it, or the playbook allows a price by class (Q-20, Q-22)."}) }}
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
