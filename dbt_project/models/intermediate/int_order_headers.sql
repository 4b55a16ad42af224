-- Order headers as delivered, today's and those of changed orders on the refresh date. An order may still come twice.
select true as is_current, stg.*
from {{ ref('stg_sales__orders') }} as stg
where stg.is_in_force

union all

select false as is_current, stg.*
from {{ ref('stg_sales__orders') }} as stg
semi join {{ ref('int_orders_changed') }} as changed
    on stg.source = changed.source and stg.order_id = changed.order_id
where stg.was_in_force
