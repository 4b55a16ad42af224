-- One invoice is one order; where its lines carry two times (43 invoices do) the earlier one counts.
select
    _delivery,
    min(_row) as _row,
    InvoiceNo as order_id,
    cast(max(CustomerID) as varchar) as source_customer_id,
    'web' as channel_id,
    min(InvoiceDate) as ordered_at,
    min_by(InvoiceDate_offset_minutes, InvoiceDate) as ordered_at_offset_minutes,
    min(InvoiceDate) as paid_at,
    min_by(InvoiceDate_offset_minutes, InvoiceDate) as paid_at_offset_minutes,
    'completed' as status,
    'GBP' as currency,
    'ship' as fulfilment_type
from delivered
where not (upper(InvoiceNo) like 'C%' and Quantity < 0)
group by _delivery, InvoiceNo
