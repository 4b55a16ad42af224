{{ config(materialized='incremental', incremental_strategy='replace_touched', unique_key=['source', 'order_id'],
          meta={'touched': 'int_orders_touched'}) }}
-- The latest row per line, only for orders that need the window: suspects of today, and changed orders as they were on
-- the refresh date.
with chosen as (
    select source, order_id, bool_or(is_suspect) as is_suspect, bool_or(is_changed) as is_changed
    from (
        select source, order_id, true as is_suspect, false as is_changed from {{ ref('int_order_sums') }}
        where is_suspect
        union all
        select source, order_id, false as is_suspect, true as is_changed from {{ ref('int_orders_changed') }}
    ) as reasons
    group by source, order_id
),

delivered as (
    select lines.*, chosen.is_suspect, chosen.is_changed
    from {{ of_touched(ref('stg_sales__order_lines'), ref('int_line_rows_touched')) }} as lines
    inner join chosen on lines.source = chosen.source and lines.order_id = chosen.order_id
),

versions as (
    select true as is_current, delivered.* from delivered
    where is_suspect and is_in_force
    union all
    select false as is_current, delivered.* from delivered
    where is_changed and was_in_force
),

ranked as (
    select
        *,
        row_number() over (
            partition by is_current, source, order_id, line_no
            order by dt desc, rev desc, delivery_row desc, delivery desc
        ) as nth,
        count(*) over (partition by is_current, source, order_id, line_no) as versions_n
    from versions
)

select
    is_current, source, order_id, line_no, product_id, promotion_id, kind, is_gift, currency, price_includes_tax,
    qty, list_price, unit_price_paid, line_discount, line_amount, dt, rev, delivery_row,
    versions_n
from ranked
where nth = 1
