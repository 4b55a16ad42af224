{{ config(materialized='incremental', incremental_strategy='replace_touched', unique_key=['customer_key'],
          meta={'touched': 'int_customers_restated'}) }}
-- Valid orders by customer and day. Several orders of one day are one purchase day; a day without merchandise that was
-- kept is none, though its revenue counts. A table: all that is summed over customers reads it.
{{ customer_days(ref('fct_orders'), only_touched(ref('int_customers_restated'), 'orders', ['customer_key'])) }}
