-- Orders of the behaviour classes. What all buy, and what goes with what, is learnt from them. A table, because several
-- models read it and the order facts behind it are wide.
{{ config(materialized='table') }}
{{ customer_orders(
    ref('int_run_policy'),
    'least(days.behaviour_window_start, days.affinity_window_start, days.clv_recent_start)',
    'days.as_of_date'
) }}
