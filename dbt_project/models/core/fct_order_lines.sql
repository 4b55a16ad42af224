{{ config(materialized='view') }}
-- A view: at ten million lines a table costs more than every reader of it together.
select
    source, order_id, line_no, product_id, promotion_id, kind, is_gift, currency, price_includes_tax, qty, list_price,
    unit_price_paid, line_discount, line_amount
from {{ ref('int_order_lines') }}
where is_current
