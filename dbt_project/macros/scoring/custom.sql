{# What a rule may ask of a customer beside classes: [kind, SQL over `facts` and `customers`, a row of dim_customers]. #}
{% macro rule_facts() -%}
    {{ return({
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
    }) }}
{%- endmacro %}

{#
  CTEs `outcomes`, `judged_rules` and `members`: who is in which custom segment. The rules are rows (pipeline/segments/custom.py),
  so no rule is SQL text. `stated` has what is known of `people` that a rule asks for: customer_key, kind, fact, text_value,
  number_value. A test that fails rules out the alternatives that need it; a missing fact leaves them open. `step`: a column
  by which both have several versions.
#}
{% macro custom_members(stated, people, step=none) %}
{%- set also = ', ' ~ step if step else '' -%}
{%- set of_stated = ', stated.' ~ step if step else '' -%}
{%- set of_facts = ', facts.' ~ step if step else '' -%}
{%- set same_step = ' and facts.' ~ step ~ ' = judged.' ~ step if step else '' %}
outcomes as (
    select
        stated.customer_key{{ of_stated }},
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
    from {{ stated }} as stated
    inner join {{ source('run', 'custom_tests') }} as tests on stated.kind = tests.kind and stated.fact = tests.fact
    left join {{ source('run', 'custom_values') }} as accepted
        on tests.test_no = accepted.test_no and stated.text_value = accepted.value
),

judged_rules as (
    select
        customer_key{{ also }},
        word,
        bit_or(case when not holds then alternatives else cast(0 as bigint) end) as failed,
        bit_or(case when holds is null then alternatives else cast(0 as bigint) end) as undecided
    from outcomes
    -- A test that holds rules nothing out.
    where not coalesce(holds, false)
    group by customer_key{{ also }}, word
),

members as (
    select
        facts.customer_key{{ of_facts }},
        segments.segment,
        case
            when segments.alternatives & ~(coalesce(judged.failed, 0) | coalesce(judged.undecided, 0)) <> 0 then 'member'
            when segments.alternatives & ~coalesce(judged.failed, 0) <> 0 then 'unknown'
            else 'other'
        end as class
    from {{ people }} as facts
    cross join {{ source('run', 'custom_segments') }} as segments
    left join judged_rules as judged
        on facts.customer_key = judged.customer_key and segments.word = judged.word{{ same_step }}
)
{% endmacro %}
