{{ config(materialized='table') }}
-- Custom segments, evaluated.
with tests as (
    select * from {{ source('run', 'custom_tests') }}
),

stated as (
    {%- for scheme in class_columns() %}
    select
        customer_key, 'class' as kind, '{{ scheme }}' as fact, {{ scheme }}_class as text_value,
        cast(null as decimal(18, 4)) as number_value
    from {{ ref('int_customer_classes') }}
    where exists (select 1 from tests where tests.kind = 'class' and tests.fact = '{{ scheme }}')
    {{- ' union all' if not loop.last }}
    {%- endfor %}
    {%- for fact, (kind, value) in rule_facts().items() %}
    union all
    select
        facts.customer_key, '{{ kind }}' as kind, '{{ fact }}' as fact,
        {% if kind == 'text' -%} {{ value }} as text_value, cast(null as decimal(18, 4)) as number_value
        {%- else -%} cast(null as varchar) as text_value, cast({{ value }} as decimal(18, 4)) as number_value
        {%- endif %}
    from {{ ref('int_customer_facts') }} as facts
    inner join {{ ref('dim_customers') }} as customers using (customer_key)
    where exists (select 1 from tests where tests.fact = '{{ fact }}')
    {%- endfor %}
),

{{ custom_members('stated', ref('int_customer_facts')) }}

select * from members
