-- An id arrives as 17850.0 where a spreadsheet took it for a number.
select
    _delivery,
    min(_row) as _row,
    regexp_replace(CustomerID, '\.0$', '') as source_customer_id,
    max(Country) as province,
    max(InvoiceDate) as updated_at,
    max_by(InvoiceDate_offset_minutes, InvoiceDate) as updated_at_offset_minutes
from delivered
where CustomerID is not null
group by _delivery, regexp_replace(CustomerID, '\.0$', '')
