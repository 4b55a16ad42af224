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

clv as (
    select
        min(clv_12m) filter (where clv_tier = 'high') as cut_high,
        min(clv_12m) filter (where clv_tier in ('high', 'mid')) as cut_mid
    from {{ ref('customer_value') }}
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
        clv.cut_high as clv_cut_high,
        clv.cut_mid as clv_cut_mid,
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
        cast(policy.behaviour_window_days as varchar) as price_sensitivity_drawn_by,
        cast(policy.affinity_window_days as varchar) as affinity_drawn_by,
        concat_ws(
            '|', policy.abc_a_share, policy.abc_b_share, policy.clv_horizon_days, policy.clv_discount_rate,
            policy.clv_return_window_days, policy.low_n
        ) as clv_drawn_by,
        {%- for key, type in scoring_thresholds() + told_thresholds() %}
        policy.{{ key }},
        {%- endfor %}
        run_context.rules,
        policy.policy_version
    from policy
    cross join rfm
    cross join abc
    cross join clv
    cross join common
    cross join {{ source('run', 'run_context') }} as run_context
)

{% set columns = ['as_of_date', 'rfm_effective_from'] + class_cut_points() | map(attribute=0) | list
    + drawn_by_columns() + scoring_thresholds() | map(attribute=0) | list
    + told_thresholds() | map(attribute=0) | list
    + ['rules', 'policy_version'] -%}
select {{ columns | join(', ') }} from today
union all
select {{ columns | join(', ') }} from {{ source('history', 'class_bounds') }}
