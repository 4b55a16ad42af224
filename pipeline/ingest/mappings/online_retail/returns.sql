-- A cancellation names neither the invoice nor the line that it takes back, and none is inferred.
select
    _delivery,
    _row,
    InvoiceNo || '-' || row_number() over (partition by _delivery, InvoiceNo order by _row) as return_id,
    cast(CustomerID as varchar) as source_customer_id,
    upper(StockCode) as product_id,
    'GBP' as currency,
    -Quantity as qty,
    -Quantity * UnitPrice as refund_amount,
    InvoiceDate as requested_at,
    InvoiceDate_offset_minutes as requested_at_offset_minutes,
    InvoiceDate as refunded_at,
    InvoiceDate_offset_minutes as refunded_at_offset_minutes,
    'refund' as type
from delivered
where upper(InvoiceNo) like 'C%' and Quantity < 0
