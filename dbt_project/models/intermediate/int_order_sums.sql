{{ config(materialized='incremental', incremental_strategy='replace_touched', unique_key=['source', 'order_id'],
          meta={'touched': 'int_orders_touched'}) }}
-- One optimistic pass over the lines: every order summed as if no line came twice, and the orders marked in which one
-- did (fewer distinct bits than lines). Lines above 61 share bits, so long orders are only suspected.
with products as (
    {{ order_line_products() }}
),

lines as (
    select
        stg.source,
        stg.order_id,
        stg.line_no,
        {{ order_line_measures('stg', 'products', 'products.effective_tax_rate') }},
        stg.was_in_force
            and products.effective_tax_rate = products.effective_tax_rate_at_refresh as is_same_at_refresh
    from {{ of_touched(ref('stg_sales__order_lines'), ref('int_line_rows_touched')) }} as stg
    inner join products on stg.product_id = products.product_id
    where stg.is_in_force
),

summed as (
    select
        source,
        order_id,
        {{ order_line_sums() }},
        count(*) <> bit_count(bit_or({{ bit_of('line_no % 62') }})) as is_suspect,
        bool_and(is_same_at_refresh) as is_same_at_refresh
    from lines
    group by source, order_id
)

select
    source, order_id, line_n, sale_n, sale_amount, sale_amount_ex_tax, sale_qty, contribution, cost_amount,
    {{ order_marks() }},
    is_suspect, is_same_at_refresh
from summed
