-- Order headers as delivered, today's and those of changed orders on the refresh date. An order may still come twice.
{{ order_headers(ref('stg_sales__orders')) }}
