{{ config(materialized='table') }}
-- Custom segments, evaluated: the rules are rows (pipeline/segments/custom.py), so no rule is SQL text. A test that fails
-- rules out the alternatives that need it; a missing fact leaves them open.
{% set facts = {
    'age': ['number', 'customers.age'],
    'household_size': ['number', 'customers.household_size'],
    'days_since_purchase': ['number', 'facts.recency_days'],
    'days_since_first_purchase': ['number', 'facts.tenure_days'],
    'purchase_days': ['number', 'facts.purchase_days_n'],
    'purchase_days_in_window': ['number', 'facts.frequency_rfm'],
    'spend_in_window': ['number', 'facts.monetary_rfm'],
    'profit_in_window': ['number', 'facts.profit_abc'],
    'gender': ['text', 'customers.gender'],
    'occupation': ['text', 'customers.occupation'],
    'income_band': ['text', 'customers.income_band'],
    'education': ['text', 'customers.education'],
    'province': ['text', 'customers.province'],
    'city': ['text', 'customers.city'],
    'language': ['text', 'customers.language'],
} -%}
with segments as (
    select * from {{ source('run', 'custom_segments') }}
),

tests as (
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
    {%- for fact, (kind, value) in facts.items() %}
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

outcomes as (
    select
        stated.customer_key,
        tests.word,
        tests.alternatives,
        tests.is_negated <> case
            when tests.kind = 'number' then
                (tests.low is null or stated.number_value > tests.low
                    or (stated.number_value = tests.low and not tests.is_low_open))
                and (tests.high is null or stated.number_value < tests.high
                    or (stated.number_value = tests.high and not tests.is_high_open))
            when stated.text_value is not null then accepted.test_no is not null
        end as holds
    from stated
    inner join tests on stated.kind = tests.kind and stated.fact = tests.fact
    left join {{ source('run', 'custom_values') }} as accepted
        on tests.test_no = accepted.test_no and stated.text_value = accepted.value
),

judged as (
    select
        customer_key,
        word,
        bit_or(case when not holds then alternatives else cast(0 as bigint) end) as failed,
        bit_or(case when holds is null then alternatives else cast(0 as bigint) end) as undecided
    from outcomes
    -- A test that holds rules nothing out.
    where not coalesce(holds, false)
    group by customer_key, word
)

select
    facts.customer_key,
    segments.segment,
    case
        when segments.alternatives & ~(coalesce(judged.failed, 0) | coalesce(judged.undecided, 0)) <> 0 then 'member'
        when segments.alternatives & ~coalesce(judged.failed, 0) <> 0 then 'unknown'
        else 'other'
    end as class
from {{ ref('int_customer_facts') }} as facts
cross join segments
left join judged on facts.customer_key = judged.customer_key and segments.word = judged.word
