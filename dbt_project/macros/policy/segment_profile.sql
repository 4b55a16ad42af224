{#
  CTEs that describe groups of customers: `figures` (segment, customers, revenue, profit, half-years), `attributes` (segment,
  top_attributes as text, coverage) and `ranked` (segment, field, value, n, place) of values that at least k people share.
  `members` is a relation segment, customer_key; `policy` a CTE before it. What is unknown of a person is not counted as a
  value; coverage is the share of people and fields that are known.
#}
{% macro segment_profile(members) -%}
{%- set fields = {
    'category': 'wide.preference_top_category',
    'channel': 'wide.channel_class',
    'age': 'wide.demographics_class',
    'household': 'wide.household_class',
    'need': 'wide.need_class',
    'motive': 'wide.motive_class',
    'province': 'customers.province',
    'city': 'customers.city',
} -%}
described as (
    {%- for field, value in fields.items() %}
    select members.segment, '{{ field }}' as field, {{ loop.index }} as field_no, {{ value }} as value
    from {{ members }} as members
    inner join {{ ref('customer_360') }} as wide using (customer_key)
    inner join {{ ref('dim_customers') }} as customers using (customer_key)
    {{ 'union all' if not loop.last }}
    {%- endfor %}
),

stated as (
    select segment, field, field_no, value, count(*) as n
    from described
    where value not in ('unknown', 'unclassified', 'no_purchase_in_window', 'minor')
    group by segment, field, field_no, value
),

figures as (
    select
        members.segment,
        count(*) as customers,
        sum(facts.revenue_abc) as revenue,
        sum(facts.profit_abc) as profit,
        sum(facts.m180) as m180,
        sum(facts.m_prev180) as m_prev180
    from {{ members }} as members
    inner join {{ ref('int_customer_facts') }} as facts using (customer_key)
    group by members.segment
),

known as (
    select segment, field, cast(sum(n) as bigint) as known_n from stated
    group by segment, field
),

ranked as (
    select
        stated.*,
        known.known_n,
        row_number() over (partition by stated.segment, stated.field order by stated.n desc, stated.value) as place
    from stated
    inner join known using (segment, field)
    inner join policy on stated.n >= policy.k_anon_min
),

told as (
    select
        segment,
        {{ dbt.listagg(
            "field || ': ' || value || ' (' || cast(cast(floor(" ~ rate('100 * n', 'known_n')
            ~ ") as integer) as varchar) || ' %)'", "'; '", 'order by field_no'
        ) }} as top_attributes
    from ranked
    where place = 1
    group by segment
),

attributes as (
    select
        figures.segment,
        told.top_attributes,
        {{ rate('coalesce(totals.known_n, 0)', 'figures.customers * ' ~ fields | length) }} as coverage
    from figures
    left join told using (segment)
    left join (select segment, sum(known_n) as known_n from known group by segment) as totals using (segment)
)
{%- endmacro %}

{# The columns that every description of groups ends in; nothing is told of a hidden one. After `shown`, which has them. #}
{% macro segment_profile_columns() -%}
    shown.is_suppressed,
    case when not shown.is_suppressed then shown.customers end as customers,
    case when not shown.is_suppressed then {{ rate('shown.customers', 'shown.all_customers') }} end as share,
    {{ money('case when not shown.is_suppressed then shown.revenue end') }} as revenue,
    case when not shown.is_suppressed then {{ rate('shown.revenue', 'shown.all_revenue') }} end as revenue_share,
    {{ money('case when not shown.is_suppressed then shown.profit end') }} as profit,
    case when not shown.is_suppressed then {{ rate('shown.m180', 'shown.m_prev180') }} - 1 end as growth,
    case when not shown.is_suppressed then shown.top_attributes end as top_attributes,
    case when not shown.is_suppressed then shown.coverage end as coverage,
    shown.customers < shown.low_n as is_low_n
{%- endmacro %}

{# `shown`: figures and attributes of every group with its mask; the groups of `partition` add up to a known total. #}
{% macro segment_profile_shown(partition) -%}
shown as (
    select
        figures.*,
        attributes.top_attributes,
        attributes.coverage,
        policy.as_of_date,
        policy.policy_version,
        policy.low_n,
        sum(figures.customers) over (partition by {{ partition }}) as all_customers,
        sum(figures.revenue) over (partition by {{ partition }}) as all_revenue,
        {{ is_suppressed_cell('figures.customers', 'policy.k_anon_min', partition, 'figures.segment') }} as is_suppressed
    from figures
    inner join attributes using (segment)
    cross join policy
)
{%- endmacro %}
