{{ config(materialized='incremental', incremental_strategy='replace_touched', unique_key=['customer_key'],
          meta={'touched': 'int_customers_restated'}) }}
-- What a purchase day was to its customer then: the how-manieth, after which median gap, and when the next one came. A
-- median over each day and all before it is dear, so a day's build works it out of the few whose days are others.
select
    customer_key,
    day,
    lead(day) over by_customer as next_purchase_day,
    row_number() over by_customer as purchase_days_by_then,
    {{ running_median('gap_days', 'customer_key', 'day') }} as own_gap_by_then
from {{ ref('int_customer_days') }} as days
{{ only_touched(ref('int_customers_restated'), 'days', ['customer_key']) }}
where is_purchase_day
window by_customer as (partition by customer_key order by day)
