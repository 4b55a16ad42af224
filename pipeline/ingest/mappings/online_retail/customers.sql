-- An id arrives as 17850.0 where a spreadsheet took it for a number.
select
    _delivery,
    min(_row) as _row,
    cast(CustomerID as varchar) as source_customer_id,
    max(Country) as province,
    max(InvoiceDate) as updated_at,
    max_by(InvoiceDate_offset_minutes, InvoiceDate) as updated_at_offset_minutes
from delivered
where CustomerID is not null
group by _delivery, cast(CustomerID as varchar)
