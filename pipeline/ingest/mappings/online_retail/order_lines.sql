-- The export numbers no lines: a line is its place in its document, so equal lines stay apart and the same
-- document delivered again is recognised.
select
    _delivery,
    _row,
    InvoiceNo as order_id,
    row_number() over (partition by _delivery, InvoiceNo order by _row) as line_no,
    upper(StockCode) as product_id,
    Quantity as qty,
    UnitPrice as unit_price_paid
from delivered
where not (upper(InvoiceNo) like 'C%' and Quantity < 0)
