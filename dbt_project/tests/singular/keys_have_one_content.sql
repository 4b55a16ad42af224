{{ config(meta={'dagster': {'ref': {'name': 'int_orders'}}, 'description': "The same key came in several deliveries with other content, and nothing says which is newer (Q-02): an order, a line or a return would change with the order in which files are read."}) }}
-- A newer updated_at is a newer state. Lines and returns have none: a line may change with its order, a return may not.
with repeated as (
    select source, order_id from {{ ref('int_orders') }}
    where is_current and versions_n > 1
),

suspects as (
    select source, order_id from {{ ref('int_order_sums') }}
    where is_suspect
),

repeated_rows as (
    {{ raw_rows_of(source('raw', 'orders'), 'repeated') }}
),

repeated_headers as (
    {{ staged_orders('repeated_rows') }}
),

suspect_rows as (
    {{ raw_rows_of(source('raw', 'order_lines'), 'suspects') }}
),

suspect_lines as (
    {{ staged_order_lines('suspect_rows') }}
),

headers as (
    select distinct
        stg.source, stg.order_id, stg.updated_at, stg.source_customer_id, stg.channel_id, stg.store_id, stg.status,
        stg.currency, stg.order_discount, stg.shipping_fee, stg.ordered_at, stg.paid_at, stg.is_test
    from repeated_headers as stg
    semi join repeated on stg.source = repeated.source and stg.order_id = repeated.order_id
    where stg.is_in_force and stg.updated_at is not null
),

lines as (
    select distinct stg.source, stg.order_id, stg.line_no, stg.product_id, stg.qty, stg.unit_price_paid, stg.list_price
    from suspect_lines as stg
    semi join suspects
        on stg.source = suspects.source and stg.order_id = suspects.order_id
    anti join repeated on stg.source = repeated.source and stg.order_id = repeated.order_id
    where stg.is_in_force
),

returns as (
    select distinct source, return_id, order_id, product_id, qty, refund_amount
    from {{ ref('stg_sales__returns') }}
    where is_in_force
),

conflicts as (
    select 'orders' as feed, source, order_id as key_text from headers
    group by source, order_id, updated_at
    having count(*) > 1
    union all
    select 'order_lines' as feed, source, order_id as key_text from lines
    group by source, order_id, line_no
    having count(*) > 1
    union all
    select 'returns' as feed, source, return_id as key_text from returns
    group by source, return_id
    having count(*) > 1
),

keys as (
    select 'orders' as feed, source, count(*) as keys_n from {{ ref('int_orders') }}
    where is_current
    group by source
    union all
    select 'order_lines' as feed, source, sum(sale_n) as keys_n from {{ ref('int_order_totals') }}
    where is_current
    group by source
    union all
    select 'returns' as feed, source, count(*) as keys_n from {{ ref('int_returns') }}
    where is_current
    group by source
),

counted as (
    select feed, source, count(*) as conflicts_n, min(key_text) as example from conflicts
    group by feed, source
)

select counted.*, keys.keys_n
from counted
inner join keys on counted.feed = keys.feed and counted.source = keys.source
inner join {{ ref('int_run_policy') }} as policy
    on counted.conflicts_n > policy.key_conflict_rows_min
    and counted.conflicts_n > policy.key_conflict_share_max * keys.keys_n
