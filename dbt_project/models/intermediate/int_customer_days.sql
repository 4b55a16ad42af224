{{ config(materialized='table') }}
-- Valid orders by customer and day. Several orders of one day are one purchase day; a day without merchandise that was
-- kept is none, though its revenue counts. A table: facts and earlier stages both read it, and the orders behind it are many.
{{ customer_days(ref('fct_orders')) }}
