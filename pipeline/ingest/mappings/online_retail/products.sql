-- Codes that differ only by case are one product. Rows without a price carry warehouse notes ("damaged?")
-- where the product's name should stand, so a name is taken from priced rows only.
select
    _delivery,
    min(_row) as _row,
    upper(StockCode) as product_id,
    max(trim(Description)) filter (where UnitPrice > 0) as name
from delivered
group by _delivery, upper(StockCode)
