{{ config(materialized='table') }}
{%- set steps = rescoring_steps() %}
-- The steps that lie between the build before and this one, each adding one thing: days, thresholds and shared bounds of
-- each (docs/decisions/017-class-history.md). None where there was no build before.
with today as (
    select * from {{ ref('int_run_policy') }}
),

bounds as (
    select * from {{ ref('class_bounds') }}
),

before as (
    {{ build_before() }}
),

stepped as (
    {%- for step in steps %}
    {#- Bounds of a build that kept none are not known: those of today stand for them. #}
    {%- set are_of_today = {} %}
    {%- for group in bound_groups() %}
    {%- set drawn_by = group ~ '_drawn_by' %}
    {%- do are_of_today.update({group: 'before.' ~ drawn_by ~ ' is null'
        ~ (' or before.' ~ drawn_by ~ ' = bounds.' ~ drawn_by if step.bounds else '')}) %}
    {%- endfor %}
    select
        {{ loop.index }} as step,
        {{ 'today' if step.aged else 'before' }}.as_of_date,
        {{ 'today' if step.bought else 'before' }}.as_of_date as bought_before,
        {{ 'today' if step.returned else 'before' }}.as_of_date as returned_before,
        {{ 'today' if step.answered else 'before' }}.as_of_date as answered_before,
        {%- for key, type in scoring_thresholds() %}
        {{ 'today.' ~ key if step.policy else 'coalesce(before.' ~ key ~ ', today.' ~ key ~ ')' }} as {{ key }},
        {%- endfor %}
        {%- for name, group in class_cut_points() %}
        {% if step.policy -%} bounds.{{ name }}
        {%- else -%}
        case when {{ are_of_today[group] }} then bounds.{{ name }} else before.{{ name }} end
        {%- endif %} as {{ name }},
        {%- endfor %}
        {%- for group in bound_groups() %}
        {{ 'true' if step.policy else are_of_today[group] }} as is_{{ group }}_of_today{{ ',' if not loop.last }}
        {%- endfor %}
    from before
    cross join today
    inner join bounds on bounds.as_of_date = today.as_of_date
    {{ 'union all' if not loop.last }}
    {%- endfor %}
),

policy as (
    select
        stepped.*,
        {{ date_minus('stepped.as_of_date', 'stepped.behaviour_window_days') }} as behaviour_window_start,
        {{ date_minus('stepped.as_of_date', 'stepped.affinity_window_days') }} as affinity_window_start,
        {{ window_starts('stepped.as_of_date', 'stepped') }}
    from stepped
)

select * from policy
