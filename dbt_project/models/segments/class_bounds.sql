-- What the classes of a day were cut by, and what the sentences of their reasons name: kept for every day, because the
-- classes of the next one are asked for under them.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

common as ({{ common_gap(ref('int_customer_facts')) }}
),

abc as (
    select
        min(profit_365) filter (where abc_class = 'A') as cut_a,
        min(profit_365) filter (where abc_class in ('A', 'B')) as cut_b
    from {{ ref('customer_abc') }}
),

rfm as (
    select
        {%- for measure in ['recency', 'frequency', 'monetary'] %}
        {%- for k in range(1, 5) %}
        max(case when measure = '{{ measure }}' then cut_{{ k }} end) as {{ measure }}_cut_{{ k }},
        {%- endfor %}
        {%- endfor %}
        max(effective_from) as rfm_effective_from
    from {{ ref('rfm_breakpoints') }}
),

today as (
    select
        policy.as_of_date,
        rfm.*,
        abc.cut_a as abc_cut_a,
        abc.cut_b as abc_cut_b,
        common.gap_days as common_gap_days,
        -- Cut points that were drawn by other thresholds have not moved by themselves.
        concat_ws(
            '|', policy.rfm_window_days, policy.rfm_min_buyers
            {%- for measure in ['recency', 'frequency', 'monetary'] %}
            {%- for k in range(1, 5) %}, policy.rfm_absolute_{{ measure }}_{{ k }}{% endfor %}
            {%- endfor %}
        ) as rfm_drawn_by,
        concat_ws('|', policy.abc_window_days, policy.abc_a_share, policy.abc_b_share) as abc_drawn_by,
        cast(policy.lifecycle_default_gap_days as varchar) as lifecycle_drawn_by,
        {%- for key, type in scoring_thresholds() + told_thresholds() %}
        policy.{{ key }},
        {%- endfor %}
        run_context.rules,
        policy.policy_version
    from policy
    cross join rfm
    cross join abc
    cross join common
    cross join {{ source('run', 'run_context') }} as run_context
)

{% set columns = ['as_of_date', 'rfm_effective_from'] + class_cut_points() | map(attribute=0) | list
    + ['rfm_drawn_by', 'abc_drawn_by', 'lifecycle_drawn_by'] + scoring_thresholds() | map(attribute=0) | list
    + told_thresholds() | map(attribute=0) | list
    + ['rules', 'policy_version'] -%}
select {{ columns | join(', ') }} from today
union all
select {{ columns | join(', ') }} from {{ source('history', 'class_bounds') }}
