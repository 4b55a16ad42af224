{{ config(materialized='table') }}
-- Size and worth of every class that anybody is in, over the whole population.
with people as (
    select rfm.customer_key, rfm.frequency_days, abc.revenue_365, abc.profit_365
    from {{ ref('customer_rfm') }} as rfm
    inner join {{ ref('customer_abc') }} as abc using (customer_key)
)

select
    reasons.scheme,
    reasons.class,
    count(*) as customers,
    sum(people.revenue_365) as revenue,
    sum(people.profit_365) as profit,
    count(*) filter (where people.frequency_days >= 2) as repurchase_num,
    count(*) filter (where people.frequency_days >= 1) as repurchase_den
from {{ ref('int_class_reasons') }} as reasons
inner join people using (customer_key)
group by reasons.scheme, reasons.class
