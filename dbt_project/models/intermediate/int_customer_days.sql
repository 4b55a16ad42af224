-- Valid orders by customer and day. Several orders of one day are one purchase day; a day without merchandise that was
-- kept is none, though its revenue counts.
{{ customer_days(ref('fct_orders')) }}
