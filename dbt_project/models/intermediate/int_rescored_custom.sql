{{ config(materialized='table') }}
-- Custom segments of their movers at every step of the re-scoring: the rule asked again of what it asks for, as it stood then.
with policy as (
    select * from {{ ref('int_rescoring_steps') }}
),

told as (
    select * from {{ ref('int_move_events') }}
    where from_class is not null and to_class is not null
),

rescored as (
    select * from {{ ref('int_rescored_classes') }}
),

facts as (
    select * from {{ ref('int_rescored_facts') }}
),

custom_movers as (
    select distinct customer_key from told
    where scheme like 'custom:%'
),

asked as (
    select distinct kind, fact from {{ source('run', 'custom_tests') }}
),

own_classes as (
    {%- for scheme in class_columns() %}
    select classes.customer_key, '{{ scheme }}' as scheme, classes.{{ scheme }}_class as class
    from {{ ref('int_customer_classes') }} as classes
    semi join custom_movers on classes.customer_key = custom_movers.customer_key
    {{ 'union all' if not loop.last }}
    {%- endfor %}
),

custom_facts as (
    select facts.* from facts
    semi join custom_movers on facts.customer_key = custom_movers.customer_key
),

-- Of a profile only the age goes by the day; what else it says is as known today.
own_records as (
    select
        links.customer_key,
        records.*,
        row_number() over (
            partition by records.source, records.source_customer_id
            order by records.updated_at desc nulls last, records.dt desc, records.rev desc, records.delivery_row desc,
                records.delivery desc
        ) as nth
    from {{ ref('stg_customers__customers') }} as records
    inner join {{ ref('int_customer_links') }} as links
        on records.source = links.source and records.source_customer_id = links.source_customer_id and links.is_current
    semi join custom_movers on links.customer_key = custom_movers.customer_key
    where records.is_in_force
),

births as (
    select
        *,
        row_number() over (
            partition by customer_key order by updated_at desc nulls last, dt desc, source, source_customer_id
        ) as place
    from own_records
    where nth = 1 and birth_year is not null
),

profiles as (
    select
        customers.customer_key,
        policy.step,
        {{ age_on('births', 'policy.as_of_date') }} as age,
        customers.household_size, customers.gender, customers.occupation, customers.income_band, customers.education,
        customers.province, customers.city, customers.language
    from {{ ref('dim_customers') }} as customers
    semi join custom_movers on customers.customer_key = custom_movers.customer_key
    cross join policy
    left join births on customers.customer_key = births.customer_key and births.place = 1
),

-- What a rule asks for, as it stood at each step: a class that is scored again as it was scored, any other from the step on
-- at which what is told of its move took effect.
stands as (
    select
        own_classes.customer_key,
        policy.step,
        'class' as kind,
        own_classes.scheme as fact,
        case
            when told.customer_key is null then own_classes.class
            when rescored.customer_key is not null then rescored.class
            when policy.step >= {{ step_of_told('told.told_cause') }} then own_classes.class
            else told.from_class
        end as text_value,
        cast(null as decimal(18, 4)) as number_value
    from own_classes
    semi join asked on own_classes.scheme = asked.fact and asked.kind = 'class'
    cross join policy
    left join told on own_classes.customer_key = told.customer_key and own_classes.scheme = told.scheme
    left join rescored
        on own_classes.customer_key = rescored.customer_key and own_classes.scheme = rescored.scheme
        and policy.step = rescored.step
    {%- for fact, (kind, value) in rule_facts().items() %}
    union all
    select
        facts.customer_key, facts.step, '{{ kind }}' as kind, '{{ fact }}' as fact,
        {% if kind == 'text' -%} {{ value }} as text_value, cast(null as decimal(18, 4)) as number_value
        {%- else -%} cast(null as varchar) as text_value, cast({{ value }} as decimal(18, 4)) as number_value
        {%- endif %}
    from custom_facts as facts
    inner join profiles as customers using (customer_key, step)
    where exists (select 1 from asked where asked.fact = '{{ fact }}')
    {%- endfor %}
),

{{ custom_members('stands', 'custom_facts', step='step') }}

select customer_key, step, 'custom:' || segment as scheme, class from members
