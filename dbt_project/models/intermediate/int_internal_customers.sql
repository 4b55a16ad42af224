{{ config(materialized='table') }}
-- Test and staff accounts, today and on the refresh date: their orders are not the market's.
with flagged as (
    select distinct source, source_customer_id from {{ ref('stg_customers__customers') }}
    where is_test or is_employee
),

states as (
    select true as is_current, customers.*
    from {{ ref('stg_customers__customers') }} as customers
    inner join flagged using (source, source_customer_id)
    where customers.is_in_force
    union all
    select false as is_current, customers.*
    from {{ ref('stg_customers__customers') }} as customers
    inner join flagged using (source, source_customer_id)
    where customers.was_in_force
),

ranked as (
    select
        *,
        row_number() over (
            partition by is_current, source, source_customer_id
            order by updated_at desc nulls last, dt desc, rev desc, delivery_row desc
        ) as nth
    from states
)

select ranked.is_current, links.customer_key
from ranked
inner join {{ ref('int_customer_links') }} as links using (is_current, source, source_customer_id)
where ranked.nth = 1 and (ranked.is_test or ranked.is_employee)
group by ranked.is_current, links.customer_key
