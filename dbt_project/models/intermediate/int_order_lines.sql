-- Every order line once, of today and of the refresh date: the delivered rows of orders in which no line came twice, the repaired rows elsewhere.
-- Cheap to filter by order, dear to scan: at scale this is the largest relation of the project.
{{ order_lines(ref('stg_sales__order_lines')) }}
