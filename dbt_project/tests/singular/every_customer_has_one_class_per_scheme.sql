{{ config(meta={'dagster': {'ref': {'name': 'customer_rfm'}}, 'description': "Some customer has no class, two classes or an unknown one (Q-13): class counts would not add up to the population, and no segment figure of this run can be trusted."}) }}
with classes as (
    select customer_key, 'rfm' as scheme, rfm_segment as class from {{ ref('customer_rfm') }}
    union all
    select customer_key, 'abc' as scheme, abc_class as class from {{ ref('customer_abc') }}
    union all
    select customer_key, 'value' as scheme, value_tier as class from {{ ref('customer_value') }}
    union all
    select customer_key, 'lifecycle' as scheme, stage as class from {{ ref('customer_lifecycle') }}
),

counted as (
    select classes.scheme, count(*) as rows_n, count(labels.class) as known_n
    from classes
    left join {{ ref('segment_labels') }} as labels on classes.scheme = labels.scheme and classes.class = labels.class
    group by classes.scheme
),

population as (
    select count(*) as customers_n from {{ ref('dim_customers') }}
    anti join {{ ref('int_persons_excluded') }} using (customer_key)
)

-- Uniqueness per table is each table's own test; with it, equal counts mean one class for each.
select counted.*, population.customers_n
from counted
cross join population
where counted.rows_n <> population.customers_n or counted.known_n <> population.customers_n
