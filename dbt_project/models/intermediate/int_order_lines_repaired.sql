{{ config(materialized='incremental', incremental_strategy='replace_touched', unique_key=['source', 'order_id'],
          meta={'touched': 'int_orders_touched'}) }}
-- The latest row per line, only for orders that need the window: suspects of today, and changed orders as they were on
-- the refresh date.
with versions as (
    select true as is_current, lines.*
    from {{ of_touched(ref('stg_sales__order_lines'), ref('int_line_rows_touched')) }} as lines
    semi join (select source, order_id from {{ ref('int_order_sums') }} where is_suspect) as suspects
        on lines.source = suspects.source and lines.order_id = suspects.order_id
    where lines.is_in_force
    union all
    select false as is_current, lines.*
    from {{ of_touched(ref('stg_sales__order_lines'), ref('int_line_rows_touched')) }} as lines
    semi join {{ ref('int_orders_changed') }} as changed
        on lines.source = changed.source and lines.order_id = changed.order_id
    where lines.was_in_force
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
