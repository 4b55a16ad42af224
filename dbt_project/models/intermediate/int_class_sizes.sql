{{ config(materialized='table') }}
-- Size and worth of every class that anybody is in, over the whole population.
{% set figures %}
    count(*) as customers,
    sum(people.revenue_365) as revenue,
    sum(people.profit_365) as profit,
    count(*) filter (where people.frequency_days >= 2) as repurchase_num,
    count(*) filter (where people.frequency_days >= 1) as repurchase_den
{%- endset -%}
with people as (
    select classes.*, rfm.frequency_days, abc.revenue_365, abc.profit_365
    from {{ ref('int_customer_classes') }} as classes
    inner join {{ ref('customer_rfm') }} as rfm using (customer_key)
    inner join {{ ref('customer_abc') }} as abc using (customer_key)
)

{% for scheme in class_columns() -%}
select
    '{{ scheme }}' as scheme,
    people.{{ scheme }}_class as class,
    {{ figures }}
from people
where people.{{ scheme }}_class is not null
group by people.{{ scheme }}_class

union all

{% endfor -%}
select
    'custom:' || members.segment as scheme,
    members.class,
    {{ figures }}
from {{ ref('int_custom_segment_members') }} as members
inner join {{ ref('int_custom_segments') }} as segments on members.segment = segments.segment
inner join people on members.customer_key = people.customer_key
group by members.segment, members.class
