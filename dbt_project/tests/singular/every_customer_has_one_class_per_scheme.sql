{{ config(meta={'dagster': {'ref': {'name': 'customer_rfm'}}, 'description': "Some customer has no class, two classes or an unknown one (Q-13), or a reason cannot be told: class counts would not add up to the population, and no segment figure of this run can be trusted."}) }}
{# One scan; uniqueness per table is each table's own test, and with it equal counts mean one class for each. #}
with counted as (
    select
        scheme, class, reason_code, count(*) as rows_n
        {%- for k in range(1, 6) %},
        count(value_{{ k }}) as value_{{ k }}_n
        {%- endfor %}
    from {{ ref('int_class_reasons') }}
    group by scheme, class, reason_code
),

judged as (
    select
        counted.scheme,
        counted.rows_n,
        case when labels.class is not null then counted.rows_n else 0 end as labelled_n,
        case
            when templates.reason_code is not null
                {%- for k in range(1, 6) %}
                {%- for language in ['zh', 'en'] %}
                and (counted.value_{{ k }}_n = counted.rows_n or templates.template_{{ language }} not like '%{{ '{' ~ k ~ '}' }}%')
                {%- endfor %}
                {%- endfor %}
                then counted.rows_n
            else 0
        end as told_n
    from counted
    left join {{ ref('int_segment_labels') }} as labels on counted.scheme = labels.scheme and counted.class = labels.class
    left join {{ ref('int_class_templates') }} as templates
        on counted.scheme = templates.scheme and counted.reason_code = templates.reason_code
),

schemes as (
    select distinct scheme from {{ ref('int_segment_labels') }}
),

per_scheme as (
    select scheme, sum(rows_n) as rows_n, sum(labelled_n) as labelled_n, sum(told_n) as told_n
    from judged
    group by scheme
),

population as (
    select count(*) as customers_n from {{ ref('dim_customers') }}
    anti join {{ ref('int_persons_excluded') }} using (customer_key)
)

select
    coalesce(per_scheme.scheme, schemes.scheme) as scheme,
    coalesce(per_scheme.rows_n, 0) as rows_n,
    coalesce(per_scheme.labelled_n, 0) as labelled_n,
    coalesce(per_scheme.told_n, 0) as told_n,
    population.customers_n
from per_scheme
full join schemes on per_scheme.scheme = schemes.scheme
cross join population
where coalesce(per_scheme.rows_n, 0) <> population.customers_n
    or coalesce(per_scheme.labelled_n, 0) <> population.customers_n
    or coalesce(per_scheme.told_n, 0) <> population.customers_n
