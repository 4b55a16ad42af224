{{ config(materialized='table', meta={'only_increments': true}) }}
-- Delivered headers of the touched orders.
-- depends_on: {{ ref('int_orders_touched') }}
{{ rows_of_touched_orders(ref('stg_sales__orders')) }}
