{{ config(materialized='table') }}
-- Why a class moved: of movers alone it is computed again under the steps between the two builds
-- (docs/decisions/017-class-history.md). The cause is the step after which the class stays.
{%- set steps = rescoring_steps() %}
with moves as (
    select * from {{ ref('int_move_events') }}
),

scored_again as (
    select customer_key, step, scheme, class, is_beside_few from {{ ref('int_rescored_classes') }}
    union all
    select customer_key, step, scheme, class, false as is_beside_few from {{ ref('int_rescored_custom') }}
),

by_step as (
    select
        customer_key,
        scheme,
        bool_or(is_beside_few) as is_beside_few
        {%- for step in steps %},
        max(case when step = {{ loop.index }} then class end) as class_{{ loop.index }}
        {%- endfor %}
    from scored_again
    group by customer_key, scheme
),

caused as (
    select
        moves.*,
        by_step.customer_key is not null as is_rescored,
        case
            when moves.from_class is null and moves.is_relinked then 'merge_split'
            when moves.from_class is null then 'entered'
            when moves.to_class is null and moves.is_relinked then 'merge_split'
            when moves.to_class is null then 'left'
            when by_step.customer_key is null then moves.told_cause
            when by_step.class_{{ steps | length }} is distinct from moves.to_class then 'unexplained'
            {%- for step in steps[1:] | reverse %}
            when by_step.class_{{ steps | length - loop.index }} is distinct from moves.to_class then
                {% if step.answered and not steps[steps | length - loop.index - 1].answered -%}
                case
                    when moves.has_answered or moves.scheme not like 'custom:%' then '{{ step.cause }}'
                    when moves.has_complained then 'complaint'
                    else 'own_activity'
                end
                {%- else -%} '{{ step.cause }}'
                {%- endif %}
            {%- endfor %}
            when moves.is_relinked then 'merge_split'
            when moves.has_other_rules then 'policy_change'
            when moves.scheme like 'custom:%' and moves.is_stated_anew then 'profile_update'
            when by_step.is_beside_few then 'cut_points'
            else '{{ steps[0].cause }}'
        end as cause,
        concat_ws(
            ','
            {%- for step in steps %},
            case
                when {{ 'by_step.class_' ~ (loop.index - 1) if not loop.first else 'moves.from_class' }}
                    is distinct from by_step.class_{{ loop.index }} then {{ "case when by_step.is_beside_few then 'cut_points' else '" ~ step.factor ~ "' end" if loop.first else "'" ~ step.factor ~ "'" }}
            end
            {%- endfor %}
        ) as factors
    from moves
    left join by_step on moves.scheme = by_step.scheme
        and {{ key_where('moves.from_class is not null and moves.to_class is not null', 'moves.customer_key') }}
            = by_step.customer_key
)

select
    customer_key,
    scheme,
    from_class,
    to_class,
    cause,
    case when is_rescored then factors end as factors,
    is_rescored,
    -- P-16: what people do is followed at once; what time and others do has to last.
    to_class is not null
        and (cause not in ('ageing', 'cut_points') or is_active or to_class = published_class) as is_published_at_once,
    published_class,
    published_since
from caused
